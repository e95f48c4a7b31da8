//! Redis: RESP 2 and 3, pipelined. Keys and values are not read. <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use domain::UnixNanos;

use super::exchange::{Answer, Asked, Line, Sink};
use super::frames::{Frames, Measure};
use super::{Chunk, Protocol, Speaker, State, Transport};

/// Bytes of a number and its line end.
const LINE_BYTES: usize = 32;
/// Words of a command that are looked at.
const WORDS: usize = 10;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Redis {
    client: Frames,
    server: Frames,
    command: Command,
    /// Values until the answer at hand is complete.
    wanted: u64,
    answer: Option<Answer>,
    pushed: bool,
    asked: Line,
    /// Subscribed: what the server says is no longer in answer to anything.
    listens: bool,
}

#[derive(Debug, Default)]
struct Command {
    left: u64,
    words: Vec<String>,
    started: UnixNanos,
}

impl Redis {
    pub fn new(_: Transport) -> Self {
        Self::default()
    }

    pub fn feed(&mut self, speaker: Speaker, chunk: &Chunk<'_>, sink: &mut Sink<'_>) -> Option<State> {
        match speaker {
            Speaker::Client => self.asks(chunk, sink),
            Speaker::Server => self.answers(chunk, sink),
        }
        None
    }

    fn asks(&mut self, chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
        // A value may hold anything; only a known command starts a turn anew.
        let begun = |bytes: &[u8]| if detect(bytes).is_some() { Measure::Open } else { Measure::Invalid };
        if (chunk.fresh || self.client.is_lost()) && detect(chunk.head).is_some() {
            self.command = Command::default();
            self.client = Frames::default();
        }
        self.client.push(chunk, begun);
        loop {
            let inside = self.command.left > 0;
            let lost = self.client.is_lost();
            let frame = self.client.next(|bytes| match inside {
                true => measure_word(bytes),
                false if lost && detect(bytes).is_none() => Measure::Invalid,
                false => measure_command(bytes),
            });
            let Some(frame) = frame else { break };
            let line = first_line(&frame.bytes).unwrap_or_default();
            if !inside {
                let left = number(&line[1..]).unwrap_or(0);
                self.command = Command { left, words: Vec::new(), started: frame.started };
                continue;
            }
            self.command.left -= 1;
            if self.command.words.len() < WORDS {
                let word = frame.bytes.get(line.len() + 2..).unwrap_or_default();
                let word = word.strip_suffix(b"\r\n").unwrap_or(word);
                let plain = word.len() <= LINE_BYTES && word.iter().all(u8::is_ascii_graphic) && frame.whole;
                let word =
                    if plain { String::from_utf8_lossy(word).to_ascii_uppercase() } else { String::new() };
                self.command.words.push(word);
            }
            if self.command.left == 0 {
                let command = std::mem::take(&mut self.command);
                self.ask(&command, sink);
            }
        }
        if self.client.is_lost() && self.command.left > 0 {
            let command = std::mem::take(&mut self.command);
            if !command.words.is_empty() {
                self.ask(&command, sink);
            }
        }
        sink.losses.desynchronised += self.client.take_losses();
    }

    fn ask(&mut self, command: &Command, sink: &mut Sink<'_>) {
        let name = command.words.first().map_or("", String::as_str);
        let second = command.words.get(1).map_or("", String::as_str);
        let Some(known) = COMMANDS.iter().find(|known| **known == name) else {
            let operation = if is_of_module(name) { name } else { "OTHER" };
            let asked =
                Asked { operation: operation.to_owned(), started: command.started, ..Asked::default() };
            self.asked.ask(asked, sink);
            return;
        };
        let operation = match *known {
            "ACL" | "CLIENT" | "CLUSTER" | "CONFIG" | "FUNCTION" | "LATENCY" | "MEMORY" | "OBJECT"
            | "PUBSUB" | "SCRIPT" | "SLOWLOG" | "XGROUP" | "XINFO"
                if SUBCOMMANDS.contains(&second) =>
            {
                format!("{known} {second}")
            }
            known => known.to_owned(),
        };
        let blocks =
            matches!(*known, "XREAD" | "XREADGROUP") && command.words.iter().any(|word| word == "BLOCK");
        let waits = blocks || WAITING.contains(known);
        let asked = Asked { operation, started: command.started, waits, ..Asked::default() };
        if matches!(*known, "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" | "MONITOR" | "SYNC" | "PSYNC") {
            self.listens = true;
        }
        if self.listens { sink.told(asked) } else { self.asked.ask(asked, sink) }
    }

    fn answers(&mut self, chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
        if self.listens {
            return;
        }
        if chunk.fresh && (self.wanted > 0 || !self.server.between()) && is_answer(chunk.head) {
            // The end of the answer before was not captured.
            if let Some(answer) = self.answer.take() {
                self.asked.answer(answer, chunk.time, sink);
            }
            self.wanted = 0;
            self.server = Frames::default();
        }
        self.server.push(chunk, |bytes| if is_answer(bytes) { Measure::Open } else { Measure::Invalid });
        while let Some(frame) = self.server.next(measure_value) {
            let line = first_line(&frame.bytes).unwrap_or_default();
            let (kind, count) = (line[0], number(&line[1..]).unwrap_or(0));
            if self.wanted == 0 {
                self.wanted = 1;
                self.pushed = kind == b'>';
                self.answer = Some(match kind {
                    b'-' => read_error(&line[1..]),
                    b'!' => read_error(frame.bytes.get(line.len() + 2..).unwrap_or_default()),
                    _ => Answer::default(),
                });
            }
            self.wanted = self.wanted.saturating_add(match kind {
                b'*' | b'~' | b'>' => count,
                b'%' => count.saturating_mul(2),
                // Attributes stand before the value that they are of.
                b'|' => count.saturating_mul(2).saturating_add(1),
                _ => 0,
            });
            self.wanted -= 1;
            if self.wanted == 0 {
                let answer = self.answer.take().unwrap_or_default();
                if !self.pushed {
                    self.asked.answer(answer, chunk.time, sink);
                }
            }
        }
        let lost = self.server.take_losses();
        if lost > 0 {
            sink.losses.desynchronised += lost;
            if let Some(answer) = self.answer.take() {
                self.asked.answer(answer, chunk.time, sink);
            }
            self.wanted = 0;
            self.asked.forget(sink);
        }
    }

    pub fn tick(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.asked.tick(now, sink);
    }

    pub fn close(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        if let Some(answer) = self.answer.take().filter(|_| !self.pushed) {
            self.asked.answer(answer, now, sink);
        }
        self.asked.close(now, sink);
    }
}

fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    let end = memchr::memmem::find(bytes, b"\r\n")?;
    (end > 0).then(|| &bytes[..end])
}

/// `-1` stands for nothing at all.
fn number(digits: &[u8]) -> Option<u64> {
    if digits == b"-1" {
        return Some(0);
    }
    let plain = !digits.is_empty() && digits.len() <= 10 && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

fn measure_command(bytes: &[u8]) -> Measure {
    measure_counted(bytes, b'*', |_| 0)
}

fn measure_word(bytes: &[u8]) -> Measure {
    measure_counted(bytes, b'$', |length| length + 2)
}

fn measure_counted(bytes: &[u8], kind: u8, body: impl Fn(u64) -> u64) -> Measure {
    if bytes.first() != Some(&kind) {
        return Measure::Invalid;
    }
    match first_line(bytes) {
        Some(line) => match number(&line[1..]) {
            Some(count) => Measure::Bytes(line.len() as u64 + 2 + body(count)),
            None => Measure::Invalid,
        },
        None if bytes.len() < LINE_BYTES => Measure::More,
        None => Measure::Invalid,
    }
}

fn measure_value(bytes: &[u8]) -> Measure {
    match bytes.first() {
        Some(b'$' | b'!' | b'=') if bytes.get(1) == Some(&b'-') => measure_counted(bytes, bytes[0], |_| 0),
        Some(b'$' | b'!' | b'=') => measure_counted(bytes, bytes[0], |length| length + 2),
        Some(b'*' | b'%' | b'~' | b'>' | b'|') => measure_counted(bytes, bytes[0], |_| 0),
        Some(b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(') => match first_line(bytes) {
            Some(line) => Measure::Bytes(line.len() as u64 + 2),
            None => Measure::More,
        },
        _ => Measure::Invalid,
    }
}

fn is_answer(bytes: &[u8]) -> bool {
    matches!(measure_value(bytes), Measure::Bytes(_))
}

/// The word that an error begins with. A script may say anything, so no other word is kept.
fn read_error(text: &[u8]) -> Answer {
    let word = text.split(|byte| !byte.is_ascii_alphabetic()).next().unwrap_or_default();
    let code = ERRORS.iter().find(|code| code.as_bytes() == word).copied().unwrap_or("ERR");
    // A cluster that sends the client on has not failed.
    Answer { status: code.to_owned(), failed: !matches!(code, "MOVED" | "ASK"), error: String::new() }
}

fn is_of_module(name: &str) -> bool {
    let Some((module, rest)) = name.split_once('.') else { return false };
    let modules = ["JSON", "FT", "TS", "BF", "CF", "CMS", "TOPK", "TDIGEST", "GRAPH", "AI"];
    modules.contains(&module) && rest.len() <= 16 && rest.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// A command of known name, as an array of strings.
pub(super) fn detect(bytes: &[u8]) -> Option<(Protocol, Speaker)> {
    let line = first_line(bytes).filter(|line| line[0] == b'*')?;
    number(&line[1..]).filter(|count| (1..=1 << 20).contains(count))?;
    let rest = &bytes[line.len() + 2..];
    let line = first_line(rest).filter(|line| line[0] == b'$')?;
    let length = usize::try_from(number(&line[1..])?).ok()?;
    let name = rest.get(line.len() + 2..)?.get(..length)?;
    let name = std::str::from_utf8(name).ok()?.to_ascii_uppercase();
    let known = COMMANDS.contains(&name.as_str()) || is_of_module(&name);
    known.then_some((Protocol::Redis, Speaker::Client))
}

/// Commands that hold their answer back until there is something to tell.
const WAITING: &[&str] = &[
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BLMOVE",
    "BLMPOP",
    "BZPOPMIN",
    "BZPOPMAX",
    "BZMPOP",
    "WAIT",
    "WAITAOF",
    "SUBSCRIBE",
    "PSUBSCRIBE",
    "SSUBSCRIBE",
    "MONITOR",
    "PSYNC",
    "SYNC",
];

const ERRORS: &[&str] = &[
    "ERR",
    "WRONGTYPE",
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "OOM",
    "READONLY",
    "LOADING",
    "BUSY",
    "MOVED",
    "ASK",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "TRYAGAIN",
    "MASTERDOWN",
    "NOSCRIPT",
    "EXECABORT",
    "BUSYGROUP",
    "NOGROUP",
    "MISCONF",
    "NOREPLICAS",
    "UNKILLABLE",
    "NOTBUSY",
    "NOPROTO",
    "BUSYKEY",
];

const SUBCOMMANDS: &[&str] = &[
    "CAT",
    "COUNT-FAILURE-REPORTS",
    "CREATE",
    "CREATECONSUMER",
    "DELCONSUMER",
    "DESTROY",
    "DOCTOR",
    "ENCODING",
    "EXISTS",
    "FLUSH",
    "FREQ",
    "GET",
    "GETNAME",
    "GETREDIR",
    "GROUPS",
    "HELP",
    "HISTORY",
    "ID",
    "IDLETIME",
    "INFO",
    "KEYSLOT",
    "KILL",
    "LATEST",
    "LEN",
    "LIST",
    "LOAD",
    "MYID",
    "NODES",
    "NO-EVICT",
    "NO-TOUCH",
    "NUMPAT",
    "NUMSUB",
    "REFCOUNT",
    "RESET",
    "SET",
    "SETID",
    "SETINFO",
    "SETNAME",
    "SHARDS",
    "SLOTS",
    "STATS",
    "STREAM",
    "TRACKING",
    "USAGE",
];

const COMMANDS: &[&str] = &[
    "ACL",
    "APPEND",
    "ASKING",
    "AUTH",
    "BGREWRITEAOF",
    "BGSAVE",
    "BITCOUNT",
    "BITFIELD",
    "BITFIELD_RO",
    "BITOP",
    "BITPOS",
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "CLIENT",
    "CLUSTER",
    "COMMAND",
    "CONFIG",
    "COPY",
    "DBSIZE",
    "DEBUG",
    "DECR",
    "DECRBY",
    "DEL",
    "DISCARD",
    "DUMP",
    "ECHO",
    "EVAL",
    "EVALSHA",
    "EVALSHA_RO",
    "EVAL_RO",
    "EXEC",
    "EXISTS",
    "EXPIRE",
    "EXPIREAT",
    "EXPIRETIME",
    "FAILOVER",
    "FCALL",
    "FCALL_RO",
    "FLUSHALL",
    "FLUSHDB",
    "FUNCTION",
    "GEOADD",
    "GEODIST",
    "GEOHASH",
    "GEOPOS",
    "GEORADIUS",
    "GEORADIUSBYMEMBER",
    "GEORADIUSBYMEMBER_RO",
    "GEORADIUS_RO",
    "GEOSEARCH",
    "GEOSEARCHSTORE",
    "GET",
    "GETBIT",
    "GETDEL",
    "GETEX",
    "GETRANGE",
    "GETSET",
    "HDEL",
    "HELLO",
    "HEXISTS",
    "HEXPIRE",
    "HEXPIREAT",
    "HEXPIRETIME",
    "HGET",
    "HGETALL",
    "HGETDEL",
    "HGETEX",
    "HINCRBY",
    "HINCRBYFLOAT",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HMSET",
    "HPERSIST",
    "HPEXPIRE",
    "HPEXPIREAT",
    "HPTTL",
    "HRANDFIELD",
    "HSCAN",
    "HSET",
    "HSETEX",
    "HSETNX",
    "HSTRLEN",
    "HTTL",
    "HVALS",
    "INCR",
    "INCRBY",
    "INCRBYFLOAT",
    "INFO",
    "KEYS",
    "LASTSAVE",
    "LATENCY",
    "LCS",
    "LINDEX",
    "LINSERT",
    "LLEN",
    "LMOVE",
    "LMPOP",
    "LOLWUT",
    "LPOP",
    "LPOS",
    "LPUSH",
    "LPUSHX",
    "LRANGE",
    "LREM",
    "LSET",
    "LTRIM",
    "MEMORY",
    "MGET",
    "MIGRATE",
    "MODULE",
    "MONITOR",
    "MOVE",
    "MSET",
    "MSETNX",
    "MULTI",
    "OBJECT",
    "PERSIST",
    "PEXPIRE",
    "PEXPIREAT",
    "PEXPIRETIME",
    "PFADD",
    "PFCOUNT",
    "PFMERGE",
    "PING",
    "PSETEX",
    "PSUBSCRIBE",
    "PSYNC",
    "PTTL",
    "PUBLISH",
    "PUBSUB",
    "PUNSUBSCRIBE",
    "QUIT",
    "RANDOMKEY",
    "READONLY",
    "READWRITE",
    "RENAME",
    "RENAMENX",
    "REPLCONF",
    "REPLICAOF",
    "RESET",
    "RESTORE",
    "ROLE",
    "RPOP",
    "RPOPLPUSH",
    "RPUSH",
    "RPUSHX",
    "SADD",
    "SAVE",
    "SCAN",
    "SCARD",
    "SCRIPT",
    "SDIFF",
    "SDIFFSTORE",
    "SELECT",
    "SENTINEL",
    "SET",
    "SETBIT",
    "SETEX",
    "SETNX",
    "SETRANGE",
    "SHUTDOWN",
    "SINTER",
    "SINTERCARD",
    "SINTERSTORE",
    "SISMEMBER",
    "SLAVEOF",
    "SLOWLOG",
    "SMEMBERS",
    "SMISMEMBER",
    "SMOVE",
    "SORT",
    "SORT_RO",
    "SPOP",
    "SPUBLISH",
    "SRANDMEMBER",
    "SREM",
    "SSCAN",
    "SSUBSCRIBE",
    "STRLEN",
    "SUBSCRIBE",
    "SUBSTR",
    "SUNION",
    "SUNIONSTORE",
    "SUNSUBSCRIBE",
    "SWAPDB",
    "SYNC",
    "TIME",
    "TOUCH",
    "TTL",
    "TYPE",
    "UNLINK",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WAIT",
    "WAITAOF",
    "WATCH",
    "XACK",
    "XADD",
    "XAUTOCLAIM",
    "XCLAIM",
    "XDEL",
    "XGROUP",
    "XINFO",
    "XLEN",
    "XPENDING",
    "XRANGE",
    "XREAD",
    "XREADGROUP",
    "XREVRANGE",
    "XSETID",
    "XTRIM",
    "ZADD",
    "ZCARD",
    "ZCOUNT",
    "ZDIFF",
    "ZDIFFSTORE",
    "ZINCRBY",
    "ZINTER",
    "ZINTERCARD",
    "ZINTERSTORE",
    "ZLEXCOUNT",
    "ZMPOP",
    "ZMSCORE",
    "ZPOPMAX",
    "ZPOPMIN",
    "ZRANDMEMBER",
    "ZRANGE",
    "ZRANGEBYLEX",
    "ZRANGEBYSCORE",
    "ZRANGESTORE",
    "ZRANK",
    "ZREM",
    "ZREMRANGEBYLEX",
    "ZREMRANGEBYRANK",
    "ZREMRANGEBYSCORE",
    "ZREVRANGE",
    "ZREVRANGEBYLEX",
    "ZREVRANGEBYSCORE",
    "ZREVRANK",
    "ZSCAN",
    "ZSCORE",
    "ZUNION",
    "ZUNIONSTORE",
];
