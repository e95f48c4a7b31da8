//! Log files and the journal, followed.
//!
//! [`Tail`] reads the files under some globs: plain ones, and those that container runtimes write. It hands out a batch of
//! [`Entry`]s at a time, and how far it has read moves, on disk too, only when that batch was [acknowledged](Tail::acknowledge): what
//! was not taken is read again, after a restart too. Lines of one event are joined. [`journal`] does the same for journald.
//!
//! Between the word of the server that it has a batch and the note of that on disk, a moment remains in which a kill makes the batch be
//! sent again: [`Entry::uid`] is the same then, so that whoever stores it can tell.
//!
//! Deliberately absent: what the text means. Patterns are the server's.

mod follow;
mod glob;
mod join;
pub mod journal;
mod line;
mod positions;
mod severity;
mod source;
mod tail;
mod told;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::UnixNanos;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use told::Troubles;

pub use source::Source;
pub use tail::Tail;
pub use told::{Counts, Told};

/// The bounds of following.
pub mod limits {
    use std::time::Duration;

    /// Files that are open at once.
    pub const FILES: usize = 1024;
    /// Bytes of a line, and of the lines of one event together; the rest is cut off and counted.
    pub const EVENT_BYTES: usize = 64 << 10;
    /// Lines of one event.
    pub const EVENT_LINES: usize = 512;
    /// Events of a batch.
    pub const BATCH: usize = 1000;
    /// Bytes of the texts of a batch, but for the last.
    pub const BATCH_BYTES: usize = 1 << 20;
    /// How long the next line of an event is waited for.
    pub const JOIN: Duration = Duration::from_secs(1);
    /// How long the place in a file that is gone is remembered.
    pub const MEMORY: Duration = Duration::from_secs(24 * 3600);
    /// How long, when the agent stops, the word is waited for that the last batch has arrived.
    pub const LAST_WORD: Duration = Duration::from_secs(5);
    /// Between two looks for new files.
    pub const SCAN: Duration = Duration::from_secs(2);
    /// Before what failed is tried again.
    pub const RETRY: Duration = Duration::from_secs(5);
    /// Between two looks for new lines, when there were none.
    pub const POLL: Duration = Duration::from_millis(250);
}

/// One event of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The same whenever this event is read: of the file and its place in it.
    pub uid: String,
    /// When it happened, as far as the log tells, else when it was read.
    pub time: UnixNanos,
    /// Its lines, without the last line end.
    pub body: String,
    /// OpenTelemetry's severity number (1 to 24) where the text names its level.
    pub severity: Option<u8>,
    /// Where it was written.
    pub source: Source,
}

/// A batch on its way. `done` is told whether it arrived; when it is dropped instead, the batch is sent again.
#[derive(Debug)]
pub struct Shipment {
    /// Not empty, in the order of each file.
    pub entries: Vec<Entry>,
    /// `true` once the sink has it for good.
    pub done: oneshot::Sender<bool>,
}

/// What is followed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the host's `/` is: patterns are taken below it, and entries name files without it.
    pub root: PathBuf,
    /// Files, such as `/var/log/**/*.log`.
    pub globs: Vec<String>,
    /// Where the places are noted that were read up to.
    pub positions: PathBuf,
    /// Whether files that are there when the very first agent of the host starts are read from their beginning.
    pub from_start: bool,
}

/// The files of the host at `root` that a pattern matches at present.
pub fn matches(root: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    Ok(glob::Glob::new(root, pattern).map_err(io::Error::other)?.files())
}

/// Follows files until `stop`; ships batches to `out`, one at a time. Fails on a pattern that is none. Whatever else goes wrong, as on a
/// disk that is full, is told and tried again: the places are kept in memory until they can be noted.
pub async fn follow(
    settings: Settings,
    now: fn() -> UnixNanos,
    told: Told,
    out: mpsc::Sender<Shipment>,
    stop: CancellationToken,
) -> io::Result<()> {
    for glob in &settings.globs {
        glob::Glob::new(&settings.root, glob).map_err(io::Error::other)?;
    }
    let mut troubles = Troubles::new("log files", told.clone());
    let Some(mut tail) = open(settings, &mut troubles, &stop).await else { return Ok(()) };
    let mut scanned = None;
    while !stop.is_cancelled() {
        let at = now();
        let due = scanned.is_none_or(|last: UnixNanos| last.plus(limits::SCAN) <= at);
        let (noted, entries);
        (tail, noted, entries) = blocking(move || {
            let noted = if due { tail.scan(at) } else { Ok(()) };
            let entries = tail.poll(at);
            Ok((tail, noted, entries))
        })
        .await?;
        troubles.pass(noted);
        let entries = troubles.pass(entries);
        if due {
            scanned = Some(at);
            told.tell(tail.counts());
        }
        if entries.is_empty() {
            pause(limits::POLL, &stop).await;
            continue;
        }
        let arrived = ship(entries, &out, &stop).await;
        let noted;
        (tail, noted) = blocking(move || {
            let noted = if arrived {
                tail.acknowledge(now())
            } else {
                tail.rewind();
                Ok(())
            };
            Ok((tail, noted))
        })
        .await?;
        troubles.pass(noted);
        if !arrived {
            pause(limits::SCAN, &stop).await;
        }
    }
    Ok(())
}

/// Waits until the places can be read that the agent before left; `None` when it has to stop before. To go on without them would be to
/// send everything again.
async fn open(settings: Settings, troubles: &mut Troubles, stop: &CancellationToken) -> Option<Tail> {
    while !stop.is_cancelled() {
        let settings = settings.clone();
        match blocking(move || Tail::open(settings)).await {
            Ok(tail) => return Some(tail),
            Err(error) => troubles.note(&error),
        }
        pause(limits::RETRY, stop).await;
    }
    None
}

/// Whether `entries` arrived.
async fn ship(entries: Vec<Entry>, out: &mpsc::Sender<Shipment>, stop: &CancellationToken) -> bool {
    let (done, mut answer) = oneshot::channel();
    tokio::select! {
        biased;
        sent = out.send(Shipment { entries, done }) => if sent.is_err() {
            return false;
        },
        () = stop.cancelled() => return false,
    }
    tokio::select! {
        biased;
        arrived = &mut answer => arrived.unwrap_or(false),
        // It may have arrived already: to stop without that word would be to send it twice.
        () = stop.cancelled() => {
            tokio::time::timeout(limits::LAST_WORD, answer).await.is_ok_and(|arrived| arrived.unwrap_or(false))
        }
    }
}

async fn pause(duration: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(duration) => {}
        () = stop.cancelled() => {}
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn one_error_does_not_end_log_files() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.log"), "one\n").expect("written");
        let positions = folder.path().join("state/positions");
        // Neither can a folder be read as a file, nor can a file take its place.
        fs::create_dir_all(&positions).expect("a folder");
        let settings = Settings {
            root: "/".into(),
            globs: vec![format!("{}/*.log", folder.path().display())],
            positions: positions.clone(),
            from_start: true,
        };
        let (out, mut batches) = mpsc::channel(1);
        let (told, stop) = (Told::default(), CancellationToken::new());
        let task = tokio::spawn(follow(settings, crate::clock::now, told.clone(), out, stop.clone()));
        while told.counts().failures == 0 {
            pause(limits::POLL, &stop).await;
        }
        fs::remove_dir(&positions).expect("gone");
        let next = tokio::time::timeout(Duration::from_secs(60), batches.recv());
        let shipment = next.await.expect("in time").expect("a batch");
        // The batch has arrived, but that cannot be noted for a while.
        fs::remove_file(&positions).expect("noted before");
        fs::create_dir(&positions).expect("a folder");
        assert_eq!(shipment.entries[0].body, "one");
        shipment.done.send(true).expect("waited for");
        let failed = told.counts().failures;
        while told.counts().failures == failed {
            pause(limits::POLL, &stop).await;
        }
        fs::remove_dir(&positions).expect("gone");
        while !positions.is_file() {
            pause(limits::POLL, &stop).await;
        }
        stop.cancel();
        task.await.expect("no panic").expect("no error");
        assert!(batches.recv().await.is_none(), "nothing came twice");
        assert_eq!((told.counts().files, told.counts().sent), (1, 1));
    }

    #[tokio::test]
    async fn a_pattern_that_is_none_is_an_error() {
        let settings = Settings {
            root: "/".into(),
            globs: vec!["/{".to_owned()],
            positions: "/nowhere".into(),
            from_start: true,
        };
        let (out, _batches) = mpsc::channel(1);
        let following =
            follow(settings, crate::clock::now, Told::default(), out, CancellationToken::new()).await;
        following.expect_err("no pattern");
    }
}
