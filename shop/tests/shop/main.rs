//! The shop, run for a few seconds against a receiver of our own: what it sends is what a real system would send, and
//! each fault shows within seconds, in the place it should.
//!
//! Shares are counted on the gateway's server spans. The thresholds leave room for a busy machine.

mod receiver;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use opentelemetry::time::now;
use receiver::{Received, Receiver, Span};
use serde_json::{Value, json};
use shop::{Fault, ShopEvent, ShopOptions};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// A stop that takes longer waits for what never comes: exporters give up after a second, and a machine that is busy adds to it.
const HANGS: Duration = Duration::from_secs(30);

/// How long the shop is well before a fault in these tests.
const HEALTHY: Duration = Duration::from_secs(3);

/// A finished run.
struct Run {
    received: Received,
    events: Vec<ShopEvent>,
    /// As the change endpoint got them.
    posted: Vec<Value>,
    /// When the fault was on, on the spans' clock.
    fault_at_ns: u64,
    stopping: Duration,
}

async fn run(fault: Option<Fault>, length: Duration) -> Run {
    let (receiver, endpoint) = Receiver::start().await;
    let mut run = run_against(endpoint, fault, length).await;
    run.received = receiver.received();
    run
}

async fn run_against(otlp_endpoint: String, fault: Option<Fault>, length: Duration) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let (posted, endpoint) = change_endpoint().await;
    let options = ShopOptions {
        otlp_endpoint,
        seed: 1,
        requests_per_second: 40.0,
        fault: fault.map(|fault| (fault, HEALTHY)),
        change_endpoint: Some(endpoint),
        data_dir: directory.path().to_owned(),
    };
    let (sender, mut receiver) = mpsc::channel(64);
    let cancel = CancellationToken::new();
    let shop = tokio::spawn(shop::run(options, sender, cancel.clone()));
    let mut run = Run {
        received: Received::default(),
        events: Vec::new(),
        posted: Vec::new(),
        fault_at_ns: u64::MAX,
        stopping: Duration::ZERO,
    };
    let deadline = tokio::time::Instant::now() + length;
    while let Ok(Some(event)) = tokio::time::timeout_at(deadline, receiver.recv()).await {
        if let ShopEvent::FaultStarted { .. } = event {
            run.fault_at_ns = now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        }
        run.events.push(event);
    }
    let stopping = Instant::now();
    cancel.cancel();
    shop.await.unwrap().unwrap();
    run.stopping = stopping.elapsed();
    run.posted = posted.lock().unwrap().clone();
    while let Ok(event) = receiver.try_recv() {
        run.events.push(event);
    }
    run
}

/// Accepts changes and keeps them.
async fn change_endpoint() -> (Arc<Mutex<Vec<Value>>>, String) {
    let posted = Arc::<Mutex<Vec<Value>>>::default();
    let kept = Arc::clone(&posted);
    let keep = move |Json(change): Json<Value>| async move { kept.lock().unwrap().push(change) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/api/v1/changes", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/api/v1/changes", axum::routing::post(keep));
    tokio::spawn(async { axum::serve(listener, router).await });
    (posted, endpoint)
}

impl Run {
    fn spans<'a>(&'a self, service: &'a str, kind: i32) -> impl Iterator<Item = &'a Span> {
        self.received.spans.iter().filter(move |span| span.service == service && span.kind == kind)
    }

    /// Requests at the gateway since `offset` after the fault, or before the fault.
    fn requests(&self, route: &str, faulty: bool) -> Vec<&Span> {
        self.spans("gateway", SERVER)
            .filter(|span| route.is_empty() || span.name == route)
            .filter(|span| (span.start_ns >= self.fault_at_ns) == faulty)
            .collect()
    }

    /// Share of requests that failed or took more than half a second.
    fn suffering(&self, route: &str, faulty: bool) -> f64 {
        let requests = self.requests(route, faulty);
        assert!(requests.len() > 5, "{} requests to {route}", requests.len());
        let hurt = requests.iter().filter(|span| span.failed || span.duration_ms > 500.0).count();
        hurt as f64 / requests.len() as f64
    }

    fn logged(&self, service: &str, severity: &str, text: &str) -> bool {
        let logs = &self.received.logs;
        logs.iter().any(|log| log.service == service && log.severity == severity && log.body.contains(text))
    }

    fn metric(&self, service: &str, name: &str) -> f64 {
        let key = (service.to_owned(), name.to_owned());
        *self.received.metrics.get(&key).unwrap_or_else(|| panic!("{service} sent no {name}"))
    }

    fn changes(&self) -> Vec<String> {
        let change = |event: &ShopEvent| match event {
            ShopEvent::Change { reference, .. } => Some(reference.clone()),
            _ => None,
        };
        self.events.iter().filter_map(change).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_shop_sends_joined_traces_correlated_logs_and_its_metrics() {
    let run = run(None, Duration::from_secs(7)).await;
    let spans = &run.received.spans;

    let requests = run.requests("", false);
    assert!(requests.len() > 100, "{} requests", requests.len());
    let failed = requests.iter().filter(|span| span.failed).count();
    assert!(failed * 100 < requests.len(), "{failed} of {} failed", requests.len());

    // One trace for a checkout: every span but the root has its parent in the same trace.
    let root = run.requests("POST /checkout", false)[3];
    assert!(root.parent.is_empty());
    let trace: Vec<&Span> = spans.iter().filter(|span| span.trace == root.trace).collect();
    let services: BTreeSet<&str> = trace.iter().map(|span| span.service.as_str()).collect();
    assert_eq!(Vec::from_iter(services), ["cart", "catalog", "checkout", "gateway", "inventory", "payment"]);
    let by_id: BTreeMap<&[u8], &Span> = trace.iter().map(|span| (span.id.as_slice(), *span)).collect();
    for span in trace.iter().filter(|span| span.id != root.id) {
        let parent = by_id[span.parent.as_slice()];
        if span.kind == SERVER {
            assert_eq!(parent.kind, CLIENT, "{span:?}");
            assert_ne!(parent.service, span.service);
            assert_eq!(parent.attributes["server.address"], span.service);
        } else {
            assert_eq!(parent.service, span.service, "{span:?}");
        }
    }
    let acquirer = trace.iter().find(|span| span.attributes.contains_key("peer.service")).unwrap();
    assert_eq!((acquirer.service.as_str(), acquirer.kind), ("payment", CLIENT));
    assert_eq!(acquirer.attributes["server.address"], "acquirer.example");
    let statement = trace.iter().find(|span| span.name == "UPDATE stock").unwrap();
    assert_eq!(statement.attributes["db.system.name"], "sqlite");
    assert_eq!(statement.attributes["db.namespace"], "inventory.db");
    assert!(statement.attributes["db.query.text"].starts_with("UPDATE stock SET"));
    assert_eq!(root.attributes["http.route"], "/checkout");
    assert_eq!(root.attributes["http.response.status_code"], "200");

    // Log lines of a request name the span they were written in.
    let placed = run.received.logs.iter().find(|log| log.body == "order placed").unwrap();
    let writer = spans.iter().find(|span| span.id == placed.span).unwrap();
    assert_eq!((&writer.trace, writer.service.as_str(), writer.kind), (&placed.trace, "checkout", SERVER));

    for service in ["gateway", "checkout", "catalog", "cart", "payment", "inventory"] {
        assert!(run.metric(service, "http.server.request.duration") > 0.0);
        assert!(run.metric(service, "http.server.requests") > 0.0);
        run.metric(service, "http.server.active_requests");
    }
    assert_eq!(run.metric("catalog", "db.client.connection.max"), 2.0);
    run.metric("catalog", "db.client.connection.used");
    run.metric("catalog", "db.client.connection.pending_requests");
    assert!(run.metric("inventory", "db.client.connection.wait_time") > 0.0);

    assert!(matches!(&run.events[0], ShopEvent::Started { services, .. } if services.len() == 6));
    assert!(matches!(run.events.last(), Some(ShopEvent::Stopped)));
    assert!(run.stopping < HANGS, "{:?}", run.stopping);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shop_stops_in_time_when_nobody_takes_its_telemetry() {
    // A listener that never accepts: connections open, and no answer ever comes.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_endpoint = format!("http://{}", silent.local_addr().unwrap());
    for endpoint in ["http://127.0.0.1:1".to_owned(), silent_endpoint] {
        let run = run_against(endpoint, None, Duration::from_secs(2)).await;
        assert!(run.stopping < HANGS, "{:?}", run.stopping);
    }
}

/// Runs the shop with the fault and checks what holds for every fault.
async fn check(fault: Fault, route: &str) -> Run {
    let run = run(Some(fault), Duration::from_secs(12)).await;
    let (before, after) = (run.suffering(route, false), run.suffering(route, true));
    eprintln!("{fault}: {route} {before:.2} -> {after:.2}");
    for event in &run.events {
        eprintln!("  {event}");
    }
    assert!(before < 0.05, "{fault}: {before} suffered before the fault");
    assert!(after > 0.10, "{fault}: only {after} suffered");
    assert_eq!(run.changes()[0], "deploy-cart-2.3.1");
    assert!(run.spans("cart", SERVER).any(|span| span.version == "2.3.1"));
    assert!(run.spans("cart", SERVER).all(|span| !span.failed));
    assert!(run.stopping < HANGS, "{:?}", run.stopping);
    run
}

/// Statements below the span, by way of any spans between.
fn statements(run: &Run, request: &Span, summary: &str) -> usize {
    run.spans("catalog", CLIENT).filter(|span| span.name == summary && span.parent == request.id).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn n_plus_one_comes_with_a_version_and_a_query_per_product() {
    let run = check(Fault::NPlusOne, "").await;
    assert_eq!(run.changes(), ["deploy-cart-2.3.1", "deploy-catalog-1.4.1"]);
    let deploy = json!({
        "kind": "deploy", "service": "catalog", "version": "1.4.1", "previous": "1.4.0",
        "reference": "deploy-catalog-1.4.1",
        "detail": "catalog 1.4.1: prices are read through the new price repository",
    });
    assert_eq!(run.posted[1], deploy);
    let of =
        |version| run.spans("catalog", SERVER).filter(move |span| span.version == version && !span.failed);
    let old = of("1.4.0").map(|request| statements(&run, request, "SELECT prices")).max().unwrap();
    assert_eq!(old, 1);
    let new: Vec<usize> = of("1.4.1").map(|request| statements(&run, request, "SELECT prices")).collect();
    assert!(new.len() > 10 && new.iter().all(|count| *count > 20), "{new:?}");
    let instances: BTreeSet<&str> = run.spans("catalog", SERVER).map(|span| span.instance.as_str()).collect();
    assert_eq!(instances.len(), 2, "{instances:?}");
    assert!(run.metric("catalog", "db.client.connection.pending_requests") > 2.0);
    assert!(run.metric("catalog", "db.client.connection.timeouts") > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn database_lock_makes_reservations_wait_and_fail() {
    let run = check(Fault::DatabaseLock, "POST /checkout").await;
    assert_eq!(run.changes(), ["deploy-cart-2.3.1"]);
    assert!(run.logged("inventory", "INFO", "stock import started"));
    assert!(run.logged("inventory", "ERROR", "database is locked"));
    assert!(
        run.spans("inventory", INTERNAL)
            .any(|span| span.name == "stock.import" && span.duration_ms > 1_000.0)
    );
    let updates = run.spans("inventory", CLIENT).filter(|span| span.name == "UPDATE stock");
    let locked = updates.filter(|span| span.exceptions == ["DatabaseBusy"]).count();
    assert!(locked > 2, "{locked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flag_error_fails_the_orders_without_a_rate() {
    let run = check(Fault::FlagError, "POST /checkout").await;
    assert_eq!(run.changes(), ["deploy-cart-2.3.1", "new-tax-engine"]);
    assert_eq!((&run.posted[1]["kind"], &run.posted[1]["version"]), (&json!("flag"), &json!("on")));
    let share = run.suffering("POST /checkout", true);
    assert!(share < 0.6, "{share}");
    assert!(run.logged("checkout", "ERROR", "no tax rate for region `highlands`"));
    let failed = run.spans("checkout", SERVER).find(|span| span.failed).unwrap();
    assert_eq!(failed.exceptions, ["TaxRateMissing"]);
    assert_eq!(failed.attributes["http.response.status_code"], "500");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_dependency_slows_payment_without_a_change() {
    let run = check(Fault::SlowDependency, "POST /checkout").await;
    assert_eq!(run.changes(), ["deploy-cart-2.3.1"]);
    let slow = run.spans("payment", CLIENT).filter(|span| span.start_ns > run.fault_at_ns);
    let slow: Vec<&Span> = slow.collect();
    assert!(slow.iter().all(|span| span.attributes["peer.service"] == "acquirer"));
    assert!(slow.iter().filter(|span| span.duration_ms > 1_400.0).count() > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_surge_saturates_the_catalog() {
    let run = check(Fault::TrafficSurge, "GET /products").await;
    assert_eq!(run.changes(), ["deploy-cart-2.3.1"]);
    assert!(run.logged("catalog", "WARN", "for a connection to catalog.db"));
    assert!(run.metric("catalog", "db.client.connection.pending_requests") > 20.0);
    let rate = |faulty, seconds: f64| run.requests("", faulty).len() as f64 / seconds;
    assert!(rate(true, 9.0) > 3.0 * rate(false, HEALTHY.as_secs_f64()));
}
