//! The journal of systemd, read with `journalctl`.
//!
//! Its files have a format of their own, which `journalctl` alone is promised to read: where it is absent, so is the journal.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use domain::UnixNanos;
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Entry, Shipment, Source, blocking, limits, pause, positions, ship};

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
/// Before `journalctl` is started again.
const RESTART: Duration = Duration::from_secs(5);

/// Follows the journal until `stop`. Fails when `journalctl` cannot be started at all.
pub async fn follow(
    settings: Settings,
    out: mpsc::Sender<Shipment>,
    stop: CancellationToken,
) -> io::Result<()> {
    let place = settings.position.clone();
    let mut cursor = match tokio::fs::read_to_string(&place).await {
        Ok(cursor) => Some(cursor),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    while !stop.is_cancelled() {
        let (mut child, mut lines) = start(&settings, cursor.as_deref())?;
        while let Some((entries, last)) = batch(&mut lines, &stop).await {
            if entries.is_empty() {
                continue;
            }
            if !ship(entries, &out, &stop).await {
                // Read again from the last place that has arrived.
                break;
            }
            if let Some(last) = last {
                let place = place.clone();
                cursor = Some(last.clone());
                blocking(move || positions::replace(&place, last.as_bytes())).await?;
            }
        }
        child.kill().await.ok();
        pause(RESTART, &stop).await;
    }
    Ok(())
}

fn start(settings: &Settings, cursor: Option<&str>) -> io::Result<(Child, Lines<BufReader<ChildStdout>>)> {
    let mut command = Command::new(&settings.program);
    command.args(["--output=json", "--follow", "--no-pager", "--quiet"]);
    match cursor {
        Some(cursor) => command.arg(format!("--after-cursor={cursor}")),
        None if settings.from_start => command.arg("--no-tail"),
        None => command.arg("--lines=0"),
    };
    if let Some(folder) = &settings.folder {
        command.arg("--directory").arg(folder);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let out = child.stdout.take().ok_or_else(|| io::Error::other("no output of journalctl"))?;
    Ok((child, BufReader::new(out).lines()))
}

/// The next entries and the place behind them; `None` when there will be no more.
async fn batch(
    lines: &mut Lines<BufReader<ChildStdout>>,
    stop: &CancellationToken,
) -> Option<(Vec<Entry>, Option<String>)> {
    let mut entries = Vec::new();
    let mut cursor = None;
    let mut bytes = 0;
    while entries.len() < limits::BATCH && bytes < limits::BATCH_BYTES {
        let next = async {
            if entries.is_empty() {
                return Some(lines.next_line().await);
            }
            tokio::time::timeout(FILL, lines.next_line()).await.ok()
        };
        let line = tokio::select! {
            line = next => line,
            () = stop.cancelled() => return None,
        };
        match line {
            None => break,
            Some(Ok(Some(line))) => {
                bytes += line.len();
                if let Some((entry, place)) = read(&line) {
                    entries.push(entry);
                    cursor = Some(place);
                }
            }
            Some(_) if entries.is_empty() => return None,
            Some(_) => break,
        }
    }
    Some((entries, cursor))
}

/// An entry of `journalctl --output=json` and its cursor; `None` for one without a message.
pub fn read(line: &str) -> Option<(Entry, String)> {
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(line) else { return None };
    let cursor = text(&fields, "__CURSOR")?;
    let mut body = text(&fields, "MESSAGE")?;
    body.truncate(body.floor_char_boundary(limits::EVENT_BYTES));
    let micros: i64 = text(&fields, "__REALTIME_TIMESTAMP")?.parse().ok()?;
    let unit = text(&fields, "_SYSTEMD_UNIT").filter(|unit| unit.ends_with(".service"));
    let unit = unit.map(|unit| {
        let name = unit.trim_end_matches(".service");
        name.split('@').next().unwrap_or(name).to_owned()
    });
    let entry = Entry {
        uid: cursor.clone(),
        time: UnixNanos(micros.saturating_mul(1000)),
        severity: text(&fields, "PRIORITY").and_then(|priority| severity(&priority)),
        source: Source {
            container_id: text(&fields, "CONTAINER_ID_FULL"),
            container: text(&fields, "CONTAINER_NAME"),
            unit: unit.or_else(|| text(&fields, "SYSLOG_IDENTIFIER")),
            pid: text(&fields, "_PID").and_then(|pid| pid.parse().ok()),
            ..Source::default()
        },
        body,
    };
    Some((entry, cursor))
}

/// A field: text, or a list of bytes when it is not valid UTF-8.
fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
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
    use proptest::prelude::*;

    use std::path::Path;

    use super::{folder, read};

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
        let (entry, cursor) = read(line).unwrap();
        assert_eq!(cursor, "s=1;i=2");
        assert_eq!(
            (entry.body.as_str(), entry.severity, entry.time.0),
            ("it broke", Some(17), 1_795_096_951_000_001_000)
        );
        assert_eq!((entry.source.unit.as_deref(), entry.source.pid), (Some("getty"), Some(12)));
        let bytes = r#"{"__CURSOR":"c","__REALTIME_TIMESTAMP":"1","MESSAGE":[104,105,255]}"#;
        assert_eq!(read(bytes).unwrap().0.body, "hi\u{fffd}");
        assert_eq!(read(r#"{"__CURSOR":"c","__REALTIME_TIMESTAMP":"1","MESSAGE":null}"#), None);
        assert_eq!(read("not json"), None);
    }
}
