//! The heart of the agent: one event after the other becomes processes, connections, requests.
//!
//! Everything that is known lives here, in one place, used by one task. Nothing waits: what must be read from `/proc` is small.
//! Pure but for `/proc`: time comes with the events.

mod connection;
mod listeners;
mod processes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent_events::{direction, flag, kind, role, verdict};
use domain::UnixNanos;
use foldhash::{HashMap, HashMapExt as _};

use crate::edges::Edges;
use crate::identity::{Identities, Service};
use crate::kernel::Event;
use crate::l7::{Data, Direction, Request, Role, State};
use crate::traces::{ClientEnd, Exchange, Peer, Placed, Traces};

use connection::{Connection, Pair};
pub use listeners::Listeners;
pub use processes::{Process, Processes};

/// Connections that are known at a time; the longest silent go first.
const MOST_CONNECTIONS: usize = 32 * 1024;
/// A datagram socket has no end that is seen.
const DATAGRAM_IDLE: Duration = Duration::from_secs(10);
/// A connection so long silent may be gone without the agent having seen it.
const STREAM_IDLE: Duration = Duration::from_secs(3600);
/// Silence after which a conversation begins anew while connections take turns in being captured.
const TORN: Duration = Duration::from_secs(20);
/// Within this of a client's end, its server's end comes up, on the same host.
const HANDSHAKE_ENDS: Duration = Duration::from_millis(5);
const UDP: u16 = 17;
/// How often counts of services that are gone are looked for.
const SWEEP: Duration = Duration::from_secs(60);
/// `SIGKILL` and its like end a process by a signal: the low bits of its wait status.
const SIGNAL_BITS: u64 = 0x7f;

/// What the observer asks of the kernel side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which socket.
    pub socket: u64,
    /// Bits of [`agent_events::verdict`].
    pub verdict: u8,
}

/// What happens to a process that matters to whoever watches TLS, in the order in which it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coming {
    /// It runs a new program.
    Started(u32),
    /// It was seen to speak TLS.
    Encrypts(u32),
    /// It is gone.
    Ended(u32),
}

/// What could not be made sense of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Events handled.
    pub events: u64,
    /// Bytes that are not an event.
    pub malformed: u64,
    /// Times that a conversation lost its thread.
    pub desynchronised: u64,
    /// Answers to nothing that was asked, questions forgotten or left without the answer being captured.
    pub unmatched: u64,
    /// Connections forgotten to bound memory.
    pub evicted: u64,
}

/// Everything that is known of the host.
#[derive(Debug)]
pub struct Observer {
    /// Processes, with their services.
    pub processes: Processes,
    /// Counts by service and peer.
    pub edges: Edges,
    /// What went wrong.
    pub troubles: Troubles,
    /// Listening sockets.
    pub listeners: Listeners,
    traces: Traces,
    connections: HashMap<u64, Connection>,
    /// Both ends of connections, by the client's end: client's socket, server's socket.
    ends: HashMap<ClientEnd, [Option<u64>; 2]>,
    /// The client that last came up with a port to a server's address.
    callers: HashMap<(u16, SocketAddr), u64>,
    /// Wall clock minus monotonic clock.
    wall_ns: i64,
    settled: Vec<Settled>,
    comings: Vec<Coming>,
    shed_bits: u32,
    requests: Vec<Request>,
    swept: UnixNanos,
    /// Changes with whatever the answer to "who talks to whom" depends on.
    generation: u64,
}

impl Observer {
    /// Knows nothing yet. `seed` makes ids of spans differ from those of other runs.
    pub fn new(identities: Identities, most_peers: usize, seed: u64) -> Self {
        Self {
            processes: Processes::new(identities),
            edges: Edges::new(most_peers),
            troubles: Troubles::default(),
            listeners: Listeners::default(),
            traces: Traces::new(seed),
            connections: HashMap::new(),
            ends: HashMap::new(),
            callers: HashMap::new(),
            wall_ns: 0,
            settled: Vec::new(),
            comings: Vec::new(),
            shed_bits: 0,
            requests: Vec::new(),
            swept: UnixNanos(0),
            generation: 0,
        }
    }

    /// The wall clock stands `nanos` ahead of the monotonic one, by which events are timed.
    pub fn set_wall(&mut self, nanos: i64) {
        self.wall_ns = nanos;
    }

    /// Takes one record of the ring buffer.
    pub fn take(&mut self, bytes: &[u8]) {
        self.troubles.events += 1;
        match Event::parse(bytes) {
            Ok(event) => self.event(&event),
            Err(_) => self.troubles.malformed += 1,
        }
    }

    /// Takes one event.
    pub fn event(&mut self, event: &Event<'_>) {
        let at = UnixNanos(event.time_ns.cast_signed() + self.wall_ns);
        if matches!(event.kind, kind::EXEC | kind::EXIT | kind::LISTEN | kind::LISTEN_END) {
            self.generation += 1;
        }
        match event.kind {
            kind::EXEC => {
                self.processes.started(event.pid, event.payload, at);
                self.comings.push(Coming::Started(event.pid));
            }
            kind::EXIT => {
                self.processes.ended(event.pid, event.extra[0], at);
                self.comings.push(Coming::Ended(event.pid));
            }
            kind::OOM => self.processes.out_of_memory(event.pid),
            kind::LISTEN => {
                self.listeners.opened(event.netns, event.local, event.pid, event.socket);
                self.processes.known(event.pid);
            }
            kind::LISTEN_END => self.listeners.closed(event.netns, event.local, event.socket),
            kind::OPEN => self.opened(event, at),
            kind::CONNECT_FAILED => self.connect_failed(event),
            kind::MOVED => self.moved(event, at),
            kind::CLOSE => self.closed(event, at),
            kind::RETRANSMIT | kind::RESET => self.segment(event),
            kind::DATA => self.data(event, at),
            _ => self.troubles.malformed += 1,
        }
    }

    /// Once a second or so: answers that are overdue, connections that are gone.
    pub fn tick(&mut self, now: UnixNanos) {
        let mut overdue = Vec::new();
        for (socket, connection) in &mut self.connections {
            let before = self.requests.len();
            connection.tick(now, &mut self.requests);
            if self.requests.len() > before {
                overdue.push((*socket, self.requests.split_off(before)));
            }
        }
        let opening: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, it)| it.opening.is_some())
            .map(|(socket, _)| *socket)
            .collect();
        for socket in opening {
            self.count_open(socket);
        }
        for (socket, requests) in overdue {
            self.finish(socket, requests);
        }
        let idle = |it: &Connection| {
            let limit = if it.datagrams { DATAGRAM_IDLE } else { STREAM_IDLE };
            it.last.plus(limit) < now
        };
        let gone: Vec<u64> =
            self.connections.iter().filter(|(_, it)| idle(it)).map(|(socket, _)| *socket).collect();
        for socket in gone {
            self.forget(socket, now);
        }
        if self.connections.len() > MOST_CONNECTIONS {
            self.evict(now);
        }
        self.processes.tick(now);
        if self.swept.plus(SWEEP) <= now {
            self.swept = now;
            let living = self.processes.living();
            self.processes.sweep(now, &living);
            self.edges.sweep(now, |service| living.contains(service));
        }
        // Places of counts are looked up anew.
        self.generation += 1;
    }

    /// Spans that are ready.
    pub fn spans(&mut self, now: UnixNanos, out: &mut Vec<Placed>) {
        self.traces.take(now, out);
    }

    /// What was settled since the last time.
    pub fn settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    /// What happened to processes since the last time.
    pub fn take_comings(&mut self) -> Vec<Coming> {
        std::mem::take(&mut self.comings)
    }

    /// From now on one of 2^`bits` connections is captured: each request that is seen stands for as many.
    pub fn set_shed(&mut self, bits: u32) {
        self.shed_bits = bits;
    }

    /// Connections known at present, and spans that wait.
    pub fn sizes(&self) -> (usize, usize) {
        (self.connections.len(), self.traces.waiting())
    }

    fn opened(&mut self, event: &Event<'_>, at: UnixNanos) {
        self.forget(event.socket, at);
        let mut connection = Connection::new(event, at);
        let (pid, role) = (connection.pid, connection.role);
        if role == Some(Role::Client) {
            connection.opening = Some(Duration::from_nanos(event.extra[0]));
        }
        self.remember(event.socket, connection);
        if role == Some(Role::Client) {
            // The other end opens a moment later, and tells whom a translated address stands for.
            if event.remote.ip().is_loopback() {
                self.count_open(event.socket);
            }
        } else if pid != 0 {
            self.count_accept(event.socket);
        }
    }

    fn connect_failed(&mut self, event: &Event<'_>) {
        let Some(service) = self.processes.known(event.pid).map(|it| Arc::clone(&it.service)) else { return };
        let peer = self.name_of(event.netns, event.remote);
        let counts = self.edges.of(&service, Some(Role::Client), &peer);
        counts.failed += 1;
        counts.handshake.add(Duration::from_nanos(event.extra[0]));
        self.forget(event.socket, UnixNanos(0));
    }

    fn closed(&mut self, event: &Event<'_>, at: UnixNanos) {
        if !self.connections.contains_key(&event.socket) && event.pid != 0 {
            self.remember(event.socket, Connection::new(event, at));
        }
        if let Some(pair) = self.pair(event.socket) {
            let counts = self.edges.at(pair.place);
            counts.closed += 1;
            // The kernel counts the SYN and the FIN as a byte each.
            counts.moved(
                event.extra[0].saturating_sub(2),
                event.extra[1].saturating_sub(1),
                round_trip(event),
            );
        }
        self.forget(event.socket, at);
    }

    /// A connection that lasts says how it fares.
    fn moved(&mut self, event: &Event<'_>, at: UnixNanos) {
        if !self.connections.get(&event.socket).is_some_and(|it| it.is_of(event)) {
            self.remember_anew(event, at);
        }
        if let Some(pair) = self.pair(event.socket) {
            let [sent, received, _] = event.extra;
            self.edges.at(pair.place).moved(sent, received, round_trip(event));
        }
    }

    fn segment(&mut self, event: &Event<'_>) {
        if !self.connections.contains_key(&event.socket) && event.pid != 0 {
            let at = UnixNanos(event.time_ns.cast_signed() + self.wall_ns);
            self.remember(event.socket, Connection::new(event, at));
        }
        let Some(pair) = self.pair(event.socket) else { return };
        let counts = self.edges.at(pair.place);
        if event.kind == kind::RETRANSMIT {
            counts.retransmits += 1;
        } else {
            counts.resets += 1;
        }
    }

    fn data(&mut self, event: &Event<'_>, at: UnixNanos) {
        // When only some connections are captured at a time, what is left of an earlier turn would be answered by the wrong answer.
        let torn = |it: &Connection| self.shed_bits > 0 && it.last.plus(TORN) < at;
        let fits = self.connections.get(&event.socket).is_some_and(|it| it.is_of(event) && !torn(it));
        if !fits {
            self.remember_anew(event, at);
        }
        let Some(connection) = self.connections.get_mut(&event.socket) else { return };
        let unowned = connection.pid == 0;
        if connection.adopt(event, at) {
            self.generation += 1;
        }
        if unowned {
            self.ends_of(event.socket);
            self.count_accept(event.socket);
        }
        let Some(connection) = self.connections.get_mut(&event.socket) else { return };
        let data = Data {
            direction: if event.direction == direction::OUT { Direction::Out } else { Direction::In },
            time: at,
            head: event.payload,
            total: u64::from(event.total),
        };
        let tls = event.flags & flag::TLS != 0;
        let mut requests = std::mem::take(&mut self.requests);
        let losses = connection.feed(&data, tls, event.tid, &mut requests);
        self.troubles.desynchronised += losses.desynchronised;
        self.troubles.unmatched += losses.unmatched + losses.evicted + losses.unseen;
        if losses.unmatched > 0 && connection.exports() {
            self.processes.instruments_itself(connection.pid);
        }
        if let Some(verdict) = connection.verdict() {
            self.settled.push(Settled { socket: event.socket, verdict });
            if connection.is_encrypted() {
                self.comings.push(Coming::Encrypts(connection.pid));
            }
        }
        if connection.role.is_none() && connection.spoken_role().is_some() {
            connection.role = connection.spoken_role();
            self.ends_of(event.socket);
        }
        self.finish(event.socket, requests);
    }

    /// Counts requests, and passes them on to become spans.
    fn finish(&mut self, socket: u64, requests: Vec<Request>) {
        if requests.is_empty() {
            return;
        }
        let Some(pair) = self.pair(socket) else { return };
        let Some(connection) = self.connections.get(&socket) else { return };
        let (pid, thread, datagrams) = (connection.pid, connection.thread, connection.datagrams);
        let (key, remote) = (connection.client_end(), connection.remote);
        let peer = Peer { service: pair.peer, address: Some(remote) };
        let instrumented = self.processes.known(pid).is_some_and(|it| it.instrumented);
        for request in requests {
            if crate::spans::is_telemetry(&request) {
                if request.role == Role::Client && crate::spans::carries_spans(&request) {
                    self.processes.instruments_itself(pid);
                }
                continue;
            }
            self.edges.request(pair.place, &request, 1 << self.shed_bits);
            // A name is looked up before nearly every connection: counted, but not told one by one. A service that reports its own
            // spans would have each request twice.
            if datagrams || instrumented {
                continue;
            }
            self.traces.add(Exchange {
                request,
                service: Arc::clone(&pair.service),
                pid,
                thread,
                connection: key,
                peer: peer.clone(),
            });
        }
    }

    /// Who talks to whom over a connection: looked up anew only when something has changed.
    fn pair(&mut self, socket: u64) -> Option<Pair> {
        let connection = self.connections.get(&socket)?;
        if let Some((_, pair)) = connection.pair.as_ref().filter(|(at, _)| *at == self.generation) {
            return Some(pair.clone());
        }
        let pair = self.look_up(socket)?;
        self.connections.get_mut(&socket)?.pair = Some((self.generation, pair.clone()));
        Some(pair)
    }

    fn look_up(&mut self, socket: u64) -> Option<Pair> {
        let connection = self.connections.get(&socket)?;
        let (mut pid, role, netns, remote) =
            (connection.pid, connection.role, connection.netns, connection.remote);
        // A server may answer each connection in a process of its own, which is gone before it can be looked at: the one that
        // listens is of the same service.
        if role == Some(Role::Server) {
            let local = connection.local;
            let listener = self.listeners.behind(netns, local);
            if self.processes.known(pid).is_none() {
                pid = listener?;
            } else if let Some(gone) = listener.filter(|it| self.processes.known(*it).is_none()) {
                self.listeners.inherit(netns, local, gone, pid);
            }
        }
        let service = Arc::clone(&self.processes.known(pid)?.service);
        let peer = self.peer_service(socket);
        let name = match (role, &peer) {
            (Some(Role::Server), _) => String::new(),
            (_, Some(peer)) => peer.name.clone(),
            _ => self.name_of(netns, remote),
        };
        let place = self.edges.place(&service, role, &name);
        Some(Pair { service, peer, place })
    }

    fn peer_service(&mut self, socket: u64) -> Option<Arc<Service>> {
        let connection = self.connections.get(&socket)?;
        let [client, server] = self.ends.get(&connection.client_end()).copied().unwrap_or_default();
        let (other, listener) = match connection.role {
            Some(Role::Client) => (server, self.listeners.owner(connection.netns, connection.remote)),
            Some(Role::Server) => (client, None),
            None => return None,
        };
        let pid =
            other.and_then(|other| self.connections.get(&other)).map(|it| it.pid).filter(|pid| *pid != 0);
        let pid = pid.or(listener)?;
        self.processes.known(pid).map(|it| Arc::clone(&it.service))
    }

    /// A service of this host where it is one, otherwise the address.
    fn name_of(&mut self, netns: u32, remote: SocketAddr) -> String {
        let owner = self.listeners.owner(netns, remote);
        match owner.and_then(|pid| self.processes.known(pid)) {
            Some(process) => process.service.name.clone(),
            None => remote.to_string(),
        }
    }

    fn count_open(&mut self, socket: u64) {
        let opening = self.connections.get_mut(&socket).and_then(|it| it.opening.take());
        let Some(took) = opening else { return };
        if let Some(pair) = self.pair(socket) {
            let counts = self.edges.at(pair.place);
            counts.opened += 1;
            counts.handshake.add(took);
        }
    }

    fn count_accept(&mut self, socket: u64) {
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        if connection.role != Some(Role::Server) || connection.counted || connection.opened.is_none() {
            return;
        }
        connection.counted = true;
        if let Some(pair) = self.pair(socket) {
            self.edges.at(pair.place).opened += 1;
        }
    }

    fn remember(&mut self, socket: u64, connection: Connection) {
        self.connections.insert(socket, connection);
        self.ends_of(socket);
    }

    /// A connection that was not known, or another than the one that was.
    fn remember_anew(&mut self, event: &Event<'_>, at: UnixNanos) {
        self.forget(event.socket, at);
        let mut connection = Connection::new(event, at);
        if connection.role.is_none() && !connection.datagrams {
            // Older than the agent: whoever listens on its end of it took it.
            connection.role = self.listeners.role(event.netns, event.local, event.remote);
        }
        self.remember(event.socket, connection);
    }

    fn ends_of(&mut self, socket: u64) {
        self.generation += 1;
        let Some(connection) = self.connections.get(&socket) else { return };
        let slot = match connection.role {
            Some(Role::Client) => 0,
            Some(Role::Server) => 1,
            None => return,
        };
        if slot == 0 {
            self.callers.insert((connection.local.port(), connection.remote), socket);
        }
        let end = self.caller_of(connection).unwrap_or_else(|| connection.client_end());
        if slot == 1
            && let Some(connection) = self.connections.get_mut(&socket)
            && connection.client_end() != end
        {
            connection.translated = Some(end);
        }
        self.ends.entry(end).or_default()[slot] = Some(socket);
    }

    /// The client's end of a connection of a server where the client's address was translated on the way (masquerade), as its port seldom
    /// is: it asked for this server's address from the same port, is no other server's, and came up just before, as the last segment of
    /// the handshake takes it from there to here.
    fn caller_of(&self, server: &Connection) -> Option<ClientEnd> {
        if server.role != Some(Role::Server)
            || self.ends.get(&server.client_end()).is_some_and(|it| it[0].is_some())
        {
            return None;
        }
        let socket = self.callers.get(&(server.remote.port(), server.local))?;
        let client = self.connections.get(socket)?;
        let took = server.opened?.seconds_since(client.opened?);
        let end = client.client_end();
        let is_free = self.ends.get(&end).is_none_or(|it| it[1].is_none());
        (is_free && (0.0..HANDSHAKE_ENDS.as_secs_f64()).contains(&took)).then_some(end)
    }

    fn forget(&mut self, socket: u64, now: UnixNanos) {
        self.count_open(socket);
        let mut requests = Vec::new();
        if let Some(connection) = self.connections.get_mut(&socket) {
            connection.close(now, &mut requests);
        }
        self.finish(socket, requests);
        let Some(connection) = self.connections.remove(&socket) else { return };
        self.generation += 1;
        let caller = (connection.local.port(), connection.remote);
        if self.callers.get(&caller) == Some(&socket) {
            self.callers.remove(&caller);
        }
        let end = connection.client_end();
        if let Some(sockets) = self.ends.get_mut(&end) {
            for slot in sockets.iter_mut().filter(|slot| **slot == Some(socket)) {
                *slot = None;
            }
            if sockets.iter().all(Option::is_none) {
                self.ends.remove(&end);
            }
        }
    }

    /// Lets the longest silent quarter go.
    fn evict(&mut self, now: UnixNanos) {
        let mut ages: Vec<(UnixNanos, u64)> =
            self.connections.iter().map(|(socket, it)| (it.last, *socket)).collect();
        ages.sort_unstable();
        for (_, socket) in ages.into_iter().take(MOST_CONNECTIONS / 4) {
            self.troubles.evicted += 1;
            self.forget(socket, now);
        }
    }
}

/// The verdict bits for what is known of a conversation.
fn verdict_of(plain: State, tls: State) -> u8 {
    let mut bits = 0;
    if matches!(plain, State::Encrypted | State::Unknown) {
        bits |= verdict::IGNORE;
    }
    if [plain, tls].iter().any(|it| matches!(it, State::Speaks(protocol) if protocol.is_multiplexed())) {
        bits |= verdict::EVERY_CALL;
    }
    bits
}

/// The smoothed round trip of a connection; nothing before there was one.
fn round_trip(event: &Event<'_>) -> Option<Duration> {
    let micros = event.extra[2] >> 32;
    (micros > 0).then(|| Duration::from_micros(micros))
}

/// Which end a socket is, in words of the conversation.
fn role_of(number: u8) -> Option<Role> {
    match number {
        role::CLIENT => Some(Role::Client),
        role::SERVER => Some(Role::Server),
        _ => None,
    }
}

/// Whether a wait status tells of an end that is worth counting: by a signal, or with a code.
pub fn failed(status: u64) -> bool {
    status & SIGNAL_BITS != 0 || status >> 8 & 0xff != 0
}
