//! What becomes of each field: a small request in JSON, the rows it gives, and what was refused or corrected.

use domain::{LogRecord, Sample, Span};
use ingest::{Decoded, Encoding, Limits, Signal, decode};

use crate::support::NOW;

fn decoded(signal: Signal, request: &str) -> Decoded {
    decode(signal, Encoding::Json, request.as_bytes(), &Limits::default(), NOW).unwrap()
}

/// What was refused, corrected and cut: `invalid_id=1 truncated=2`.
fn troubles(decoded: &Decoded) -> String {
    let tally = &decoded.tally;
    let mut shown: Vec<_> =
        tally.rejected.iter().map(|(reason, items)| format!("{}={items}", reason.as_str())).collect();
    shown.extend(
        tally.corrected.iter().map(|(correction, times)| format!("~{}={times}", correction.as_str())),
    );
    if tally.truncated > 0 {
        shown.push(format!("truncated={}", tally.truncated));
    }
    shown.join(" ")
}

/// The rows of one span object, shown by `show`.
fn check_span(span: &str, show: impl Fn(&Span) -> String, expected: &str, trouble: &str) {
    let request = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[
            {{"key":"service.name","value":{{"stringValue":"cart"}}}}]}},
            "scopeSpans":[{{"scope":{{"name":"lib","version":"1"}},"spans":[{span}]}}]}}]}}"#
    );
    let decoded = decoded(Signal::Traces, &request);
    let shown: Vec<_> = decoded.batch.spans.iter().map(show).collect();
    assert_eq!(shown.join("; "), expected, "{span}");
    assert_eq!(troubles(&decoded), trouble, "{span}");
    assert_eq!(decoded.tally.accepted, shown.len() as u64);
}

const IDS: &str = r#""traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174""#;

#[test]
fn spans_keep_what_they_say() {
    let span = format!(
        r#"{{{IDS},"parentSpanId":"eee19b7ec3c1b173","name":"GET /","kind":"SPAN_KIND_SERVER","traceState":"a=b",
        "startTimeUnixNano":"1795096950000000000","endTimeUnixNano":1795096950250000000,
        "status":{{"code":2,"message":"boom"}},
        "attributes":[{{"key":"n","value":{{"intValue":"7"}}}},{{"key":"","value":{{"intValue":"7"}}}}],
        "events":[{{"name":"exception","attributes":[{{"key":"exception.type","value":{{"stringValue":"E"}}}}]}}],
        "links":[{{{IDS}}},{{"traceId":"00","spanId":"00"}}]}}"#
    );
    check_span(
        &span,
        |span| {
            let event = &span.events[0];
            format!(
                "{} {}/{}<{} {} {:?} {:?} {} {} {}/{} {:?} {} {}:{}@{:?} {}",
                span.service,
                span.trace_id,
                span.span_id,
                span.parent_span_id,
                span.name,
                span.kind,
                span.status,
                span.status_message,
                span.duration_ns,
                span.scope_name,
                span.scope_version,
                span.attributes,
                span.trace_state,
                event.name,
                event.attributes["exception.type"],
                event.at,
                span.links.len(),
            )
        },
        "cart 5b8efff798038103d269b633813fc60c/eee19b7ec3c1b174<eee19b7ec3c1b173 GET / Server Error boom 250000000 \
         lib/1 {\"n\": \"7\"} a=b exception:E@UnixNanos(1795096950000000000) 1",
        "~invalid_id=1 truncated=1",
    );
}

#[test]
fn spans_of_doubtful_times_and_ids() {
    let check = |fields: &str, expected: &str, trouble: &str| {
        let show =
            |span: &Span| format!("{} +{} <{}", span.start.seconds(), span.duration_ns, span.parent_span_id);
        check_span(&format!("{{{fields}}}"), show, expected, trouble);
    };
    let times = r#""startTimeUnixNano":"1795096950000000000","endTimeUnixNano":"1795096951000000000""#;
    check(&format!("{IDS},{times}"), "1795096950 +1000000000 <", "");
    check(&format!(r#"{IDS},{times},"parentSpanId":"0000000000000000""#), "1795096950 +1000000000 <", "");
    check(&format!(r#"{IDS},{times},"parentSpanId":"00ff""#), "", "invalid_id=1");
    check(times, "", "invalid_id=1");
    let zero = r#""traceId":"00000000000000000000000000000000","spanId":"EEE19B7EC3C1B174""#;
    check(&format!("{zero},{times}"), "", "invalid_id=1");
    check(&format!(r#""traceId":"aa","spanId":"EEE19B7EC3C1B174",{times}"#), "", "invalid_id=1");
    // No time, an end before the start, no end.
    check(IDS, "1795096951 +0 <", "~missing_time=1");
    let backwards = r#""startTimeUnixNano":"1795096951000000000","endTimeUnixNano":"1795096950000000000""#;
    check(&format!("{IDS},{backwards}"), "1795096951 +0 <", "~negative_duration=1");
    let open = r#""startTimeUnixNano":"1795096951000000000""#;
    check(&format!("{IDS},{open}"), "1795096951 +0 <", "~negative_duration=1");
    // A day and an hour ahead; beyond what the clock can hold; long ago.
    let ahead = r#""startTimeUnixNano":"1795186951000000000","endTimeUnixNano":"1795186951000000001""#;
    check(&format!("{IDS},{ahead}"), "", "future=1");
    let endless = r#""startTimeUnixNano":"1","endTimeUnixNano":"18446744073709551615""#;
    check(&format!("{IDS},{endless}"), "", "future=1");
    check(&format!(r#"{IDS},"startTimeUnixNano":"5","endTimeUnixNano":"9""#), "0 +4 <", "");
}

fn check_log(record: &str, show: impl Fn(&LogRecord) -> String, expected: &str, trouble: &str) {
    let request = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{record}]}}]}}]}}"#);
    let decoded = decoded(Signal::Logs, &request);
    let shown: Vec<_> = decoded.batch.logs.iter().map(show).collect();
    assert_eq!(shown.join("; "), expected, "{record}");
    assert_eq!(troubles(&decoded), trouble, "{record}");
}

#[test]
fn log_records() {
    let check = |record: &str, expected: &str, trouble: &str| {
        let show = |log: &LogRecord| {
            let (at, severity) = (log.at.seconds(), log.severity_number);
            format!("{at} {} {severity} <{}/{}> {}", log.service, log.trace_id, log.span_id, log.body)
        };
        check_log(record, show, expected, trouble);
    };
    check(
        r#"{"timeUnixNano":"1795096950000000000","severityNumber":"SEVERITY_NUMBER_WARN","body":{"stringValue":"hi"}}"#,
        "1795096950 unknown_service 13 </> hi",
        "",
    );
    check(
        r#"{"observedTimeUnixNano":"1795096949000000000","body":{"kvlistValue":{"values":[{"key":"a","value":{"doubleValue":"NaN"}}]}}}"#,
        r#"1795096949 unknown_service 0 </> {"a":"NaN"}"#,
        "",
    );
    check("{}", "1795096951 unknown_service 0 </> ", "~missing_time=1");
    check(
        r#"{"timeUnixNano":"9","severityNumber":99,"traceId":"aa","spanId":"EEE19B7EC3C1B174"}"#,
        "0 unknown_service 24 </eee19b7ec3c1b174> ",
        "~severity=1 ~invalid_id=1",
    );
    check(r#"{"timeUnixNano":"9","severityNumber":-1}"#, "0 unknown_service 0 </> ", "~severity=1");
    check(r#"{"timeUnixNano":"1895096950000000000"}"#, "", "future=1");
}

/// The samples of one metric object, one per line: `name{labels} kind value`.
fn check_metric(metric: &str, expected: &[&str], trouble: &str) {
    let request = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[
            {{"key":"service.name","value":{{"stringValue":"cart"}}}},
            {{"key":"host.name","value":{{"stringValue":"h1"}}}}]}},
            "scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}"#
    );
    let decoded = decoded(Signal::Metrics, &request);
    let show = |sample: &Sample| {
        let Sample { series, value, .. } = sample;
        let labels = series.labels.iter().filter(|(key, _)| *key != "service" && *key != "instance");
        let labels: Vec<_> = labels.map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(series.labels["service"], "cart");
        assert_eq!(series.labels["instance"], "h1");
        format!("{}{{{}}} {} {value}", series.name, labels.join(","), series.kind.as_str())
    };
    let shown: Vec<_> = decoded.batch.samples.iter().map(show).collect();
    assert_eq!(shown, expected, "{metric}");
    assert_eq!(troubles(&decoded), trouble, "{metric}");
}

const AT: &str = r#""timeUnixNano":"1795096950000000000""#;

#[test]
fn gauges_and_sums() {
    let gauge = |points: &str| format!(r#"{{"name":"m","gauge":{{"dataPoints":[{points}]}}}}"#);
    check_metric(&gauge(&format!(r#"{{{AT},"asDouble":1.5}}"#)), &["m{} gauge 1.5"], "");
    check_metric(&gauge(&format!(r#"{{{AT},"asInt":"-3"}}"#)), &["m{} gauge -3"], "");
    check_metric(&gauge(&format!(r#"{{{AT},"asDouble":"NaN"}}"#)), &[], "not_a_number=1");
    check_metric(&gauge(&format!(r#"{{{AT},"asDouble":"-Infinity"}}"#)), &[], "not_a_number=1");
    check_metric(&gauge(&format!("{{{AT}}}")), &[], "not_a_number=1");
    check_metric(&gauge(&format!(r#"{{{AT},"flags":1}}"#)), &[], "no_recorded_value=1");
    check_metric(&gauge(r#"{"asInt":1,"timeUnixNano":"1895096950000000000"}"#), &[], "future=1");
    check_metric(&gauge(r#"{"asInt":1}"#), &["m{} gauge 1"], "~missing_time=1");

    let sum = |temporality: &str, monotonic: bool| {
        format!(
            r#"{{"name":"m","sum":{{"dataPoints":[{{{AT},"asInt":1}}],"isMonotonic":{monotonic},
            "aggregationTemporality":{temporality}}}}}"#
        )
    };
    check_metric(&sum(r#""AGGREGATION_TEMPORALITY_CUMULATIVE""#, true), &["m{} counter 1"], "");
    check_metric(&sum("2", false), &["m{} gauge 1"], "");
    check_metric(&sum("1", true), &["m{} delta 1"], "");
    check_metric(&sum("0", true), &[], "temporality=1");
}

#[test]
fn metrics_without_data_are_counted() {
    check_metric(r#"{"name":"m"}"#, &[], "no_data=1");
    check_metric(r#"{"name":"m","gauge":{"dataPoints":7}}"#, &[], "no_data=1");
    check_metric(r#"{"name":"m","gauge":{"dataPoints":null}}"#, &[], "");
    check_metric(r#"{"gauge":{"dataPoints":[{},{}]}}"#, &[], "no_name=2");
}

#[test]
fn histograms_and_summaries() {
    let histogram = |point: &str| {
        format!(
            r#"{{"name":"m","histogram":{{"aggregationTemporality":2,"dataPoints":[{{{AT},{point}}}]}}}}"#
        )
    };
    check_metric(
        &histogram(r#""count":"3","sum":2.5,"bucketCounts":["1","2"],"explicitBounds":["0.5"]"#),
        &[
            "m_bucket{le=0.5} counter 1",
            "m_bucket{le=+Inf} counter 3",
            "m_sum{} counter 2.5",
            "m_count{} counter 3",
        ],
        "",
    );
    check_metric(
        &histogram(r#""count":3,"sum":"NaN","bucketCounts":[1,2],"explicitBounds":["Infinity"]"#),
        &["m_bucket{le=+Inf} counter 3", "m_count{} counter 3"],
        "~not_a_number=1",
    );
    check_metric(&histogram(r#""count":3"#), &["m_count{} counter 3"], "");
    check_metric(
        &histogram(r#""count":3,"bucketCounts":[3],"explicitBounds":[1]"#),
        &[],
        "malformed_point=1",
    );
    check_metric(
        &format!(
            r#"{{"name":"m","exponentialHistogram":{{"aggregationTemporality":1,"dataPoints":[{{{AT},
            "count":3,"sum":4,"scale":"0","zeroCount":"1","positive":{{"offset":"0","bucketCounts":["2"]}}}}]}}}}"#
        ),
        &[
            "m_bucket{le=0} delta 1",
            "m_bucket{le=2} delta 3",
            "m_bucket{le=+Inf} delta 3",
            "m_sum{} delta 4",
            "m_count{} delta 3",
        ],
        "",
    );
    check_metric(
        &format!(
            r#"{{"name":"m","summary":{{"dataPoints":[{{{AT},"count":"2","sum":3,"quantileValues":[
            {{"value":1}},{{"quantile":0.99,"value":2}},{{"quantile":1,"value":"NaN"}},{{"quantile":7}}]}}]}}}}"#
        ),
        &["m{quantile=0} gauge 1", "m{quantile=0.99} gauge 2", "m_sum{} counter 3", "m_count{} counter 2"],
        "~not_a_number=2",
    );
}

#[test]
fn labels_of_ours_do_not_clash_with_those_of_the_sender() {
    let label = |key: &str| format!(r#"{{"key":"{key}","value":{{"stringValue":"theirs"}}}}"#);
    let labels = ["service", "exported_service", "instance", "le"].map(label).join(",");
    check_metric(
        &format!(r#"{{"name":"m","gauge":{{"dataPoints":[{{{AT},"asInt":1,"attributes":[{labels}]}}]}}}}"#),
        &[
            "m{exported_exported_service=theirs,exported_instance=theirs,exported_service=theirs,le=theirs} gauge 1",
        ],
        "",
    );
    let bucket = format!(
        r#"{{"name":"m","histogram":{{"aggregationTemporality":2,"dataPoints":[{{{AT},"count":1,"bucketCounts":[1],
        "attributes":[{}]}}]}}}}"#,
        label("le")
    );
    check_metric(
        &bucket,
        &["m_bucket{exported_le=theirs,le=+Inf} counter 1", "m_count{exported_le=theirs} counter 1"],
        "",
    );
    let many: Vec<_> = (0..49).map(|index| label(&format!("l{index}"))).collect();
    check_metric(
        &format!(
            r#"{{"name":"m","gauge":{{"dataPoints":[{{{AT},"asInt":1,"attributes":[{}]}}]}}}}"#,
            many.join(",")
        ),
        &[],
        "too_many_labels=1",
    );
}
