//! Who talks to whom, and how that goes: running counts for each pair of a service and one of its peers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::UnixNanos;
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

    /// Adds the durations of another.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
        self.sum += other.sum;
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
    /// Bytes sent, as far as connections have told: when they end, and now and then while they last.
    pub sent: u64,
    /// Bytes received, in the same way.
    pub received: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Resets received.
    pub resets: u64,
    /// Smoothed round trips, each time that a connection tells.
    pub round_trip: Histogram,
    /// Requests by protocol and how they ended.
    pub requests: BTreeMap<(Protocol, Outcome), Histogram>,
}

impl Counts {
    /// A connection tells what it has moved since the last time, and its smoothed round trip.
    pub fn moved(&mut self, sent: u64, received: u64, round_trip: Option<Duration>) {
        self.sent += sent;
        self.received += received;
        if let Some(round_trip) = round_trip {
            self.round_trip.add(round_trip);
        }
    }
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
    /// Whether it was counted at since the last sweep.
    touched: bool,
    /// The last sweep that found it so.
    changed: UnixNanos,
}

/// Every pair.
#[derive(Debug)]
pub struct Edges {
    most_peers: usize,
    most_edges: usize,
    edges: Vec<Edge>,
    index: HashMap<Pair, usize>,
    peers: HashMap<Arc<Service>, usize>,
    /// Whoever came when there was no room any more.
    others: Arc<Service>,
}

type Pair = (Arc<Service>, Option<Role>, Arc<str>);

/// Where the counts of a pair are: found once, used for each request, until the next [sweep](Edges::sweep) that lets something go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

/// Services, times peers, that are kept in all.
const MOST_EDGES: usize = 20_000;
/// How long what does not change is kept for a service of which no process is left.
pub const KEPT: Duration = Duration::from_secs(600);

impl Edges {
    /// `most_peers` are told apart for each service; further ones count as [`OTHER`].
    pub fn new(most_peers: usize) -> Self {
        Self {
            most_peers,
            most_edges: MOST_EDGES,
            edges: Vec::new(),
            index: HashMap::new(),
            peers: HashMap::new(),
            others: Service::others(),
        }
    }

    /// The counts of a pair.
    pub fn of(&mut self, service: &Arc<Service>, role: Option<Role>, peer: &str) -> &mut Counts {
        let place = self.place(service, role, peer);
        self.at(place)
    }

    /// Where the counts of a pair are, for as long as this lasts.
    pub fn place(&mut self, service: &Arc<Service>, role: Option<Role>, peer: &str) -> Place {
        let mut key = (Arc::clone(service), role, Arc::<str>::from(peer));
        if !self.index.contains_key(&key) && self.peers.get(service).is_some_and(|it| *it >= self.most_peers)
        {
            key.2 = OTHER.into();
        }
        if !self.index.contains_key(&key) && self.edges.len() >= self.most_edges {
            key = (Arc::clone(&self.others), role, "".into());
        }
        let (edges, peers) = (&mut self.edges, &mut self.peers);
        Place(*self.index.entry(key).or_insert_with_key(|(service, role, peer)| {
            if **peer != *OTHER {
                *peers.entry(Arc::clone(service)).or_default() += 1;
            }
            edges.push(Edge {
                service: Arc::clone(service),
                role: *role,
                peer: Arc::clone(peer),
                counts: Counts::default(),
                touched: true,
                changed: UnixNanos(0),
            });
            edges.len() - 1
        }))
    }

    /// Lets pairs go that have not changed for [`KEPT`], unless a process of their service `lives`. Whether any went: each [`Place`] is void
    /// then.
    pub fn sweep(&mut self, now: UnixNanos, lives: impl Fn(&Arc<Service>) -> bool) -> bool {
        let before = self.edges.len();
        for edge in &mut self.edges {
            if std::mem::take(&mut edge.touched) {
                edge.changed = now;
            }
        }
        let others = Arc::clone(&self.others);
        self.edges.retain(|it| it.changed.plus(KEPT) > now || it.service == others || lives(&it.service));
        if self.edges.len() == before {
            return false;
        }
        self.index.clear();
        self.peers.clear();
        for (number, edge) in self.edges.iter().enumerate() {
            self.index.insert((Arc::clone(&edge.service), edge.role, Arc::clone(&edge.peer)), number);
            if *edge.peer != *OTHER {
                *self.peers.entry(Arc::clone(&edge.service)).or_default() += 1;
            }
        }
        self.edges.shrink_to(2 * self.edges.len());
        true
    }

    /// The counts at a place.
    pub fn at(&mut self, place: Place) -> &mut Counts {
        let edge = &mut self.edges[place.0];
        edge.touched = true;
        &mut edge.counts
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
    fn containers_that_come_and_go_take_bounded_room_and_lose_no_count() {
        let mut edges = Edges { most_edges: 40, ..Edges::new(3) };
        let container = |number: u64| {
            let attributes = vec![("container.id", number.to_string())];
            Arc::new(Service { name: "job".into(), attributes })
        };
        let lasting = container(0);
        edges.of(&lasting, Some(Role::Client), "db").opened += 1;
        let opened = |edges: &Edges| edges.all().iter().map(|it| it.counts.opened).sum::<u64>();
        for number in 1..=1000 {
            for peer in ["a", "b", "c", "d"] {
                edges.of(&container(number), Some(Role::Client), peer).opened += 1;
            }
            assert!(edges.all().len() <= 43 && edges.peers.len() <= 43, "{}", edges.all().len());
        }
        assert_eq!(opened(&edges), 4001);
        let others: Vec<_> = edges.all().iter().filter(|it| it.service == Service::others()).collect();
        assert_eq!(others.len(), 1);
        let rest = others[0].counts.opened;
        // What nobody lives of goes when it has not changed for a while, and makes room.
        let at = |seconds: i64| UnixNanos::from_seconds(1_000_000 + seconds);
        let lives = |service: &Arc<Service>| *service == lasting;
        assert!(!edges.sweep(at(0), lives));
        edges.of(&container(1), Some(Role::Client), "a").opened += 1;
        assert!(!edges.sweep(at(60), lives));
        assert!(edges.sweep(at(630), lives));
        let left: Vec<_> =
            edges.all().iter().map(|it| (&*it.service.name, &*it.peer, it.counts.opened)).collect();
        assert_eq!(left, [("job", "db", 1), ("job", "a", 2), (OTHER, "", rest)]);
        assert_eq!(edges.of(&lasting, Some(Role::Client), "db").opened, 1, "its place has moved with it");
        assert_eq!((edges.index.len(), edges.peers.len()), (3, 3));
        assert!(edges.sweep(at(1300), lives));
        assert_eq!(edges.all().len(), 2, "the lasting one, and the others");
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
