//! Nearest neighbours in Qdrant, for those who have one. One collection per model of embedding, one point per incident.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::Context as _;
use qdrant_client::Payload;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{
    Condition, CreateCollectionBuilder, Distance, Filter, PointId, PointStruct, QueryPointsBuilder,
    ScoredPoint, UpsertPointsBuilder, Value, VectorParamsBuilder,
};
use storage::{Neighbour, Remembered};

const TIMEOUT: Duration = Duration::from_secs(5);
const FEATURES: &str = "features";
/// Points of one request: at thousands of numbers each, some megabytes.
const MAX_POINTS: usize = 256;

/// A Qdrant server.
pub struct Qdrant {
    client: qdrant_client::Qdrant,
}

impl Qdrant {
    /// The server at an address such as `http://localhost:6334` (its gRPC port). It is not asked for yet.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let builder = qdrant_client::Qdrant::from_url(url).timeout(TIMEOUT).connect_timeout(TIMEOUT);
        let client =
            builder.skip_compatibility_check().build().context("cannot make a client for `memory.qdrant`")?;
        Ok(Self { client })
    }

    /// Remembers what incidents looked like; what was remembered of them before gives way.
    pub async fn put(&self, memories: &[Remembered]) -> anyhow::Result<()> {
        let mut collections: BTreeMap<String, Vec<&Remembered>> = BTreeMap::new();
        for memory in memories {
            collections.entry(collection(&memory.model, memory.vector.len())).or_default().push(memory);
        }
        for (collection, memories) in collections {
            if !self.client.collection_exists(&collection).await? {
                let vectors = VectorParamsBuilder::new(memories[0].vector.len() as u64, Distance::Cosine);
                let request = CreateCollectionBuilder::new(&collection).vectors_config(vectors);
                self.client.create_collection(request).await?;
            }
            for memories in memories.chunks(MAX_POINTS) {
                let points =
                    memories.iter().map(|memory| point(memory)).collect::<anyhow::Result<Vec<_>>>()?;
                self.client.upsert_points(UpsertPointsBuilder::new(&collection, points).wait(true)).await?;
            }
        }
        Ok(())
    }

    /// The incidents nearest to a vector of the same model, nearest first, `incident` itself left out.
    pub async fn near(
        &self,
        model: &str,
        incident: u32,
        vector: &[f32],
        limit: u32,
    ) -> anyhow::Result<Vec<Neighbour>> {
        let itself = Condition::has_id([u64::from(incident)]);
        let request = QueryPointsBuilder::new(collection(model, vector.len()))
            .query(vector.to_vec())
            .filter(Filter::must_not([itself]))
            .limit(u64::from(limit))
            .with_payload(true);
        let found = self.client.query(request).await?;
        Ok(found.result.into_iter().filter_map(neighbour).collect())
    }
}

fn point(memory: &Remembered) -> anyhow::Result<PointStruct> {
    let payload: Payload = serde_json::json!({ FEATURES: memory.features }).try_into()?;
    Ok(PointStruct::new(u64::from(memory.incident), memory.vector.clone(), payload))
}

/// A name of letters, digits and `_`, whatever the model is called.
fn collection(model: &str, dimensions: usize) -> String {
    let plain: String = model
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' })
        .take(80)
        .collect();
    format!("inquest_incidents_{plain}_{dimensions}")
}

fn neighbour(point: ScoredPoint) -> Option<Neighbour> {
    let PointId { point_id_options: Some(PointIdOptions::Num(number)) } = point.id? else { return None };
    Some(Neighbour {
        incident: u32::try_from(number).ok()?,
        distance: 1.0 - f64::from(point.score),
        features: features(&point.payload),
    })
}

fn features(payload: &HashMap<String, Value>) -> Vec<String> {
    let Some(Kind::ListValue(list)) = payload.get(FEATURES).and_then(|value| value.kind.as_ref()) else {
        return Vec::new();
    };
    let text = |value: &Value| match &value.kind {
        Some(Kind::StringValue(text)) => Some(text.clone()),
        _ => None,
    };
    list.values.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_have_plain_names() {
        assert_eq!(collection("lexical-1", 256), "inquest_incidents_lexical_1_256");
        assert_eq!(collection("a/b:c", 2), "inquest_incidents_a_b_c_2");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_an_error() {
        let qdrant = Qdrant::new("http://127.0.0.1:1").unwrap();
        assert!(qdrant.near("m", 1, &[1.0], 2).await.is_err());
    }
}
