//! Kafka: every kind of request, with the topic and the error of those that move records.
//! <https://kafka.apache.org/protocol.html>

use domain::UnixNanos;

use super::exchange::{Answer, Asked, Pending, Sink, Table};
use super::frames::{Frame, Frames, Measure};
use super::{Chunk, Protocol, Speaker, State, Transport, route};

const PRODUCE: u16 = 0;
const FETCH: u16 = 1;
const MAX_VERSION: u16 = 24;
const MAX_BYTES: u32 = 200 << 20;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Kafka {
    client: Frames,
    server: Frames,
    asked: Table<u32, Call>,
}

#[derive(Debug)]
struct Call {
    asked: Asked,
    api: u16,
    version: u16,
}

impl Pending for Call {
    fn asked(&self) -> &Asked {
        &self.asked
    }

    fn asked_mut(&mut self) -> &mut Asked {
        &mut self.asked
    }

    fn into_asked(self) -> Asked {
        self.asked
    }
}

impl Kafka {
    pub fn new(_: Transport) -> Self {
        Self::default()
    }

    pub fn feed(&mut self, speaker: Speaker, chunk: &Chunk<'_>, sink: &mut Sink<'_>) -> Option<State> {
        // Requests overlap: a turn says nothing of where a message starts.
        let chunk = Chunk { fresh: false, ..*chunk };
        match speaker {
            Speaker::Client => {
                self.client.push(&chunk, measure_request);
                while let Some(frame) = self.client.next(measure_request) {
                    self.asks(&frame, sink);
                }
                sink.losses.desynchronised += self.client.take_losses();
            }
            Speaker::Server => {
                let (lost, asked) = (self.server.is_lost(), &self.asked);
                // Any four bytes may be a length: one that is lost waits for the answer to a request.
                let measure = |bytes: &[u8]| match (lost, number(bytes, 4)) {
                    (true, Some(id)) if !asked.has(&id) => Measure::Invalid,
                    (true, None) => Measure::More,
                    _ => measure_answer(bytes),
                };
                self.server.push(&chunk, measure);
                let frames: Vec<Frame> = std::iter::from_fn(|| self.server.next(measure)).collect();
                for frame in frames {
                    self.answers(&frame, chunk.time, sink);
                }
                let lost = self.server.take_losses();
                sink.losses.desynchronised += lost;
                if lost > 0 {
                    self.asked.doubt();
                }
            }
        }
        None
    }

    fn asks(&mut self, frame: &Frame, sink: &mut Sink<'_>) {
        let Some(request) = Header::read(&frame.bytes) else { return };
        let asked = Asked {
            operation: API_NAMES[usize::from(request.api)].to_owned(),
            target: request.topic().map(route::of_subject).unwrap_or_default(),
            started: frame.started,
            // A fetch is held back until there are records; joining a group waits for its other members.
            waits: matches!(request.api, FETCH | 11 | 14),
            ..Asked::default()
        };
        if request.expects_no_answer() {
            sink.told(asked);
        } else {
            let Header { api, version, id, .. } = request;
            self.asked.ask(id, Call { asked, api, version }, sink);
        }
    }

    fn answers(&mut self, frame: &Frame, at: UnixNanos, sink: &mut Sink<'_>) {
        let Some(call) = number(&frame.bytes, 4).and_then(|id| self.asked.take(&id)) else {
            sink.losses.unmatched += 1;
            return;
        };
        let code = read_error(&call, frame.bytes.get(8..).unwrap_or_default()).unwrap_or(0);
        let answer = Answer { status: error_name(code), failed: code != 0, error: String::new() };
        sink.answered(call.asked, answer, at);
    }

    pub fn tick(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.asked.tick(now, sink);
    }

    pub fn close(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.asked.close(now, sink);
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

struct Header<'a> {
    api: u16,
    version: u16,
    id: u32,
    body: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (api, version, id) = (short(bytes, 4)?, short(bytes, 6)?, number(bytes, 8)?);
        if usize::from(api) >= API_NAMES.len() || version > MAX_VERSION {
            return None;
        }
        // The name of the client: -1 for none.
        let client = short(bytes, 12).filter(|length| *length != 0xffff).unwrap_or(0);
        let body = bytes.get(14 + usize::from(client)..).unwrap_or_default();
        Some(Self { api, version, id, body })
    }

    fn is_flexible(&self) -> bool {
        match self.api {
            PRODUCE => self.version >= 9,
            FETCH => self.version >= 12,
            _ => false,
        }
    }

    /// The body of a record request, up to its topics.
    fn reader(&self) -> Option<Reader<'a>> {
        let mut reader = Reader { rest: self.body, flexible: self.is_flexible() };
        if reader.flexible {
            reader.tags()?;
        }
        Some(reader)
    }

    fn acks(&self) -> Option<u16> {
        let mut reader = self.reader()?;
        if self.version >= 3 {
            reader.text()?;
        }
        short(reader.skip(2)?, 0)
    }

    /// A producer may ask for no acknowledgement.
    fn expects_no_answer(&self) -> bool {
        self.api == PRODUCE && self.acks() == Some(0)
    }

    /// The first topic, where the request is of a kind and version that names it.
    fn topic(&self) -> Option<&'a [u8]> {
        let mut reader = self.reader()?;
        match self.api {
            PRODUCE if self.version <= 12 => {
                if self.version >= 3 {
                    reader.text()?;
                }
                reader.skip(2 + 4)?;
            }
            FETCH if self.version <= 12 => {
                let fixed = match self.version {
                    0..=2 => 12,
                    3 => 16,
                    4..=6 => 17,
                    _ => 25,
                };
                reader.skip(fixed)?;
            }
            _ => return None,
        }
        (reader.count()? > 0).then(|| reader.text()).flatten().filter(|topic| {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            !topic.is_empty() && topic.len() <= 249 && topic.iter().all(plain)
        })
    }
}

/// Fields in the older and in the compact encoding.
struct Reader<'a> {
    rest: &'a [u8],
    flexible: bool,
}

impl<'a> Reader<'a> {
    fn skip(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (skipped, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(skipped)
    }

    fn varint(&mut self) -> Option<usize> {
        let mut value = 0_usize;
        for shift in 0..5 {
            let byte = self.skip(1)?[0];
            value |= usize::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn count(&mut self) -> Option<usize> {
        if self.flexible {
            return Some(self.varint()?.saturating_sub(1));
        }
        let count = number(self.skip(4)?, 0)?;
        Some(if count == u32::MAX { 0 } else { usize::try_from(count).ok()? })
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = if self.flexible {
            self.varint()?.saturating_sub(1)
        } else {
            let length = short(self.skip(2)?, 0)?;
            if length == 0xffff { 0 } else { length.into() }
        };
        self.skip(length)
    }

    fn tags(&mut self) -> Option<()> {
        for _ in 0..self.varint()?.min(16) {
            self.varint()?;
            let length = self.varint()?;
            self.skip(length)?;
        }
        Some(())
    }
}

/// The first error of an answer, where its place is known.
fn read_error(call: &Call, body: &[u8]) -> Option<u16> {
    let flexible = Header { api: call.api, version: call.version, id: 0, body }.is_flexible();
    let mut reader = Reader { rest: body, flexible };
    if flexible {
        reader.tags()?;
    }
    match call.api {
        PRODUCE => {
            // Topics, each with its partitions, each with its number and its error.
            if call.version > 12 || reader.count()? == 0 {
                return None;
            }
            reader.text()?;
            (reader.count()? > 0).then_some(())?;
            reader.skip(4)?;
            short(reader.skip(2)?, 0)
        }
        FETCH if call.version >= 7 => {
            reader.skip(4)?;
            short(reader.skip(2)?, 0)
        }
        // Throttle time, then the error.
        10..=14 if call.version >= 2 && call.version < 4 => short(body, 4),
        17 | 18 => short(body, 0),
        _ => None,
    }
}

fn error_name(code: u16) -> String {
    match code {
        0 => return String::new(),
        1 => "OFFSET_OUT_OF_RANGE",
        2 => "CORRUPT_MESSAGE",
        3 => "UNKNOWN_TOPIC_OR_PARTITION",
        5 => "LEADER_NOT_AVAILABLE",
        6 => "NOT_LEADER_OR_FOLLOWER",
        7 => "REQUEST_TIMED_OUT",
        10 => "MESSAGE_TOO_LARGE",
        14 => "COORDINATOR_LOAD_IN_PROGRESS",
        15 => "COORDINATOR_NOT_AVAILABLE",
        16 => "NOT_COORDINATOR",
        19 => "NOT_ENOUGH_REPLICAS",
        22 => "ILLEGAL_GENERATION",
        25 => "UNKNOWN_MEMBER_ID",
        27 => "REBALANCE_IN_PROGRESS",
        29 => "TOPIC_AUTHORIZATION_FAILED",
        35 => "UNSUPPORTED_VERSION",
        _ => return code.to_string(),
    }
    .to_owned()
}

fn measure_request(bytes: &[u8]) -> Measure {
    match measure_answer(bytes) {
        Measure::Bytes(length) if bytes.len() >= 12 => {
            if Header::read(bytes).is_some() && length >= 14 {
                Measure::Bytes(length)
            } else {
                Measure::Invalid
            }
        }
        Measure::Bytes(_) => Measure::More,
        measure => measure,
    }
}

fn measure_answer(bytes: &[u8]) -> Measure {
    match number(bytes, 0) {
        Some(length @ 4..=MAX_BYTES) => Measure::Bytes(u64::from(length) + 4),
        Some(_) => Measure::Invalid,
        None => Measure::More,
    }
}

/// A request of known kind that fills the bytes exactly, by a client with a printable name.
pub(super) fn detect(bytes: &[u8], missing: u64) -> Option<(Protocol, Speaker)> {
    let total = bytes.len() as u64 + missing;
    if !matches!(measure_request(bytes), Measure::Bytes(length) if length == total) {
        return None;
    }
    let name = match short(bytes, 12)? {
        0xffff => &[][..],
        length => bytes.get(14..14 + usize::from(length))?,
    };
    let likely = name.iter().all(u8::is_ascii_graphic) && name.len() <= 255;
    let first = number(bytes, 8)? < 1 << 30;
    (likely && first).then_some((Protocol::Kafka, Speaker::Client))
}

const API_NAMES: &[&str] = &[
    "Produce",
    "Fetch",
    "ListOffsets",
    "Metadata",
    "LeaderAndIsr",
    "StopReplica",
    "UpdateMetadata",
    "ControlledShutdown",
    "OffsetCommit",
    "OffsetFetch",
    "FindCoordinator",
    "JoinGroup",
    "Heartbeat",
    "LeaveGroup",
    "SyncGroup",
    "DescribeGroups",
    "ListGroups",
    "SaslHandshake",
    "ApiVersions",
    "CreateTopics",
    "DeleteTopics",
    "DeleteRecords",
    "InitProducerId",
    "OffsetForLeaderEpoch",
    "AddPartitionsToTxn",
    "AddOffsetsToTxn",
    "EndTxn",
    "WriteTxnMarkers",
    "TxnOffsetCommit",
    "DescribeAcls",
    "CreateAcls",
    "DeleteAcls",
    "DescribeConfigs",
    "AlterConfigs",
    "AlterReplicaLogDirs",
    "DescribeLogDirs",
    "SaslAuthenticate",
    "CreatePartitions",
    "CreateDelegationToken",
    "RenewDelegationToken",
    "ExpireDelegationToken",
    "DescribeDelegationToken",
    "DeleteGroups",
    "ElectLeaders",
    "IncrementalAlterConfigs",
    "AlterPartitionReassignments",
    "ListPartitionReassignments",
    "OffsetDelete",
    "DescribeClientQuotas",
    "AlterClientQuotas",
    "DescribeUserScramCredentials",
    "AlterUserScramCredentials",
    "Vote",
    "BeginQuorumEpoch",
    "EndQuorumEpoch",
    "DescribeQuorum",
    "AlterPartition",
    "UpdateFeatures",
    "Envelope",
    "FetchSnapshot",
    "DescribeCluster",
    "DescribeProducers",
    "BrokerRegistration",
    "BrokerHeartbeat",
    "UnregisterBroker",
    "DescribeTransactions",
    "ListTransactions",
    "AllocateProducerIds",
    "ConsumerGroupHeartbeat",
    "ConsumerGroupDescribe",
    "ControllerRegistration",
    "GetTelemetrySubscriptions",
    "PushTelemetry",
    "AssignReplicasToDirs",
    "ListClientMetricsResources",
    "DescribeTopicPartitions",
];
