//! Who talks to whom, and how that goes: running counts for each pair of a service and one of its peers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt as _};

use crate::identity::Service;
use crate::l7::{Outcome, Protocol, Request, Role};

/// Where what is beyond the bound is counted.
pub const OTHER: &str = "other";

/// Upper bounds of the buckets of durations, in seconds: a factor of about two, from a cache on the same host to a timeout.
pub const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Durations, counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// How many in each bucket of [`SECONDS`], and above the last.
    pub buckets: [u64; SECONDS.len() + 1],
    /// Their sum in seconds.
    pub sum: f64,
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, duration: Duration) {
        self.add_many(duration, 1);
    }

    /// Counts one that stands for `many`.
    pub fn add_many(&mut self, duration: Duration, many: u64) {
        let seconds = duration.as_secs_f64();
        let bucket = SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(SECONDS.len());
        self.buckets[bucket] += many;
        self.sum += seconds * many as f64;
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// Running counts of one pair.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Connections that came up.
    pub opened: u64,
    /// Connections that were asked for in vain.
    pub failed: u64,
    /// Connections that ended.
    pub closed: u64,
    /// How long it took to come up, or to fail.
    pub handshake: Histogram,
    /// Bytes sent on connections that ended.
    pub sent: u64,
    /// Bytes received on connections that ended.
    pub received: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Resets received.
    pub resets: u64,
    /// Smoothed round trips of connections that ended.
    pub round_trip: Histogram,
    /// Requests by protocol and how they ended.
    pub requests: BTreeMap<(Protocol, Outcome), Histogram>,
}

/// One pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// The service on this host.
    pub service: Arc<Service>,
    /// Its part.
    pub role: Option<Role>,
    /// The other end: for a client the service, name or address that it asks; empty for a server, whose callers are many.
    pub peer: Arc<str>,
    /// What was counted.
    pub counts: Counts,
}

/// Every pair.
#[derive(Debug)]
pub struct Edges {
    most_peers: usize,
    edges: Vec<Edge>,
    index: HashMap<Pair, usize>,
    peers: HashMap<Arc<Service>, usize>,
}

type Pair = (Arc<Service>, Option<Role>, Arc<str>);

/// Where the counts of a pair are: found once, used for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

/// Services, times peers, that are kept in all.
const MOST_EDGES: usize = 20_000;

impl Edges {
    /// `most_peers` are told apart for each service; further ones count as [`OTHER`].
    pub fn new(most_peers: usize) -> Self {
        Self { most_peers, edges: Vec::new(), index: HashMap::new(), peers: HashMap::new() }
    }

    /// The counts of a pair.
    pub fn of(&mut self, service: &Arc<Service>, role: Option<Role>, peer: &str) -> &mut Counts {
        let place = self.place(service, role, peer);
        self.at(place)
    }

    /// Where the counts of a pair are, for as long as this lasts.
    pub fn place(&mut self, service: &Arc<Service>, role: Option<Role>, peer: &str) -> Place {
        let mut key = (Arc::clone(service), role, Arc::<str>::from(peer));
        if !self.index.contains_key(&key) {
            let peers = self.peers.entry(Arc::clone(service)).or_default();
            if *peers >= self.most_peers || self.edges.len() >= MOST_EDGES {
                key.2 = OTHER.into();
            } else {
                *peers += 1;
            }
        }
        let edges = &mut self.edges;
        Place(*self.index.entry(key).or_insert_with_key(|(service, role, peer)| {
            edges.push(Edge {
                service: Arc::clone(service),
                role: *role,
                peer: Arc::clone(peer),
                counts: Counts::default(),
            });
            edges.len() - 1
        }))
    }

    /// The counts at a place.
    pub fn at(&mut self, place: Place) -> &mut Counts {
        &mut self.edges[place.0].counts
    }

    /// Counts a request that stands for `many`, of which the others were not captured.
    pub fn request(&mut self, place: Place, request: &Request, many: u64) {
        let counts = self.at(place);
        let duration = if request.waits { Duration::ZERO } else { request.duration };
        counts.requests.entry((request.protocol, request.outcome)).or_default().add_many(duration, many);
    }

    /// All of them.
    pub fn all(&self) -> &[Edge] {
        &self.edges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_bounded() {
        let service = Arc::new(Service { name: "cart".into(), attributes: Vec::new() });
        let mut edges = Edges::new(2);
        for peer in ["a", "b", "c", "d", "a"] {
            edges.of(&service, Some(Role::Client), peer).opened += 1;
        }
        let found: Vec<_> = edges.all().iter().map(|edge| (&*edge.peer, edge.counts.opened)).collect();
        assert_eq!(found, [("a", 2), ("b", 1), (OTHER, 2)]);
    }

    #[test]
    fn buckets() {
        let mut histogram = Histogram::default();
        for millis in [0, 1, 30_000, 31_000] {
            histogram.add(Duration::from_millis(millis));
        }
        assert_eq!(histogram.count(), 4);
        assert_eq!(
            (histogram.buckets[0], histogram.buckets[1], histogram.buckets[14], histogram.buckets[15]),
            (1, 1, 1, 1)
        );
    }
}
