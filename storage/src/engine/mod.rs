//! ClickHouse inside this process.
//!
//! The engine takes one data folder per process and does not like to be started often, so there is one [`Running`]
//! engine for the whole process, which every store shares: stores on the same folder, and scratch stores on whatever
//! folder is open, each in a database of its own. It stops when the last store on a named folder lets go; an engine
//! that has served only scratch stores stays until the process exits, or until a named folder is asked for.

pub mod fetch;
mod ffi;
mod front;

use std::ffi::{c_int, c_void};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::error::{EngineError, Error};

pub(crate) use front::{connector, exception_code};

/// Statements that run at once; more wait.
const MAX_STATEMENTS: usize = 64;
/// Sessions kept for the next statement. Opening one takes a fraction of a millisecond.
const MAX_IDLE: usize = 16;
/// How long shutting down waits for statements under way.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);

const DROP_DRAIN_LIMIT: Duration = Duration::from_millis(200);
/// Name of temporary folders, but for process and number.
const TEMPORARY: &str = "inquest-scratch-";
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);
/// File that is locked while a folder is open.
const LOCK: &str = "inquest.lock";

/// A store's hold on the running engine.
pub struct Engine {
    running: Arc<Running>,
    released: bool,
}

impl Engine {
    /// Opens `folder`, or joins the engine of this process that has it open. `None` asks for any folder, for data that
    /// may be forgotten. Blocks; fetches the library when that was never done.
    pub fn open(folder: Option<&Path>) -> Result<Self, Error> {
        let folder = folder.map(prepare).transpose()?;
        let mut slot = slot();
        if let Some(running) = slot.as_ref() {
            let other = folder.as_ref().filter(|folder| **folder != running.folder);
            match other {
                None => return Ok(running.join()),
                Some(folder) if running.users() > 0 => {
                    return Err(Error::AnotherFolderOpen {
                        asked: folder.clone(),
                        open: running.folder.clone(),
                    });
                }
                Some(_) => {}
            }
        }
        if let Some(idle) = slot.take() {
            idle.stop(DRAIN_LIMIT);
        }
        let running = Arc::new(Running::start(folder)?);
        *slot = Some(Arc::clone(&running));
        Ok(running.join())
    }

    pub(crate) fn running(&self) -> &Arc<Running> {
        &self.running
    }
}

impl Engine {
    /// Lets go, and stops the engine when this was the last hold on a named folder. Blocks until the statements under
    /// way are done.
    pub fn close(mut self) {
        self.release(DRAIN_LIMIT);
    }

    fn release(&mut self, limit: Duration) {
        if std::mem::replace(&mut self.released, true) {
            return;
        }
        let mut slot = slot();
        let mut pool = self.running.pool();
        pool.users -= 1;
        let unused = pool.users == 0;
        drop(pool);
        if unused && self.running.temporary {
            // Statements may have had the engine register more handlers since it started.
            ffi::at_exit(end_at_exit);
        }
        if unused && !self.running.temporary {
            self.running.stop(limit);
            if slot.as_ref().is_some_and(|running| Arc::ptr_eq(running, &self.running)) {
                *slot = None;
            }
        }
    }
}

impl Drop for Engine {
    /// For holds that nobody closed. Does not wait for long: the statements may need the thread this runs on.
    fn drop(&mut self) {
        self.release(DROP_DRAIN_LIMIT);
    }
}

static RUNNING: Mutex<Option<Arc<Running>>> = Mutex::new(None);

fn slot() -> MutexGuard<'static, Option<Arc<Running>>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An engine that is open while the process exits crashes it: destructors of the library run under its threads, and it
/// cannot be closed any more without those. So the process ends here, as if killed: what was acknowledged is stored.
extern "C" fn end_at_exit(status: c_int, _: *mut c_void) {
    match RUNNING.try_lock().as_deref() {
        Ok(None) => return,
        Ok(Some(running)) => running.forget(),
        // Another thread opens or closes it at this moment.
        Err(_) => {}
    }
    ffi::exit_at_once(status);
}

fn api() -> Result<&'static ffi::Api, EngineError> {
    static API: OnceLock<ffi::Api> = OnceLock::new();
    static LOADING: Mutex<()> = Mutex::new(());
    let _loading = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(api) = API.get() {
        return Ok(api);
    }
    let path = fetch::ensure(true)?;
    let loaded =
        ffi::Api::load(&path).map_err(|error| EngineError::Unloadable { path, reason: error.to_string() })?;
    Ok(API.get_or_init(|| loaded))
}

/// Makes the folder and returns its one true name.
fn prepare(folder: &Path) -> Result<PathBuf, Error> {
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    fs::canonicalize(folder).map_err(Error::io(folder))
}

/// The engine on its folder.
pub(crate) struct Running {
    api: &'static ffi::Api,
    folder: PathBuf,
    temporary: bool,
    pool: Mutex<Pool>,
    returned: Condvar,
    statements: Arc<Semaphore>,
}

struct Pool {
    /// Stores that hold the engine.
    users: usize,
    /// Sessions in use.
    busy: usize,
    idle: Vec<(SessionKey, ffi::Session)>,
    /// Keeps the engine up between statements; `None` once stopped.
    anchor: Option<ffi::Session>,
    /// Held as long as the folder is open.
    lock: Option<File>,
}

/// What distinguishes sessions: the database that unqualified names mean, and the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionKey {
    pub(crate) database: Option<String>,
    pub(crate) settings: Vec<(String, String)>,
}

impl Running {
    fn start(folder: Option<PathBuf>) -> Result<Self, Error> {
        let api = api()?;
        let temporary = folder.is_none();
        let folder = match folder {
            Some(folder) => folder,
            None => temporary_folder()?,
        };
        let lock = lock(&folder)?;
        let path = vec![format!("--path={}", folder.display())];
        let arguments = [path, common_settings(), server_settings()].concat();
        let anchor = api.connect(&arguments).ok_or_else(|| EngineError::Start(folder.clone()))?;
        // The last handler runs first: this one must come after those that starting the engine registers.
        ffi::at_exit(end_at_exit);
        Ok(Self {
            api,
            folder,
            temporary,
            pool: Mutex::new(Pool {
                users: 0,
                busy: 0,
                idle: Vec::new(),
                anchor: Some(anchor),
                lock: Some(lock),
            }),
            returned: Condvar::new(),
            statements: Arc::new(Semaphore::new(MAX_STATEMENTS)),
        })
    }

    fn join(self: &Arc<Self>) -> Engine {
        self.pool().users += 1;
        Engine { running: Arc::clone(self), released: false }
    }

    fn users(&self) -> usize {
        self.pool().users
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn statements(&self) -> &Arc<Semaphore> {
        &self.statements
    }

    /// A session for one statement. Errors are texts in the form of the engine's own.
    fn session(self: &Arc<Self>, key: SessionKey) -> Result<Lease, String> {
        let mut pool = self.pool();
        if pool.anchor.is_none() {
            return Err("Code: 236. DB::Exception: the data folder was closed. (ABORTED)".into());
        }
        if let Some(position) = pool.idle.iter().position(|(idle, _)| *idle == key) {
            let (_, session) = pool.idle.swap_remove(position);
            pool.busy += 1;
            return Ok(Lease { running: Arc::clone(self), session: Some(session), key, sound: true });
        }
        // Under the lock of the pool: connecting takes next to nothing, and must not race with `stop`.
        let path = format!("--path={}", self.folder.display());
        let settings = key.settings.iter().map(|(name, value)| format!("--{name}={value}"));
        let arguments: Vec<_> = std::iter::once(path).chain(common_settings()).chain(settings).collect();
        let session = self.api.connect(&arguments).ok_or_else(|| {
            let names: Vec<_> = key.settings.iter().map(|(name, _)| name.as_str()).collect();
            format!("Code: 36. DB::Exception: the engine refuses a session with {names:?}. (BAD_ARGUMENTS)")
        })?;
        pool.busy += 1;
        drop(pool);
        let mut lease = Lease { running: Arc::clone(self), session: Some(session), key, sound: true };
        if let Some(database) = lease.key.database.clone() {
            let quoted = database.replace('\\', "\\\\").replace('`', "\\`");
            lease.query(&format!("USE `{quoted}`"), "Null", &[])?;
        }
        Ok(lease)
    }

    /// Closes every session, waiting for those in use until `limit` has passed.
    fn stop(&self, limit: Duration) {
        let mut pool = self.pool();
        // From here on no session is handed out.
        let anchor = pool.anchor.take();
        let waited = self.returned.wait_timeout_while(pool, limit, |pool| pool.busy > 0);
        let (mut pool, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if pool.busy > 0 {
            tracing::warn!(statements = pool.busy, "the store closes with statements under way");
        }
        pool.idle.clear();
        drop(anchor);
        self.let_go(&mut pool);
    }

    /// Frees the folder once no session is left on it.
    fn let_go(&self, pool: &mut Pool) {
        if pool.anchor.is_none() && pool.busy == 0 && pool.lock.take().is_some() {
            self.forget();
        }
    }

    /// Removes a temporary folder.
    fn forget(&self) {
        if self.temporary {
            // Nobody will read it again; what cannot be removed is the system's to clean.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Settings of every session: a row is stored when the insert returns, and time is UTC.
fn common_settings() -> Vec<String> {
    ["--async_insert=0", "--session_timezone=UTC"].map(String::from).to_vec()
}

/// Settings of the engine as a whole. It is written for a machine of its own: here it hands freed memory back when that
/// is a two-hundredth of the machine's and not a fifth, and its caches hold megabytes and not gigabytes.
fn server_settings() -> Vec<String> {
    [
        "--memory_worker_purge_dirty_pages_threshold_ratio=0.005",
        "--mark_cache_size=134217728",
        "--primary_index_cache_size=134217728",
        "--index_mark_cache_size=67108864",
    ]
    .map(String::from)
    .to_vec()
}

fn temporary_folder() -> Result<PathBuf, Error> {
    let parent = std::env::temp_dir();
    remove_abandoned(&parent);
    let name = |attempt: u32| parent.join(format!("{TEMPORARY}{}-{attempt}", std::process::id()));
    (0..1000)
        .map(name)
        .find_map(|path| match fs::create_dir(&path) {
            Ok(()) => Some(fs::canonicalize(&path).map_err(Error::io(&path))),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => None,
            Err(error) => Some(Err(Error::io(&path)(error))),
        })
        .unwrap_or_else(|| Err(Error::io(&parent)(std::io::ErrorKind::AlreadyExists.into())))
}

/// Removes the temporary folders of processes that were killed. Young ones may not have taken their lock yet.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.filter_map(Result::ok) {
        let temporary = entry.file_name().to_string_lossy().starts_with(TEMPORARY);
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if temporary && age().is_some_and(|age| age > ABANDONED_AFTER) {
            let lock = File::open(entry.path().join(LOCK));
            if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
                // What cannot be removed belongs to somebody else.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join(LOCK);
    let file = File::create(&path).map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::FolderInUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(Error::io(&path)(error)),
    }
}

/// A session on loan; it goes back to the pool on drop, or is closed when a statement failed on it.
struct Lease {
    running: Arc<Running>,
    session: Option<ffi::Session>,
    key: SessionKey,
    sound: bool,
}

impl Lease {
    fn query(&mut self, sql: &str, format: &str, parameters: &[(String, String)]) -> Result<Vec<u8>, String> {
        let outcome = self.session().query(sql, format, parameters);
        self.sound &= outcome.is_ok();
        outcome
    }

    fn session(&mut self) -> &mut ffi::Session {
        self.session.as_mut().expect("a lease holds its session until dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut pool = self.running.pool();
        let session = self.session.take();
        if self.sound && pool.anchor.is_some() && pool.idle.len() < MAX_IDLE {
            pool.idle.extend(session.map(|session| (std::mem::take(&mut self.key), session)));
        } else {
            // Closed before it counts as returned: `stop` relies on it.
            drop(session);
        }
        pool.busy -= 1;
        self.running.let_go(&mut pool);
        drop(pool);
        self.running.returned.notify_all();
    }
}
