//! A hand-made incident for the tests of the pages: a fixture, not a measurement. It tells the story that a deploy
//! made one service ask a database once per item, so that every kind of exhibit has something to show.

use domain::diagnosis::*;
use domain::evidence::*;
use domain::*;

mod pages;

pub(super) use pages::{
    findings, health_page, incident_page, incidents_page, progress, service_page, services_page, trace_page,
};

/// 2026-11-19T14:02:31Z, when users began to be hurt.
pub(super) const STARTED: UnixNanos = UnixNanos::from_seconds(1_795_096_951);

/// `minutes:seconds` around the start of the incident's hour, 14:00:00.
pub(super) fn at(minutes: i64, seconds: i64) -> UnixNanos {
    UnixNanos::from_seconds(1_795_096_800 + minutes * 60 + seconds)
}

/// A small stable noise between -1 and 1.
fn noise(index: i64) -> f64 {
    let mixed = (index as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(31)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 40) as f64 / (1u64 << 23) as f64 - 1.0
}

/// A line every 30 s from 13:30 to 14:21 that moves from `before` to `now` within three minutes from the start.
fn line(name: &str, role: LineRole, before: f64, now: f64, spread: f64) -> Line {
    let points = (0..=102).map(|index| {
        let time = at(-30, index * 30);
        let share = (time.seconds_since(STARTED) / 180.0).clamp(0.0, 1.0);
        let middle = before + (now - before) * share;
        (time, middle + middle.abs() * spread * noise(index))
    });
    Line { name: name.into(), role, points: points.collect() }
}

fn window() -> Window {
    Window::new(STARTED, at(21, 0))
}

fn cites(ids: &[u32]) -> Vec<EvidenceId> {
    ids.iter().copied().map(EvidenceId).collect()
}

fn sentence(text: &str, ids: &[u32]) -> Sentence {
    Sentence::new(text, cites(ids))
}

fn figure(name: &str, before: &str, now: &str) -> Figure {
    Figure { name: name.into(), before: before.into(), now: now.into(), before_value: None, now_value: None }
}

fn evidence(id: u32, kind: EvidenceKind, service: &str, claim: &str, exhibit: Exhibit) -> Evidence {
    Evidence {
        id: EvidenceId(id),
        kind,
        service: service.into(),
        claim: claim.into(),
        strength: Strength::Strong,
        supports: vec![HypothesisId(1)],
        contradicts: Vec::new(),
        figures: Vec::new(),
        began: Some(STARTED),
        window: window(),
        query: "SELECT Minute, sum(Requests) AS requests, sum(Errors) AS errors\nFROM span_minutes\nWHERE ServiceName = 'checkout'\n  AND Minute >= '2026-11-19 13:02:00' AND Minute < '2026-11-19 14:21:00'\nGROUP BY Minute ORDER BY Minute".into(),
        exhibit,
    }
}

fn panel(title: &str, unit: Unit, lines: Vec<Line>) -> Panel {
    Panel { title: title.into(), unit, lines, limit: None, band: None }
}

fn service_level() -> Evidence {
    let mut availability = panel(
        "Availability, per 30 s",
        Unit::Ratio,
        vec![line("checkout", LineRole::Subject, 0.9993, 0.912, 0.006)],
    );
    for point in &mut availability.lines[0].points {
        point.1 = point.1.min(1.0);
    }
    availability.limit = Some(Limit { name: "objective 99.9%".into(), value: 0.999 });
    availability.band = Some((0.9975, 1.0));
    let mut latency =
        panel("Latency p95", Unit::Seconds, vec![line("checkout", LineRole::Subject, 0.232, 1.98, 0.05)]);
    latency.band = Some((0.17, 0.31));
    let exhibit = Exhibit::Panels {
        panels: vec![availability, latency],
        incident: window(),
        marks: vec![Mark { at: at(2, 10), name: "catalog 1.4.1 deployed 14:02:10".into() }],
    };
    Evidence {
        figures: vec![
            figure("Availability", "99.95%", "92.1%"),
            figure("Latency p95", "232 ms", "1.98 s"),
            figure("Requests per s", "18.1", "18.4"),
        ],
        ..evidence(
            1,
            EvidenceKind::ServiceLevel,
            "checkout",
            "checkout left its baseline at 14:02:31 and has stayed out.",
            exhibit,
        )
    }
}

fn error_causes() -> Evidence {
    let cause = |service: &str, name: &str, message: &str, before, now, share, trace: &str| ErrorCause {
        service: service.into(),
        span_name: name.into(),
        kind: SpanKind::Client,
        peer: String::new(),
        message: message.into(),
        exception: String::new(),
        before,
        now,
        share,
        sample_trace: trace.into(),
        first_seen: STARTED,
    };
    let causes = vec![
        cause(
            "catalog",
            "pool.acquire",
            "acquire cancelled, <*> of <*> in use",
            0.0,
            1391,
            0.862,
            "4bf92f3577b34da6a3ce929d0e0e4736",
        ),
        cause(
            "checkout",
            "GET /catalog/products",
            "context deadline exceeded",
            3.0,
            213,
            0.132,
            "a01c77de12bc3344a01c77de12bc3344",
        ),
        cause(
            "payment",
            "POST /charge",
            "acquirer answered 502",
            8.0,
            9,
            0.0056,
            "77b0e219000000000000000000000001",
        ),
    ];
    Evidence {
        contradicts: vec![HypothesisId(3)],
        ..evidence(
            2,
            EvidenceKind::ErrorCauses,
            "catalog",
            "86% of failing requests end in catalog’s connection pool, not in payment.",
            Exhibit::ErrorCauses { causes, failing_traces: 1613 },
        )
    }
}

fn frame(place: (u32, u32), who: (&str, &str), times: [f64; 4], calls: (f64, f64)) -> Frame {
    Frame {
        depth: place.0,
        parent: place.1,
        service: who.0.into(),
        name: who.1.into(),
        detail: String::new(),
        before_ms: times[0],
        now_ms: times[1],
        self_before_ms: times[2],
        self_now_ms: times[3],
        calls_before: calls.0,
        calls_now: calls.1,
        errors_now: 0.0,
    }
}

fn latency() -> Evidence {
    let once = (1.0, 1.0);
    let many = (1.0, 40.0);
    let mut frames = vec![
        frame((0, 0), ("checkout", "POST /checkout"), [376.0, 2004.0, 20.0, 41.0], once),
        frame((1, 0), ("checkout", "cart.get"), [60.0, 64.0, 60.0, 64.0], once),
        frame((1, 0), ("checkout", "GET catalog"), [120.0, 1735.0, 8.0, 12.0], once),
        frame((2, 2), ("catalog", "GET /catalog/products"), [112.0, 1723.0, 5.0, 13.0], once),
        frame((3, 3), ("catalog", "auth"), [30.0, 32.0, 30.0, 32.0], once),
        frame((3, 3), ("catalog", "products.load"), [62.0, 1640.0, 8.0, 14.0], once),
        frame((4, 5), ("postgres", "SELECT products"), [42.0, 44.0, 42.0, 44.0], once),
        frame((4, 5), ("catalog", "prices.for_product"), [12.0, 1582.0, 3.0, 33.0], many),
        frame((5, 7), ("catalog", "pool.acquire"), [0.2, 1165.0, 0.2, 1165.0], many),
        frame((5, 7), ("postgres", "SELECT price"), [9.4, 384.0, 9.4, 384.0], many),
        frame((3, 3), ("catalog", "json"), [15.0, 38.0, 15.0, 38.0], once),
        frame((1, 0), ("checkout", "stock.reserve"), [105.0, 84.0, 105.0, 84.0], once),
        frame((1, 0), ("checkout", "receipt"), [89.0, 80.0, 89.0, 80.0], once),
    ];
    frames[9].detail = "SELECT price FROM prices WHERE product_id = $1".into();
    let span = |depth, service: &str, name: &str, runs: Vec<(i64, u64)>, failed| TraceSpan {
        depth,
        service: service.into(),
        name: name.into(),
        kind: SpanKind::Internal,
        runs: runs.into_iter().map(|(start, length)| (start * 1_000_000, length * 1_000_000)).collect(),
        failed,
        message: if failed { "context deadline exceeded".into() } else { String::new() },
        span_id: "00f067aa0ba902b7".into(),
    };
    let each = |offset: i64, length| (0..31).map(move |index| (offset + index * 62, length)).collect();
    let sample = Trace {
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
        start: at(9, 41),
        duration_ns: 2_004_000_000,
        spans: vec![
            span(0, "checkout", "POST /checkout", vec![(0, 2004)], true),
            span(1, "checkout", "cart.get", vec![(2, 11)], false),
            span(1, "checkout", "GET catalog", vec![(16, 1985)], true),
            span(2, "catalog", "GET /catalog/products", vec![(18, 1983)], false),
            span(3, "postgres", "SELECT products", vec![(22, 3)], false),
            span(3, "catalog", "pool.acquire", each(27, 50), false),
            span(3, "postgres", "SELECT price", each(78, 9), false),
        ],
        omitted: 2,
    };
    Evidence {
        figures: vec![
            figure("prices.for_product", "12 ms", "1.58 s"),
            figure("Calls per request", "1", "40"),
            figure("Time per SELECT", "9.4 ms", "9.6 ms"),
        ],
        contradicts: vec![HypothesisId(2), HypothesisId(3)],
        ..evidence(
            3,
            EvidenceKind::LatencyDiff,
            "checkout",
            "The added 1.6 s is 40 price look-ups, three quarters of it waiting for a connection.",
            Exhibit::Latency { operation: "POST /checkout".into(), frames, sample: Some(sample) },
        )
    }
}

fn log_patterns() -> Evidence {
    let pattern = |service: &str, template: &str, severity, movement, before: f64, now: u64| LogPattern {
        service: service.into(),
        template: template.into(),
        severity,
        logger: String::new(),
        movement,
        before,
        now,
        first_seen: at(2, 19),
        sample: format!("14:09:41.221 {}", template.replace("<*>", "31")),
        counts: (0..40)
            .map(|index| {
                let time = at(-18, index * 60);
                let rate = if time >= STARTED { now as f64 / 19.0 } else { before / 19.0 };
                (time, (rate * (1.0 + 0.15 * noise(index))).round())
            })
            .collect(),
    };
    let patterns = vec![
        pattern(
            "catalog",
            "pool: no connection within <*> (in use <*>/20, waiting <*>)",
            13,
            PatternMove::New,
            0.0,
            5812,
        ),
        pattern(
            "checkout",
            "catalog call failed: deadline exceeded after <*> ms",
            17,
            PatternMove::Spiking,
            3.0,
            1604,
        ),
        pattern("catalog", "price cache warmed in <*> ms, <*> entries", 9, PatternMove::Gone, 37.0, 4),
    ];
    Evidence {
        strength: Strength::Medium,
        ..evidence(
            4,
            EvidenceKind::LogPatterns,
            "catalog",
            "Pool warnings are new since 14:02:19, and the price cache stopped warming.",
            Exhibit::LogPatterns { patterns },
        )
    }
}

fn skew() -> Evidence {
    let row = |name: &str, bad, good| SkewRow { name: name.into(), bad, good };
    let rows = vec![
        row("catalog service.version = 1.4.1", 0.991, 0.726),
        row("http.route = /checkout", 0.923, 0.343),
        row("cart.items ≥ 8", 0.714, 0.198),
        row("catalog k8s.pod.name = 5f7-x2kq", 0.009, 0.274),
    ];
    Evidence {
        contradicts: vec![HypothesisId(2)],
        ..evidence(
            5,
            EvidenceKind::AttributeSkew,
            "catalog",
            "Failing requests were served by catalog 1.4.1. The pod on 1.4.0 is healthy.",
            Exhibit::Skew { bad: 1613, good: 18811, rows },
        )
    }
}

fn metric_shift() -> Evidence {
    let pods = |before, now, spread| {
        vec![
            line("pods on 1.4.1", LineRole::Subject, before, now, spread),
            line("pod on 1.4.0", LineRole::Peer, before, before, spread * 2.0),
        ]
    };
    let mut connections = panel("Connections in use, per pod", Unit::Number, pods(6.0, 19.6, 0.02));
    connections.limit = Some(Limit { name: "limit 20".into(), value: 20.0 });
    let exhibit = Exhibit::Panels {
        panels: vec![
            connections,
            panel("Queries per second, per pod", Unit::PerSecond, pods(12.0, 386.0, 0.04)),
        ],
        incident: window(),
        marks: vec![Mark { at: at(2, 19), name: "change point 14:02:19".into() }],
    };
    Evidence {
        contradicts: vec![HypothesisId(4)],
        ..evidence(
            6,
            EvidenceKind::MetricShift,
            "catalog",
            "Queries rise 32-fold at 14:02:19 and the pool hits its limit within 40 s, only on 1.4.1.",
            exhibit,
        )
    }
}

fn deploy() -> Change {
    Change {
        at: at(2, 10),
        kind: ChangeKind::Deploy,
        service: "catalog".into(),
        version: "1.4.1".into(),
        previous: "1.4.0".into(),
        reference: "9c41e7b".into(),
        detail: "Drop price cache, read live prices".into(),
        source: "api".into(),
    }
}

fn other_change(at: UnixNanos, kind: ChangeKind, service: &str, previous: &str, version: &str) -> Change {
    Change {
        at,
        kind,
        service: service.into(),
        version: version.into(),
        previous: previous.into(),
        reference: "free-shipping-banner".into(),
        ..Change::default()
    }
}

fn changes() -> Vec<ConsideredChange> {
    let considered = |change, score, reason| ConsideredChange { change, score, blamed: false, reason };
    vec![
        ConsideredChange {
            change: deploy(),
            score: 0.93,
            blamed: true,
            reason: sentence("On the failing path and 21 s ahead of the first failure.", &[5, 7]),
        },
        considered(
            other_change(at(-2, 44), ChangeKind::Deploy, "payment", "2.2.9", "2.3.0"),
            0.21,
            sentence("1 604 of 1 613 failing requests end before payment is called.", &[2]),
        ),
        considered(
            other_change(at(-29, 0), ChangeKind::Flag, "", "0", "50%"),
            0.05,
            sentence("Requests with the flag fail as often as those without.", &[5]),
        ),
        considered(
            other_change(at(5, 20), ChangeKind::Scale, "cart", "3", "2 replicas"),
            0.01,
            sentence("Came after the first failure.", &[]),
        ),
    ]
}

fn hypothesis(id: u32, service: &str, statement: &str, score: f64, status: HypothesisStatus) -> Hypothesis {
    Hypothesis {
        id: HypothesisId(id),
        service: service.into(),
        instance: String::new(),
        mechanism: Mechanism::RepeatedCalls,
        change: None,
        score,
        status,
        statement: sentence(statement, &[]),
        predictions: Vec::new(),
        supports: Vec::new(),
        contradicts: Vec::new(),
        began: None,
    }
}

fn hypotheses() -> Vec<Hypothesis> {
    let tested = |text: &str, held| Prediction { text: sentence(text, &[3]), held };
    vec![
        hypothesis(
            1,
            "catalog",
            "catalog 1.4.1 asks postgres once per product.",
            0.93,
            HypothesisStatus::Supported,
        ),
        Hypothesis {
            predictions: vec![tested("A SELECT would take longer: 9.4 → 9.6 ms.", Some(false))],
            contradicts: cites(&[3, 5]),
            ..hypothesis(2, "postgres", "postgres itself became slow.", 0.21, HypothesisStatus::RuledOut)
        },
        hypothesis(3, "payment", "payment 2.3.0 broke checkout.", 0.08, HypothesisStatus::RuledOut),
        Hypothesis {
            predictions: vec![tested("Retransmits would rise; node-c has no agent.", None)],
            ..hypothesis(
                4,
                "checkout",
                "Packet loss between checkout and catalog.",
                0.03,
                HypothesisStatus::NotEnoughData,
            )
        },
    ]
}

fn chain() -> Vec<ChainLink> {
    let link = |role: &str, component: &str, text: &str, id, began, edge: &str| ChainLink {
        role: role.into(),
        component: component.into(),
        text: sentence(text, &[id]),
        began: Some(began),
        edge: edge.into(),
    };
    vec![
        link(
            "Root cause",
            "catalog 1.4.1",
            "Prices are read one product at a time.",
            7,
            at(2, 10),
            "+9 s · 32 × queries",
        ),
        link(
            "Mechanism",
            "postgres pool",
            "20 of 20 connections in use on each new pod.",
            6,
            at(2, 19),
            "+4 s · 100% of calls",
        ),
        link(
            "Critical failure",
            "catalog",
            "/catalog/products p95 84 ms to 2.39 s.",
            3,
            at(2, 23),
            "+8 s · 62% of calls",
        ),
        link(
            "Spread",
            "checkout",
            "Calls to catalog pass the 2 s deadline.",
            2,
            STARTED,
            "0 s · 39% of traffic",
        ),
        link("Impact", "Customers", "18.7% of orders cannot be placed.", 1, STARTED, ""),
    ]
}

fn impact() -> Impact {
    let objective = |name: &str, sli, objective, good_ratio, burn_5m, burn_1h| ObjectiveStatus {
        name: name.into(),
        sli,
        objective,
        good_ratio,
        burn_5m,
        burn_1h,
        burn_limit: 14.4,
        missed: true,
    };
    let endpoint = |name: &str, requests, failed, before, now| ImpactedEndpoint {
        name: name.into(),
        requests,
        failed,
        p95_before: Some(before),
        p95_now: Some(now),
    };
    Impact {
        requests: 20424,
        failed: 1613,
        slow: 3802,
        objectives: vec![
            objective("99.9% of checkout requests succeed", Sli::Availability, 0.999, 0.921, 87.0, 24.7),
            objective("95% of checkout requests under 800 ms", Sli::Latency, 0.95, 0.814, 4.1, 1.3),
        ],
        endpoints: vec![
            endpoint("POST /checkout", 7940, 1488, 0.376, 2.0),
            endpoint("POST /checkout/quote", 6210, 125, 0.21, 0.9),
            endpoint("GET /checkout/{id}", 6274, 0, 0.021, 0.022),
        ],
    }
}

fn checks() -> Vec<Check> {
    let found =
        |kind, id| Check { kind, outcome: CheckOutcome::Found, note: String::new(), evidence: cites(&[id]) };
    let other = |kind, outcome, note: &str| Check { kind, outcome, note: note.into(), evidence: Vec::new() };
    vec![
        found(EvidenceKind::ServiceLevel, 1),
        found(EvidenceKind::ErrorCauses, 2),
        found(EvidenceKind::LatencyDiff, 3),
        found(EvidenceKind::CallStructure, 8),
        found(EvidenceKind::LogPatterns, 4),
        found(EvidenceKind::MetricShift, 6),
        found(EvidenceKind::AttributeSkew, 5),
        found(EvidenceKind::Change, 7),
        other(EvidenceKind::Silence, CheckOutcome::Nothing, "all 8 services keep sending"),
        other(EvidenceKind::Traffic, CheckOutcome::CouldNotLook, "no baseline an hour earlier"),
    ]
}

fn timeline() -> Vec<TimelineEntry> {
    let entry = |at, kind, text: &str, ids: &[u32]| TimelineEntry { at, kind, text: sentence(text, ids) };
    vec![
        entry(at(-2, 44), TimelineKind::Change, "payment 2.3.0 deployed.", &[]),
        entry(at(2, 10), TimelineKind::Change, "catalog 1.4.1 deployed.", &[7]),
        entry(at(2, 19), TimelineKind::Shift, "Queries per pod 12 → 386 a second.", &[6]),
        entry(STARTED, TimelineKind::Hurt, "First checkout requests fail.", &[1]),
    ]
}

/// The report of the fixture.
pub(super) fn report() -> Report {
    let calls = Exhibit::Table {
        columns: ["Call", "Before", "Now", "Change"].map(str::to_owned).to_vec(),
        rows: vec![
            ["catalog → postgres SELECT price", "1", "40", "× 40"].map(str::to_owned).to_vec(),
            ["catalog → postgres SELECT products", "1", "1", "none"].map(str::to_owned).to_vec(),
        ],
    };
    let evidence = vec![
        service_level(),
        error_causes(),
        latency(),
        log_patterns(),
        skew(),
        metric_shift(),
        evidence(
            7,
            EvidenceKind::Change,
            "catalog",
            "catalog 1.4.1 started serving at 14:02:10.",
            Exhibit::Change { change: deploy() },
        ),
        evidence(
            8,
            EvidenceKind::CallStructure,
            "catalog",
            "One checkout makes 40 price queries, where it made 1.",
            calls,
        ),
    ];
    let step = |kind, text, command: &str| Step { kind, text, command: command.into() };
    Report {
        format: Report::FORMAT,
        answer: Answer {
            going_on: vec![
                sentence(
                    "Since 14:02:31, 7.9% of checkout requests fail, most after waiting 2 s for catalog.",
                    &[1],
                ),
                sentence("86% of the failures end in catalog, waiting for a database connection.", &[2]),
            ],
            cause: vec![sentence(
                "catalog 1.4.1, deployed 14:02:10, added an N+1 query on /catalog/products that exhausts the postgres connection pool.",
                &[3, 6, 7],
            )],
            next_steps: vec![
                step(
                    StepKind::Verify,
                    sentence("See the repeated query: SELECT price, 31 times in one request.", &[3]),
                    "",
                ),
                step(
                    StepKind::Mitigate,
                    sentence("Roll catalog back to 1.4.0.", &[7]),
                    "kubectl -n shop rollout history deployment/catalog",
                ),
                step(
                    StepKind::Fix,
                    sentence(
                        "Load prices in one query, or restore the price cache that 1.4.1 removed.",
                        &[4],
                    ),
                    "",
                ),
            ],
        },
        narrated: NarratedBy::Template,
        used: None,
        citations_checked: 9,
        citations: 9,
        engine: "0.1.0".into(),
        diagnosis: Diagnosis {
            service: "checkout".into(),
            title: "checkout availability 92.1%, objective 99.9%".into(),
            window: window(),
            baseline: Some(Window::new(at(-58, 0), at(2, 0))),
            started: Some(STARTED),
            verdict: Verdict::Cause,
            confidence: Confidence {
                level: ConfidenceLevel::High,
                score: 0.93,
                reasons: vec![
                    sentence(
                        "Four independent signals agree, and the one pod still on 1.4.0 is healthy.",
                        &[5],
                    ),
                    sentence("Not tested yet: whether it stops when 1.4.1 is undone.", &[]),
                ],
            },
            impact: impact(),
            chain: chain(),
            changes: changes(),
            evidence,
            hypotheses: hypotheses(),
            checks: checks(),
            gaps: vec![
                "No agent on node-c, one node of three. Network findings there are missing.".into(),
                "No profiles from catalog. A CPU regression in 1.4.1 would not be seen.".into(),
            ],
            timeline: timeline(),
        },
    }
}

pub(super) fn finding(service: &str, sli: Sli) -> Finding {
    Finding {
        service: service.into(),
        subject: String::new(),
        severity: Severity::Critical,
        started: STARTED,
        window: window(),
        detail: Detail::Objective(ObjectiveMissed {
            sli,
            objective: 0.999,
            threshold_ms: (sli == Sli::Latency).then_some(800.0),
            burn_long: 24.7,
            burn_short: 87.0,
            burn_at_least: 76.0,
            burn_limit: 14.4,
            good_ratio: 0.921,
            requests: 5520,
            short_seconds: 300,
        }),
    }
}

/// The incident of the fixture: opened, investigated, acknowledged, judged.
pub(crate) fn incident() -> Incident {
    let events = vec![
        (at(4, 30), IncidentEvent::Opened { finding: finding("checkout", Sli::Availability) }),
        (
            at(4, 36),
            IncidentEvent::Investigated {
                run: 1,
                summary: "catalog 1.4.1 added an N+1 query that exhausts the postgres pool.".into(),
                confidence: ConfidenceLevel::High,
                root_service: "catalog".into(),
                elapsed_ms: 6200,
            },
        ),
        (at(4, 40), IncidentEvent::Updated { finding: finding("catalog", Sli::Latency) }),
        (at(5, 2), IncidentEvent::Acknowledged { actor: "shop on-call".into() }),
        (
            at(19, 36),
            IncidentEvent::Feedback {
                actor: "shop on-call".into(),
                verdict: "not-quite".into(),
                service: "catalog".into(),
                mechanism: Some(Mechanism::Saturation),
                text: "The pool limit was also too low.".into(),
            },
        ),
    ];
    Incident::fold(IncidentId(142), &events).expect("opened first")
}
