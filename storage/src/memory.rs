//! What incidents looked like, and which are nearest to another: brute force over all of them, which for the thousands of
//! incidents that a store holds is a matter of milliseconds, and exact.

use clickhouse::Row;
use domain::UnixNanos;
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::append::write;
use crate::error::Error;

/// What an incident looked like to a model of embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// The model.
    pub model: String,
    /// Which incident.
    pub incident: u32,
    /// What it looked like, in words.
    pub features: Vec<String>,
    /// The same as the model gave it.
    pub vector: Vec<f32>,
}

/// An incident that is near another.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbour {
    /// Which.
    pub incident: u32,
    /// Cosine distance, 0 (alike) to 2.
    pub distance: f64,
    /// What it looked like.
    pub features: Vec<String>,
}

#[derive(Row, Serialize)]
#[serde(rename_all = "PascalCase")]
struct MemoryRow<'a> {
    model: &'a str,
    incident: u32,
    timestamp: i64,
    features: &'a [String],
    vector: &'a [f32],
}

#[derive(Row, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RememberedRow {
    model: String,
    incident: u32,
    features: Vec<String>,
    vector: Vec<f32>,
}

#[derive(Row, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NearRow {
    incident: u32,
    distance: f64,
    features: Vec<String>,
}

impl Store {
    /// Remembers what an incident looked like; what was remembered of it before, for the same model, gives way.
    pub async fn memory_put(&self, at: UnixNanos, memory: &Remembered) -> Result<(), Error> {
        let Remembered { model, incident, features, vector } = memory;
        let row = MemoryRow { model, incident: *incident, timestamp: at.0, features, vector };
        write::<MemoryRow<'_>>(&self.writer(), "incident_memory", std::iter::once(row)).await
    }

    /// What is remembered, in order of model and incident: at most `limit`, of those behind `after`.
    pub async fn memories(&self, after: Option<&Remembered>, limit: u32) -> Result<Vec<Remembered>, Error> {
        let (model, incident) = after.map_or(("", None), |it| (it.model.as_str(), Some(it.incident)));
        let query = self.client().query(
            "SELECT Model, Incident, Features, Vector FROM incident_memory FINAL
             WHERE (Model, toInt64(Incident)) > (?, ?) ORDER BY Model, Incident LIMIT ?",
        );
        let rows: Vec<RememberedRow> =
            query.bind(model).bind(incident.map_or(-1, i64::from)).bind(limit).fetch_all().await?;
        let remembered = |row: RememberedRow| Remembered {
            model: row.model,
            incident: row.incident,
            features: row.features,
            vector: row.vector,
        };
        Ok(rows.into_iter().map(remembered).collect())
    }

    /// The vector that a model gave an incident.
    pub async fn memory_get(&self, model: &str, incident: u32) -> Result<Option<Vec<f32>>, Error> {
        let query = self
            .client()
            .query("SELECT Vector FROM incident_memory FINAL WHERE Model = ? AND Incident = ?")
            .bind(model)
            .bind(incident);
        Ok(query.fetch_optional().await?)
    }

    /// The incidents nearest to a vector of the same model, nearest first, `incident` itself left out.
    pub async fn memory_near(
        &self,
        model: &str,
        incident: u32,
        vector: &[f32],
        limit: u32,
    ) -> Result<Vec<Neighbour>, Error> {
        let rows: Vec<NearRow> = self
            .client()
            .query(
                "SELECT Incident, toFloat64(cosineDistance(Vector, arrayMap(x -> toFloat32(x), ?))) AS Distance, Features
                 FROM incident_memory FINAL
                 WHERE Model = ? AND Incident != ? AND length(Vector) = ?
                 ORDER BY Distance, Incident LIMIT ?",
            )
            .bind(vector)
            .bind(model)
            .bind(incident)
            .bind(vector.len() as u64)
            .bind(limit)
            .fetch_all()
            .await?;
        let neighbour = |row: NearRow| Neighbour {
            incident: row.incident,
            distance: row.distance,
            features: row.features,
        };
        Ok(rows.into_iter().map(neighbour).collect())
    }
}
