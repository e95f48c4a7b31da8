//! The journal of systemd, read with `journalctl`.
//!
//! Its files have a format of their own, which `journalctl` alone is promised to read: where it is absent, so is the journal.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use domain::UnixNanos;
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::told::Troubles;
use super::{Entry, Shipment, Source, Told, blocking, limits, pause, positions, ship};

/// How the journal is followed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `journalctl`, or a path to it.
    pub program: PathBuf,
    /// The folder of the journal's files, when it is not this system's own: `/host/var/log/journal`.
    pub folder: Option<PathBuf>,
    /// Where the place is noted that was read up to.
    pub position: PathBuf,
    /// Whether the very first agent of the host reads what is there already.
    pub from_start: bool,
}

/// Whether the host at `root` has a journal.
pub fn is_there(root: &Path) -> bool {
    root.join("run/systemd/journal").exists()
}

/// The folder of the journal of the host whose `/` is at `root`; none where that is this system's own.
pub fn folder(root: &Path) -> Option<PathBuf> {
    if root == Path::new("/") {
        return None;
    }
    // Kept on disk where the first is there, otherwise in memory.
    let kept = root.join("var/log/journal");
    Some(if kept.is_dir() { kept } else { root.join("run/log/journal") })
}

/// How long a batch is waited for to fill.
const FILL: Duration = Duration::from_millis(250);
/// How long `journalctl` may take to say where the journal ends.
const END: Duration = Duration::from_secs(60);
/// Bytes of one line of its output. A message as long as an event may be fits in: bytes that are no text are written as numbers, and
/// control characters as six letters.
const LINE_BYTES: usize = 8 * limits::EVENT_BYTES;
/// The fields that are read; the cursor and the time always come.
const FIELDS: &str =
    "--output-fields=MESSAGE,PRIORITY,_PID,_SYSTEMD_UNIT,SYSLOG_IDENTIFIER,CONTAINER_ID_FULL,CONTAINER_NAME";

/// Follows the journal until `stop`. Whatever goes wrong is told and tried again: the place is kept in memory until it can be noted.
pub async fn follow(settings: Settings, told: Told, out: mpsc::Sender<Shipment>, stop: CancellationToken) {
    let mut follower = Follower {
        troubles: Troubles::new("the journal", told.clone()),
        settings,
        told,
        out,
        stop,
        cursor: String::new(),
        unsaved: false,
    };
    while !follower.stop.is_cancelled() {
        match follower.settings.place().await {
            Ok((cursor, unsaved)) => {
                (follower.cursor, follower.unsaved) = (cursor, unsaved);
                break;
            }
            Err(error) => follower.troubles.note(&error),
        }
        pause(limits::RETRY, &follower.stop).await;
    }
    while !follower.stop.is_cancelled() {
        let followed = follower.run().await;
        follower.troubles.pass(followed);
        pause(limits::RETRY, &follower.stop).await;
    }
}

impl Settings {
    /// The cursor to go on behind, none for the beginning, and whether it is yet to be noted. The very first agent of the host notes the
    /// end as it finds it, so that what is written from then on is not lost when it is killed before the first batch has arrived.
    async fn place(&self) -> io::Result<(String, bool)> {
        match tokio::fs::read_to_string(&self.position).await {
            Ok(cursor) => Ok((cursor, false)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Err(_) if self.from_start => Ok((String::new(), false)),
            Err(_) => Ok((self.end().await?, true)),
        }
    }

    /// The cursor of the last entry; empty where there is none.
    async fn end(&self) -> io::Result<String> {
        let mut command = self.command();
        // Any field will do: of the last message nothing is to be read.
        command.args(["--lines=1", "--output-fields=PRIORITY"]);
        let answer = tokio::time::timeout(END, command.output()).await??;
        if !answer.status.success() {
            return Err(io::Error::other(format!("journalctl: {}", answer.status)));
        }
        let text = String::from_utf8_lossy(&answer.stdout);
        let Some(line) = text.lines().next() else { return Ok(String::new()) };
        let fields: Map<String, Value> = serde_json::from_str(line)?;
        text_of(&fields, "__CURSOR").ok_or_else(|| io::Error::other("journalctl tells no cursor"))
    }

    fn start(&self, cursor: &str) -> io::Result<(Child, Lines)> {
        let mut command = self.command();
        // Without `--all`, a field of more than 4096 bytes comes as null.
        command.args(["--all", FIELDS, "--follow"]);
        if cursor.is_empty() {
            command.arg("--no-tail");
        } else {
            command.arg(format!("--after-cursor={cursor}"));
        }
        let mut child = command.spawn()?;
        let out = child.stdout.take().ok_or_else(|| io::Error::other("no output of journalctl"))?;
        Ok((child, Lines { out: BufReader::new(out), line: Vec::new(), is_long: false }))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--output=json", "--no-pager", "--quiet"]);
        if let Some(folder) = &self.folder {
            command.arg("--directory").arg(folder);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }
}

struct Follower {
    settings: Settings,
    told: Told,
    troubles: Troubles,
    out: mpsc::Sender<Shipment>,
    stop: CancellationToken,
    /// Behind what has arrived.
    cursor: String,
    /// Whether that is not noted on disk yet.
    unsaved: bool,
}

impl Follower {
    /// Runs `journalctl` once, until it ends or a batch does not arrive: that is read again from the last place that has.
    async fn run(&mut self) -> io::Result<()> {
        self.save().await;
        let (mut child, mut lines) = self.settings.start(&self.cursor)?;
        let read = self.read(&mut lines).await;
        if let Err(error) = child.kill().await {
            self.troubles.note(&error);
        }
        read
    }

    async fn read(&mut self, lines: &mut Lines) -> io::Result<()> {
        loop {
            self.save().await;
            let batch = tokio::select! {
                batch = batch(lines) => batch?,
                () = self.stop.cancelled() => return Ok(()),
            };
            let Batch { entries, cursor, cut, lost } = batch;
            self.told.change(|counts| counts.lost += lost);
            if entries.is_empty() {
                continue;
            }
            let sent = entries.len() as u64;
            if !ship(entries, &self.out, &self.stop).await {
                return Ok(());
            }
            self.told.change(|counts| {
                counts.sent += sent;
                counts.cut += cut;
            });
            (self.cursor, self.unsaved) = (cursor, true);
        }
    }

    /// Notes the place, if that has moved. Tried again after the next batch, or when none has come for a while.
    async fn save(&mut self) {
        if !self.unsaved {
            return;
        }
        let (place, cursor) = (self.settings.position.clone(), self.cursor.clone());
        match blocking(move || positions::replace(&place, cursor.as_bytes())).await {
            Ok(()) => self.unsaved = false,
            Err(error) => self.troubles.note(&error),
        }
    }
}

/// What was read in one go.
#[derive(Debug, Default)]
struct Batch {
    entries: Vec<Entry>,
    /// The place behind them.
    cursor: String,
    /// How many of them have lost their end.
    cut: u64,
    /// Lines that were too long to be read.
    lost: u64,
}

/// The next entries; none when none came for a while. Fails when there will be no more.
async fn batch(lines: &mut Lines) -> io::Result<Batch> {
    let mut batch = Batch::default();
    let mut bytes = 0;
    while batch.entries.len() < limits::BATCH && bytes < limits::BATCH_BYTES {
        let patience = if batch.entries.is_empty() { limits::RETRY } else { FILL };
        match tokio::time::timeout(patience, lines.next()).await {
            Err(_) => break,
            Ok(Ok(Some(line))) => {
                bytes += line.len();
                if let Some(message) = read(&line) {
                    batch.entries.push(message.entry);
                    batch.cursor = message.cursor;
                    batch.cut += u64::from(message.cut);
                }
            }
            Ok(Ok(None)) => batch.lost += 1,
            // What has come before is handed out first; the next batch fails again.
            Ok(Err(_)) if !batch.entries.is_empty() => break,
            Ok(Err(error)) => return Err(error),
        }
    }
    Ok(batch)
}

/// The lines of `journalctl`, each bounded.
struct Lines {
    out: BufReader<ChildStdout>,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// Whether that is too long: the rest is passed over.
    is_long: bool,
}

impl Lines {
    /// The next line; `None` for one that is too long. To be dropped at any time: what has come of a line is kept.
    async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            let chunk = self.out.fill_buf().await?;
            if chunk.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "journalctl has ended"));
            }
            let end = memchr::memchr(b'\n', chunk);
            let piece = &chunk[..end.unwrap_or(chunk.len())];
            self.is_long |= self.line.len() + piece.len() > LINE_BYTES;
            if !self.is_long {
                self.line.extend_from_slice(piece);
            }
            let used = piece.len() + usize::from(end.is_some());
            self.out.consume(used);
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                let is_long = std::mem::take(&mut self.is_long);
                return Ok((!is_long).then(|| String::from_utf8_lossy(&line).into_owned()));
            }
        }
    }
}

/// An entry of the journal.
#[derive(Debug, PartialEq)]
struct Message {
    entry: Entry,
    cursor: String,
    /// Whether it has lost its end.
    cut: bool,
}

/// Reads a line of `journalctl --output=json`; `None` for one without a message.
fn read(line: &str) -> Option<Message> {
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(line) else { return None };
    let cursor = text_of(&fields, "__CURSOR")?;
    let mut body = text_of(&fields, "MESSAGE")?;
    let cut = body.len() > limits::EVENT_BYTES;
    body.truncate(body.floor_char_boundary(limits::EVENT_BYTES));
    let micros: i64 = text_of(&fields, "__REALTIME_TIMESTAMP")?.parse().ok()?;
    let unit = text_of(&fields, "_SYSTEMD_UNIT").filter(|unit| unit.ends_with(".service"));
    let unit = unit.map(|unit| {
        let name = unit.trim_end_matches(".service");
        name.split('@').next().unwrap_or(name).to_owned()
    });
    let entry = Entry {
        uid: cursor.clone(),
        time: UnixNanos(micros.saturating_mul(1000)),
        severity: text_of(&fields, "PRIORITY").and_then(|priority| severity(&priority)),
        source: Source {
            container_id: text_of(&fields, "CONTAINER_ID_FULL"),
            container: text_of(&fields, "CONTAINER_NAME"),
            unit: unit.or_else(|| text_of(&fields, "SYSLOG_IDENTIFIER")),
            pid: text_of(&fields, "_PID").and_then(|pid| pid.parse().ok()),
            ..Source::default()
        },
        body,
    };
    Some(Message { entry, cursor, cut })
}

/// A field: text, or a list of bytes when it is not valid UTF-8.
fn text_of(fields: &Map<String, Value>, name: &str) -> Option<String> {
    match fields.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Array(bytes) => {
            let bytes: Vec<u8> = bytes
                .iter()
                .filter_map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()))
                .collect();
            Some(String::from_utf8_lossy(&bytes).into_owned())
        }
        _ => None,
    }
}

/// OpenTelemetry's number for a priority of syslog.
fn severity(priority: &str) -> Option<u8> {
    let priority: usize = priority.parse().ok()?;
    [21, 19, 18, 17, 13, 10, 9, 5].get(priority).copied()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::super::Counts;
    use super::*;

    proptest! {
        #[test]
        fn any_line(text: String, number: i64) {
            let _ = read(&text);
            let _ = read(&serde_json::json!({"__CURSOR": "c", "__REALTIME_TIMESTAMP": number.to_string(), "MESSAGE": text,
                "PRIORITY": text, "_PID": text, "_SYSTEMD_UNIT": text}).to_string());
        }
    }

    #[test]
    fn the_folder_of_a_host_elsewhere() {
        assert_eq!(folder(Path::new("/")), None);
        let root = tempfile::tempdir().unwrap();
        assert_eq!(folder(root.path()), Some(root.path().join("run/log/journal")));
        std::fs::create_dir_all(root.path().join("var/log/journal")).unwrap();
        assert_eq!(folder(root.path()), Some(root.path().join("var/log/journal")));
    }

    #[test]
    fn entries() {
        let line = r#"{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1795096951000001","PRIORITY":"3","_PID":"12",
            "_SYSTEMD_UNIT":"getty@tty1.service","MESSAGE":"it broke","SYSLOG_IDENTIFIER":"getty"}"#;
        let Message { entry, cursor, cut } = read(line).unwrap();
        assert_eq!((cursor.as_str(), cut), ("s=1;i=2", false));
        assert_eq!(
            (entry.body.as_str(), entry.severity, entry.time.0),
            ("it broke", Some(17), 1_795_096_951_000_001_000)
        );
        assert_eq!((entry.source.unit.as_deref(), entry.source.pid), (Some("getty"), Some(12)));
        let bytes = r#"{"__CURSOR":"c","__REALTIME_TIMESTAMP":"1","MESSAGE":[104,105,255]}"#;
        assert_eq!(read(bytes).unwrap().entry.body, "hi\u{fffd}");
        assert_eq!(read(r#"{"__CURSOR":"c","__REALTIME_TIMESTAMP":"1"}"#), None);
        assert_eq!(read("not json"), None);
        // The longest as it may be written, and one more.
        for (length, cut) in [(limits::EVENT_BYTES, false), (limits::EVENT_BYTES + 1, true)] {
            let line = line.replace("it broke", &"\\u0001".repeat(length));
            assert!(line.len() < LINE_BYTES);
            let message = read(&line).unwrap();
            assert_eq!((message.entry.body.len(), message.cut), (limits::EVENT_BYTES, cut));
        }
    }

    /// Stands for `journalctl`: knows cursors, the last line, and leaves out what is long, as it does.
    const PROGRAM: &str = r#"#!/bin/sh
journal="$(dirname "$0")/journal"
from=1 long='s/"MESSAGE":"[^"]\{4097,\}"/"MESSAGE":null/'
for word in "$@"; do
    case "$word" in
    --after-cursor=*) from=$((${word#--after-cursor=} + 1));;
    --all) long=;;
    --lines=1) exec tail -n 1 "$journal";;
    esac
done
tail -n "+$from" "$journal" | sed "$long"
exec sleep 600
"#;

    /// A journal and who follows it.
    struct Bench {
        folder: tempfile::TempDir,
        written: usize,
    }

    struct Running {
        told: Told,
        stop: CancellationToken,
        batches: mpsc::Receiver<Shipment>,
        task: tokio::task::JoinHandle<()>,
    }

    impl Bench {
        fn new() -> Self {
            let bench = Self { folder: tempfile::tempdir().unwrap(), written: 0 };
            fs::write(bench.folder.path().join("journal"), "").unwrap();
            bench
        }

        fn install(&self) {
            let program = self.folder.path().join("journalctl");
            fs::write(&program, PROGRAM).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }

        fn write(&mut self, message: &str) {
            use std::io::Write as _;
            self.written += 1;
            let number = self.written;
            let line = format!(
                "{{\"__CURSOR\":\"{number}\",\"__REALTIME_TIMESTAMP\":\"{number}\",\"MESSAGE\":\"{message}\"}}\n"
            );
            let path = self.folder.path().join("journal");
            fs::OpenOptions::new().append(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
        }

        fn position(&self) -> PathBuf {
            self.folder.path().join("state/cursor")
        }

        fn run(&self, from_start: bool) -> Running {
            let program = self.folder.path().join("journalctl");
            let settings = Settings { program, folder: None, position: self.position(), from_start };
            let (out, batches) = mpsc::channel(1);
            let (told, stop) = (Told::default(), CancellationToken::new());
            let task = tokio::spawn(follow(settings, told.clone(), out, stop.clone()));
            Running { told, stop, batches, task }
        }
    }

    impl Running {
        /// The messages of the next batch, which the server takes.
        async fn bodies(&mut self) -> Vec<String> {
            let next = tokio::time::timeout(Duration::from_secs(60), self.batches.recv());
            let Shipment { entries, done } = next.await.unwrap().unwrap();
            done.send(true).unwrap();
            entries.into_iter().map(|entry| entry.body).collect()
        }

        async fn until(&self, what: &str, holds: impl Fn() -> bool) {
            for _ in 0..3000 {
                if holds() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("not {what}");
        }

        async fn end(self) -> Counts {
            self.stop.cancel();
            self.task.await.unwrap();
            self.told.counts()
        }
    }

    #[tokio::test]
    async fn messages_of_more_than_4096_bytes_arrive() {
        let mut bench = Bench::new();
        bench.install();
        let (long, longer) = ("x".repeat(5000), "y".repeat(limits::EVENT_BYTES + 10));
        bench.write(&long);
        bench.write(&longer);
        bench.write(&"z".repeat(LINE_BYTES));
        bench.write("short");
        let mut running = bench.run(true);
        let bodies = running.bodies().await;
        assert!(
            bodies == [long.as_str(), &longer[..limits::EVENT_BYTES], "short"],
            "{} bodies",
            bodies.len()
        );
        let Counts { sent, cut, lost, .. } = running.end().await;
        assert_eq!((sent, cut, lost), (3, 1, 1));
    }

    #[tokio::test]
    async fn what_is_written_before_the_first_batch_arrives_outlives_a_kill() {
        let mut bench = Bench::new();
        bench.install();
        bench.write("of before");
        let running = bench.run(false);
        running.until("noted", || bench.position().exists()).await;
        bench.write("lost before");
        // Killed: nothing that it holds in memory remains.
        running.task.abort();
        let mut running = bench.run(false);
        assert_eq!(running.bodies().await, ["lost before"]);
        running.end().await;
        let mut running = bench.run(false);
        bench.write("next");
        assert_eq!(running.bodies().await, ["next"]);
        running.end().await;
    }

    #[tokio::test]
    async fn all_of_a_journal_that_was_empty_at_first_arrives() {
        let mut bench = Bench::new();
        bench.install();
        let running = bench.run(false);
        running.until("noted", || bench.position().exists()).await;
        running.task.abort();
        bench.write("one");
        let mut running = bench.run(false);
        assert_eq!(running.bodies().await, ["one"]);
        running.end().await;
    }

    #[tokio::test]
    async fn one_error_does_not_end_the_journal() {
        let mut bench = Bench::new();
        bench.write("one");
        let mut running = bench.run(true);
        running.until("failed", || running.told.counts().failures > 0).await;
        // Nothing can be put in the place of a folder.
        fs::create_dir_all(bench.position()).unwrap();
        bench.install();
        assert_eq!(running.bodies().await, ["one"]);
        running.until("failed again", || running.told.counts().failures > 1).await;
        fs::remove_dir(bench.position()).unwrap();
        running.until("noted", || fs::read_to_string(bench.position()).is_ok_and(|it| it == "1")).await;
        assert_eq!(running.end().await.sent, 1);
        bench.write("two");
        let mut running = bench.run(true);
        assert_eq!(running.bodies().await, ["two"]);
        running.end().await;
    }
}
