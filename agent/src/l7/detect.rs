//! Which language a conversation is in, from the first bytes that are seen of it.
//!
//! Each protocol recognises what can only be the start of one of its own messages, from the first of a connection or from any
//! later one: what is ambiguous is left for a later chunk to tell.

use domain::UnixNanos;

use super::{Data, Direction, Protocol, Role, Speaker, Transport, limits};
use super::{amqp, dns, http1, http2, kafka, memcached, mongodb, mysql, nats, postgres, redis};

/// Bytes of one turn that are looked at together.
const TURN_BYTES: usize = 2048;

/// Looks at a conversation until its language is found.
#[derive(Debug, Default)]
pub(super) struct Detector {
    turn: Vec<u8>,
    direction: Option<Direction>,
    since: UnixNanos,
    attempts: u32,
    /// Whether bytes of this turn are missing at the end of `turn`.
    broken: bool,
}

/// What came of looking.
#[derive(Debug)]
pub(super) enum Verdict {
    NotYet,
    GiveUp,
    Found(Found),
}

/// A language, who plays which part, and what to read first.
#[derive(Debug)]
pub(super) struct Found {
    pub protocol: Protocol,
    pub role: Role,
    pub head: Vec<u8>,
    pub since: UnixNanos,
}

impl Detector {
    /// Looks at one more chunk. A header and its body may come in two, so a turn is looked at as a whole.
    pub fn look(&mut self, transport: Transport, role: Option<Role>, data: &Data<'_>) -> Verdict {
        let goes_on = self.direction == Some(data.direction)
            && transport == Transport::Tcp
            && !self.broken
            && self.turn.len() < TURN_BYTES;
        if !goes_on {
            self.turn.clear();
            self.since = data.time;
        }
        self.direction = Some(data.direction);
        self.broken = data.total > data.head.len() as u64;
        self.turn.extend_from_slice(data.head);
        self.attempts += 1;
        let missing = data.total.saturating_sub(data.head.len() as u64);
        for (bytes, since) in [(self.turn.as_slice(), self.since), (data.head, data.time)] {
            if let Some((protocol, role)) = recognise(transport, role, data.direction, bytes, missing) {
                return Verdict::Found(Found { protocol, role, head: bytes.to_vec(), since });
            }
        }
        if self.attempts >= limits::ATTEMPTS { Verdict::GiveUp } else { Verdict::NotYet }
    }
}

/// A TLS record that holds the first message of a client.
pub(super) fn is_tls_hello(bytes: &[u8]) -> bool {
    matches!(bytes, [0x16, 0x03, 0..=4, _, _, 0x01, 0x00, ..])
}

type Recognise = fn(&[u8], u64) -> Option<(Protocol, Speaker)>;

/// The strictest first. Each is given bytes, and how many that were not captured follow.
const TCP: &[Recognise] = &[
    |bytes, _| http1::detect(bytes),
    |bytes, _| http2::detect(bytes),
    |bytes, _| redis::detect(bytes),
    |bytes, _| nats::detect(bytes),
    |bytes, _| amqp::detect(bytes),
    |bytes, _| memcached::detect(bytes),
    mongodb::detect,
    postgres::detect,
    mysql::detect,
    dns::detect_stream,
    kafka::detect,
];
const UDP: &[Recognise] = &[|bytes, _| dns::detect(bytes)];

fn recognise(
    transport: Transport,
    known: Option<Role>,
    direction: Direction,
    bytes: &[u8],
    missing: u64,
) -> Option<(Protocol, Role)> {
    let all: &[Recognise] = match transport {
        Transport::Tcp => TCP,
        Transport::Udp => UDP,
    };
    all.iter().find_map(|recognise| {
        let (protocol, speaker) = recognise(bytes, missing)?;
        let role = match (speaker, direction) {
            (Speaker::Client, Direction::Out) | (Speaker::Server, Direction::In) => Role::Client,
            _ => Role::Server,
        };
        (known.is_none() || known == Some(role)).then_some((protocol, role))
    })
}
