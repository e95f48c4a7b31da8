//! From requests seen at single sockets to traces.
//!
//! Three kinds of evidence tie spans together, strongest first: a `traceparent` that the request carries; both ends of one connection
//! seen on this host (the server's part lies within the client's, on the same connection); and a call made by a process while it had
//! a request in hand. Of several requests in hand, those that wait for a call already are out; then the call is of the only one on its
//! thread, or of the one that was last heard of clearly sooner than any other: work goes on where an answer has just come in. Where
//! there is no such evidence, spans stay apart: a wrong edge is worse than none.
//!
//! Spans are held for a moment after they end, because the caller's end comes last. Pure: no clock, and chance is a seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::UnixNanos;
use foldhash::{HashMap, HashMapExt as _};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::identity::Service;
use crate::l7::{Request, Role};

/// How long a span waits for the others of its trace.
pub const HOLD: Duration = Duration::from_secs(5);
/// Spans that wait; beyond it, the oldest go at once.
const MOST_HELD: usize = 20_000;
/// By how much the two ends of a request may disagree on time: they are read from one clock, but not at one moment.
const SLACK_NS: i64 = 2_000_000;

/// Requests in hand that are looked through for the cause of a call.
const MOST_IN_HAND: usize = 64;
/// By what factor the cause of a call was heard of sooner than any other request in hand.
const CLEARLY: i64 = 4;

/// The client's end of a connection: the same at both ends, even when the server's address is translated on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientEnd {
    /// Network namespace, for loopback addresses, which exist in each; otherwise 0.
    pub netns: u32,
    /// Its address.
    pub address: SocketAddr,
}

/// Whom a request was exchanged with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The service, where it is on this host.
    pub service: Option<Arc<Service>>,
    /// Its address.
    pub address: Option<SocketAddr>,
}

/// A request as one process saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What was asked and answered.
    pub request: Request,
    /// Whose process it was.
    pub service: Arc<Service>,
    /// Which process.
    pub pid: u32,
    /// The thread that read or wrote the question.
    pub thread: u32,
    /// Which connection.
    pub connection: ClientEnd,
    /// The other side.
    pub peer: Peer,
}

/// An exchange with its place in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What happened.
    pub exchange: Exchange,
    /// The trace.
    pub trace_id: u128,
    /// This span.
    pub span_id: u64,
    /// The span above it; 0 for none.
    pub parent: u64,
}

#[derive(Debug)]
struct Held {
    exchange: Exchange,
    span_id: u64,
    trace_id: Option<u128>,
    /// What lies above, when that is held as well.
    above: Option<u64>,
    parent: u64,
    /// What has this above it: what ends a moment later than this is still held when this goes, and must learn its trace.
    below: Vec<u64>,
    /// Whether the other end of the connection was found.
    paired: bool,
    /// For a request in hand: until when it waited for the calls that are known of it.
    busy_until: i64,
}

/// Holds spans until their traces are known.
#[derive(Debug)]
pub struct Traces {
    seed: u64,
    made: u64,
    /// Boxed: a table of them in place is three quarters empty after a while of coming and going.
    held: HashMap<u64, Box<Held>>,
    /// Ends of held spans, oldest first.
    due: BTreeMap<(i64, u64), ()>,
    /// Spans whose other end was not seen, oldest first.
    single: HashMap<(ClientEnd, Role), VecDeque<u64>>,
    /// Requests that processes answered, and calls that they made whose cause was not looked for, by their starts.
    answered: HashMap<u32, BTreeSet<(i64, u64)>>,
    calls: HashMap<u32, BTreeSet<(i64, u64)>>,
}

impl Traces {
    /// `seed` makes ids differ from those of other runs and hosts.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            made: 0,
            held: HashMap::new(),
            due: BTreeMap::new(),
            single: HashMap::new(),
            answered: HashMap::new(),
            calls: HashMap::new(),
        }
    }

    /// Takes a request that is over.
    pub fn add(&mut self, exchange: Exchange) {
        let span_id = (self.id() as u64).max(1);
        let mut held = Held {
            busy_until: exchange.request.started.0,
            exchange,
            span_id,
            trace_id: None,
            above: None,
            parent: 0,
            below: Vec::new(),
            paired: false,
        };
        if let Some(carried) = held.exchange.request.trace {
            held.trace_id = Some(carried.trace_id);
            held.parent = carried.span_id;
        }
        if let Some(other) = self.other_end(&held) {
            self.tie(&mut held, other);
        }
        let ended = end(&held.exchange.request);
        self.due.insert((ended, span_id), ());
        if !held.paired {
            let end = (held.exchange.connection, held.exchange.request.role);
            self.single.entry(end).or_default().push_back(span_id);
        }
        let request = &held.exchange.request;
        let list = if request.role == Role::Server { &mut self.answered } else { &mut self.calls };
        list.entry(held.exchange.pid).or_default().insert((request.started.0, span_id));
        self.held.insert(span_id, Box::new(held));
    }

    /// What has waited long enough at `now`, in order of its end.
    pub fn take(&mut self, now: UnixNanos, out: &mut Vec<Placed>) {
        let until = now.minus(HOLD).0;
        let mut ready = Vec::new();
        while let Some(((ended, id), ())) = self.due.first_key_value().map(|(key, ())| (*key, ())) {
            if ended > until && self.due.len() <= MOST_HELD {
                break;
            }
            self.due.remove(&(ended, id));
            ready.push(id);
            if ready.len() >= MOST_HELD {
                break;
            }
        }
        let mut until: BTreeMap<u32, i64> = BTreeMap::new();
        for held in ready.iter().filter_map(|id| self.held.get(id)) {
            let latest = until.entry(held.exchange.pid).or_insert(i64::MIN);
            *latest = (*latest).max(held.exchange.request.started.0);
        }
        for (pid, latest) in until {
            self.find_causes(pid, latest);
        }
        for id in ready {
            let trace_id = self.trace_of(id);
            if let Some(held) = self.held.remove(&id) {
                self.forget(&held);
                self.teach(&held.below, trace_id);
                out.push(Placed {
                    exchange: held.exchange,
                    trace_id,
                    span_id: held.span_id,
                    parent: held.parent,
                });
            }
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.held.len()
    }

    /// The same request, seen at the other end of the connection.
    fn other_end(&self, one: &Held) -> Option<u64> {
        let request = &one.exchange.request;
        let opposite = match request.role {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        };
        let candidates = self.single.get(&(one.exchange.connection, opposite))?;
        candidates
            .iter()
            // Both ends of a request end at nearly the same time.
            .rev()
            .take(MOST_IN_HAND)
            .filter_map(|id| self.held.get(id).map(Box::as_ref))
            .filter(|other| {
                let theirs = &other.exchange.request;
                theirs.protocol == request.protocol
                    && theirs.operation == request.operation
                    && match request.role {
                        Role::Client => within(theirs, request),
                        Role::Server => within(request, theirs),
                    }
            })
            .min_by_key(|other| (other.exchange.request.started.0 - request.started.0).abs())
            .map(|other| other.span_id)
    }

    fn tie(&mut self, one: &mut Held, other: u64) {
        let Some(other) = self.held.get_mut(&other).map(Box::as_mut) else { return };
        one.paired = true;
        other.paired = true;
        let (end, id) = ((other.exchange.connection, other.exchange.request.role), other.span_id);
        let (client, server) =
            if one.exchange.request.role == Role::Client { (one, other) } else { (other, one) };
        client.below.push(server.span_id);
        server.above = Some(client.span_id);
        server.parent = client.span_id;
        match (client.trace_id, server.trace_id) {
            (None, found) => client.trace_id = found,
            (found, _) => server.trace_id = found,
        }
        self.no_longer_single(end, id);
    }

    /// Looks for the causes of the calls of a process that began no later than `latest`, in the order in which they were made.
    fn find_causes(&mut self, pid: u32, latest: i64) {
        let Some(calls) = self.calls.get_mut(&pid) else { return };
        let mut due = Vec::new();
        while let Some(first) = calls.first().filter(|(started, _)| *started <= latest) {
            due.push(first.1);
            calls.pop_first();
        }
        if calls.is_empty() {
            self.calls.remove(&pid);
        }
        for id in due {
            let Some(cause) = self.cause_of(id) else { continue };
            let Some(call) = self.held.get_mut(&id) else { continue };
            let ended = end(&call.exchange.request);
            let is_below = call.parent == 0;
            if is_below {
                call.above = Some(cause);
                call.parent = cause;
            }
            if let Some(cause) = self.held.get_mut(&cause) {
                cause.busy_until = cause.busy_until.max(ended);
                if is_below {
                    cause.below.push(id);
                }
            }
        }
    }

    /// The request that a process was answering when it made a call.
    fn cause_of(&self, id: u64) -> Option<u64> {
        let call = self.held.get(&id)?;
        let started = call.exchange.request.started.0;
        let in_hand: Vec<&Held> = self
            .answered
            .get(&call.exchange.pid)?
            .range(..=(started + SLACK_NS, u64::MAX))
            .rev()
            .take(MOST_IN_HAND)
            .filter_map(|(_, id)| self.held.get(id).map(Box::as_ref))
            .filter(|server| within(&call.exchange.request, &server.exchange.request))
            .collect();
        if let [only] = in_hand.as_slice() {
            return Some(only.span_id);
        }
        let free: Vec<&Held> = in_hand.into_iter().filter(|it| it.busy_until <= started + SLACK_NS).collect();
        let mut same = free.iter().filter(|server| server.exchange.thread == call.exchange.thread);
        if let (Some(only), None) = (same.next(), same.next()) {
            return Some(only.span_id);
        }
        let mut gaps: Vec<(i64, u64)> =
            free.iter().map(|it| ((started - it.busy_until).max(0), it.span_id)).collect();
        gaps.sort_unstable();
        match gaps.as_slice() {
            [(_, only)] => Some(*only),
            [(first, id), (second, _), ..] if first.saturating_mul(CLEARLY) < *second => Some(*id),
            _ => None,
        }
    }

    /// The trace of a span: that of the first above it which has one, otherwise a new one; all on the way learn it.
    fn trace_of(&mut self, id: u64) -> u128 {
        let mut way = Vec::new();
        let mut next = Some(id);
        let mut found = None;
        while let Some(id) = next.filter(|id| !way.contains(id) && way.len() < DEEPEST) {
            // What lies above may be a call whose own cause was not looked for yet.
            if let Some(held) = self.held.get(&id) {
                self.find_causes(held.exchange.pid, held.exchange.request.started.0);
            }
            let Some(held) = self.held.get(&id) else { break };
            way.push(id);
            found = held.trace_id;
            if found.is_some() {
                break;
            }
            next = held.above;
        }
        let trace_id = found.unwrap_or_else(|| self.id().max(1));
        for id in way {
            if let Some(held) = self.held.get_mut(&id) {
                held.trace_id = Some(trace_id);
            }
        }
        trace_id
    }

    /// Tells those that are still held which trace they are of.
    fn teach(&mut self, below: &[u64], trace_id: u128) {
        for id in below {
            if let Some(held) = self.held.get_mut(id) {
                held.trace_id.get_or_insert(trace_id);
            }
        }
    }

    fn no_longer_single(&mut self, end: (ClientEnd, Role), id: u64) {
        let Some(list) = self.single.get_mut(&end) else { return };
        // The newest has found its other end, or the oldest has waited long enough.
        if list.back() == Some(&id) {
            list.pop_back();
        } else if let Some(place) = list.iter().position(|it| *it == id) {
            list.remove(place);
        }
        if list.is_empty() {
            self.single.remove(&end);
        }
    }

    fn forget(&mut self, gone: &Held) {
        if !gone.paired {
            self.no_longer_single((gone.exchange.connection, gone.exchange.request.role), gone.span_id);
        }
        let lists =
            if gone.exchange.request.role == Role::Server { &mut self.answered } else { &mut self.calls };
        if let Some(list) = lists.get_mut(&gone.exchange.pid) {
            list.remove(&(gone.exchange.request.started.0, gone.span_id));
            if list.is_empty() {
                lists.remove(&gone.exchange.pid);
            }
        }
    }

    fn id(&mut self) -> u128 {
        self.made += 1;
        xxh3_128_with_seed(&self.made.to_le_bytes(), self.seed)
    }
}

/// Spans from a root to a leaf that are followed.
const DEEPEST: usize = 64;

fn end(request: &Request) -> i64 {
    request.started.plus(request.duration).0
}

fn within(inner: &Request, outer: &Request) -> bool {
    inner.started.0 >= outer.started.0 - SLACK_NS && end(inner) <= end(outer) + SLACK_NS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l7::{Outcome, Protocol, TraceParent};

    fn exchange(service: &str, pid: u32, role: Role, port: u16, from_ms: i64, to_ms: i64) -> Exchange {
        Exchange {
            request: Request {
                protocol: Protocol::Http1,
                role,
                operation: "GET".into(),
                target: "/".into(),
                host: String::new(),
                status: "200".into(),
                outcome: Outcome::Ok,
                error: String::new(),
                started: UnixNanos::from_millis(from_ms),
                duration: Duration::from_millis((to_ms - from_ms).unsigned_abs()),
                waits: false,
                trace: None,
            },
            service: Arc::new(Service { name: service.into(), attributes: Vec::new() }),
            pid,
            thread: pid,
            connection: ClientEnd { netns: 1, address: ([127, 0, 0, 1], port).into() },
            peer: Peer::default(),
        }
    }

    /// Each span as `service role <- parent's service role`, and how many traces there are.
    fn check(exchanges: Vec<Exchange>, expected: &[&str], traces: usize) {
        let mut held = Traces::new(7);
        for exchange in exchanges {
            held.add(exchange);
        }
        let mut out = Vec::new();
        held.take(UnixNanos::from_seconds(100), &mut out);
        assert_eq!(held.waiting(), 0);
        assert!(held.single.is_empty() && held.answered.is_empty() && held.calls.is_empty());
        let name = |it: &Placed| format!("{} {:?}", it.exchange.service.name, it.exchange.request.role);
        for it in out.iter().filter(|it| it.parent != 0) {
            let above = out.iter().find(|other| other.span_id == it.parent);
            assert_eq!(above.map(|above| above.trace_id), Some(it.trace_id), "{}", name(it));
        }
        let mut found: Vec<String> = out
            .iter()
            .map(|it| {
                let above = out.iter().find(|other| other.span_id == it.parent);
                above.map_or_else(|| name(it), |above| format!("{} <- {}", name(it), name(above)))
            })
            .collect();
        found.sort();
        assert_eq!(found, expected);
        let distinct: std::collections::BTreeSet<u128> = out.iter().map(|it| it.trace_id).collect();
        assert_eq!(distinct.len(), traces);
    }

    #[test]
    fn a_chain_of_three() {
        check(
            vec![
                exchange("db", 3, Role::Server, 20, 32, 38),
                exchange("shop", 2, Role::Client, 20, 30, 40),
                exchange("shop", 2, Role::Server, 10, 20, 50),
                exchange("curl", 1, Role::Client, 10, 10, 60),
            ],
            &[
                "curl Client",
                "db Server <- shop Client",
                "shop Client <- shop Server",
                "shop Server <- curl Client",
            ],
            1,
        );
    }

    #[test]
    fn two_requests_in_hand_leave_the_cause_open() {
        check(
            vec![
                exchange("shop", 2, Role::Client, 20, 30, 40),
                exchange("shop", 2, Role::Server, 10, 20, 50),
                exchange("shop", 2, Role::Server, 11, 21, 51),
            ],
            &["shop Client", "shop Server", "shop Server"],
            3,
        );
    }

    #[test]
    fn two_requests_in_hand_on_two_threads() {
        let mut other = exchange("shop", 2, Role::Server, 11, 21, 51);
        other.thread = 99;
        check(
            vec![
                exchange("shop", 2, Role::Client, 20, 30, 40),
                exchange("shop", 2, Role::Server, 10, 20, 50),
                other,
            ],
            &["shop Client <- shop Server", "shop Server", "shop Server"],
            2,
        );
    }

    #[test]
    fn requests_that_wait_for_a_call_make_no_other() {
        let name = |mut exchange: Exchange, target: &str| {
            exchange.request.target = target.into();
            // Work moves between threads.
            exchange.thread = u32::from(exchange.connection.address.port());
            exchange
        };
        check(
            vec![
                name(exchange("shop", 2, Role::Client, 20, 5, 20), "a"),
                name(exchange("shop", 2, Role::Client, 21, 1_004, 1_020), "a"),
                name(exchange("shop", 2, Role::Client, 22, 22, 2_900), "b"),
                name(exchange("shop", 2, Role::Server, 10, 0, 3_000), "in"),
                name(exchange("shop", 2, Role::Client, 23, 1_023, 3_900), "b"),
                name(exchange("shop", 2, Role::Server, 11, 1_000, 4_000), "in"),
            ],
            &[
                "shop Client <- shop Server",
                "shop Client <- shop Server",
                "shop Client <- shop Server",
                "shop Client <- shop Server",
                "shop Server",
                "shop Server",
            ],
            2,
        );
    }

    #[test]
    fn requests_of_one_connection_do_not_mix() {
        check(
            vec![
                exchange("shop", 2, Role::Server, 10, 12, 18),
                exchange("curl", 1, Role::Client, 10, 10, 20),
                exchange("shop", 2, Role::Server, 10, 32, 38),
                exchange("curl", 1, Role::Client, 10, 30, 40),
            ],
            &["curl Client", "curl Client", "shop Server <- curl Client", "shop Server <- curl Client"],
            2,
        );
    }

    #[test]
    fn what_ends_after_what_is_above_it_is_of_the_same_trace() {
        // What is published is over for the client before the server has read it.
        check(
            vec![
                exchange("nats-client", 1, Role::Client, 10, 10, 10),
                exchange("nats", 2, Role::Server, 10, 11, 11),
                exchange("nats", 2, Role::Client, 20, 11, 12),
            ],
            &["nats Client <- nats Server", "nats Server <- nats-client Client", "nats-client Client"],
            1,
        );
    }

    #[test]
    fn a_trace_that_is_carried_is_joined() {
        let carried = TraceParent { trace_id: 5, span_id: 6, sampled: true };
        let mut server = exchange("shop", 2, Role::Server, 10, 20, 50);
        server.request.trace = Some(carried);
        let mut client = exchange("curl", 1, Role::Client, 10, 10, 60);
        client.request.trace = Some(carried);
        let mut traces = Traces::new(1);
        traces.add(server);
        traces.add(client);
        let mut out = Vec::new();
        traces.take(UnixNanos::from_seconds(100), &mut out);
        let [server, client] = out.as_slice() else { panic!("two spans, not {}", out.len()) };
        assert_eq!(
            (client.trace_id, client.parent, server.trace_id, server.parent),
            (5, 6, 5, client.span_id)
        );
    }

    #[test]
    fn a_span_waits_for_its_caller() {
        let mut traces = Traces::new(1);
        traces.add(exchange("shop", 2, Role::Server, 10, 20, 50));
        let mut out = Vec::new();
        traces.take(UnixNanos::from_millis(60), &mut out);
        assert!(out.is_empty());
    }
}
