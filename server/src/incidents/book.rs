//! The incidents as they stand: the fold of the journal, in memory. No I/O.

use std::collections::BTreeMap;

use domain::{Incident, IncidentEvent, IncidentId, UnixNanos};

/// Incidents remembered; older ones that are over stay in the journal only.
pub const MAX_INCIDENTS: usize = 10_000;

/// All incidents by id.
#[derive(Debug, Default)]
pub struct Book {
    incidents: BTreeMap<IncidentId, Incident>,
}

impl Book {
    /// Takes in what happened. An event of an incident that was never opened is ignored: the journal is damaged there,
    /// and the rest of it still counts.
    pub fn apply(&mut self, id: IncidentId, at: UnixNanos, event: IncidentEvent) {
        let mut events = self.incidents.remove(&id).map(|incident| incident.events).unwrap_or_default();
        events.push((at, event));
        match Incident::fold(id, &events) {
            Some(incident) => {
                self.incidents.insert(id, incident);
                self.forget_oldest();
            }
            None => {
                tracing::warn!(incident = %id, "the journal has an event of an incident that was never opened")
            }
        }
    }

    /// The incident of that name.
    pub fn get(&self, id: IncidentId) -> Option<&Incident> {
        self.incidents.get(&id)
    }

    /// All of them, oldest first.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Incident> {
        self.incidents.values()
    }

    /// Those that are not over, oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.all().filter(|incident| incident.is_open())
    }

    /// The name of the next one.
    pub fn next_id(&self) -> IncidentId {
        IncidentId(self.incidents.keys().next_back().map_or(1, |last| last.0.saturating_add(1)))
    }

    fn forget_oldest(&mut self) {
        if self.incidents.len() > MAX_INCIDENTS {
            let over = self.all().find(|incident| !incident.is_open()).map(|incident| incident.id);
            over.and_then(|id| self.incidents.remove(&id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incidents::grouping::tests::finding;

    #[test]
    fn events_make_an_incident() {
        let mut book = Book::default();
        let at = UnixNanos::from_seconds;
        assert_eq!(book.next_id(), IncidentId(1));
        let resolved = IncidentEvent::Resolved { actor: "inquest".into(), reason: "met".into() };
        book.apply(IncidentId(7), at(5), resolved.clone());
        assert!(book.get(IncidentId(7)).is_none());

        book.apply(IncidentId(1), at(10), IncidentEvent::Opened { finding: finding("checkout") });
        book.apply(IncidentId(2), at(11), IncidentEvent::Opened { finding: finding("search") });
        book.apply(IncidentId(1), at(20), resolved);
        assert_eq!(book.open().map(|incident| incident.id.0).collect::<Vec<_>>(), [2]);
        assert_eq!(book.get(IncidentId(1)).unwrap().resolved, Some(at(20)));
        assert_eq!(book.next_id(), IncidentId(3));
    }
}
