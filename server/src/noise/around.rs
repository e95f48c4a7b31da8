//! What is known around alerts at one instant: incidents and their causal chains, deploys, services that suffer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use detectors::suppression::Context;
use detectors::suppression::history::{MAX_HOURS, hour_of};
use domain::{Incident, IncidentEvent, IncidentId, Report, UnixNanos, Window};
use globset::GlobSet;
use storage::Store;

use super::Group;
use crate::detect::Outlook;
use crate::incidents::Incidents;

/// How far back deploys are looked for.
const DEPLOYS: Duration = Duration::from_secs(30 * 86_400);

/// An incident as far as alerts are concerned.
#[derive(Clone, Debug)]
pub struct Episode {
    id: IncidentId,
    open: bool,
    services: BTreeSet<String>,
    /// The service that somebody confirmed as its cause.
    confirmed: Option<String>,
    first_hour: i64,
    last_hour: i64,
}

/// What is known around alerts.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// The instant.
    pub now: UnixNanos,
    episodes: Vec<Episode>,
    deployed: BTreeMap<String, UnixNanos>,
    suffering: BTreeSet<String>,
}

impl Around {
    /// Asks the store and the incidents.
    pub async fn ask(
        store: &Store,
        incidents: &Incidents,
        outlook: &Outlook,
        now: UnixNanos,
    ) -> anyhow::Result<Self> {
        let deploys = store.last_deploys(Window::new(now.minus(DEPLOYS), now)).await;
        let deployed = deploys.context("cannot ask for deploys")?;
        let oldest = now.minus(Duration::from_secs(3600) * u32::try_from(MAX_HOURS).unwrap_or(u32::MAX));
        let mut episodes = Vec::new();
        for incident in incidents.all() {
            if !incident.is_open() && incident.resolved.is_some_and(|resolved| resolved < oldest) {
                continue;
            }
            let report = match incident.is_open() {
                true => store.report_get(incident.id.0, None).await.context("cannot read a report")?,
                false => None,
            };
            episodes.push(Episode::new(&incident, report.as_deref(), now));
        }
        let suffering = outlook.findings.iter().filter(|finding| finding.objective().is_some());
        Ok(Self {
            now,
            episodes,
            deployed,
            suffering: suffering.map(|finding| finding.service.clone()).collect(),
        })
    }

    /// The open incident that a service takes part in.
    pub fn incident_of(&self, service: &str) -> Option<IncidentId> {
        let open = |episode: &&Episode| episode.open && episode.services.contains(service);
        self.episodes.iter().find(open).map(|episode| episode.id)
    }

    /// What the rules ask of a group.
    pub fn context(&self, group: &Group, protected: &GlobSet) -> Context {
        let service = &group.alert.service;
        Context {
            now: self.now,
            incident: self.incident_of(service).map(|id| id.to_string()),
            deployed: self.deployed.get(service).copied(),
            first_seen: group.history.first,
            service_suffers: self.suffering.contains(service),
            protected: !service.is_empty() && protected.is_match(service),
            confirmed_cause: self.episodes.iter().any(|episode| {
                episode.confirmed.as_deref() == Some(service)
                    && group.history.hours.range(episode.first_hour..=episode.last_hour).next().is_some()
            }),
        }
    }

    /// The incidents that alerts of a group came with, latest first; those within the hour before one count.
    pub fn linked(&self, group: &Group) -> Vec<IncidentId> {
        let hours = &group.history.hours;
        let with = |episode: &&Episode| {
            episode.services.contains(&group.alert.service)
                && hours.range(episode.first_hour - 1..=episode.last_hour).next().is_some()
        };
        let mut linked: Vec<IncidentId> =
            self.episodes.iter().filter(with).map(|episode| episode.id).collect();
        linked.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
        linked
    }

    /// The incidents of a service that an hour belongs to; one that opened within the hour after counts.
    pub fn tied(&self, service: &str, hour: i64) -> bool {
        self.episodes.iter().any(|episode| {
            episode.services.contains(service) && (episode.first_hour - 1..=episode.last_hour).contains(&hour)
        })
    }
}

impl Episode {
    fn new(incident: &Incident, report: Option<&str>, now: UnixNanos) -> Self {
        let report = report.and_then(|json| serde_json::from_str::<Report>(json).ok());
        let services = services_of(incident, report.as_ref());
        let confirmed = incident.events.iter().rev().find_map(|(_, event)| match event {
            IncidentEvent::Feedback { verdict, service, .. } => Some(match verdict.as_str() {
                "right" => Some(incident.root_service.clone()),
                _ => Some(service.clone()),
            }),
            _ => None,
        });
        Self {
            id: incident.id,
            open: incident.is_open(),
            services,
            confirmed: confirmed.flatten().filter(|service| !service.is_empty()),
            first_hour: hour_of(incident.started),
            last_hour: hour_of(incident.resolved.unwrap_or(now)),
        }
    }
}

/// The services that take part in an incident: those that are hurt, and those on its causal chain.
pub fn services_of(incident: &Incident, report: Option<&Report>) -> BTreeSet<String> {
    let mut services: BTreeSet<String> =
        incident.findings.iter().map(|finding| finding.service.clone()).collect();
    services.insert(incident.service.clone());
    services.insert(incident.root_service.clone());
    services.extend(
        report.into_iter().flat_map(|report| &report.diagnosis.chain).map(|link| link.component.clone()),
    );
    services.remove("");
    services
}
