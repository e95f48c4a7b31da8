//! Deploys that nobody announced: the first sight of a new version of a service that was known with another.
//!
//! Deliberately absent: rollbacks. A version that was seen before looks the same whether it returns or never left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::{Attributes, Batch, Change, ChangeKind, UnixNanos};

/// Pairs of service and version remembered. A sender that makes up a version per request must not fill the memory; past
/// this, no deploys are derived from telemetry.
pub const MAX_PAIRS: usize = 20_000;

/// Versions of one service remembered, for the same reason.
pub const MAX_VERSIONS_PER_SERVICE: usize = 500;

/// Characters of a version that count.
const MAX_VERSION_CHARS: usize = 128;

/// Resource attributes that name a version, the most telling first. These and the cut are also those of the store's view
/// `first_seen`, from which the versions are loaded at the start.
const VERSION_KEYS: [&str; 4] =
    ["service.version", "container.image.tag", "container.image.tags", "k8s.container.image.tag"];

/// The version that a resource says its service runs; empty when it says none.
pub fn version_of(resource: &Attributes) -> &str {
    let named = VERSION_KEYS.iter().filter_map(|key| resource.get(*key)).find(|version| !version.is_empty());
    let version = named.map(String::as_str).unwrap_or_default();
    match version.char_indices().nth(MAX_VERSION_CHARS) {
        Some((end, _)) => &version[..end],
        None => version,
    }
}

/// Which versions each service was seen with.
#[derive(Debug, Default)]
pub struct Versions {
    services: BTreeMap<String, Seen>,
    pairs: usize,
}

#[derive(Debug, Default)]
struct Seen {
    /// The one that appeared last.
    latest: String,
    latest_at: UnixNanos,
    all: BTreeSet<String>,
}

impl Versions {
    /// Remembers what the store knows: service, version, first seen.
    pub fn load(known: impl IntoIterator<Item = (String, String, UnixNanos)>) -> Self {
        let mut versions = Self::default();
        for (service, version, at) in known {
            versions.remember(&service, &version, at);
        }
        versions
    }

    /// Remembers the pairs of a batch that are about to be stored; a deploy for each new version of a known service.
    /// Should storing fail, [`Versions::forget`] takes it back.
    pub fn observe(&mut self, batch: &Batch) -> Vec<Sighting> {
        let mut sightings = Vec::new();
        // A deploy that was announced, before its first row or with it, is not told of twice.
        for change in batch.changes.iter().filter(|change| is_deploy(change)) {
            if self.remember(&change.service, &change.version, change.at) {
                let (service, version) = (change.service.clone(), change.version.clone());
                sightings.push(Sighting { service, version, previous: None, at: change.at });
            }
        }
        for ((service, version), at) in first_seen(batch) {
            let previous = self.services.get(service).map(|seen| seen.latest.clone());
            if self.remember(service, version, at) {
                let (service, version) = (service.to_owned(), version.to_owned());
                sightings.push(Sighting { service, version, previous, at });
            }
        }
        sightings
    }

    /// Forgets sightings whose batch was not stored.
    pub fn forget(&mut self, sightings: &[Sighting]) {
        for sighting in sightings.iter().rev() {
            let Some(seen) = self.services.get_mut(&sighting.service) else { continue };
            if seen.all.remove(&sighting.version) {
                self.pairs -= 1;
            }
            match &sighting.previous {
                Some(previous) if seen.latest == sighting.version => seen.latest.clone_from(previous),
                _ => {}
            }
            if seen.all.is_empty() {
                self.services.remove(&sighting.service);
            }
        }
    }

    /// Whether the pair is new.
    fn remember(&mut self, service: &str, version: &str, at: UnixNanos) -> bool {
        if version.is_empty() || self.pairs >= MAX_PAIRS {
            return false;
        }
        let seen = match self.services.get_mut(service) {
            Some(seen) => seen,
            None => self.services.entry(service.to_owned()).or_default(),
        };
        if seen.all.contains(version) || seen.all.len() >= MAX_VERSIONS_PER_SERVICE {
            return false;
        }
        seen.all.insert(version.to_owned());
        if seen.latest.is_empty() || at >= seen.latest_at {
            seen.latest = version.to_owned();
            seen.latest_at = at;
        }
        self.pairs += 1;
        true
    }
}

/// A version seen for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    service: String,
    version: String,
    /// The version before; `None` when the service itself is new, or when the deploy was announced.
    previous: Option<String>,
    at: UnixNanos,
}

impl Sighting {
    /// The deploy it tells of; `None` for a service seen for the first time, and when somebody told of it already.
    pub fn change(&self) -> Option<Change> {
        let previous = self.previous.clone()?;
        Some(Change {
            at: self.at,
            kind: ChangeKind::Deploy,
            service: self.service.clone(),
            version: self.version.clone(),
            previous,
            reference: format!("{}@{}", self.service, self.version),
            detail: String::new(),
            source: "telemetry".into(),
        })
    }
}

/// Whether somebody says that a version of a service starts serving.
fn is_deploy(change: &Change) -> bool {
    ChangeKind::DEPLOYS.contains(&change.kind) && !change.service.is_empty() && !change.version.is_empty()
}

/// The pairs in a batch, each with its first instant. Rows of one sender share a resource, so that most rows cost a
/// comparison of addresses.
fn first_seen<'a>(batch: &'a Batch) -> BTreeMap<(&'a str, &'a str), UnixNanos> {
    let spans = batch.spans.iter().map(|span| (span.service.as_str(), &span.resource, span.start));
    let logs = batch.logs.iter().map(|log| (log.service.as_str(), &log.resource, log.at));
    let mut pairs: BTreeMap<(&str, &str), UnixNanos> = BTreeMap::new();
    let mut current: Option<(&'a str, &'a Arc<Attributes>, UnixNanos)> = None;
    let mut note = |(service, resource, at): (&'a str, &'a Arc<Attributes>, UnixNanos)| {
        let version = version_of(resource);
        if !version.is_empty() {
            pairs.entry((service, version)).and_modify(|first| *first = at.min(*first)).or_insert(at);
        }
    };
    for (service, resource, at) in spans.chain(logs) {
        match &mut current {
            Some((same, shared, first)) if *same == service && Arc::ptr_eq(shared, resource) => {
                *first = at.min(*first);
            }
            _ => {
                if let Some(run) = current.replace((service, resource, at)) {
                    note(run);
                }
            }
        }
    }
    if let Some(run) = current {
        note(run);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use domain::Span;

    use super::*;

    fn batch(rows: &[(&str, &str, i64)]) -> Batch {
        let span = |(service, version, seconds): &(&str, &str, i64)| Span {
            service: (*service).into(),
            resource: Arc::new(Attributes::from([("service.version".into(), (*version).into())])),
            start: UnixNanos::from_seconds(*seconds),
            ..Span::default()
        };
        Batch { spans: rows.iter().map(span).collect(), ..Batch::default() }
    }

    fn deploys(sightings: &[Sighting]) -> Vec<(String, String, i64)> {
        let changes = sightings.iter().filter_map(Sighting::change);
        changes.map(|change| (change.previous, change.reference, change.at.seconds())).collect()
    }

    #[test]
    fn a_new_version_of_a_known_service_is_a_deploy() {
        let mut versions = Versions::load([("cart".into(), "1.0".into(), UnixNanos::from_seconds(1))]);
        let first =
            versions.observe(&batch(&[("catalog", "1.4.0", 10), ("cart", "1.0", 11), ("cart", "", 11)]));
        assert_eq!(deploys(&first), []);
        let second = versions.observe(&batch(&[
            ("catalog", "1.4.1", 31),
            ("catalog", "1.4.1", 30),
            ("cart", "1.0", 32),
        ]));
        assert_eq!(deploys(&second), [("1.4.0".to_owned(), "catalog@1.4.1".to_owned(), 30)]);
        assert_eq!(versions.observe(&batch(&[("catalog", "1.4.0", 40), ("catalog", "1.4.1", 41)])), []);
    }

    #[test]
    fn an_announced_deploy_is_not_told_of_twice() {
        let mut versions = Versions::load([("catalog".into(), "1.4.0".into(), UnixNanos::from_seconds(1))]);
        let announced = Change {
            kind: ChangeKind::Deploy,
            service: "catalog".into(),
            version: "1.4.1".into(),
            ..Change::default()
        };
        let told = versions.observe(&Batch { changes: vec![announced], ..Batch::default() });
        assert_eq!(deploys(&told), []);
        assert_eq!(versions.observe(&batch(&[("catalog", "1.4.1", 30)])), []);
        versions.forget(&told);
        assert_eq!(deploys(&versions.observe(&batch(&[("catalog", "1.4.1", 30)]))).len(), 1);
    }

    #[test]
    fn what_was_not_stored_is_forgotten() {
        let mut versions = Versions::load([("catalog".into(), "1.4.0".into(), UnixNanos::from_seconds(1))]);
        let sightings = versions.observe(&batch(&[("catalog", "1.4.1", 30), ("new", "1", 30)]));
        versions.forget(&sightings);
        assert_eq!(versions.observe(&batch(&[("catalog", "1.4.1", 30), ("new", "1", 30)])), sightings);
    }

    #[test]
    fn made_up_versions_do_not_fill_the_memory() {
        let mut versions = Versions::default();
        let names: Vec<String> = (0..2 * MAX_VERSIONS_PER_SERVICE).map(|number| number.to_string()).collect();
        let rows: Vec<_> = names.iter().map(|name| ("odd", name.as_str(), 1)).collect();
        versions.observe(&batch(&rows));
        assert_eq!(versions.pairs, MAX_VERSIONS_PER_SERVICE);
    }
}
