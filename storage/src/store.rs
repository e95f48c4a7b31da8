//! The handle to the store.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clickhouse::Client;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;

use crate::append::SeenSeries;
use crate::engine::{self, Engine};
use crate::error::Error;
use crate::patterns::Patterns;
use crate::{Retention, journal, migrate, retention};

/// Where the data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// The engine inside this process, on a data folder.
    Embedded {
        /// The folder; made when absent.
        dir: PathBuf,
    },
    /// A ClickHouse server.
    Remote {
        /// Address of its HTTP interface, which may carry `user:password@` and `?database=`.
        url: String,
    },
}

/// How to open a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long data is kept.
    pub retention: Retention,
    /// Name of the database. One in the address of a server wins over it.
    pub database: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { retention: Retention::default(), database: "inquest".into() }
    }
}

/// An open store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) client: Client,
    database: String,
    /// Dropped with the store when it is not remote.
    scratch: bool,
    /// Taken when the store closes.
    engine: Mutex<Option<Engine>>,
    embedded: bool,
    pub(crate) seen_series: Mutex<SeenSeries>,
    pub(crate) patterns: Patterns,
    pub(crate) journal: journal::Writer,
}

impl Store {
    /// Opens the store, brings its schema up to date and applies the retention.
    pub async fn open(location: Location, options: Options) -> Result<Self, Error> {
        let store = match location {
            Location::Embedded { dir } => {
                let engine = blocking(move || Engine::open(Some(&dir))).await?;
                Self::embedded(engine, options.database, false)?
            }
            Location::Remote { url } => Self::remote(&url, options.database)?,
        };
        store.prepare(&options.retention).await?;
        Ok(store)
    }

    /// An embedded store for data that may be forgotten: recordings, tests. Keeps everything until closed.
    pub async fn scratch() -> Result<Self, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let engine = blocking(|| Engine::open(None)).await?;
        // The engine may be one on a named folder: a database of an earlier process must not be met there.
        let database = format!("scratch_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let store = Self::embedded(engine, database, true)?;
        store.drop_database().await?;
        store.prepare(&Retention::default()).await?;
        Ok(store)
    }

    /// A scratch store without its data: what it held is forgotten, its schema, which takes longer to make than most
    /// recordings take to load, is kept. Other clones of it fail from here on.
    ///
    /// # Errors
    /// The engine's; and for a store that is not scratch, whose data is nobody's to forget.
    pub async fn emptied(self) -> Result<Self, Error> {
        let engine = self.inner.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(engine) = engine.filter(|_| self.inner.scratch) else { return Err(Error::Stopped) };
        let tables: Vec<String> = self
            .client()
            .query_raw(
                "SELECT name FROM system.tables
                 WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND name != 'schema_migrations'
                 ORDER BY name",
            )
            .fetch_all()
            .await?;
        for table in tables {
            self.client().query_raw(&format!("TRUNCATE TABLE `{table}` SYNC")).execute().await?;
        }
        Self::embedded(engine, self.database().to_owned(), true)
    }

    /// Lets go of the store in order. Other clones of it fail from here on.
    pub async fn close(self) -> Result<(), Error> {
        if self.inner.scratch {
            self.drop_database().await?;
        }
        let engine = self.inner.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
        blocking(move || {
            if let Some(engine) = engine {
                engine.close();
            }
            Ok(())
        })
        .await
    }

    /// Changes how long data is kept, on the tables as they are.
    pub async fn set_retention(&self, retention: &Retention) -> Result<(), Error> {
        retention::apply(self.client(), retention).await
    }

    /// The client, set to the store's database: for the questions of this crate.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// Whether the engine runs in this process, and so sees this machine's files.
    pub fn is_embedded(&self) -> bool {
        self.inner.embedded
    }

    /// Name of the database.
    pub fn database(&self) -> &str {
        &self.inner.database
    }

    fn embedded(engine: Engine, database: String, scratch: bool) -> Result<Self, Error> {
        let http =
            HttpClient::builder(TokioExecutor::new()).build(engine::connector(Arc::clone(engine.running())));
        let client = Client::with_http_client(http).with_url("http://embedded");
        Self::new(client, Some(engine), database, scratch)
    }

    fn remote(url: &str, database: String) -> Result<Self, Error> {
        let address = Address::parse(url).ok_or_else(|| Error::Address(without_password(url)))?;
        let mut client = Client::default().with_url(address.base).with_setting("session_timezone", "UTC");
        if let Some((user, password)) = address.user {
            client = client.with_user(user).with_password(password);
        }
        Self::new(client, None, address.database.unwrap_or(database), false)
    }

    fn new(client: Client, engine: Option<Engine>, database: String, scratch: bool) -> Result<Self, Error> {
        let plain = |character: char| character.is_ascii_alphanumeric() || character == '_';
        if database.is_empty() || database.len() > 64 || !database.chars().all(plain) {
            return Err(Error::DatabaseName(database));
        }
        let client = client.with_database(&database).with_compression(clickhouse::Compression::None);
        let embedded = engine.is_some();
        let inner = Inner {
            client,
            database,
            scratch,
            engine: Mutex::new(engine),
            embedded,
            seen_series: Mutex::default(),
            patterns: Patterns::default(),
            journal: journal::Writer::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    async fn prepare(&self, retention: &Retention) -> Result<(), Error> {
        migrate::run(self.client(), self.database()).await?;
        self.set_retention(retention).await?;
        self.inner.patterns.recall(self.client()).await
    }

    async fn drop_database(&self) -> Result<(), Error> {
        let statement = format!("DROP DATABASE IF EXISTS {} SYNC", self.database());
        Ok(self.client().clone().with_database("").query_raw(&statement).execute().await?)
    }
}

/// The parts of a server's address, which the client wants apart.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    base: String,
    user: Option<(String, String)>,
    database: Option<String>,
}

impl Address {
    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.trim().split_once("://")?;
        if !matches!(scheme, "http" | "https") {
            return None;
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = match authority.rsplit_once('@') {
            None => (None, authority),
            Some((user, host)) => (Some(user.split_once(':').unwrap_or((user, ""))), host),
        };
        let database = form_urlencoded::parse(query.as_bytes())
            .find(|(name, value)| name == "database" && !value.is_empty())
            .map(|(_, value)| value.into_owned());
        // Read as form text, but that a plus sign is itself.
        let decoded = |text: &str| {
            let text = format!("v={}", text.replace('+', "%2B").replace('&', "%26"));
            form_urlencoded::parse(text.as_bytes()).next().map(|(_, value)| value.into_owned())
        };
        let user = match user {
            None => None,
            Some((name, password)) => Some((decoded(name)?, decoded(password)?)),
        };
        (!host.is_empty()).then(|| Self { base: format!("{scheme}://{host}/{path}"), user, database })
    }
}

/// An address fit for an error message.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.into(),
        _ => url.into(),
    }
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Stopped),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_apart() {
        let check = |url: &str, base: &str, user: Option<(&str, &str)>, database: Option<&str>| {
            let user = user.map(|(name, password)| (name.to_owned(), password.to_owned()));
            let expected = Address { base: base.into(), user, database: database.map(str::to_owned) };
            assert_eq!(Address::parse(url), Some(expected), "{url}");
        };
        check("http://localhost:8123", "http://localhost:8123/", None, None);
        check("https://me:p%40+s@db:8443/?database=x", "https://db:8443/", Some(("me", "p@+s")), Some("x"));
        check("http://me@db/path", "http://db/path", Some(("me", "")), None);
        assert_eq!(Address::parse("tcp://db:9000"), None);
        assert_eq!(Address::parse("localhost"), None);
        assert_eq!(without_password("tcp://me:secret@db:9000"), "tcp://db:9000");
    }
}
