//! What the findings about log patterns promise.

use proptest::prelude::*;

use super::*;

const NOW: UnixNanos = UnixNanos::from_seconds(1_795_089_600);

fn back(windows: u32) -> UnixNanos {
    NOW.minus(WINDOW * windows)
}

/// A pattern with a count for each window from now back to `from`.
fn pattern(id: u64, template: &str, from: u32, count: impl Fn(u32) -> u64) -> PatternHistory {
    let windows: BTreeMap<u32, u64> =
        (0..=from).map(|window| (window, count(window))).filter(|(_, count)| *count > 0).collect();
    let last = windows.keys().next().copied().unwrap_or(from);
    PatternHistory {
        pattern: PatternId(id),
        template: template.into(),
        severity: 9,
        first_seen: back(from).minus(Duration::from_secs(1)).max(if from == 0 {
            NOW.minus(Duration::from_secs(60))
        } else {
            UnixNanos(0)
        }),
        last_seen: back(last),
        latest: windows.get(&0).copied().unwrap_or(0),
        windows,
    }
}

fn service(known: u32, patterns: Vec<PatternHistory>) -> ServiceLogs {
    let mut windows = BTreeMap::new();
    for (window, count) in patterns.iter().flat_map(|pattern| &pattern.windows) {
        *windows.entry(*window).or_default() += count;
    }
    ServiceLogs { service: "cart".into(), since: back(known), deployed: None, patterns, windows }
}

/// Only what a store has to tell.
fn trimmed(logs: &ServiceLogs) -> ServiceLogs {
    let mut logs = logs.clone();
    let known = known_windows(&logs, NOW).min(DAY);
    for pattern in &mut logs.patterns {
        let of_use = |window: u32| windows_of_use().any(|range| range.contains(&window));
        let like = |window: u32| window >= DAY - NEIGHBOURS && (window + NEIGHBOURS) % DAY <= 2 * NEIGHBOURS;
        let sum = |these: &dyn Fn(u32) -> bool| -> u64 {
            pattern.windows.iter().filter(|(window, _)| these(**window)).map(|(_, count)| count).sum()
        };
        let silent = pattern.windows.keys().next().copied().unwrap_or(u32::MAX);
        let written = pattern.windows.keys().filter(|window| of_use(**window)).count();
        let presence = written as f64 / f64::from(known.max(1));
        let day = sum(&|window| (2 * NEIGHBOURS..DAY).contains(&window));
        let whole = may_have_moved(pattern.count(0), sum(&like), day, silent, presence);
        pattern.windows.retain(|window, _| whole && of_use(*window));
    }
    logs.windows.retain(|window, _| *window < 2 * MAX_SILENT);
    logs
}

fn check(logs: &ServiceLogs, expected: &[&str]) {
    assert_eq!(evaluate(logs, NOW), evaluate(&trimmed(logs), NOW));
    let sentences: Vec<String> = evaluate(logs, NOW).findings.iter().map(PatternFinding::sentence).collect();
    assert_eq!(sentences, expected);
}

/// A count around `mean`, like a coin's but the same every time.
fn noise(window: u32, mean: u64) -> u64 {
    let hash = u64::from(window).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    mean + hash % (mean / 2 + 1)
}

#[test]
fn what_is_new_says_since_when_it_was_not_there() {
    let usual = pattern(1, "tick", 400, |window| noise(window, 20));
    let fresh = pattern(2, "disk <*> failed", 0, |_| 3);
    check(
        &service(400, vec![usual.clone(), fresh.clone()]),
        &[
            "cart writes \"disk <*> failed\" for the first time, 3 times since 11:59:59: it was not there since 18 Nov 2026",
        ],
    );
    // What is not known to have been absent is not new.
    check(&service(5, vec![usual, fresh]), &[]);
}

#[test]
fn quiet_traffic_moves_nothing() {
    for known in [30, 288, 2000] {
        let patterns = vec![
            pattern(1, "tick", known, |window| noise(window, 20)),
            pattern(2, "rare <*>", known, |window| u64::from(window % 50 == 7)),
            pattern(3, "nightly job done", known, |window| u64::from(window % DAY == 100) * 500),
        ];
        check(&service(known, patterns), &[]);
    }
}

#[test]
fn a_spike_is_measured_by_the_time_of_day() {
    let daily = |window: u32| if window % DAY < 4 { 400 + u64::from(window % 7) } else { 5 };
    check(&service(2000, vec![pattern(1, "rush hour", 2000, daily)]), &[]);
    let today = |window: u32| if window == 0 { 400 } else { 5 + u64::from(window % 3) };
    check(
        &service(2000, vec![pattern(1, "timeout of <*>", 2000, today)]),
        &["cart wrote \"timeout of <*>\" 400 times in 5 minutes, usually 6.0 times"],
    );
}

#[test]
fn what_stopped_is_told_when_the_service_writes_on() {
    let other = pattern(1, "tick", 600, |window| noise(window, 20));
    let gone = pattern(2, "batch <*> stored", 600, |window| if window < 8 { 0 } else { 3 });
    check(
        &service(600, vec![other, gone.clone()]),
        &[
            "cart no longer writes \"batch <*> stored\", last at 11:20:00; it used to in 100% of 5-minute windows",
        ],
    );
    check(&service(600, vec![gone]), &[]);
}

/// A deploy that gives thirty messages other words.
#[test]
fn a_deploy_that_rewords_does_not_flood() {
    let deploy = 8;
    let mut patterns = vec![pattern(1, "tick", 600, |window| noise(window, 20))];
    for message in 0..30_u64 {
        let name: String = (0..3).map(|place| char::from(b'a' + ((message >> place) & 7) as u8)).collect();
        let old = format!("order {name}{message} was stored in the database after <*>");
        let new = format!("order {name}{message} was saved in the database after <*>");
        patterns.push(pattern(100 + message, &old, 600, |window| if window < deploy { 0 } else { 3 }));
        let mut new = pattern(200 + message, &new, 0, |_| 3);
        new.first_seen = NOW.minus(Duration::from_secs(200));
        patterns.push(new);
    }
    patterns.push(pattern(300, "cannot reach the payment provider", 0, |_| 2));
    let mut logs = service(600, patterns);
    assert_eq!(
        evaluate(&logs, NOW).findings.len(),
        MAX_NEW + 30,
        "without a deploy: new ones and stopped ones"
    );
    logs.deployed = Some(back(deploy));
    let changes = evaluate(&logs, NOW);
    assert_eq!(changes.reworded.len(), 30);
    let told: Vec<PatternId> = changes.findings.iter().map(|finding| finding.pattern).collect();
    assert_eq!(told, [PatternId(300)]);
}

/// A service that was deployed `deployed` windows ago and whose message to one database last came `gone` windows ago; the
/// message to another first comes now.
fn another_database_fails(deployed: u32, gone: u32) -> PatternChanges {
    let tick = pattern(1, "tick", 2000, |window| noise(window, 20));
    let old = pattern(2, "failed to connect to postgres primary", 2000, |window| u64::from(window == gone));
    let new = pattern(3, "failed to connect to redis primary", 0, |_| 3);
    evaluate(&ServiceLogs { deployed: Some(back(deployed)), ..service(2000, vec![tick, old, new]) }, NOW)
}

#[test]
fn what_first_comes_days_after_a_deploy_is_no_rewording() {
    let told = |changes: &PatternChanges| -> Vec<PatternId> {
        changes.findings.iter().map(|finding| finding.pattern).collect()
    };
    let changes = another_database_fails(3 * DAY, 6 * DAY);
    assert_eq!((told(&changes), changes.reworded), (vec![PatternId(3)], vec![]), "both too far away");
    let changes = another_database_fails(8, 6 * DAY);
    assert_eq!((told(&changes), changes.reworded), (vec![PatternId(3)], vec![]), "gone before the deploy");
    let changes = another_database_fails(3 * DAY, 3 * DAY);
    assert_eq!((told(&changes), changes.reworded), (vec![PatternId(3)], vec![]), "long after the deploy");
    let changes = another_database_fails(8, 9);
    assert_eq!((told(&changes), changes.reworded), (vec![], vec![(PatternId(3), PatternId(2))]));
}

/// A deploy of another program: so many messages come and go that comparing each with each would take minutes.
#[test]
fn only_the_most_frequent_are_compared_around_a_deploy() {
    let mut patterns = Vec::new();
    for message in 0..2000_u64 {
        let name: String =
            (0..4).map(|place| char::from(b'a' + ((message >> (3 * place)) & 7) as u8)).collect();
        let (old, new) = (format!("it stored order {name}"), format!("it saved order {name}"));
        patterns.push(pattern(message, &old, 40, |window| if window == 8 { message + 1 } else { 0 }));
        let mut new = pattern(10_000 + message, &new, 0, |_| message + 1);
        new.first_seen = back(7);
        patterns.push(new);
    }
    let mut logs = service(600, patterns);
    logs.deployed = Some(back(8));
    let changes = evaluate(&logs, NOW);
    let mut expected: Vec<(PatternId, PatternId)> =
        (1900..2000).map(|message| (PatternId(10_000 + message), PatternId(message))).collect();
    let mut reworded = changes.reworded.clone();
    reworded.sort_unstable();
    expected.sort_unstable();
    assert_eq!(reworded, expected);
    logs.patterns.reverse();
    assert_eq!(changes, evaluate(&logs, NOW));
}

#[test]
fn the_bound_is_one() {
    // P(X >= 20) for Poisson(5) is 3.5e-7.
    let bound = tail_bound(5.0, 5.0, 20.0);
    assert!((3.5e-7..1e-5).contains(&bound), "{bound}");
    assert_eq!(tail_bound(5.0, 5.0, 5.0), 1.0);
    assert_eq!(tail_bound(0.0, 0.0, 1.0), 0.0);
    assert_eq!(tail_bound(f64::NAN, 1.0, 1.0), 1.0);
    assert!(tail_bound(5.0, 50.0, 20.0) > bound, "more spread, less surprise");
}

proptest! {
    #[test]
    fn more_is_never_likelier(mean in 0.0..1e6_f64, extra in 0.0..1e6_f64, count in 0.0..1e6_f64, more in 0.0..1e6_f64) {
        let (less, most) = (tail_bound(mean, mean + extra, count), tail_bound(mean, mean + extra, count + more));
        prop_assert!((0.0..=1.0).contains(&most) && most <= less + 1e-9);
    }

    #[test]
    fn order_does_not_matter(counts in prop::collection::vec((0_u32..600, 0_u64..50, 0_u64..3), 0..60)) {
        let mut by_pattern: BTreeMap<u64, BTreeMap<u32, u64>> = BTreeMap::new();
        for (window, count, id) in &counts {
            by_pattern.entry(*id).or_default().insert(*window, *count);
        }
        let patterns: Vec<PatternHistory> = by_pattern
            .into_iter()
            .map(|(id, windows)| pattern(id, "a", 600, |window| windows.get(&window).copied().unwrap_or(0)))
            .collect();
        let mut logs = service(600, patterns);
        let forwards = evaluate(&logs, NOW);
        logs.patterns.reverse();
        prop_assert_eq!(forwards, evaluate(&logs, NOW));
    }
}
