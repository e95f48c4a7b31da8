//! What can go wrong with the store.

use std::path::PathBuf;

/// Why something could not be stored, read or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The ClickHouse library could not be found, fetched or loaded.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Another process has the data folder open.
    #[error("data folder {} is in use by another process", .0.display())]
    FolderInUse(PathBuf),
    /// This process has another data folder open, and the engine takes one at a time.
    #[error("cannot open data folder {} while this process has {} open", asked.display(), open.display())]
    AnotherFolderOpen {
        /// The folder asked for.
        asked: PathBuf,
        /// The folder that is open.
        open: PathBuf,
    },
    /// The address of the ClickHouse server is none.
    #[error("{0:?} is not the address of a ClickHouse server")]
    Address(String),
    /// The name of the database would need quoting.
    #[error("{0:?} is not a database name: letters, digits and underscores, at most 64")]
    DatabaseName(String),
    /// The schema was made by a newer version of this program.
    #[error("the store has schema version {found}, this program knows {known}")]
    SchemaTooNew {
        /// Version in the store.
        found: u32,
        /// Newest version known.
        known: u32,
    },
    /// ClickHouse could not be asked, or answered with an error.
    #[error("ClickHouse: {0}")]
    ClickHouse(#[from] clickhouse::error::Error),
    /// A stored row does not hold what it should.
    #[error("damaged row in {table}: {reason}")]
    Damaged {
        /// Table.
        table: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A recording cannot be read or written.
    #[error("recording {}: {reason}", dir.display())]
    Recording {
        /// Its folder.
        dir: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file or folder cannot be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The process is stopping, and starts nothing any more.
    #[error("the process is stopping")]
    Stopped,
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// The ClickHouse error code, when ClickHouse refused a query.
    pub fn clickhouse_code(&self) -> Option<u32> {
        let Self::ClickHouse(clickhouse::error::Error::BadResponse(text)) = self else { return None };
        crate::engine::exception_code(text)
    }
}

/// Why the embedded engine cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No build of the library for this machine.
    #[error(
        "no embedded ClickHouse engine is known for {os} on {architecture}: \
         set INQUEST_ENGINE to a libchdb.so, or use a ClickHouse server"
    )]
    Unsupported {
        /// Operating system.
        os: &'static str,
        /// Processor.
        architecture: &'static str,
    },
    /// `npm` is not installed.
    #[error(
        "npm is needed once to fetch the ClickHouse engine, and was not found: install Node's npm, \
         or set INQUEST_ENGINE to a libchdb.so"
    )]
    NpmMissing,
    /// `npm` could not fetch the package.
    #[error("npm could not fetch {package}: {reason}")]
    Fetch {
        /// Package and version.
        package: String,
        /// The end of what npm said.
        reason: String,
    },
    /// The package is not the one this program was built for.
    #[error(
        "checksum of {package} differs: expected sha512-{expected}, found sha512-{found}; \
         INQUEST_ENGINE can name a libchdb.so that you trust"
    )]
    Checksum {
        /// Package and version.
        package: String,
        /// Pinned, base64.
        expected: String,
        /// Found, base64.
        found: String,
    },
    /// The package has no library inside.
    #[error("{package} holds no libchdb.so")]
    Incomplete {
        /// Package and version.
        package: String,
    },
    /// No folder to keep the library in.
    #[error("no cache folder: set HOME, XDG_CACHE_HOME or INQUEST_ENGINE")]
    NoCacheFolder,
    /// `INQUEST_ENGINE` names no file.
    #[error("INQUEST_ENGINE names {}, which is not a file", .0.display())]
    Missing(PathBuf),
    /// The library is damaged, or is another one.
    #[error("cannot load the ClickHouse engine from {}: {reason}", path.display())]
    Unloadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The engine does not start.
    #[error("the ClickHouse engine does not start on {}", .0.display())]
    Start(PathBuf),
    /// A file or folder cannot be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl EngineError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
