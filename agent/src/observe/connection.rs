//! One socket, and what is said over it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::UnixNanos;

use super::{UDP, role_of, verdict_of};
use crate::edges::Place;
use crate::identity::Service;
use crate::kernel::Event;
use crate::l7::{Conversation, Data, Direction, Losses, Protocol, Request, Role, State, Transport};
use crate::traces::ClientEnd;

/// OTLP over gRPC.
const EXPORT_PORT: u16 = 4317;

/// Who talks to whom over a connection.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub service: Arc<Service>,
    /// The other side, when it is on this host.
    pub peer: Option<Arc<Service>>,
    /// Where it is counted.
    pub place: Place,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub pid: u32,
    pub role: Option<Role>,
    pub netns: u32,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub datagrams: bool,
    /// When it was last heard of.
    pub last: UnixNanos,
    /// The thread that last asked something.
    pub thread: u32,
    /// When it came up, if that was seen.
    pub opened: Option<UnixNanos>,
    /// Whether that was counted, at a server.
    pub counted: bool,
    /// Of a server's end: the client's own end, where its address was translated on the way.
    pub translated: Option<ClientEnd>,
    /// Who talks to whom over it, and the state of the observer by which that was found.
    pub pair: Option<(u64, Pair)>,
    /// How long it took to open, until that is counted.
    pub opening: Option<Duration>,
    plain: Conversation,
    /// What a TLS library sees of it.
    tls: Option<Box<Conversation>>,
    told: u8,
    losses: Losses,
}

impl Connection {
    pub fn new(event: &Event<'_>, at: UnixNanos) -> Self {
        let datagrams = event.protocol == UDP;
        let transport = if datagrams { Transport::Udp } else { Transport::Tcp };
        let role = role_of(event.role);
        Self {
            pid: event.pid,
            role,
            netns: event.netns,
            local: event.local,
            remote: event.remote,
            datagrams,
            last: at,
            thread: 0,
            opened: (event.kind == agent_events::kind::OPEN).then_some(at),
            counted: false,
            translated: None,
            pair: None,
            opening: None,
            plain: Conversation::new(transport, role),
            tls: None,
            told: 0,
            losses: Losses::default(),
        }
    }

    /// Whether `event` is of this connection, and not of a later one whose socket has the same place in memory. A closing socket has
    /// lost its local port already.
    pub fn is_of(&self, event: &Event<'_>) -> bool {
        self.remote == event.remote && (self.local.port() == event.local.port() || event.local.port() == 0)
    }

    /// Whoever reads or writes a socket that nobody is known to own, owns it. Whether that changed.
    pub fn adopt(&mut self, event: &Event<'_>, at: UnixNanos) -> bool {
        let before = self.pid;
        self.last = at;
        if self.pid == 0 {
            self.pid = event.pid;
        }
        // Servers hand accepted sockets to workers: the one that does the talking counts.
        if self.role == Some(Role::Server) && event.pid != 0 {
            self.pid = event.pid;
        }
        self.pid != before
    }

    /// Feeds the conversation; what it could not read since the last time.
    pub fn feed(&mut self, data: &Data<'_>, tls: bool, thread: u32, out: &mut Vec<Request>) -> Losses {
        let asks = match self.role {
            Some(Role::Client) | None => data.direction == Direction::Out,
            Some(Role::Server) => data.direction == Direction::In,
        };
        if asks {
            self.thread = thread;
        }
        let role = self.role;
        let conversation = if tls {
            &mut **self.tls.get_or_insert_with(|| Box::new(Conversation::new(Transport::Tcp, role)))
        } else {
            &mut self.plain
        };
        conversation.feed(data, out);
        let now = sum(self.plain.losses(), self.tls.as_ref().map(|it| it.losses()).unwrap_or_default());
        let before = std::mem::replace(&mut self.losses, now);
        Losses {
            desynchronised: now.desynchronised - before.desynchronised,
            unmatched: now.unmatched - before.unmatched,
            evicted: now.evicted - before.evicted,
            unseen: now.unseen - before.unseen,
        }
    }

    /// What the kernel side should know, when that has changed.
    pub fn verdict(&mut self) -> Option<u8> {
        let [plain, tls] = self.states();
        let bits = verdict_of(plain, tls);
        (bits != self.told).then(|| {
            self.told = bits;
            bits
        })
    }

    /// The part that the conversation itself tells.
    pub fn spoken_role(&self) -> Option<Role> {
        self.plain.role().or_else(|| self.tls.as_ref()?.role())
    }

    /// Whether only a TLS library sees what is said.
    pub fn is_encrypted(&self) -> bool {
        self.plain.state() == State::Encrypted
    }

    /// Whether it speaks HTTP/2 to the port that is registered for OpenTelemetry. An exporter keeps its connection for as long as it can:
    /// one that is older than the agent names the path of its requests by the number of an entry that was not seen being made, and is
    /// not to be told otherwise.
    pub fn exports(&self) -> bool {
        self.role == Some(Role::Client)
            && self.remote.port() == EXPORT_PORT
            && self.states().contains(&State::Speaks(Protocol::Http2))
    }

    /// What is known of what it says as it is, and inside TLS.
    fn states(&self) -> [State; 2] {
        [self.plain.state(), self.tls.as_ref().map_or(State::Listening, |it| it.state())]
    }

    pub fn tick(&mut self, now: UnixNanos, out: &mut Vec<Request>) {
        self.plain.tick(now, out);
        if let Some(tls) = &mut self.tls {
            tls.tick(now, out);
        }
    }

    pub fn close(&mut self, now: UnixNanos, out: &mut Vec<Request>) {
        self.plain.close(now, out);
        if let Some(tls) = &mut self.tls {
            tls.close(now, out);
        }
    }

    pub fn client_end(&self) -> ClientEnd {
        if let Some(end) = self.translated {
            return end;
        }
        let address = if self.role == Some(Role::Server) { self.remote } else { self.local };
        ClientEnd { netns: if address.ip().is_loopback() { self.netns } else { 0 }, address }
    }
}

fn sum(one: Losses, other: Losses) -> Losses {
    Losses {
        desynchronised: one.desynchronised + other.desynchronised,
        unmatched: one.unmatched + other.unmatched,
        evicted: one.evicted + other.evicted,
        unseen: one.unseen + other.unseen,
    }
}

#[cfg(test)]
mod tests {
    use agent_events::{direction, kind, role};

    use super::*;

    /// Feeds a frame to a connection to `port`; whether it is known for an exporter's and answers came that nothing was seen asking.
    fn check(port: u16) -> bool {
        // Joined midway: all but the method is named by entries of a table that was not seen. Fields of a call with its data; those of
        // an answer, its data, its trailers.
        let fields = |stream: u8, flags: u8, block: &[u8]| frame(1, flags, stream, block);
        let asked =
            [fields(1, 4, &[0x83, 0x86, 0xc0, 0xbf, 0xbe]), frame(0, 1, 1, &[0, 0, 0, 0, 1, 0])].concat();
        let answered = [fields(1, 4, &[0x88, 0xbe]), frame(0, 0, 1, &[0; 5]), fields(1, 5, &[0xbf])].concat();
        let event = Event {
            kind: kind::DATA,
            direction: direction::OUT,
            flags: 0,
            role: role::CLIENT,
            protocol: 6,
            pid: 7,
            tid: 7,
            time_ns: 0,
            socket: 1,
            total: 0,
            netns: 1,
            local: ([10, 0, 0, 1], 40_000).into(),
            remote: ([10, 0, 0, 2], port).into(),
            extra: [0; 3],
            payload: &[],
        };
        let mut connection = Connection::new(&event, UnixNanos(0));
        let mut unmatched = 0;
        for turn in 0..3 {
            for (direction, head) in [(Direction::Out, &asked), (Direction::In, &answered)] {
                let data = Data { direction, time: UnixNanos(turn), head, total: head.len() as u64 };
                unmatched += connection.feed(&data, false, 7, &mut Vec::new()).unmatched;
            }
        }
        unmatched > 0 && connection.exports()
    }

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    #[test]
    fn an_exporter_is_known_whose_connection_is_older_than_the_agent() {
        assert!(check(EXPORT_PORT));
        assert!(!check(8080));
    }
}
