//! What programs say to each other, read from the heads of what they read and write.
//!
//! A [`Conversation`] is one connection as one process sees it. It is fed the first bytes of every read and write
//! ([`Data`]: how many bytes went by is known, how many were captured may be fewer, and some calls are not seen at all), finds
//! out which protocol is spoken and yields a [`Request`] for each exchange. A connection may be joined midway.
//!
//! Values do not leave: routes have their ids collapsed, statements their literals removed, keys and bodies are never read, and
//! texts of errors lose whatever they quote. This happens here, before anything else sees the bytes.
//!
//! Pure: no I/O, no clock. Memory of a conversation is bounded by [`limits`]. Deliberately absent: who the two ends are.

mod amqp;
mod detect;
mod dns;
mod exchange;
mod frames;
mod hpack;
mod http1;
mod http2;
mod kafka;
mod memcached;
mod mongodb;
mod mysql;
mod nats;
mod postgres;
mod redis;
pub mod route;
pub mod shape;
mod trace;

#[cfg(test)]
mod tests;

use std::time::Duration;

use domain::UnixNanos;

pub use trace::TraceParent;

use exchange::Sink;

/// The bounds of one conversation.
pub mod limits {
    use std::time::Duration;

    /// Bytes kept of a message that is not complete yet, for each way.
    pub const MESSAGE_BYTES: usize = 4096;
    /// Requests that wait for their answer.
    pub const PENDING: usize = 256;
    /// Statements and channels that are remembered by name or number.
    pub const NAMES: usize = 256;
    /// Bytes of a route, statement shape or subject.
    pub const TARGET_BYTES: usize = 512;
    /// Bytes of the text of an error.
    pub const ERROR_BYTES: usize = 160;
    /// Chunks after which a conversation that nobody understands is given up.
    pub const ATTEMPTS: u32 = 16;
    /// How long an answer is waited for.
    pub const ANSWER: Duration = Duration::from_secs(60);
    /// Silence after which an answer of unknown length counts as complete.
    pub const SILENCE: Duration = Duration::from_secs(2);
}

/// Which way bytes went, seen from the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Read.
    In,
    /// Written.
    Out,
}

/// Which part the process plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It asks.
    Client,
    /// It answers.
    Server,
}

/// What carries the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A stream of bytes.
    Tcp,
    /// Each [`Data`] is a datagram.
    Udp,
}

/// The language of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.0 and 1.1.
    Http1,
    /// HTTP/2, other than gRPC.
    Http2,
    /// gRPC over HTTP/2.
    Grpc,
    /// PostgreSQL, protocol 3.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// Redis, RESP 2 and 3.
    Redis,
    /// MongoDB, `OP_MSG`.
    Mongodb,
    /// Kafka.
    Kafka,
    /// Memcached, the text protocol.
    Memcached,
    /// AMQP 0.9.1, as RabbitMQ speaks it.
    Amqp,
    /// NATS.
    Nats,
    /// DNS, over UDP or TCP.
    Dns,
}

impl Protocol {
    /// Its name in telemetry, after OpenTelemetry's `db.system.name`, `rpc.system` and `messaging.system`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Postgres => "postgresql",
            Self::Mysql => "mysql",
            Self::Redis => "redis",
            Self::Mongodb => "mongodb",
            Self::Kafka => "kafka",
            Self::Memcached => "memcached",
            Self::Amqp => "rabbitmq",
            Self::Nats => "nats",
            Self::Dns => "dns",
        }
    }

    /// Whether requests overlap, so that every call has to be captured and not only the first of each turn.
    pub const fn is_multiplexed(self) -> bool {
        matches!(
            self,
            Self::Http2 | Self::Grpc | Self::Kafka | Self::Mongodb | Self::Amqp | Self::Nats | Self::Dns
        )
    }
}

/// Bytes that one call moved.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// Which way.
    pub direction: Direction,
    /// When.
    pub time: UnixNanos,
    /// The first bytes, as many as were captured.
    pub head: &'a [u8],
    /// How many bytes were moved; taken as at least the length of `head`.
    pub total: u64,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Answered.
    Ok,
    /// Answered with an error, as OpenTelemetry counts them: for HTTP that is 500 and above, and for a client 400 and above.
    Failed,
    /// The connection ended, or [`limits::ANSWER`] passed, without an answer.
    Unanswered,
}

/// One exchange: a request and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What was spoken.
    pub protocol: Protocol,
    /// The part of the process that was watched: a client's request went out, a server's came in.
    pub role: Role,
    /// What is asked for, of a small vocabulary: `GET`, `SELECT`, `Fetch`, `basic.publish`.
    pub operation: String,
    /// On what: a normalised route, a statement without literals, a topic, a name to resolve. May be empty.
    pub target: String,
    /// The host that HTTP names, empty elsewhere.
    pub host: String,
    /// The protocol's own code of the answer: `200`, `42P01`, `NXDOMAIN`. Empty where there is none, and when unanswered.
    pub status: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What the server said of the error, without values. Empty where nothing was said.
    pub error: String,
    /// First byte of the request.
    pub started: UnixNanos,
    /// Until the answer was complete, as far as that can be seen. Zero for a message that expects no answer.
    pub duration: Duration,
    /// Whether the client asked the server to hold the answer back (a long poll), so that `duration` tells nothing of health.
    pub waits: bool,
    /// Where the request belongs in a distributed trace, where it says so.
    pub trace: Option<TraceParent>,
}

/// What is known of the language of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not known yet.
    Listening,
    /// Found.
    Speaks(Protocol),
    /// TLS: only what a TLS library sees can be read.
    Encrypted,
    /// Nothing that is known here; more of it need not be captured.
    Unknown,
}

/// What a conversation could not read, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Times that the start of the next message was lost.
    pub desynchronised: u64,
    /// Answers to nothing that was seen being asked.
    pub unmatched: u64,
    /// Requests forgotten because [`limits::PENDING`] others waited.
    pub evicted: u64,
    /// Requests whose answer was not captured.
    pub unseen: u64,
}

/// One connection as one process sees it.
#[derive(Debug)]
pub struct Conversation {
    transport: Transport,
    role: Option<Role>,
    state: State,
    parser: Option<Parser>,
    detector: detect::Detector,
    last: Option<Direction>,
    losses: Losses,
}

impl Conversation {
    /// A conversation; `role` where it is known who opened the connection.
    pub fn new(transport: Transport, role: Option<Role>) -> Self {
        Self {
            transport,
            role,
            state: State::Listening,
            parser: None,
            detector: detect::Detector::default(),
            last: None,
            losses: Losses::default(),
        }
    }

    /// What is known of its language.
    pub const fn state(&self) -> State {
        self.state
    }

    /// The part of the process, once known.
    pub const fn role(&self) -> Option<Role> {
        self.role
    }

    /// What could not be read.
    pub const fn losses(&self) -> Losses {
        self.losses
    }

    /// Takes what one call moved; appends the exchanges that it completed.
    pub fn feed(&mut self, data: &Data<'_>, out: &mut Vec<Request>) {
        if matches!(self.state, State::Encrypted | State::Unknown) {
            return;
        }
        if self.transport == Transport::Tcp && detect::is_tls_hello(data.head) {
            self.end(State::Encrypted);
            return;
        }
        if self.parser.is_some() {
            self.advance(data, out);
            return;
        }
        match self.detector.look(self.transport, self.role, data) {
            detect::Verdict::NotYet => {}
            detect::Verdict::GiveUp => self.end(State::Unknown),
            detect::Verdict::Found(found) => {
                self.role = Some(found.role);
                self.state = State::Speaks(found.protocol);
                self.parser = Some(Parser::new(found.protocol, self.transport));
                let missing = data.total.saturating_sub(data.head.len() as u64);
                let head = found.head;
                let total = head.len() as u64 + missing;
                self.advance(&Data { head: &head, total, time: found.since, ..*data }, out);
            }
        }
    }

    /// Gives up on answers that are overdue at `now`. To be called every few seconds.
    pub fn tick(&mut self, now: UnixNanos, out: &mut Vec<Request>) {
        self.with_parser(out, |parser, sink| parser.tick(now, sink));
    }

    /// The connection has ended: what waits for an answer will get none.
    pub fn close(&mut self, now: UnixNanos, out: &mut Vec<Request>) {
        self.with_parser(out, |parser, sink| parser.close(now, sink));
        self.parser = None;
    }

    fn advance(&mut self, data: &Data<'_>, out: &mut Vec<Request>) {
        let Some(role) = self.role else { return };
        let fresh = self.last != Some(data.direction);
        self.last = Some(data.direction);
        let speaker = match (role, data.direction) {
            (Role::Client, Direction::Out) | (Role::Server, Direction::In) => Speaker::Client,
            _ => Speaker::Server,
        };
        let chunk =
            Chunk { time: data.time, head: data.head, total: data.total.max(data.head.len() as u64), fresh };
        let mut after = None;
        self.with_parser(out, |parser, sink| after = parser.feed(speaker, &chunk, sink));
        match after {
            Some(State::Speaks(protocol)) => self.state = State::Speaks(protocol),
            Some(state) => {
                self.close(data.time, out);
                self.end(state);
            }
            None => {}
        }
    }

    fn with_parser(&mut self, out: &mut Vec<Request>, act: impl FnOnce(&mut Parser, &mut Sink<'_>)) {
        let (Some(parser), Some(role), State::Speaks(protocol)) = (&mut self.parser, self.role, self.state)
        else {
            return;
        };
        act(parser, &mut Sink { protocol, role, out, losses: &mut self.losses });
    }

    fn end(&mut self, state: State) {
        self.state = state;
        self.parser = None;
        self.detector = detect::Detector::default();
    }
}

/// Who of the two is talking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker {
    Client,
    Server,
}

/// [`Data`] as a parser sees it.
#[derive(Clone, Copy, Debug)]
struct Chunk<'a> {
    time: UnixNanos,
    head: &'a [u8],
    total: u64,
    /// The first since the other side spoke: whatever was left open before is over.
    fresh: bool,
}

macro_rules! parsers {
    ($($protocol:ident => $parser:ty),* $(,)?) => {
        /// The parser of each language.
        #[derive(Debug)]
        enum Parser {
            $($protocol(Box<$parser>),)*
        }

        impl Parser {
            fn new(protocol: Protocol, transport: Transport) -> Self {
                match protocol {
                    Protocol::Grpc => Self::new(Protocol::Http2, transport),
                    $(Protocol::$protocol => Self::$protocol(Box::new(<$parser>::new(transport))),)*
                }
            }

            /// What the conversation becomes, when that changes.
            fn feed(&mut self, speaker: Speaker, chunk: &Chunk<'_>, sink: &mut Sink<'_>) -> Option<State> {
                match self {
                    $(Self::$protocol(parser) => parser.feed(speaker, chunk, sink),)*
                }
            }

            fn tick(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
                match self {
                    $(Self::$protocol(parser) => parser.tick(now, sink),)*
                }
            }

            fn close(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
                match self {
                    $(Self::$protocol(parser) => parser.close(now, sink),)*
                }
            }
        }
    };
}

parsers! {
    Http1 => http1::Http1,
    Http2 => http2::Http2,
    Postgres => postgres::Postgres,
    Mysql => mysql::Mysql,
    Redis => redis::Redis,
    Mongodb => mongodb::Mongodb,
    Kafka => kafka::Kafka,
    Memcached => memcached::Memcached,
    Amqp => amqp::Amqp,
    Nats => nats::Nats,
    Dns => dns::Dns,
}
