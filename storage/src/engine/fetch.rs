//! Where the ClickHouse library comes from: `INQUEST_ENGINE`, else the cache folder, else once from the npm registry.
//!
//! The package is fetched by the ordinary npm client, whose registry and proxy settings then apply, and is unpacked
//! only when its checksum is the pinned one. Building the program therefore needs neither network nor library.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use flate2::read::GzDecoder;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha2::{Digest as _, Sha512};

use crate::error::EngineError;

/// Names a library to load instead of the fetched one.
pub const OVERRIDE: &str = "INQUEST_ENGINE";
/// Version of the package, and of the folder it is cached in.
pub const VERSION: &str = "26.7.3-stable.1";

const LIBRARY: &str = "libchdb.so";
const POLL: Duration = Duration::from_millis(100);
/// Half an hour.
const MAX_POLLS: u128 = 18_000;
/// Far above the library's size; keeps a hostile archive from filling the disk.
const UNPACKED_LIMIT: u64 = 2 << 30;

/// A build of the library in the npm registry.
#[derive(Clone, Copy, Debug)]
struct Package {
    name: &'static str,
    /// What npm calls integrity, without the leading `sha512-`.
    sha512: &'static str,
    /// Packed size, for the progress bar only.
    bytes: u64,
}

/// The build for this machine. Builds without a pinned checksum are not fetched.
fn package() -> Result<Package, EngineError> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") if cfg!(target_env = "gnu") => Ok(Package {
            name: "@chdb/lib-linux-x64-gnu",
            sha512: "XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==",
            bytes: 177_817_999,
        }),
        (os, architecture) => Err(EngineError::Unsupported { os, architecture }),
    }
}

/// Path of the library, fetching it first when that was never done on this machine. Blocks, the first time for as long
/// as the network takes; `progress` draws a bar when standard error is a terminal.
pub fn ensure(progress: bool) -> Result<PathBuf, EngineError> {
    if let Some(path) = std::env::var_os(OVERRIDE).filter(|path| !path.is_empty()).map(PathBuf::from) {
        return if path.is_file() { Ok(path) } else { Err(EngineError::Missing(path)) };
    }
    let folder = cache_folder()?.join("inquest").join("engine").join(VERSION);
    fetch_into(&folder, progress, package)
}

fn cache_folder() -> Result<PathBuf, EngineError> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .ok_or(EngineError::NoCacheFolder)
}

fn fetch_into(
    folder: &Path,
    progress: bool,
    package: impl FnOnce() -> Result<Package, EngineError>,
) -> Result<PathBuf, EngineError> {
    let library = folder.join(LIBRARY);
    if library.is_file() {
        return Ok(library);
    }
    let package = package()?;
    fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
    let lock_path = folder.join("lock");
    let lock = File::create(&lock_path).map_err(EngineError::io(&lock_path))?;
    lock.lock().map_err(EngineError::io(&lock_path))?;
    // Another process may have fetched it while this one waited.
    if library.is_file() {
        return Ok(library);
    }
    let work = folder.join("fetching");
    remove_folder(&work)?;
    fs::create_dir(&work).map_err(EngineError::io(&work))?;
    let outcome = fetch(&package, &work, &library, progress);
    let cleared = remove_folder(&work);
    outcome.and(cleared).map(|()| library)
}

fn remove_folder(folder: &Path) -> Result<(), EngineError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(EngineError::io(folder)(error)),
        _ => Ok(()),
    }
}

fn fetch(package: &Package, work: &Path, library: &Path, progress: bool) -> Result<(), EngineError> {
    let spec = format!("{}@{VERSION}", package.name);
    let archive = download(&spec, package.bytes, work, progress)?;
    check(&spec, package.sha512, &archive)?;
    let unpacked = work.join(LIBRARY);
    unpack(&spec, &archive, &unpacked, progress)?;
    fs::rename(&unpacked, library).map_err(EngineError::io(library))
}

fn download(spec: &str, bytes: u64, work: &Path, progress: bool) -> Result<PathBuf, EngineError> {
    let log_path = work.join("npm.log");
    let log = File::create(&log_path).map_err(EngineError::io(&log_path))?;
    let spawned = Command::new("npm")
        .args(["pack", spec, "--ignore-scripts", "--loglevel=error", "--pack-destination"])
        .arg(work)
        .arg("--cache")
        .arg(work.join("npm-cache"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    let mut npm = match spawned {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(EngineError::NpmMissing),
        other => other.map_err(EngineError::io("npm"))?,
    };
    let bar = bar("Fetching the ClickHouse engine", bytes, progress);
    let mut polls = 0;
    let failed = |reason: String| EngineError::Fetch { package: spec.into(), reason };
    let status = loop {
        if let Some(status) = npm.try_wait().map_err(EngineError::io("npm"))? {
            break status;
        }
        polls += 1;
        if polls > MAX_POLLS {
            // The outcome no longer matters, and the process is this one's own.
            let _ = npm.kill();
            let _ = npm.wait();
            return Err(failed(format!("not done after {} minutes", MAX_POLLS * POLL.as_millis() / 60_000)));
        }
        bar.set_position(folder_bytes(work).min(bytes));
        wait();
    };
    bar.finish_and_clear();
    if !status.success() {
        return Err(failed(last_lines(&log_path)));
    }
    let archive = fs::read_dir(work)
        .map_err(EngineError::io(work))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension() == Some(OsStr::new("tgz")));
    archive.ok_or_else(|| failed("it left no archive".into()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "fetching blocks its thread anyway, and may run before any runtime"
)]
fn wait() {
    std::thread::sleep(POLL);
}

/// Bytes of the files below `folder`: npm says nothing of its progress, but what it wrote can be seen.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    match lines.as_slice() {
        [] => "it did not say why".into(),
        [.., _, _, _, _] => lines[lines.len() - 4..].join("; "),
        few => few.join("; "),
    }
}

fn check(spec: &str, expected: &str, archive: &Path) -> Result<(), EngineError> {
    let mut file = File::open(archive).map_err(EngineError::io(archive))?;
    let mut digest = Sha512::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(EngineError::io(archive))? {
            0 => break,
            count => digest.update(&buffer[..count]),
        }
    }
    let found = base64(&digest.finalize());
    if found == expected {
        Ok(())
    } else {
        Err(EngineError::Checksum { package: spec.into(), expected: expected.into(), found })
    }
}

/// RFC 4648, section 4: the form in which npm writes checksums.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let index = (group >> (18 - 6 * position)) as usize % 64;
            text.push(if position <= chunk.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    text
}

fn unpack(spec: &str, archive: &Path, target: &Path, progress: bool) -> Result<(), EngineError> {
    let file = File::open(archive).map_err(EngineError::io(archive))?;
    let bytes = file.metadata().map_err(EngineError::io(archive))?.len();
    let bar = bar("Unpacking the ClickHouse engine", bytes, progress);
    let mut tar = tar::Archive::new(GzDecoder::new(bar.wrap_read(file)));
    for entry in tar.entries().map_err(EngineError::io(archive))? {
        let entry = entry.map_err(EngineError::io(archive))?;
        if entry.path().map_err(EngineError::io(archive))?.as_ref() != Path::new("package").join(LIBRARY) {
            continue;
        }
        let mut output = File::create(target).map_err(EngineError::io(target))?;
        io::copy(&mut entry.take(UNPACKED_LIMIT), &mut output).map_err(EngineError::io(target))?;
        output.sync_all().map_err(EngineError::io(target))?;
        bar.finish_and_clear();
        return Ok(());
    }
    Err(EngineError::Incomplete { package: spec.into() })
}

fn bar(what: &'static str, bytes: u64, progress: bool) -> ProgressBar {
    let target = if progress { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(bytes), target).with_style(style).with_message(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_the_standard_has_it() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn another_archive_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.tgz");
        fs::write(&archive, "not the engine").unwrap();
        let refused = check("package@1", package().map_or("", |package| package.sha512), &archive);
        assert!(matches!(refused, Err(EngineError::Checksum { .. })));
    }

    #[test]
    fn an_archive_without_the_library_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.tgz");
        let encoder =
            flate2::write::GzEncoder::new(File::create(&archive).unwrap(), flate2::Compression::fast());
        tar::Builder::new(encoder).into_inner().unwrap().finish().unwrap();
        let refused = unpack("package@1", &archive, &folder.path().join(LIBRARY), false);
        assert!(matches!(refused, Err(EngineError::Incomplete { .. })));
    }
}
