//! Past incidents that were like another one: what was confirmed of them, and what fixed them.
//!
//! The store finds the nearest ones; Qdrant does when one is named, and the store again while that does not answer or lacks some:
//! what is remembered stands in the store, and Qdrant is brought level with it.

pub mod qdrant;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use domain::{Clock, Diagnosis, Incident, IncidentEvent, IncidentId, Mechanism};
use investigator::narrate::Embeddings;
use investigator::similar;
use storage::{Neighbour, Remembered, Store};

use crate::config;
use crate::incidents::Incidents;
use crate::pages::input::Similar;
use qdrant::Qdrant;

/// Incidents asked for, before those that are not like enough are left out.
const MAX_NEIGHBOURS: u32 = 12;
/// Incidents shown.
const MAX_SHOWN: usize = 3;
/// Shared features shown of each.
const MAX_SHARED: usize = 5;
/// Ones farther away share too little to be called similar.
const MAX_DISTANCE: f64 = 0.6;

/// Memories brought to Qdrant at a time.
const PAGE: u32 = 256;

/// Remembers what incidents looked like. Cheap to clone.
#[derive(Clone)]
pub struct Memory {
    store: Store,
    incidents: Incidents,
    clock: Arc<dyn Clock>,
    embeddings: Option<Arc<Embeddings>>,
    qdrant: Option<Arc<Qdrant>>,
    /// Whether Qdrant has all that the store has.
    level: Arc<AtomicBool>,
}

impl Memory {
    /// A memory after the settings.
    pub fn new(
        settings: &config::Memory,
        store: Store,
        incidents: Incidents,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let embeddings = match &settings.embeddings_url {
            None => None,
            Some(url) => {
                ensure!(!settings.embeddings_model.is_empty(), "`memory.embeddings_model` names no model");
                let key = std::env::var(&settings.key_env).unwrap_or_default();
                let embeddings = Embeddings::new(url, &settings.embeddings_model, &key);
                Some(Arc::new(embeddings.context("cannot make a client for `memory.embeddings_url`")?))
            }
        };
        let qdrant = settings.qdrant.as_deref().map(Qdrant::new).transpose()?.map(Arc::new);
        Ok(Self { store, incidents, clock, embeddings, qdrant, level: Arc::default() })
    }

    /// Remembers what an incident looked like: by its words always, and by the model of embedding when it answers.
    pub async fn remember(&self, id: IncidentId, diagnosis: &Diagnosis) -> anyhow::Result<()> {
        let features = similar::features(diagnosis);
        let Some(vector) = similar::embed(&features) else { return Ok(()) };
        let names: Vec<String> = features.keys().cloned().collect();
        self.put(similar::MODEL, id, &names, vector).await?;
        if let Some(embeddings) = &self.embeddings {
            match embeddings.embed(&similar::text(&features)).await {
                Ok(vector) => self.put(embeddings.model(), id, &names, vector).await?,
                Err(failure) => tracing::warn!(incident = %id, "the model of embedding {failure}"),
            }
        }
        Ok(())
    }

    /// Past incidents like this one, nearest first.
    pub async fn near(&self, id: IncidentId, diagnosis: &Diagnosis) -> anyhow::Result<Vec<Similar>> {
        let features = similar::features(diagnosis);
        let (model, vector) = match self.learned(id).await? {
            Some(learned) => learned,
            None => match similar::embed(&features) {
                Some(vector) => (similar::MODEL.to_owned(), vector),
                None => return Ok(Vec::new()),
            },
        };
        let near = self.nearest(&model, id, &vector).await?;
        Ok(near
            .into_iter()
            .filter(|near| near.distance <= MAX_DISTANCE)
            .filter_map(|near| self.shown(&features, &near))
            .take(MAX_SHOWN)
            .collect())
    }

    /// Brings Qdrant level with the store: one that was named later, or was away for a while, lacks some of it.
    pub async fn bring_level(&self) {
        let Some(qdrant) = &self.qdrant else { return };
        if self.level.load(Ordering::Relaxed) {
            return;
        }
        match self.copy(qdrant).await {
            Ok(()) => self.level.store(true, Ordering::Relaxed),
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "Qdrant lacks incidents: the store is asked instead"
                );
            }
        }
    }

    async fn copy(&self, qdrant: &Qdrant) -> anyhow::Result<()> {
        let mut last = None;
        loop {
            let page = self.store.memories(last.as_ref(), PAGE).await?;
            if page.is_empty() {
                return Ok(());
            }
            qdrant.put(&page).await?;
            last = page.into_iter().next_back();
        }
    }

    async fn put(
        &self,
        model: &str,
        id: IncidentId,
        features: &[String],
        vector: Vec<f32>,
    ) -> anyhow::Result<()> {
        let memory =
            Remembered { model: model.to_owned(), incident: id.0, features: features.to_vec(), vector };
        self.store.memory_put(self.clock.now(), &memory).await?;
        let Some(qdrant) = &self.qdrant else { return Ok(()) };
        if !self.level.load(Ordering::Relaxed) {
            self.bring_level().await;
        } else if let Err(error) = qdrant.put(&[memory]).await {
            self.level.store(false, Ordering::Relaxed);
            tracing::warn!(incident = %id, error = format!("{error:#}"), "Qdrant does not remember this incident");
        }
        Ok(())
    }

    async fn nearest(&self, model: &str, id: IncidentId, vector: &[f32]) -> anyhow::Result<Vec<Neighbour>> {
        if let Some(qdrant) = &self.qdrant
            && self.level.load(Ordering::Relaxed)
        {
            match qdrant.near(model, id.0, vector, MAX_NEIGHBOURS).await {
                Ok(near) => return Ok(near),
                Err(error) => {
                    // It may have come back empty.
                    self.level.store(false, Ordering::Relaxed);
                    tracing::warn!(error = format!("{error:#}"), "Qdrant does not answer");
                }
            }
        }
        Ok(self.store.memory_near(model, id.0, vector, MAX_NEIGHBOURS).await?)
    }

    /// The vector that the model of embedding gave when the incident was looked into; nobody waits for a model here.
    async fn learned(&self, id: IncidentId) -> anyhow::Result<Option<(String, Vec<f32>)>> {
        let Some(embeddings) = &self.embeddings else { return Ok(None) };
        let vector = self.store.memory_get(embeddings.model(), id.0).await?;
        Ok(vector.map(|vector| (embeddings.model().to_owned(), vector)))
    }

    fn shown(&self, features: &BTreeMap<String, f64>, near: &Neighbour) -> Option<Similar> {
        let incident = self.incidents.get(IncidentId(near.incident))?;
        let mut shared = similar::shared(features, &near.features);
        shared.truncate(MAX_SHARED);
        (!shared.is_empty()).then(|| Similar {
            id: incident.id,
            title: incident.title.clone(),
            started: incident.started,
            distance: near.distance,
            shared,
            confirmed: confirmed(&incident),
            fixed: fixed(&incident),
        })
    }
}

/// What people said last of an answer.
struct Said<'a> {
    verdict: &'a str,
    service: &'a str,
    mechanism: Option<Mechanism>,
    text: &'a str,
}

fn said(incident: &Incident) -> Option<Said<'_>> {
    incident.events.iter().rev().find_map(|(_, event)| match event {
        IncidentEvent::Feedback { verdict, service, mechanism, text, .. } => {
            Some(Said { verdict, service, mechanism: *mechanism, text })
        }
        _ => None,
    })
}

impl Said<'_> {
    /// What it really was.
    fn really(&self) -> String {
        let place = (!self.service.is_empty()).then(|| format!("it was in {}", self.service));
        let how = self.mechanism.map(|mechanism| match &place {
            Some(place) => format!("{place}, {}", mechanism.words()),
            None => format!("it was {}", mechanism.words()),
        });
        match (how.or(place), self.text) {
            (None, "") => "what it was is not said".into(),
            (None, text) => text.into(),
            (Some(said), "") => said,
            (Some(said), text) => format!("{said}: {text}"),
        }
    }
}

/// What people said it was, or what the answer was that nobody has judged.
fn confirmed(incident: &Incident) -> String {
    match said(incident) {
        Some(Said { verdict: "right", .. }) => format!("Confirmed: {}", incident.summary),
        Some(said) if said.verdict == "not-quite" => {
            format!("Not quite “{}”; {}", incident.summary, said.really())
        }
        Some(said) => format!("The answer was wrong; {}", said.really()),
        None if incident.summary.is_empty() => "Never explained".to_owned(),
        None => format!("Not confirmed by anybody: {}", incident.summary),
    }
}

/// What fixed it, as noted; or how it ended.
fn fixed(incident: &Incident) -> String {
    let noted = incident.events.iter().rev().find_map(|(_, event)| match event {
        IncidentEvent::Fixed { text, .. } => Some(text.clone()),
        _ => None,
    });
    let ended = || {
        incident.events.iter().rev().find_map(|(_, event)| match event {
            IncidentEvent::Resolved { reason, .. } => Some(format!("not noted; it ended: {reason}")),
            _ => None,
        })
    };
    noted.or_else(ended).unwrap_or_else(|| "it is still open".to_owned())
}

/// What people said of an incident's answer, as the label of its recording; nothing when nobody judged it. The service to blame and
/// the kind of fault stand in it when they were said, or when the answer that names them was called right.
pub fn label(incident: &Incident) -> Option<serde_json::Value> {
    let said = said(incident)?;
    let mut label = serde_json::json!({ "verdict": said.verdict });
    let root = match (said.service, said.verdict) {
        ("", "right") => &incident.root_service,
        (service, _) => service,
    };
    let parts = [
        ("root_service", root),
        ("fault_type", said.mechanism.map_or("", Mechanism::as_str)),
        ("text", said.text),
    ];
    for (name, value) in parts.into_iter().filter(|(_, value)| !value.is_empty()) {
        label[name] = value.into();
    }
    Some(label)
}

#[cfg(test)]
mod tests {
    use domain::{ConfidenceLevel, UnixNanos};
    use serde_json::json;

    use super::*;
    use crate::pages::fixture;

    fn judged(
        verdict: &str,
        service: &str,
        mechanism: Option<Mechanism>,
        text: &str,
        blamed: &str,
    ) -> Incident {
        let mut events = fixture::incident().events;
        let at = UnixNanos::from_seconds(2_000_000_000);
        events.push((
            at,
            IncidentEvent::Investigated {
                run: 9,
                summary: "catalog waits for a lock".into(),
                confidence: ConfidenceLevel::High,
                root_service: blamed.into(),
                elapsed_ms: 1,
            },
        ));
        events.push((
            at,
            IncidentEvent::Feedback {
                actor: String::new(),
                verdict: verdict.into(),
                service: service.into(),
                mechanism,
                text: text.into(),
            },
        ));
        Incident::fold(IncidentId(7), &events).expect("opened first")
    }

    #[test]
    fn what_people_said_is_the_label_and_the_memory() {
        let check = |incident: Incident, expected: serde_json::Value, said: &str| {
            assert_eq!(label(&incident), Some(expected));
            assert_eq!(confirmed(&incident), said);
        };
        check(
            judged("right", "", None, "", "catalog"),
            json!({"verdict": "right", "root_service": "catalog"}),
            "Confirmed: catalog waits for a lock",
        );
        // Right to name no cause.
        check(
            judged("right", "", None, "", ""),
            json!({"verdict": "right"}),
            "Confirmed: catalog waits for a lock",
        );
        check(
            judged("wrong", "mail", None, "", "catalog"),
            json!({"verdict": "wrong", "root_service": "mail"}),
            "The answer was wrong; it was in mail",
        );
        check(
            judged("wrong", "", None, "", "catalog"),
            json!({"verdict": "wrong"}),
            "The answer was wrong; what it was is not said",
        );
        check(
            judged("wrong", "", None, "the bank was closed", "catalog"),
            json!({"verdict": "wrong", "text": "the bank was closed"}),
            "The answer was wrong; the bank was closed",
        );
        check(
            judged("not-quite", "mail", Some(Mechanism::Saturation), "full disk", "catalog"),
            json!({"verdict": "not-quite", "root_service": "mail", "fault_type": "saturation", "text": "full disk"}),
            "Not quite “catalog waits for a lock”; it was in mail, saturation: full disk",
        );
        let never = Incident { events: Vec::new(), ..judged("right", "", None, "", "catalog") };
        assert_eq!(label(&never), None);
    }
}
