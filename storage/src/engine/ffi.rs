//! The C interface of the ClickHouse library, and the only unsafe code of this crate.
//!
//! Everything here blocks; callers run it on threads that may. A [`Session`] runs one statement at a time, which the
//! borrows on it enforce. Deliberately absent: pooling, settings, HTTP, anything that knows what a query means.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::ptr;

use libloading::Library;

/// `chdb_connection *`: the handle that `chdb_close_conn` takes; it points at the connection that all else takes.
type ConnectionHandle = *mut *mut c_void;
type ResultHandle = *mut c_void;
type InsertHandle = *mut c_void;

/// The functions used. Signatures as in `chdb.h` of the same version.
pub(super) struct Api {
    /// Never unloaded: threads of the engine may outlive every connection, and crash when their code is gone.
    _library: ManuallyDrop<Library>,
    connect: unsafe extern "C" fn(c_int, *mut *mut c_char) -> ConnectionHandle,
    close: unsafe extern "C" fn(ConnectionHandle),
    query: QueryFunction,
    stream_query: QueryFunction,
    stream_fetch: unsafe extern "C" fn(*mut c_void, ResultHandle) -> ResultHandle,
    stream_cancel: unsafe extern "C" fn(*mut c_void, ResultHandle),
    result_buffer: unsafe extern "C" fn(ResultHandle) -> *const u8,
    result_length: unsafe extern "C" fn(ResultHandle) -> usize,
    result_error: unsafe extern "C" fn(ResultHandle) -> *const c_char,
    result_destroy: unsafe extern "C" fn(ResultHandle),
    insert: unsafe extern "C" fn(*mut c_void, *const u8, usize, *const u8, usize) -> InsertHandle,
    insert_append: unsafe extern "C" fn(InsertHandle, *const u8, usize) -> c_int,
    insert_done: unsafe extern "C" fn(InsertHandle) -> ResultHandle,
    insert_cancel: unsafe extern "C" fn(InsertHandle),
    insert_error: unsafe extern "C" fn(InsertHandle) -> *const c_char,
    insert_destroy: unsafe extern "C" fn(InsertHandle),
}

/// Connection, query, format, then names and values of the parameters with their lengths, and their count.
type QueryFunction = unsafe extern "C" fn(
    *mut c_void,
    *const u8,
    usize,
    *const u8,
    usize,
    *const *const u8,
    *const usize,
    *const *const u8,
    *const usize,
    usize,
) -> ResultHandle;

impl Api {
    /// Loads the library and takes its hands off the process's signals.
    pub(super) fn load(path: &Path) -> Result<Self, libloading::Error> {
        // SAFETY: the initialisers of the library run here. It is the pinned ClickHouse build, or one the user chose.
        let library = ManuallyDrop::new(unsafe { Library::new(path)? });
        macro_rules! symbol {
            ($name:literal) => {
                // SAFETY: the type of the field is the signature that `chdb.h` declares for the symbol.
                *unsafe { library.get($name)? }
            };
        }
        let set_signal_handlers: unsafe extern "C" fn(c_int) = symbol!(b"chdb_set_signal_handlers_enabled");
        // SAFETY: takes a flag, and is meant to be called before the first connection.
        unsafe { set_signal_handlers(0) };
        Ok(Self {
            connect: symbol!(b"chdb_connect"),
            close: symbol!(b"chdb_close_conn"),
            query: symbol!(b"chdb_query_with_params_n"),
            stream_query: symbol!(b"chdb_stream_query_with_params_n"),
            stream_fetch: symbol!(b"chdb_stream_fetch_result"),
            stream_cancel: symbol!(b"chdb_stream_cancel_query"),
            result_buffer: symbol!(b"chdb_result_buffer"),
            result_length: symbol!(b"chdb_result_length"),
            result_error: symbol!(b"chdb_result_error"),
            result_destroy: symbol!(b"chdb_destroy_query_result"),
            insert: symbol!(b"chdb_stream_insert_n"),
            insert_append: symbol!(b"chdb_stream_append"),
            insert_done: symbol!(b"chdb_stream_done"),
            insert_cancel: symbol!(b"chdb_stream_cancel_insert"),
            insert_error: symbol!(b"chdb_stream_insert_error"),
            insert_destroy: symbol!(b"chdb_destroy_insert_stream"),
            _library: library,
        })
    }

    /// Opens a session. `None` when the engine refuses, which it explains nowhere.
    pub(super) fn connect(&'static self, arguments: &[String]) -> Option<Session> {
        let arguments: Vec<CString> = std::iter::once("clickhouse")
            .chain(arguments.iter().map(String::as_str))
            .map(CString::new)
            .collect::<Result<_, _>>()
            .ok()?;
        let mut pointers: Vec<*mut c_char> =
            arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
        let count = c_int::try_from(pointers.len()).ok()?;
        // SAFETY: `count` NUL-terminated strings, alive during the call; the engine copies them and writes to none.
        let handle = unsafe { (self.connect)(count, pointers.as_mut_ptr()) };
        // SAFETY: a handle that is not null points at a connection.
        let usable = !handle.is_null() && unsafe { !(*handle).is_null() };
        usable.then_some(Session { api: self, handle })
    }
}

/// Has `function` called when the process exits, with its exit status, before what was registered earlier.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn at_exit(function: extern "C" fn(c_int, *mut c_void)) {
    unsafe extern "C" {
        fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    }
    // SAFETY: `function` is a plain function that stays in the program, and makes no use of its second argument.
    unsafe { on_exit(function, ptr::null_mut()) };
}

/// Other systems have no such call; there, stores must be closed before the process exits.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn at_exit(_: extern "C" fn(c_int, *mut c_void)) {}

/// Ends the process without calling anything more.
pub(super) fn exit_at_once(status: c_int) -> ! {
    unsafe extern "C" {
        fn _exit(status: c_int) -> !;
    }
    // SAFETY: may be called at any time, from any thread.
    unsafe { _exit(status) }
}

/// One connection to the running engine.
pub(super) struct Session {
    api: &'static Api,
    handle: ConnectionHandle,
}

// SAFETY: the engine ties no state of a connection to a thread; `&mut` methods keep to one statement at a time.
unsafe impl Send for Session {}

impl Session {
    /// Runs a statement to its end and returns all of its output. Errors are the engine's own text.
    pub(super) fn query(
        &mut self,
        sql: &str,
        format: &str,
        parameters: &[(String, String)],
    ) -> Result<Vec<u8>, String> {
        let result = self.run(self.api.query, sql, format, parameters);
        result.check().map(|()| result.bytes().to_vec())
    }

    /// Starts a query whose output is fetched in pieces.
    pub(super) fn stream(
        &mut self,
        sql: &str,
        format: &str,
        parameters: &[(String, String)],
    ) -> Result<QueryStream<'_>, String> {
        let result = self.run(self.api.stream_query, sql, format, parameters);
        result.check()?;
        Ok(QueryStream { session: self, result, finished: false })
    }

    /// Starts an insert: a statement without its `FORMAT` clause, whose rows follow in pieces of `format`.
    pub(super) fn insert(&mut self, sql: &str, format: &str) -> Result<InsertStream<'_>, String> {
        // SAFETY: the connection is open; both texts are alive during the call, which copies them.
        let handle = unsafe {
            (self.api.insert)(self.connection(), sql.as_ptr(), sql.len(), format.as_ptr(), format.len())
        };
        let stream = InsertStream { session: self, handle, finished: false };
        match stream.error() {
            Some(error) => Err(error),
            None => Ok(stream),
        }
    }

    fn connection(&self) -> *mut c_void {
        // SAFETY: checked when it was made; only `drop` closes it.
        unsafe { *self.handle }
    }

    fn run(
        &self,
        function: QueryFunction,
        sql: &str,
        format: &str,
        parameters: &[(String, String)],
    ) -> Output {
        let names: Vec<_> = parameters.iter().map(|(name, _)| name.as_ptr()).collect();
        let name_lengths: Vec<_> = parameters.iter().map(|(name, _)| name.len()).collect();
        let values: Vec<_> = parameters.iter().map(|(_, value)| value.as_ptr()).collect();
        let value_lengths: Vec<_> = parameters.iter().map(|(_, value)| value.len()).collect();
        // SAFETY: the connection is open; texts and arrays are alive during the call, with the lengths given.
        let handle = unsafe {
            function(
                self.connection(),
                sql.as_ptr(),
                sql.len(),
                format.as_ptr(),
                format.len(),
                names.as_ptr(),
                name_lengths.as_ptr(),
                values.as_ptr(),
                value_lengths.as_ptr(),
                parameters.len(),
            )
        };
        Output { api: self.api, handle }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and streams borrow the session, so none is left.
        unsafe { (self.api.close)(self.handle) };
    }
}

/// The output of a running query.
pub(super) struct QueryStream<'a> {
    session: &'a mut Session,
    result: Output,
    finished: bool,
}

impl QueryStream<'_> {
    /// The next piece; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        if self.finished {
            return Ok(None);
        }
        // SAFETY: both handles are alive, and the session is borrowed mutably by this stream.
        let handle =
            unsafe { (self.session.api.stream_fetch)(self.session.connection(), self.result.handle) };
        let piece = Output { api: self.session.api, handle };
        let outcome = piece.check().map(|()| piece.bytes());
        self.finished = !matches!(outcome, Ok(bytes) if !bytes.is_empty());
        outcome.map(|bytes| (!bytes.is_empty()).then(|| bytes.to_vec()))
    }
}

impl Drop for QueryStream<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // SAFETY: both handles are alive; the result is destroyed after this.
            unsafe { (self.session.api.stream_cancel)(self.session.connection(), self.result.handle) };
        }
    }
}

/// An insert under way. Dropped before [`InsertStream::finish`], it is cancelled and leaves nothing.
pub(super) struct InsertStream<'a> {
    session: &'a mut Session,
    handle: InsertHandle,
    finished: bool,
}

impl InsertStream<'_> {
    /// Hands over some bytes of the rows; waits while the engine is behind.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), String> {
        // SAFETY: the stream is open; the bytes are copied during the call.
        let state = unsafe { (self.session.api.insert_append)(self.handle, bytes.as_ptr(), bytes.len()) };
        if state == 0 { Ok(()) } else { Err(self.error().unwrap_or_else(|| "the insert failed".into())) }
    }

    /// Commits.
    pub(super) fn finish(mut self) -> Result<(), String> {
        self.finished = true;
        // SAFETY: the stream is open, and not used after this but to be destroyed.
        let handle = unsafe { (self.session.api.insert_done)(self.handle) };
        Output { api: self.session.api, handle }.check()
    }

    fn error(&self) -> Option<String> {
        // SAFETY: the stream is alive; the text lives as long as it does, and is copied.
        text(unsafe { (self.session.api.insert_error)(self.handle) })
    }
}

impl Drop for InsertStream<'_> {
    fn drop(&mut self) {
        // SAFETY: the stream is alive until destroyed here; cancelling is for one that was not finished.
        unsafe {
            if !self.finished {
                (self.session.api.insert_cancel)(self.handle);
            }
            (self.session.api.insert_destroy)(self.handle);
        }
    }
}

/// A result, destroyed on drop.
struct Output {
    api: &'static Api,
    handle: ResultHandle,
}

impl Output {
    fn check(&self) -> Result<(), String> {
        if self.handle.is_null() {
            return Err("the engine gave no result".into());
        }
        // SAFETY: the result is alive; the text lives as long as it does, and is copied.
        text(unsafe { (self.api.result_error)(self.handle) }).map_or(Ok(()), Err)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the result is alive; its buffer has the length it says, and lives as long as it does.
        unsafe {
            let (buffer, length) =
                ((self.api.result_buffer)(self.handle), (self.api.result_length)(self.handle));
            if buffer.is_null() || length == 0 { &[] } else { std::slice::from_raw_parts(buffer, length) }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // SAFETY: destroyed once; a null handle is allowed.
        unsafe { (self.api.result_destroy)(self.handle) };
        self.handle = ptr::null_mut();
    }
}

fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: a pointer that is not null is a NUL-terminated text of the engine.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}
