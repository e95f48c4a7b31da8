//! The one task that sends: what is new at once, what had to wait from the disk, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Refused, Sender, Spool};

/// What telemetry is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Measurements.
    Metrics,
    /// Stacks.
    Profiles,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Traces, Self::Logs, Self::Metrics, Self::Profiles];

    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
            Self::Profiles => "profiles",
        }
    }

    pub(super) const fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Profiles => "/inquest.profiles.v1.ProfilesService/Export",
        }
    }
}

/// An encoded export request.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// What it is of.
    pub signal: Signal,
    /// The message.
    pub body: Bytes,
}

/// How sending goes, for the agent's own health.
#[derive(Debug, Default)]
pub struct Shipped {
    /// Parcels that the server took.
    pub sent: AtomicU64,
    /// Parcels that it will never take.
    pub refused: AtomicU64,
    /// Parcels lost: the disk was full or not writable, or the queue was.
    pub lost: AtomicU64,
    /// Bytes that wait on disk.
    pub waiting_bytes: AtomicU64,
    /// Parcels given up because too many waited.
    pub dropped: AtomicU64,
}

/// Parcels between whoever makes them and the task that sends: of spans, eight megabytes.
const QUEUE: usize = 128;
/// With so many more to come, the server is too slow for now, and parcels go to the disk rather than being lost.
const BEHIND: usize = QUEUE / 2;
/// Once the server has not answered for so long, what comes meanwhile goes to the disk.
const SLOW: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

type Letter = (Parcel, oneshot::Sender<()>);

/// Hands parcels to the task that sends.
#[derive(Clone, Debug)]
pub struct Shipper {
    letters: mpsc::Sender<Letter>,
    shipped: Arc<Shipped>,
}

impl Shipper {
    /// Starts the task. It ends when `stop` is cancelled, after what is queued has been sent or kept.
    pub fn start(
        sender: Sender,
        spool: Spool,
        stop: CancellationToken,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (letters, queue) = mpsc::channel(QUEUE);
        let shipped = Arc::new(Shipped::default());
        let task = Task { sender, spool, shipped: Arc::clone(&shipped), pause: FIRST_PAUSE, again: None };
        (Self { letters, shipped }, tokio::spawn(task.run(queue, stop)))
    }

    /// Hands over a parcel without waiting for it; a full queue loses it, which is counted.
    pub fn post(&self, parcel: Parcel) {
        let (done, _) = oneshot::channel();
        if self.letters.try_send((parcel, done)).is_err() {
            self.shipped.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands over a parcel and waits until it is safe: with the server, or on disk. Whether it is.
    pub async fn deliver(&self, parcel: Parcel) -> bool {
        let (done, safe) = oneshot::channel();
        self.letters.send((parcel, done)).await.is_ok() && safe.await.is_ok()
    }

    /// How it goes.
    pub fn shipped(&self) -> &Shipped {
        &self.shipped
    }
}

struct Task {
    sender: Sender,
    spool: Spool,
    shipped: Arc<Shipped>,
    pause: Duration,
    /// When the server is tried again; nothing while it takes what comes. A moment and not a pause: what comes meanwhile must not put it
    /// off.
    again: Option<Instant>,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Letter>, stop: CancellationToken) {
        self.show();
        loop {
            let waits = self.spool.parcels() > 0;
            let again = self.again;
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now)), if waits && again.is_some() => {
                    self.catch_up(&mut queue).await;
                }
                letter = queue.recv() => match letter {
                    Some(letter) => {
                        let behind = queue.len() > BEHIND;
                        self.take(letter, behind, &mut queue).await
                    }
                    None => return,
                },
                () = stop.cancelled() => break,
                () = std::future::ready(()), if waits && again.is_none() => self.catch_up(&mut queue).await,
            }
        }
        queue.close();
        // What comes last is kept rather than sent when the server is away: the end may not wait for it.
        while let Some(letter) = queue.recv().await {
            self.take(letter, false, &mut queue).await;
        }
    }

    async fn take(&mut self, (parcel, done): Letter, behind: bool, queue: &mut mpsc::Receiver<Letter>) {
        let direct = self.spool.parcels() == 0 && !behind;
        let sent = if direct { self.send(&parcel, queue).await } else { Sent::Later };
        match sent {
            Sent::Done => drop(done.send(())),
            Sent::Later => self.keep((parcel, done)),
        }
        self.show();
    }

    /// Sends the oldest that waits.
    async fn catch_up(&mut self, queue: &mut mpsc::Receiver<Letter>) {
        let parcel = match self.spool.first() {
            Ok(Some(parcel)) => parcel,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "a file of the spool cannot be read");
                self.shipped.lost.fetch_add(1, Ordering::Relaxed);
                self.drop_first();
                return;
            }
        };
        let number = self.spool.first_number();
        // Meanwhile it may have given way to what came.
        if matches!(self.send(&parcel, queue).await, Sent::Done) && self.spool.first_number() == number {
            self.drop_first();
        }
        self.show();
    }

    fn drop_first(&mut self) {
        if let Err(error) = self.spool.drop_first() {
            tracing::warn!(%error, "a file of the spool cannot be removed");
        }
    }

    async fn send(&mut self, parcel: &Parcel, queue: &mut mpsc::Receiver<Letter>) -> Sent {
        match self.answer(parcel, queue).await {
            Ok(()) => {
                self.shipped.sent.fetch_add(1, Ordering::Relaxed);
                if self.again.take().is_some() {
                    tracing::info!("the server takes telemetry again");
                }
                Sent::Done
            }
            Err(Refused::Never(reason)) => {
                tracing::warn!(
                    signal = parcel.signal.name(),
                    reason,
                    "the server refused telemetry for good"
                );
                self.shipped.refused.fetch_add(1, Ordering::Relaxed);
                self.again = None;
                Sent::Done
            }
            Err(Refused::Later(reason)) => {
                self.pause = match self.again {
                    Some(_) => (self.pause * 2).min(LONGEST_PAUSE),
                    None => {
                        tracing::warn!(reason, "telemetry waits on disk: the server does not take it");
                        FIRST_PAUSE
                    }
                };
                self.again = Some(Instant::now() + self.pause);
                Sent::Later
            }
        }
    }

    /// What the server says. One that is silent must not make the queue overflow.
    async fn answer(&mut self, parcel: &Parcel, queue: &mut mpsc::Receiver<Letter>) -> Result<(), Refused> {
        let sender = self.sender.clone();
        let mut answer = std::pin::pin!(sender.send(parcel.signal, parcel.body.clone()));
        if let Ok(answer) = tokio::time::timeout(SLOW, &mut answer).await {
            return answer;
        }
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                Some(letter) = queue.recv() => {
                    self.keep(letter);
                    self.show();
                }
            }
        }
    }

    fn keep(&mut self, (parcel, done): Letter) {
        match self.spool.push(&parcel) {
            Ok(()) => drop(done.send(())),
            Err(error) => {
                tracing::warn!(%error, "telemetry is lost: the spool cannot be written");
                self.shipped.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn show(&self) {
        self.shipped.waiting_bytes.store(self.spool.bytes(), Ordering::Relaxed);
        self.shipped.dropped.store(self.spool.dropped(), Ordering::Relaxed);
    }
}

enum Sent {
    Done,
    Later,
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
        LogsService, LogsServiceServer,
    };
    use opentelemetry_proto::tonic::collector::logs::v1::{
        ExportLogsServiceRequest, ExportLogsServiceResponse,
    };
    use tonic::{Request, Response, Status};

    use super::*;
    use crate::export::Endpoint;

    /// Takes everything that is not empty.
    struct Server;

    #[tonic::async_trait]
    impl LogsService for Server {
        async fn export(
            &self,
            request: Request<ExportLogsServiceRequest>,
        ) -> Result<Response<ExportLogsServiceResponse>, Status> {
            match request.get_ref().resource_logs.len() {
                0 => Err(Status::resource_exhausted("request body exceeds 4 bytes")),
                _ => Ok(Response::new(ExportLogsServiceResponse::default())),
            }
        }
    }

    async fn serve(address: std::net::SocketAddr) {
        let listener = tokio::net::TcpListener::bind(address).await.expect("a free port");
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder().add_service(LogsServiceServer::new(Server));
        tokio::spawn(server.serve_with_incoming(incoming));
    }

    /// A shipper to a place where nobody listens yet.
    async fn shipper() -> (Shipper, std::net::SocketAddr, tempfile::TempDir) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let folder = tempfile::tempdir().expect("a folder");
        let endpoint = Endpoint { url: format!("http://{address}"), headers: Default::default() };
        let sender = Sender::new(&endpoint).expect("an address");
        let spool = Spool::open(folder.path().to_owned(), 1 << 20).expect("a spool");
        let (shipper, _) = Shipper::start(sender, spool, CancellationToken::new());
        (shipper, address, folder)
    }

    /// A request with so many empty resources.
    fn parcel(resources: usize) -> Parcel {
        Parcel { signal: Signal::Logs, body: Bytes::from([0x0a, 0x00].repeat(resources)) }
    }

    async fn until(shipper: &Shipper, done: impl Fn(&Shipped) -> bool) {
        let wait = async {
            while !done(shipper.shipped()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(in_time.is_ok(), "{:?}", shipper.shipped());
    }

    #[tokio::test]
    async fn what_comes_meanwhile_does_not_put_off_the_next_try() {
        let (shipper, address, _folder) = shipper().await;
        assert!(shipper.deliver(parcel(1)).await);
        serve(address).await;
        let coming = async {
            loop {
                assert!(shipper.deliver(parcel(1)).await);
                tokio::time::sleep(FIRST_PAUSE / 10).await;
            }
        };
        tokio::select! {
            () = coming => {}
            () = until(&shipper, |shipped| shipped.sent.load(Ordering::Relaxed) > 0) => {}
        }
    }

    #[tokio::test]
    async fn what_comes_while_a_server_is_silent_goes_to_the_disk() {
        let (shipper, address, _folder) = shipper().await;
        // It takes connections, and never says a word.
        let _silent = tokio::net::TcpListener::bind(address).await.expect("a free port");
        shipper.post(parcel(1));
        tokio::time::sleep(2 * SLOW).await;
        for _ in 0..2 * QUEUE {
            let safe = tokio::time::timeout(SLOW, shipper.deliver(parcel(1))).await;
            assert!(safe.expect("in time"));
        }
        assert_eq!(shipper.shipped().lost.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn what_is_too_large_for_the_server_does_not_stand_in_the_way() {
        let (shipper, address, _folder) = shipper().await;
        serve(address).await;
        for resources in [0, 1] {
            assert!(shipper.deliver(parcel(resources)).await);
        }
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        until(&shipper, |shipped| (count(&shipped.refused), count(&shipped.sent)) == (1, 1)).await;
    }
}
