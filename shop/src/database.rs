//! SQLite behind a small connection pool, with a span for every statement and for every wait.
//!
//! SQLite answers in microseconds because it has no network. The shop's databases stand for ones that have, so that the
//! number of statements matters as it does in the field: each statement pays one [`ROUND_TRIP`] while it holds its
//! connection. Locks, busy timeouts and the pool are SQLite's and ours, and real.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use http::StatusCode;
use opentelemetry::logs::Severity;
use opentelemetry::trace::{SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use rusqlite::{Connection, ErrorCode, Params, Row};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::metrics::{PoolMetrics, PoolState};
use crate::telemetry::{Telemetry, fail};

/// Network and scheduling of one statement on a database elsewhere.
const ROUND_TRIP: Duration = Duration::from_millis(3);
/// How long a request waits for a connection before it is refused.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(1);
/// A wait worth a line in the log.
const SLOW_ACQUIRE: Duration = Duration::from_millis(500);

/// How to open a database.
pub(crate) struct DatabaseOptions {
    /// File name, and `db.namespace` on spans.
    pub name: &'static str,
    pub directory: PathBuf,
    pub connections: u32,
    /// How long a statement waits for another writer.
    pub busy_limit: Duration,
}

/// A statement with its low-cardinality name, such as `SELECT products`.
pub(crate) struct Statement {
    pub summary: &'static str,
    pub text: &'static str,
}

/// Why a database could not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("timed out after {waited_ms} ms waiting for one of {max} connections to {database}")]
    PoolTimeout { database: &'static str, max: u32, waited_ms: u128 },
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("the database worker stopped")]
    Stopped,
}

impl DatabaseError {
    fn kind(&self) -> &'static str {
        match self {
            Self::PoolTimeout { .. } => "PoolTimeout",
            Self::Sqlite(error) => sqlite_kind(error),
            Self::Stopped => "DatabaseStopped",
        }
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        let status = match error {
            DatabaseError::PoolTimeout { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, kind: error.kind(), message: error.to_string() }
    }
}

fn sqlite_kind(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy) => "DatabaseBusy",
        Some(ErrorCode::DatabaseLocked) => "DatabaseLocked",
        _ => "SqliteFailure",
    }
}

/// A pool of connections to one database, owned by one service instance.
pub(crate) struct Database {
    options: DatabaseOptions,
    state: Arc<PoolState>,
    metrics: PoolMetrics,
    telemetry: Arc<Telemetry>,
    idle: Mutex<Vec<Connection>>,
}

impl Database {
    pub fn open(options: DatabaseOptions, telemetry: Arc<Telemetry>) -> anyhow::Result<Arc<Self>> {
        let idle = (0..options.connections).map(|_| connect(&options)).collect::<anyhow::Result<Vec<_>>>()?;
        let state = Arc::new(PoolState {
            name: options.name,
            max: options.connections,
            permits: Arc::new(Semaphore::new(options.connections as usize)),
            waiting: 0.into(),
        });
        let metrics = PoolMetrics::new(telemetry.meter(), &state);
        Ok(Arc::new(Self { options, state, metrics, telemetry, idle: Mutex::new(idle) }))
    }

    /// Waits for a connection and does `work` with it on a blocking thread, in the current context.
    pub async fn with<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Session<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let context = Context::current();
        let permit = self.acquire(&context).await?;
        let database = Arc::clone(self);
        let worker = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let connection = database.take()?;
            let result = work(&database.session(&connection, context));
            database.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            result
        });
        worker.await.unwrap_or(Err(DatabaseError::Stopped))
    }

    /// Does `work` on a connection of its own, beside the pool, as a maintenance job would. Blocks.
    pub fn beside_pool<T>(
        &self,
        context: Context,
        work: impl FnOnce(&Session<'_>) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let connection = connect(&self.options).map_err(|_| DatabaseError::Stopped)?;
        work(&self.session(&connection, context))
    }

    fn session<'a>(&'a self, connection: &'a Connection, context: Context) -> Session<'a> {
        Session { connection, context, name: self.options.name, telemetry: &self.telemetry }
    }

    /// The permit guarantees an idle connection, unless a worker panicked and took its connection with it.
    fn take(&self) -> Result<Connection, DatabaseError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| connect(&self.options).map_err(|_| DatabaseError::Stopped), Ok)
    }

    async fn acquire(&self, parent: &Context) -> Result<tokio::sync::OwnedSemaphorePermit, DatabaseError> {
        let pool = KeyValue::new("db.client.connection.pool.name", self.options.name);
        let context =
            self.telemetry.span("connection.acquire", SpanKind::Internal, vec![pool.clone()], parent);
        let started = Instant::now();
        let waiting = Waiting::begin(&self.state, &context);
        let permit =
            tokio::time::timeout(ACQUIRE_LIMIT, Arc::clone(&self.state.permits).acquire_owned()).await;
        let waited = started.elapsed();
        self.metrics.wait.record(waited.as_secs_f64(), std::slice::from_ref(&pool));
        let result = match permit {
            Ok(permit) => permit.map_err(|_| DatabaseError::Stopped),
            Err(_) => {
                self.metrics.timeouts.add(1, &[pool]);
                Err(DatabaseError::PoolTimeout {
                    database: self.options.name,
                    max: self.options.connections,
                    waited_ms: waited.as_millis(),
                })
            }
        };
        match &result {
            Err(error) => fail(&context, error.kind(), &error.to_string()),
            Ok(_) if waited > SLOW_ACQUIRE => self.telemetry.log(
                Severity::Warn,
                format!("waited {} ms for a connection to {}", waited.as_millis(), self.options.name),
                vec![
                    ("pool.in_use", (self.state.in_use() as i64).into()),
                    ("pool.max", i64::from(self.state.max).into()),
                    ("pool.pending", (self.state.waiting.load(Ordering::Relaxed) as i64).into()),
                ],
            ),
            Ok(_) => {}
        }
        drop(waiting);
        result
    }
}

/// A caller in the queue. Leaves it, and ends its span, even when the request is abandoned.
struct Waiting<'a> {
    state: &'a PoolState,
    context: &'a Context,
}

impl<'a> Waiting<'a> {
    fn begin(state: &'a PoolState, context: &'a Context) -> Self {
        state.waiting.fetch_add(1, Ordering::Relaxed);
        Self { state, context }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.state.waiting.fetch_sub(1, Ordering::Relaxed);
        self.context.span().end();
    }
}

/// A connection in use, and the span its statements belong to.
pub(crate) struct Session<'a> {
    connection: &'a Connection,
    context: Context,
    name: &'static str,
    telemetry: &'a Telemetry,
}

impl Session<'_> {
    /// Reads all rows.
    pub fn rows<T>(
        &self,
        statement: &Statement,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, DatabaseError> {
        self.traced(statement, |connection| {
            connection.prepare_cached(statement.text)?.query_map(params, read)?.collect()
        })
    }

    /// Changes rows; returns how many.
    pub fn change(&self, statement: &Statement, params: impl Params) -> Result<usize, DatabaseError> {
        self.traced(statement, |connection| connection.prepare_cached(statement.text)?.execute(params))
    }

    fn traced<T>(
        &self,
        statement: &Statement,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        let mut words = statement.summary.split(' ');
        let mut attributes = vec![
            KeyValue::new("db.system.name", "sqlite"),
            KeyValue::new("db.namespace", self.name),
            KeyValue::new("db.query.text", statement.text),
            KeyValue::new("db.query.summary", statement.summary),
        ];
        attributes.extend(words.next().map(|word| KeyValue::new("db.operation.name", word)));
        attributes.extend(words.next().map(|word| KeyValue::new("db.collection.name", word)));
        let context = self.telemetry.span(statement.summary, SpanKind::Client, attributes, &self.context);
        wait(ROUND_TRIP);
        let result = run(self.connection);
        if let Err(error) = &result {
            fail(&context, sqlite_kind(error), &error.to_string());
        }
        context.span().end();
        Ok(result?)
    }
}

/// Creates the file anew and fills it, without any telemetry: the shop's data is there before the shop opens.
pub(crate) fn create(
    directory: &Path,
    name: &str,
    fill: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> anyhow::Result<()> {
    let path = directory.join(name);
    let build = || -> rusqlite::Result<()> {
        let mut connection = Connection::open(&path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        let transaction = connection.transaction()?;
        fill(&transaction)?;
        transaction.commit()
    };
    build().with_context(|| format!("failed to create {}", path.display()))
}

/// Keeps the thread, and what it holds, for that long.
#[expect(
    clippy::disallowed_methods,
    reason = "runs on blocking threads only, which hold a connection meanwhile"
)]
pub(crate) fn wait(time: Duration) {
    thread::sleep(time);
}

fn connect(options: &DatabaseOptions) -> anyhow::Result<Connection> {
    let path = options.directory.join(options.name);
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(&path)?;
        connection.busy_timeout(options.busy_limit)?;
        // What a write-ahead log needs to survive a crash of the process; a demo does not need more.
        connection.pragma_update(None, "synchronous", "normal")?;
        Ok(connection)
    };
    open().with_context(|| format!("failed to open {}", path.display()))
}
