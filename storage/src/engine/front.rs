//! The part of ClickHouse's HTTP interface that the `clickhouse` crate speaks, served from the engine in this process
//! over in-memory pipes: one client and one SQL dialect, whether the store is embedded or a server.
//!
//! Deliberately absent: users, roles, compression, sockets.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};

use super::ffi::Session;
use super::{Lease, Running, SessionKey};

/// Bytes a pipe holds in each direction before its writer waits.
const PIPE_BYTES: usize = 512 << 10;
/// Pieces of a result or an insert that wait to be taken over.
const PIECES: usize = 2;
/// Longest statement with its parameters.
const MAX_STATEMENT_BYTES: usize = 16 << 20;
/// How long a statement waits for its turn.
const TURN_LIMIT: Duration = Duration::from_secs(30);
/// Answers carry this tag, so that an error after the first rows is told from rows that look like one.
const EXCEPTION_TAG: &str = "inquestinprocess";

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A connector for hyper's client: each connection is a pipe whose other end is served from `running`.
pub(crate) fn connector(
    running: Arc<Running>,
) -> impl tower::Service<Uri, Response = Pipe, Error = Infallible, Future: Send + Unpin>
+ Clone
+ Send
+ Sync
+ 'static {
    tower::service_fn(move |_: Uri| {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let running = Arc::clone(&running);
        let service = service_fn(move |request| {
            let running = Arc::clone(&running);
            async move { Ok::<_, Infallible>(answer(&running, request).await) }
        });
        // Ends when the client drops its end of the pipe.
        tokio::spawn(async move {
            if let Err(error) =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service).await
            {
                tracing::debug!(%error, "a statement was abandoned");
            }
        });
        std::future::ready(Ok(Pipe(TokioIo::new(near))))
    })
}

/// The client's end.
pub(crate) struct Pipe(TokioIo<DuplexStream>);

impl Connection for Pipe {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// What a request asks for, but for its body.
#[derive(Debug, Default)]
struct Call {
    key: SessionKey,
    /// Statement in the address: an insert, whose rows are the body.
    statement: Option<String>,
    /// Format of the result; absent when only the outcome matters.
    format: Option<String>,
    parameters: Vec<(String, String)>,
}

impl Call {
    fn parse(query: &str) -> Self {
        let mut call = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "query" => call.statement = Some(value.into_owned()),
                "default_format" => call.format = Some(value.into_owned()),
                "database" => call.key.database = Some(value.into_owned()).filter(|name| !name.is_empty()),
                // They name a query or a session of a server, and change nothing here.
                "query_id" | "session_id" => {}
                _ => match name.strip_prefix("param_") {
                    Some(parameter) => call.parameters.push((parameter.into(), value.into_owned())),
                    None => call.key.settings.push((name.into_owned(), value.into_owned())),
                },
            }
        }
        call.key.settings.sort();
        call
    }
}

async fn answer(running: &Arc<Running>, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut call = Call::parse(parts.uri.query().unwrap_or_default());
    let turn = tokio::time::timeout(TURN_LIMIT, Arc::clone(running.statements()).acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        return failure(
            "Code: 202. DB::Exception: too many statements at once. (TOO_MANY_SIMULTANEOUS_QUERIES)",
        );
    };
    if let Some(statement) = call.statement.take() {
        let Some((statement, format)) = split_format(&statement) else {
            return failure("Code: 62. DB::Exception: an insert must end with its format. (SYNTAX_ERROR)");
        };
        let outcome = insert(running, call.key, statement.to_owned(), format.to_owned(), body).await;
        drop(turn);
        return outcome.map_or_else(
            |error| failure(&error),
            |()| success(Full::default().map_err(io::Error::other).boxed_unsync()),
        );
    }
    let text = match Limited::new(body, MAX_STATEMENT_BYTES).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => {
            return failure(&format!("Code: 62. DB::Exception: statement not read: {error}. (SYNTAX_ERROR)"));
        }
    };
    let boundary = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.strip_prefix("multipart/form-data; boundary="));
    let statement = match boundary {
        None => String::from_utf8(text.into()).ok(),
        Some(boundary) => multipart_statement(&text, boundary, &mut call.parameters),
    };
    let Some(statement) = statement else {
        return failure("Code: 62. DB::Exception: the statement is not text. (SYNTAX_ERROR)");
    };
    let (sender, receiver) = mpsc::channel(PIECES);
    let running = Arc::clone(running);
    tokio::task::spawn_blocking(move || {
        run(&running, call, &statement, &sender);
        drop(turn);
    });
    respond(receiver).await
}

/// A piece of output, or the engine's error text.
type Piece = Result<Bytes, String>;

/// Runs a statement and sends its output; stops early when nobody takes it.
fn run(running: &Arc<Running>, call: Call, statement: &str, sender: &mpsc::Sender<Piece>) {
    let outcome = running.session(call.key).and_then(|mut lease| {
        let outcome = match &call.format {
            None => lease.query(statement, "Null", &call.parameters).map(|_| ()),
            Some(format) => stream(&mut lease, statement, format, &call.parameters, sender),
        };
        lease.sound &= outcome.is_ok();
        outcome
    });
    if let Err(error) = outcome {
        // Nobody is there to be told when this fails.
        let _ = sender.blocking_send(Err(error));
    }
}

fn stream(
    lease: &mut Lease,
    statement: &str,
    format: &str,
    parameters: &[(String, String)],
    sender: &mpsc::Sender<Piece>,
) -> Result<(), String> {
    match pieces(lease.session(), statement, format, parameters, sender) {
        // Nothing was run: statements other than SELECT answer in one piece.
        Err(error) if error.contains("Streaming query is not supported") => {
            let output = lease.query(statement, format, parameters)?;
            let _ = sender.blocking_send(Ok(output.into()));
            Ok(())
        }
        outcome => outcome,
    }
}

/// Sends the output piece by piece, with one header before all of it.
fn pieces(
    session: &mut Session,
    statement: &str,
    format: &str,
    parameters: &[(String, String)],
    sender: &mpsc::Sender<Piece>,
) -> Result<(), String> {
    let repeats_header = format == "RowBinaryWithNamesAndTypes";
    let mut pieces = session.stream(statement, format, parameters)?;
    let mut header: Option<Bytes> = None;
    while let Some(piece) = pieces.next()? {
        let mut piece = Bytes::from(piece);
        if repeats_header {
            match &header {
                None => {
                    header =
                        Some(piece.slice(..header_length(&piece).ok_or("the engine sent a damaged header")?))
                }
                Some(header) if piece.starts_with(header) => drop(piece.split_to(header.len())),
                Some(_) => return Err("the engine changed its header".into()),
            }
        }
        if !piece.is_empty() && sender.blocking_send(Ok(piece)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Bytes of the header of `RowBinaryWithNamesAndTypes`: the number of columns, their names, their types.
fn header_length(bytes: &[u8]) -> Option<usize> {
    let mut position = 0;
    let columns = variable_length_integer(bytes, &mut position)?;
    for _ in 0..columns.checked_mul(2)? {
        let length = usize::try_from(variable_length_integer(bytes, &mut position)?).ok()?;
        position = position.checked_add(length).filter(|end| *end <= bytes.len())?;
    }
    Some(position)
}

/// LEB128, as ClickHouse writes lengths.
fn variable_length_integer(bytes: &[u8], position: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = *bytes.get(*position)?;
        *position += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Waits for the first piece, so that a statement that fails at once is answered with an error status.
async fn respond(mut receiver: mpsc::Receiver<Piece>) -> Response<Body> {
    let first = match receiver.recv().await {
        None => return success(Full::default().map_err(io::Error::other).boxed_unsync()),
        Some(Err(error)) => return failure(&error),
        Some(Ok(first)) => first,
    };
    let rest = futures::stream::unfold(Some(receiver), |receiver| async {
        let mut receiver = receiver?;
        match receiver.recv().await? {
            Ok(piece) => Some((piece, Some(receiver))),
            Err(error) => Some((exception_frame(&error), None)),
        }
    });
    let frames: Pin<Box<dyn Stream<Item = Bytes> + Send>> =
        Box::pin(futures::stream::once(std::future::ready(first)).chain(rest));
    success(StreamBody::new(frames.map(|piece| Ok(Frame::data(piece)))).boxed_unsync())
}

/// How ClickHouse, since 25.11, ends an answer that fails after its first rows.
fn exception_frame(error: &str) -> Bytes {
    let mut frame = String::new();
    let length = error.len() + 1;
    // Writing to a string cannot fail.
    let _ = write!(
        frame,
        "\r\n__exception__\r\n{EXCEPTION_TAG}\r\n{error}\n{length} {EXCEPTION_TAG}\r\n__exception__\r\n"
    );
    frame.into()
}

/// Streams the body into an insert. A body that breaks off cancels it.
async fn insert(
    running: &Arc<Running>,
    key: SessionKey,
    statement: String,
    format: String,
    mut body: Incoming,
) -> Result<(), String> {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(PIECES);
    let (complete, completed) = oneshot::channel::<()>();
    let running = Arc::clone(running);
    let work = tokio::task::spawn_blocking(move || {
        let mut lease = running.session(key)?;
        let run = || {
            let mut rows = lease.session().insert(&statement, &format)?;
            while let Some(bytes) = receiver.blocking_recv() {
                rows.append(&bytes)?;
            }
            match completed.blocking_recv() {
                Ok(()) => rows.finish(),
                Err(_) => {
                    Err("Code: 394. DB::Exception: the sender of the rows went away. (QUERY_WAS_CANCELLED)"
                        .into())
                }
            }
        };
        let outcome = run();
        lease.sound = outcome.is_ok();
        outcome
    });
    // If this future is dropped here, `complete` goes with it and the insert is cancelled.
    loop {
        match body.frame().await {
            None => {
                let _ = complete.send(());
                break;
            }
            Some(Ok(frame)) => {
                // Sending fails when the insert has failed. The rest is read all the same: the client hears of the
                // error only once it has sent everything.
                if let Ok(bytes) = frame.into_data() {
                    let _ = sender.send(bytes).await;
                }
            }
            Some(Err(_)) => {
                drop(complete);
                break;
            }
        }
    }
    drop(sender);
    work.await.unwrap_or_else(|error| Err(format!("Code: 1001. the insert broke down: {error}")))
}

/// Splits `INSERT INTO t(a) FORMAT RowBinary` before its last clause.
fn split_format(statement: &str) -> Option<(&str, &str)> {
    let trimmed = statement.trim_end().trim_end_matches(';').trim_end();
    let (head, format) = trimmed.rsplit_once(char::is_whitespace)?;
    let (rest, keyword) = head.trim_end().rsplit_once(char::is_whitespace)?;
    keyword.eq_ignore_ascii_case("format").then_some((rest, format))
}

/// Takes the statement and the parameters out of a form, in the one shape that the client sends.
fn multipart_statement(
    body: &[u8],
    boundary: &str,
    parameters: &mut Vec<(String, String)>,
) -> Option<String> {
    let body = str::from_utf8(body).ok()?;
    let opening = format!("--{boundary}\r\n");
    let closing = format!("--{boundary}--\r\n");
    let fields = body.strip_prefix(&opening)?.strip_suffix(&closing)?;
    let mut statement = None;
    for field in fields.split(&opening) {
        let (head, value) = field.split_once("\r\n\r\n")?;
        let value = value.strip_suffix("\r\n")?;
        let name = head.strip_prefix("Content-Disposition: form-data; name=\"")?.strip_suffix('"')?;
        match name.strip_prefix("param_") {
            Some(parameter) => parameters.push((parameter.into(), value.into())),
            None if name == "query" => statement = Some(value.to_owned()),
            None => return None,
        }
    }
    statement
}

fn success(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert("X-ClickHouse-Exception-Tag", header::HeaderValue::from_static(EXCEPTION_TAG));
    response
}

fn failure(error: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(error.to_owned())).map_err(io::Error::other).boxed_unsync();
    let mut response = Response::new(body);
    let code = exception_code(error).unwrap_or_default();
    *response.status_mut() = match code {
        60 | 81 => StatusCode::NOT_FOUND,
        36 | 43 | 47 | 62 => StatusCode::BAD_REQUEST,
        202 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    response.headers_mut().insert("X-ClickHouse-Exception-Code", code.into());
    response
}

/// The number in `Code: 60. DB::Exception: …`.
pub(crate) fn exception_code(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("Code: ")?;
    let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The way to a server, over a socket: the front stands in for one.
    #[tokio::test]
    async fn a_store_over_a_socket_keeps_what_it_is_given() {
        let engine = tokio::task::spawn_blocking(|| super::super::Engine::open(None)).await.unwrap().unwrap();
        let running = Arc::clone(engine.running());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let running = Arc::clone(&running);
                let service = service_fn(move |request| {
                    let running = Arc::clone(&running);
                    async move { Ok::<_, Infallible>(answer(&running, request).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service);
                tokio::spawn(connection);
            }
        });
        let location =
            crate::Location::Remote { url: format!("http://someone:secret@{address}/?database=far") };
        let store = crate::Store::open(location, crate::Options::default()).await.unwrap();
        assert!(!store.is_embedded());
        assert_eq!(store.database(), "far");
        let log = domain::LogRecord {
            at: domain::UnixNanos::from_seconds(1_795_089_600),
            service: "cart".into(),
            body: "it's here".into(),
            ..domain::LogRecord::default()
        };
        store.append(&domain::Batch { logs: vec![log], ..domain::Batch::default() }).await.unwrap();
        let body: String = store.client().query("SELECT Body FROM otel_logs").fetch_one().await.unwrap();
        assert_eq!(body, "it's here");
        store.close().await.unwrap();
        server.abort();
        let _ = server.await;
        tokio::task::spawn_blocking(move || engine.close()).await.unwrap();
    }

    #[test]
    fn the_format_is_taken_off_an_insert() {
        assert_eq!(
            split_format("INSERT INTO t(`a`) FORMAT RowBinary"),
            Some(("INSERT INTO t(`a`)", "RowBinary"))
        );
        assert_eq!(split_format("insert into t format CSV;\n"), Some(("insert into t", "CSV")));
        assert_eq!(split_format("INSERT INTO t VALUES (1)"), None);
    }

    #[test]
    fn a_header_has_a_length_or_is_damaged() {
        let header = b"\x01\x01a\x05UInt8\x07";
        assert_eq!(header_length(header), Some(9));
        assert_eq!(header_length(&header[..7]), None);
        assert_eq!(header_length(&[0xff; 20]), None);
        assert_eq!(header_length(b""), None);
    }

    #[test]
    fn a_form_gives_statement_and_parameters() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT {a: String}\r\n\
                    --b\r\nContent-Disposition: form-data; name=\"param_a\"\r\n\r\nx\r\ny\r\n--b--\r\n";
        let mut parameters = Vec::new();
        assert_eq!(
            multipart_statement(body.as_bytes(), "b", &mut parameters).as_deref(),
            Some("SELECT {a: String}")
        );
        assert_eq!(parameters, [("a".to_owned(), "x\r\ny".to_owned())]);
        assert_eq!(multipart_statement(b"--b\r\n", "b", &mut parameters), None);
    }

    #[test]
    fn codes_are_found() {
        assert_eq!(exception_code("Code: 60. DB::Exception: x"), Some(60));
        assert_eq!(exception_code("Error: Code: 7"), Some(7));
        assert_eq!(exception_code("broken pipe"), None);
    }
}
