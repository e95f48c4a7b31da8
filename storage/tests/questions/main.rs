//! The typed questions, asked of the real engine about telemetry small enough to check by hand.

mod cuts;

use std::sync::Arc;
use std::time::Duration;

use domain::telemetry::SpanEvent;
use domain::{
    Attributes, Batch, Change, ChangeKind, LogRecord, MetricKind, Sample, Series, Span, SpanKind, StatusCode,
    UnixNanos, Window,
};
use storage::Store;
use storage::questions::call_tree::Sampling;
use storage::questions::counters::CounterSelector;
use storage::questions::operations::Slicing;
use storage::questions::requests::{RequestQuestion, Wait};

const T0: i64 = 1_800_000_000;

fn at(millis: i64) -> UnixNanos {
    UnixNanos::from_millis(T0 * 1000 + millis)
}

fn window(from_seconds: i64, to_seconds: i64) -> Window {
    Window::new(at(from_seconds * 1000), at(to_seconds * 1000))
}

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// `id` is unique within the trace; `parent` is 0 for a root. Times in milliseconds.
fn span(
    trace: u32,
    (id, parent): (u32, u32),
    service: &str,
    name: &str,
    kind: SpanKind,
    start: i64,
    length: u64,
) -> Span {
    Span {
        start: at(start),
        trace_id: format!("{trace:032x}"),
        span_id: format!("{id:016x}"),
        parent_span_id: if parent == 0 { String::new() } else { format!("{parent:016x}") },
        name: name.into(),
        kind,
        service: service.into(),
        duration_ns: length * 1_000_000,
        ..Span::default()
    }
}

fn failed(mut span: Span, message: &str) -> Span {
    span.status = StatusCode::Error;
    span.status_message = message.into();
    span
}

/// Gateway calls catalog, which runs two overlapping statements and fails in the second.
fn shop() -> Batch {
    let mut select = failed(span(1, (5, 3), "catalog", "SELECT prices", SpanKind::Client, 40, 30), "");
    select.attributes = attributes(&[
        ("db.system.name", "sqlite"),
        ("db.namespace", "catalog.db"),
        ("db.query.text", "SELECT 1"),
    ]);
    select.events = vec![SpanEvent {
        at: at(60),
        name: "exception".into(),
        attributes: attributes(&[
            ("exception.type", "Timeout"),
            ("exception.message", "pool timed out after 5 s"),
        ]),
    }];
    let spans = vec![
        failed(span(1, (1, 0), "gateway", "GET /", SpanKind::Server, 0, 100), "HTTP 500"),
        failed(span(1, (2, 1), "gateway", "GET catalog", SpanKind::Client, 10, 80), "HTTP 500"),
        failed(span(1, (3, 2), "catalog", "GET /products", SpanKind::Server, 15, 70), ""),
        span(1, (4, 3), "catalog", "SELECT products", SpanKind::Client, 20, 30),
        select,
        // A second trace, healthy, whose spans arrive out of order and one of them twice.
        span(2, (3, 2), "catalog", "GET /products", SpanKind::Server, 1_015, 70),
        span(2, (2, 1), "gateway", "GET catalog", SpanKind::Client, 1_010, 80),
        span(2, (1, 0), "gateway", "GET /", SpanKind::Server, 1_000, 100),
        span(2, (3, 2), "catalog", "GET /products", SpanKind::Server, 1_015, 70),
        // A framework span and, beside it, the call it waits for.
        span(5, (1, 0), "web", "GET /async", SpanKind::Server, 4_000, 100),
        span(5, (2, 1), "web", "handle", SpanKind::Internal, 4_005, 90),
        span(5, (3, 1), "web", "GET other", SpanKind::Client, 4_010, 80),
        // A span whose parent never came, and two that claim each other as parents.
        span(3, (9, 8), "mail", "send", SpanKind::Server, 2_000, 10),
        span(4, (1, 2), "odd", "a", SpanKind::Internal, 3_000, 10),
        span(4, (2, 1), "odd", "b", SpanKind::Internal, 3_000, 10),
    ];
    Batch { spans, ..Batch::default() }
}

async fn store(batch: &Batch) -> Store {
    let store = Store::scratch().await.expect("open a scratch store");
    store.append(batch).await.expect("append");
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn the_call_tree_has_exclusive_times_origins_and_no_cycles() {
    let store = store(&shop()).await;
    let tree = store.call_tree(window(-1, 10), Sampling::ALL).await.unwrap();
    let find = |name: &str| {
        let path = tree.paths.iter().find(|path| tree.operations[&path.operation].name == name);
        path.unwrap_or_else(|| panic!("{name} has a path"))
    };
    let products = find("GET /products");
    assert_eq!(
        (products.calls, products.errors, products.origins),
        (2, 1, 0),
        "a span sent twice counts once"
    );
    // 70 ms less the union of 20..50 and 40..70, and 70 ms with no children.
    assert!((products.self_ms - (20.0 + 70.0)).abs() < 1e-6, "{}", products.self_ms);
    assert_eq!(find("SELECT prices").origins, 1);
    assert!((find("GET /").self_ms - 40.0).abs() < 1e-6);
    assert_eq!(find("GET catalog").parent, find("GET /").path);
    assert_eq!(find("send").parent, 0, "an orphan counts as a root");
    assert!(
        tree.paths.iter().all(|path| tree.operations[&path.operation].service != "odd"),
        "a cycle has no path"
    );
    assert!((find("handle").self_ms - 10.0).abs() < 1e-6, "waiting for a call beside it is not work");
    assert_eq!(tree.traces, 5);
    let select = tree.operations.values().find(|operation| operation.name == "SELECT prices").unwrap();
    assert_eq!(
        (select.peer.as_str(), select.database.as_str(), select.detail.as_str()),
        ("catalog.db", "sqlite", "SELECT 1")
    );
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_traces_whole_ones_are_sampled() {
    let spans = (1..=100).flat_map(|trace| {
        [
            span(trace, (1, 0), "gateway", "GET /", SpanKind::Server, 0, 100),
            span(trace, (2, 1), "gateway", "GET catalog", SpanKind::Client, 10, 80),
            span(trace, (3, 2), "catalog", "GET /products", SpanKind::Server, 15, 70),
        ]
    });
    let store = store(&Batch { spans: spans.collect(), ..Batch::default() }).await;
    let all = window(-1, 10);
    assert_eq!(store.sampling(&[all]).await.unwrap(), Sampling::ALL, "300 spans are few");
    let tree = store.call_tree(all, Sampling::one_in(4)).await.unwrap();
    assert!((10..=45).contains(&tree.traces), "about a quarter: {}", tree.traces);
    assert_eq!((tree.one_in, tree.spans, tree.paths.len()), (4, 3 * tree.traces, 3));
    assert!(tree.paths.iter().all(|path| path.calls == tree.traces), "each of them whole");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn error_causes_are_the_deepest_failing_spans() {
    let store = store(&shop()).await;
    let (before, causes) = store.error_causes(window(-20, -1), window(-1, 10)).await.unwrap();
    assert_eq!((before.groups.len(), before.failing_traces), (0, 0));
    assert_eq!(causes.failing_traces, 1);
    let [group] = &causes.groups[..] else { panic!("{causes:?}") };
    assert_eq!((group.service.as_str(), group.name.as_str()), ("catalog", "SELECT prices"));
    assert_eq!((group.exception.as_str(), group.message.as_str()), ("Timeout", "pool timed out after 5 s"));
    assert_eq!(group.first_seen, at(40).0);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_graph_and_slices_come_from_the_views() {
    let store = store(&shop()).await;
    let minutes = store.sli_minutes(window(-60, 60)).await.unwrap();
    let gateway = minutes.iter().find(|minute| minute.service == "gateway").unwrap();
    assert_eq!((gateway.requests, gateway.errors), (2, 1));
    assert!((0.08..0.13).contains(&gateway.latency.quantile(0.5).unwrap()));
    let by_endpoint = store.sli_minutes_by_endpoint("catalog", window(-60, 60)).await.unwrap();
    assert_eq!(by_endpoint[0].endpoint, "GET /products");

    let graph = store.service_graph(window(-60, 60)).await.unwrap();
    let [edge] = &graph[..] else { panic!("{graph:?}") };
    assert_eq!(
        (edge.caller.as_str(), edge.callee.as_str(), edge.calls, edge.errors),
        ("gateway", "catalog", 2, 1)
    );
    assert!((edge.gap_ms - 10.0).abs() < 1e-6);

    let slices = store.request_slices(&["gateway".into()], &Slicing::even(window(-60, 60), 1)).await.unwrap();
    assert_eq!(slices.len(), 2);
    assert_eq!((slices[0].calls, slices[0].errors), (1, 1));
    let operations = store
        .operation_slices(&[("catalog".into(), "SELECT prices".into())], &Slicing::even(window(-60, 60), 60))
        .await
        .unwrap();
    assert_eq!(operations[0].calls, 1);

    let rows = store.trace(&format!("{:032x}", 1)).await.unwrap();
    assert_eq!(rows.len(), 5);
    let typical = store.typical_trace("gateway", "GET /", window(-1, 10), 90.0).await.unwrap();
    assert_eq!(typical, Some(format!("{:032x}", 1)));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_counted_on_both_sides() {
    let log = |millis: i64, body: &str, severity: u8| LogRecord {
        at: at(millis),
        service: "catalog".into(),
        body: body.into(),
        severity_number: severity,
        ..LogRecord::default()
    };
    let logs = vec![
        log(0, "loaded 12 items", 9),
        log(1_000, "loaded 13 items", 9),
        log(60_000, "loaded 14 items", 9),
        log(61_000, "pool timed out\nat x", 17),
    ];
    let store = store(&Batch { logs, ..Batch::default() }).await;
    let groups = store.log_groups(Some(window(-1, 30)), window(30, 90)).await.unwrap();
    let [loaded, timed_out] = &groups.groups[..] else { panic!("{groups:?}") };
    assert_eq!((loaded.before, loaded.now, loaded.template.as_str()), (2, 1, "loaded <*> items"));
    assert_eq!((timed_out.before, timed_out.now, timed_out.sample.as_str()), (0, 1, "pool timed out"));
    assert_eq!(timed_out.first_seen, at(61_000).0);
    assert_eq!(timed_out.counts, [1]);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn log_patterns_are_counted_as_they_are_stored() {
    let log = |millis: i64, body: &str| LogRecord {
        at: at(millis),
        service: "catalog".into(),
        body: body.into(),
        severity_number: 9,
        ..LogRecord::default()
    };
    let store = store(&Batch { logs: vec![log(0, "user bob left room")], ..Batch::default() }).await;
    // Only now is it known that the name varies.
    let later = vec![log(400_000, "user 17 left room"), log(401_000, "stopping"), log(402_000, "stopping")];
    store.append(&Batch { logs: later, ..Batch::default() }).await.unwrap();

    let groups = store.log_groups(Some(window(-1, 60)), window(60, 600)).await.unwrap();
    let left = groups.groups.iter().find(|group| group.template == "user <*> left room").unwrap();
    assert_eq!((left.before, left.now), (1, 1));

    let services = store.log_patterns(at(600_000)).await.unwrap();
    let [catalog] = &services[..] else { panic!("{services:?}") };
    assert_eq!((catalog.service.as_str(), catalog.since, catalog.deployed), ("catalog", at(0), None));
    let seen: Vec<_> = catalog
        .patterns
        .iter()
        .map(|pattern| {
            let windows: Vec<(u32, u64)> =
                pattern.windows.iter().map(|(window, count)| (*window, *count)).collect();
            (pattern.template.as_str(), pattern.severity, pattern.first_seen, pattern.last_seen, windows)
        })
        .collect();
    let minute = |minute: i64| at(minute * 60_000);
    // Few messages now: by window they are not asked for.
    let left = ("user <*> left room", 9, minute(0), minute(6), vec![]);
    let stopping = ("stopping", 9, minute(6), minute(6), vec![]);
    assert!(seen == [left.clone(), stopping.clone()] || seen == [stopping, left], "{seen:?}");
    assert_eq!(catalog.windows, [(0, 3), (1, 1)].into());

    // Ten in the latest window: history says how usual that is, under the pattern that was learned later.
    let many = (0..10).map(|number| log(500_000 + number, &format!("user {number} left room"))).collect();
    store.append(&Batch { logs: many, ..Batch::default() }).await.unwrap();
    let services = store.log_patterns(at(600_000)).await.unwrap();
    let left = services[0].patterns.iter().find(|pattern| pattern.template == "user <*> left room").unwrap();
    assert_eq!(left.windows, [(0, 11), (1, 1)].into());
    let counts = store.log_pattern_counts("catalog", left.pattern, window(-60, 600), Duration::from_secs(60));
    assert_eq!(counts.await.unwrap(), [(at(0), 1), (at(360_000), 1), (at(480_000), 10)]);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_become_rates_and_survive_resets() {
    let series = |name: &str, kind: MetricKind| {
        Arc::new(Series {
            name: name.into(),
            labels: attributes(&[("service", "catalog")]),
            kind,
            unit: "1".into(),
        })
    };
    let (gauge, counter) = (series("pool.used", MetricKind::Gauge), series("requests", MetricKind::Counter));
    let mut samples = Vec::new();
    for step in 0..20_i64 {
        let value = if step < 10 { 5.0 } else { 20.0 };
        samples.push(Sample { series: Arc::clone(&gauge), at: at(step * 10_000), value });
        // 2 a second, restarted from zero at step 15.
        let total = if step < 15 { step * 20 } else { (step - 15) * 20 + 20 };
        samples.push(Sample { series: Arc::clone(&counter), at: at(step * 10_000), value: total as f64 });
    }
    let store = store(&Batch { samples, ..Batch::default() }).await;
    let levels = store.metric_levels(window(0, 100), window(100, 200), Some(at(150_000))).await.unwrap();
    let find = |name: &str| levels.series.iter().find(|series| series.name == name).unwrap();
    assert_eq!(find("pool.used").before, [10.0, 5.0, 0.0, 5.0, 5.0]);
    assert_eq!(find("pool.used").now, [10.0, 20.0, 0.0, 20.0, 20.0]);
    assert_eq!(find("requests").now, [10.0, 2.0, 0.0, 2.0, 2.0]);
    assert_eq!(find("pool.used").early, [5.0, 20.0, 0.0, 20.0, 20.0]);
    assert_eq!(find("pool.used").late, [5.0, 20.0, 20.0, 20.0, 20.0]);
    assert_eq!(find("pool.used").left_at, at(100_000).0);
    assert_eq!(find("requests").left_at, 0);
    assert_eq!(find("pool.used").id, gauge.id());
    let points = store.metric_points(&[counter.id()], window(0, 200)).await.unwrap();
    assert_eq!(points[&counter.id()].len(), 19);

    let values = store.metric_values(window(0, 200)).await.unwrap();
    let [_, requests] = &values[..] else { panic!("{values:?}") };
    assert_eq!(
        (requests.id, requests.kind, requests.unit.as_str()),
        (counter.id(), MetricKind::Counter, "1")
    );
    assert_eq!(requests.labels, counter.labels);
    // Nineteen rates in stretches of fifteen seconds; the last is at the last value.
    assert_eq!(requests.points.len(), 13);
    assert_eq!(requests.points[12], (at(190_000), 2.0));
    assert!(requests.points.iter().all(|(_, rate)| *rate == 2.0));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn histograms_become_means_and_failed_requests_a_share() {
    let mut samples = Vec::new();
    // `(seconds, value)`, every ten seconds from the first.
    let mut count = |name: &str, kind: MetricKind, labels: &[(&str, &str)], values: &[(i64, f64)]| {
        let mut labels = attributes(labels);
        labels.insert("service".into(), "catalog".into());
        let series = Arc::new(Series { name: name.into(), labels, kind, unit: String::new() });
        samples.extend(values.iter().map(|(second, value)| Sample {
            series: Arc::clone(&series),
            at: at(second * 1000),
            value: *value,
        }));
    };
    let steps = |from: i64, value: &dyn Fn(f64) -> f64| -> Vec<(i64, f64)> {
        (from..20).map(|step| (step * 10, value((step - from) as f64))).collect()
    };
    // Twice the load from 100 s on, as slow as before: each takes 50 ms.
    let load = |step: f64| 100.0 * (step + (step - 10.0).max(0.0));
    count("request_seconds_count", MetricKind::Counter, &[], &steps(0, &load));
    count("request_seconds_sum", MetricKind::Counter, &[], &steps(0, &|step| load(step) * 0.05));
    count("request_seconds_bucket", MetricKind::Counter, &[("le", "1")], &steps(0, &load));
    // The series of failures is only there once there are some, and is read three seconds later.
    count("requests_total", MetricKind::Counter, &[("status", "200")], &steps(0, &|step| 30.0 * step));
    let failed: Vec<(i64, f64)> =
        steps(10, &|step| 10.0 * step).into_iter().map(|(at, value)| (at + 3, value)).collect();
    count("requests_total", MetricKind::Counter, &[("status", "503")], &failed);
    // Sent as a level, by one that knows no kinds.
    count("jobs_total", MetricKind::Gauge, &[], &steps(0, &|step| 7.0 * step));
    count("jobs_waiting", MetricKind::Gauge, &[], &steps(0, &|step| 7.0 * step));

    let store = store(&Batch { samples, ..Batch::default() }).await;
    let levels = store.metric_levels(window(0, 100), window(100, 200), Some(at(100_000))).await.unwrap();
    let seen: Vec<(&str, &str, bool, [f64; 2])> = levels
        .series
        .iter()
        .map(|series| {
            let middle = [series.before[1], series.late[2]].map(|value| (value * 1e6).round() / 1e6);
            (series.name.as_str(), series.kind.as_str(), series.failing, middle)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("jobs_total", "counter", false, [0.7, 0.7]),
            ("jobs_waiting", "gauge", false, [31.5, 101.5]),
            ("request_seconds_count", "counter", false, [10.0, 20.0]),
            ("request_seconds_mean", "gauge", false, [0.05, 0.05]),
            ("requests_total", "counter", false, [3.0, 3.0]),
            ("requests_total", "counter", true, [0.0, 1.0]),
            ("requests_total_error_ratio", "gauge", false, [0.0, 0.25]),
        ]
    );
    // Derived series can be drawn like others.
    let ids: Vec<_> = levels.series.iter().map(|series| series.id).collect();
    let points = store.metric_points(&ids, window(0, 200)).await.unwrap();
    assert_eq!(points.len(), 7);
    let share = &levels.series[6];
    assert_eq!(points[&share.id].last().unwrap().1, 0.25);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_without_end_are_no_values() {
    let series = |name: &str, kind: MetricKind| {
        let labels = attributes(&[("service", "catalog")]);
        Arc::new(Series { name: name.into(), labels, kind, unit: String::new() })
    };
    let (gauge, counter) = (series("level", MetricKind::Gauge), series("total", MetricKind::Counter));
    let mut samples = Vec::new();
    for step in 0..20_i64 {
        let odd = [f64::INFINITY, f64::NAN, f64::NEG_INFINITY, 5.0][(step % 4) as usize];
        samples.push(Sample { series: Arc::clone(&gauge), at: at(step * 10_000), value: odd });
        let huge = if step % 2 == 0 { f64::MAX } else { f64::MIN };
        samples.push(Sample { series: Arc::clone(&counter), at: at(step * 10_000), value: huge });
    }
    let store = store(&Batch { samples, ..Batch::default() }).await;
    let levels = store.metric_levels(window(0, 100), window(100, 200), Some(at(150_000))).await.unwrap();
    for series in &levels.series {
        let numbers = [series.before, series.now, series.early, series.late].concat();
        assert!(numbers.iter().all(|number| number.is_finite()), "{series:?}");
    }
    assert_eq!(levels.series.iter().find(|series| series.name == "level").unwrap().before[..2], [2.0, 5.0]);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_deployed_often_hides_no_deploy_of_another() {
    let change = |service: &str, kind: ChangeKind, second: i64| Change {
        at: at(second * 1000),
        kind,
        service: service.into(),
        version: second.to_string(),
        ..Change::default()
    };
    let mut changes: Vec<Change> =
        (100..700).map(|second| change("chatty", ChangeKind::Deploy, second)).collect();
    changes.extend([
        change("cart", ChangeKind::Deploy, 10),
        change("cart", ChangeKind::Rollback, 20),
        change("cart", ChangeKind::Deploy, 15),
        change("cart", ChangeKind::Config, 30),
        change("mail", ChangeKind::CanaryStep, 40),
        change("mail", ChangeKind::Deploy, 900),
        change("web", ChangeKind::Flag, 50),
    ]);
    let store = store(&Batch { changes, ..Batch::default() }).await;
    let deploys = store.last_deploys(window(0, 800)).await.unwrap();
    let expected = [("cart", at(20_000)), ("chatty", at(699_000)), ("mail", at(40_000))];
    assert_eq!(
        deploys.into_iter().collect::<Vec<_>>(),
        expected.map(|(service, at)| (service.to_owned(), at))
    );
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_coverage_and_attributes() {
    let change = Change {
        at: at(5_000),
        kind: ChangeKind::Flag,
        service: "checkout".into(),
        version: "on".into(),
        reference: "new-tax".into(),
        ..Change::default()
    };
    let mut batch = Batch { changes: vec![change.clone()], ..shop() };
    for id in 10..30 {
        let mut request = span(id, (1, 0), "checkout", "POST /checkout", SpanKind::Server, 4_000, 5);
        if id % 2 == 0 {
            request = failed(request, "");
        }
        request.resource = Arc::new(attributes(&[("service.version", if id % 2 == 0 { "2" } else { "1" })]));
        batch.spans.push(request);
    }
    let store = store(&batch).await;
    assert_eq!(store.changes(window(0, 10)).await.unwrap(), [change]);
    assert_eq!(store.changes(window(10, 20)).await.unwrap(), []);
    let coverage = store.coverage(Some(window(10, 20)), window(-1, 10)).await.unwrap();
    let checkout = coverage.iter().find(|coverage| coverage.service == "checkout").unwrap();
    assert_eq!((checkout.spans_now, checkout.spans_before), (20, 0));
    let values = store.attribute_values("checkout", window(-1, 10), 500.0).await.unwrap();
    assert_eq!((values.bad, values.good), (10, 10));
    let version =
        values.values.iter().find(|value| value.key == "service.version" && value.value == "2").unwrap();
    assert_eq!((version.bad, version.good), (10, 0));
    assert!(store.metric_services().await.unwrap().is_empty());
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_are_data() {
    let name = "'); DROP TABLE otel_traces; -- ? \\ \u{0} <script>";
    let batch =
        Batch { spans: vec![span(1, (1, 0), name, name, SpanKind::Server, 0, 5)], ..Batch::default() };
    let store = store(&batch).await;
    assert_eq!(store.sli_minutes_by_endpoint(name, window(-60, 60)).await.unwrap().len(), 1);
    assert_eq!(
        store.request_slices(&[name.into()], &Slicing::even(window(-60, 60), 60)).await.unwrap().len(),
        1
    );
    assert_eq!(
        store
            .operation_slices(&[(name.into(), name.into())], &Slicing::even(window(-60, 60), 60))
            .await
            .unwrap()[0]
            .service,
        name
    );
    assert!(store.trace(name).await.unwrap().is_empty());
    store.close().await.unwrap();
}

fn ended(mut span: Span, pairs: &[(&str, &str)]) -> Span {
    span.attributes = attributes(pairs);
    span
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_come_in_steps_without_what_waits() {
    let request = |id: u32, name: &str, start: i64, length: u64| {
        span(id, (id, 0), "api", name, SpanKind::Server, start, length)
    };
    let batch = Batch {
        spans: vec![
            request(1, "GET /items", 0, 10),
            failed(request(2, "GET /items", 1_000, 2_000), ""),
            request(3, "GET /items", 61_000, 10),
            request(4, "GET /poll", 2_000, 5),
            request(5, "GET /poll", 2_000, 30_000),
            ended(request(6, "GET /live", 3_000, 50_000), &[("http.response.status_code", "101")]),
            span(7, (7, 0), "api", "orders process", SpanKind::Consumer, 4_000, 9_000),
            span(8, (8, 0), "api", "GET other", SpanKind::Client, 4_000, 9_000),
        ],
        ..Batch::default()
    };
    let store = store(&batch).await;
    let declared = store.declared_waits(at(10_000)).await.unwrap();
    assert_eq!(declared, [("api".to_owned(), "GET /live".to_owned())]);
    assert_eq!(store.declared_waits(at(-1)).await.unwrap(), [], "replayed before it was known");

    let wait = |endpoint: &str, from_bucket: i16| Wait {
        service: "api".into(),
        endpoint: endpoint.into(),
        from_bucket,
    };
    let waits = [wait("GET /live", i16::MIN), wait("GET /poll", 79)];
    let question = RequestQuestion {
        window: window(-60, 600),
        step: std::time::Duration::from_secs(60),
        service: None,
        by_endpoint: true,
        thresholds_ms: &[500.0, 60_000.0],
        waits: &waits,
    };
    let steps = store.request_steps(&question).await.unwrap();
    let said: Vec<_> = steps
        .iter()
        .map(|step| {
            (
                step.endpoint.as_str(),
                i64::from(step.at) - T0,
                step.requests,
                step.errors,
                step.timed,
                &step.slow[..],
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            ("GET /items", 0, 2, 1, 2, &[1.0, 0.0][..]),
            ("GET /items", 60, 1, 0, 1, &[0.0, 0.0]),
            ("GET /live", 0, 1, 0, 0, &[0.0, 0.0]),
            ("GET /poll", 0, 2, 0, 1, &[0.0, 0.0]),
            ("orders process", 0, 1, 0, 0, &[0.0, 0.0]),
        ]
    );
    let hours = RequestQuestion { step: std::time::Duration::from_secs(3600), ..question.clone() };
    let hours = store.request_steps(&hours).await.unwrap();
    assert_eq!(hours.iter().map(|step| step.requests).sum::<u64>(), 7);

    let service = RequestQuestion { service: Some("api"), ..question.clone() };
    let levels = store.request_levels(&service).await.unwrap();
    let poll = levels.iter().find(|level| level.endpoint == "GET /poll").unwrap();
    assert_eq!((poll.requests, poll.latency.count()), (2, 1));
    let whole = RequestQuestion { by_endpoint: false, ..question.clone() };
    let whole = store.request_levels(&whole).await.unwrap();
    assert_eq!(
        (whole[0].endpoint.as_str(), whole[0].requests, whole[0].errors, whole[0].latency.count()),
        ("", 6, 1, 3)
    );
    store.close().await.unwrap();
}

/// What the store guarantees where the detectors' own guarantee ends: sums commute, so order and lateness change nothing;
/// a span that is stored twice counts twice, good ones like bad ones, which leaves shares as they are.
#[tokio::test(flavor = "multi_thread")]
async fn late_and_early_spans_make_the_same_minutes_and_repeated_ones_count_again() {
    let question = RequestQuestion {
        window: window(-60, 600),
        step: std::time::Duration::from_secs(60),
        service: None,
        by_endpoint: true,
        thresholds_ms: &[500.0],
        waits: &[],
    };
    let spans: Vec<Span> = (0..40)
        .map(|id: u32| {
            let request = span(id + 1, (1, 0), "api", "GET /", SpanKind::Server, i64::from(id) * 4_000, 10);
            if id.is_multiple_of(4) { failed(request, "") } else { request }
        })
        .collect();
    let batch = |spans: &[Span]| Batch { spans: spans.to_vec(), ..Batch::default() };
    let in_order = store(&batch(&spans)).await;
    let expected = in_order.request_steps(&question).await.unwrap();
    assert_eq!(expected.len(), 3);

    let late = Store::scratch().await.unwrap();
    for part in spans.rchunks(7) {
        late.append(&batch(part)).await.unwrap();
    }
    assert_eq!(late.request_steps(&question).await.unwrap(), expected);

    in_order.append(&batch(&spans)).await.unwrap();
    let twice = in_order.request_steps(&question).await.unwrap();
    for (twice, once) in twice.iter().zip(&expected) {
        assert_eq!((twice.requests, twice.errors), (2 * once.requests, 2 * once.errors));
    }
    in_order.close().await.unwrap();
    late.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_endpoints_have_their_hours() {
    let hour = |id: u32, hours: i64, length: u64| {
        span(id, (id, 0), "api", "GET /poll", SpanKind::Server, hours * 3_600_000, length)
    };
    let mut spans = vec![hour(1, 0, 5), hour(2, 0, 30_000), hour(3, 1, 30_000)];
    spans.push(span(9, (9, 0), "api", "GET /fast", SpanKind::Server, 0, 5));
    let store = store(&Batch { spans, ..Batch::default() }).await;
    let slow = store.slow_histograms(window(-7_200, 7_200)).await.unwrap();
    let counts: Vec<_> = slow.iter().map(|((_, endpoint), hours)| (endpoint.as_str(), hours.len())).collect();
    assert_eq!(counts, [("GET /poll", 2)]);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_grow_across_resets_and_repeats() {
    let series = |labels: &[(&str, &str)], kind| {
        Arc::new(Series { name: "orders".into(), labels: attributes(labels), kind, ..Series::default() })
    };
    let ok = series(&[("result", "ok"), ("pod", "a")], MetricKind::Counter);
    let bad = series(&[("result", "bad"), ("pod", "a")], MetricKind::Counter);
    let gauge = series(&[("result", "ok"), ("pod", "g")], MetricKind::Gauge);
    let sample = |series: &Arc<Series>, seconds: i64, value: f64| Sample {
        series: Arc::clone(series),
        at: at(seconds * 1000),
        value,
    };
    let samples = vec![
        sample(&ok, -30, 100.0),
        sample(&ok, 10, 110.0),
        sample(&ok, 10, 110.0),
        sample(&ok, 40, 130.0),
        sample(&ok, 70, 5.0),
        sample(&bad, 20, 7.0),
        sample(&bad, 80, 8.0),
        sample(&gauge, 10, 50.0),
        sample(&gauge, 40, 90.0),
    ];
    let store = store(&Batch { samples, ..Batch::default() }).await;
    let growth = async |labels: &[(&str, &str)]| {
        let selector = CounterSelector { metric: "orders".into(), labels: attributes(labels) };
        let growth = store.counter_growth(&selector, window(0, 120)).await.unwrap();
        growth.into_iter().map(|(minute, grown)| (minute.seconds() - T0, grown)).collect::<Vec<_>>()
    };
    assert_eq!(growth(&[("result", "ok")]).await, [(0, 30.0), (60, 5.0)]);
    assert_eq!(growth(&[]).await, [(0, 30.0), (60, 6.0)]);
    assert_eq!(growth(&[("result", "none'?")]).await, []);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_known_by_what_they_did() {
    let mut spans = Vec::new();
    for minute in 0..10 {
        let id = 100 + minute as u32;
        let start = minute * 60_000;
        spans.push(ended(
            span(id, (1, 0), "web", "GET cart", SpanKind::Client, start, 20),
            &[("server.address", "cart")],
        ));
        spans.push(span(id, (5, 0), "web", "GET mail", SpanKind::Client, start, 20));
        // The service answers in the first five minutes only.
        if minute < 5 {
            spans.push(span(id, (2, 1), "cart", "GET /cart", SpanKind::Server, start + 5, 10));
        } else if let Some(call) = spans.iter_mut().rev().nth(1) {
            call.status = StatusCode::Error;
        }
    }
    let store = store(&Batch { spans, ..Batch::default() }).await;
    let callers = store.callers("cart", window(0, 300), window(300, 600)).await.unwrap();
    let [caller] = &callers[..] else { panic!("{callers:?}") };
    assert_eq!((caller.service.as_str(), caller.calls_before, caller.calls, caller.failed), ("web", 5, 5, 5));
    assert_eq!(store.callers("it's", window(0, 300), window(300, 600)).await.unwrap(), []);
    store.close().await.unwrap();
}
