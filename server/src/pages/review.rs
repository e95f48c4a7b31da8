//! The review queue: what looks like noise, and what people decided about it.

use std::collections::BTreeMap;

use detectors::suppression::history::{History, hour_of};
use detectors::suppression::{Event, Measures, Mode, Reason, State as Stands, never};
use domain::text::{count as counted, number, percent, plain};
use domain::{Severity, UnixNanos};
use serde::Serialize;

use super::input::Top;
use super::svg::rates::{Rates, rates};
use super::templates::{Svg, render};
use super::words::{Cut, Shell, State, cut, plural};
use crate::noise::{Details, ModeChange, Noted, Proposal, RuleInForce};

/// Rows shown.
const MOST_ROWS: usize = 200;
/// Incidents named on one row.
const MOST_LINKED: usize = 8;
/// What was decided within this time stays in its place, so that it can be taken back.
const STAYS_SECONDS: f64 = 3600.0;
const WEEK_HOURS: i64 = 168;

/// What the queue is drawn from.
pub struct ReviewPage {
    /// The present instant.
    pub now: UnixNanos,
    /// All alerts, the most worth deciding first.
    pub proposals: Vec<Proposal>,
    /// The row that is open.
    pub open: String,
    /// What stands around it.
    pub details: Details,
    /// What was just done, in a sentence, and to which alert.
    pub done: Option<(String, String)>,
    /// How well suppression does.
    pub measures: Measures,
    /// The mode of rules that were not set apart, and those that were.
    pub modes: (Mode, Vec<(String, Mode)>),
    /// Days that a suppression lasts.
    pub expiry_days: u32,
    /// Its top bar.
    pub top: Top,
}

/// What the page of rules is drawn from.
pub struct RulesPage<'a> {
    /// Every rule that fired or was set apart.
    pub rules: &'a [RuleInForce],
    /// The mode of all others.
    pub default_mode: Mode,
    /// How well suppression does.
    pub measures: &'a Measures,
    /// What was just done, or why it was not.
    pub said: &'a str,
    /// Its top bar.
    pub top: &'a Top,
}

#[derive(Serialize)]
struct View {
    shell: Shell,
    tab: &'static str,
    title: String,
    lead: String,
    measures: Vec<Figure>,
    mode: ModeView,
    rows: Vec<Row>,
    unsure: Vec<Row>,
    omitted: usize,
    done: Option<(String, String)>,
    can_undo_done: bool,
    done_since: String,
}

#[derive(Serialize)]
struct Figure {
    name: &'static str,
    value: String,
    rest: String,
}

#[derive(Serialize)]
struct ModeView {
    word: &'static str,
    says: &'static str,
    locked: String,
    choices: Vec<(&'static str, bool)>,
}

#[derive(Serialize)]
struct Row {
    id: String,
    open: bool,
    selected: bool,
    done: Option<State>,
    waits: String,
    can_undo: bool,
    /// When what stands began, in nanoseconds: what Undo takes back, and nothing that came since.
    since: String,
    title: Cut,
    pattern: Vec<(String, bool)>,
    /// What was said with the decision that stands.
    note: String,
    reason: &'static str,
    confidence: String,
    pages: String,
    expires: String,
    severity: State,
    body: Option<Body>,
}

#[derive(Serialize)]
struct Body {
    why: Vec<String>,
    passed: Vec<String>,
    failed: Vec<String>,
    back: String,
    /// Incidents that it came with: number and id.
    linked: Vec<(u32, String)>,
    linked_omitted: usize,
    chart: Svg,
    days: Vec<(String, String, String, String)>,
    similar: Vec<(String, String, String, String, String)>,
    same: String,
    same_count: usize,
    reasons: Vec<(&'static str, &'static str, bool)>,
    expiry_days: u32,
    said: String,
    numbers: Vec<(String, String)>,
}

/// Draws the queue.
pub(super) fn queue(page: &ReviewPage) -> String {
    let waiting: Vec<&Proposal> = page.proposals.iter().filter(|one| stays(one, page.now)).collect();
    let (sure, unsure): (Vec<&Proposal>, Vec<&Proposal>) =
        waiting.into_iter().partition(|one| one.looks_like_noise());
    let undecided = sure.iter().filter(|one| one.waits(page.now)).count();
    let saved: usize = sure.iter().filter(|one| one.waits(page.now)).map(|one| one.saved()).sum();
    let first = sure.iter().chain(&unsure).find(|one| one.waits(page.now)).map(|one| one.fingerprint.clone());
    let selected = if page.open.is_empty() { first.unwrap_or_default() } else { page.open.clone() };
    let row = |one: &&Proposal| row(one, page, &selected);
    let omitted = (sure.len() + unsure.len()).saturating_sub(MOST_ROWS);
    let rows: Vec<Row> = sure.iter().take(MOST_ROWS).map(row).collect();
    let rest: Vec<Row> = unsure.iter().take(MOST_ROWS - rows.len()).map(row).collect();
    let (mode, apart) = &page.modes;
    let needs = page.measures.auto_needs();
    let locked = needs.map_or_else(String::new, |needs| format!("automatic needs {needs}"));
    let done = page.done.as_ref();
    let just_done = done.and_then(|(fingerprint, _)| {
        page.proposals.iter().find(|one| one.fingerprint == *fingerprint && one.standing.can_undo())
    });
    let view = View {
        shell: shell(&page.top),
        tab: "queue",
        title: match undecided {
            0 if rest.is_empty() => "Nothing waits for a decision".into(),
            0 => "No alert looks like noise yet".into(),
            1 => "1 alert looks like noise".into(),
            many => format!("{many} alerts look like noise"),
        },
        lead: lead(saved, *mode, rest.len()),
        measures: figures(&page.measures),
        mode: ModeView {
            word: mode_word(*mode),
            says: match mode {
                Mode::Observe => "decisions are measured, nothing is hidden",
                Mode::Recommend => "what you approve is hidden",
                Mode::Auto => "what is sure is hidden by itself",
            },
            locked: match apart.len() {
                0 => locked.clone(),
                many if locked.is_empty() => format!("{} set apart", plural(many, "rule", "rules")),
                many => format!("{} set apart; {locked}", plural(many, "rule", "rules")),
            },
            choices: Mode::ALL
                .into_iter()
                .filter(|choice| *choice != Mode::Auto || locked.is_empty())
                .map(|choice| (choice.as_str(), choice == *mode))
                .collect(),
        },
        rows,
        unsure: rest,
        omitted,
        can_undo_done: just_done.is_some(),
        done_since: just_done.map(since).unwrap_or_default(),
        done: done.cloned(),
    };
    render("review.html", &view)
}

fn stays(one: &Proposal, now: UnixNanos) -> bool {
    let lately = one.standing.since.is_some_and(|since| now.seconds_since(since) < STAYS_SECONDS);
    one.waits(now) || (lately && !matches!(one.standing.state, Stands::Undecided))
}

fn lead(saved: usize, mode: Mode, unsure: usize) -> String {
    let hidden = match mode {
        Mode::Observe => "In mode observe nothing is hidden; what you decide is measured, and teaches.",
        Mode::Recommend => {
            "Nothing is suppressed until you approve it; a suppressed alert is still stored, counted and shown."
        }
        Mode::Auto => "What is sure enough is suppressed by itself; it is still stored, counted and shown.",
    };
    match (saved, unsure) {
        (0, 0) => hidden.to_owned(),
        (0, _) => format!("Alerts below wait for a first decision: it teaches what noise is here. {hidden}"),
        (saved, _) => format!(
            "Suppressing them would save about {} in 30 days. {hidden}",
            plural(saved, "page", "pages")
        ),
    }
}

fn figures(measures: &Measures) -> Vec<Figure> {
    let whole = |value: u64| counted(i64::try_from(value).unwrap_or(i64::MAX));
    vec![
        Figure {
            name: "Precision of proposals",
            value: measures.precision().map_or("–".into(), percent),
            rest: match measures.decided {
                0 => "none decided yet".into(),
                _ => format!("{} of {} approved", measures.approved, measures.decided),
            },
        },
        Figure {
            name: "Wrongly suppressed",
            value: whole(measures.wrongly_suppressed),
            rest: match measures.wrong_at_most() {
                Some(most) => format!("of {}, at most {}", whole(measures.suppressed), percent(most)),
                None => "none suppressed yet".into(),
            },
        },
        Figure {
            name: "Pages avoided, 30 days",
            value: whole(measures.pages_avoided as u64),
            rest: format!("of {}", whole(measures.pages as u64)),
        },
    ]
}

const fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "Observe",
        Mode::Recommend => "Recommend",
        Mode::Auto => "Auto",
    }
}

fn row(one: &Proposal, page: &ReviewPage, selected: &str) -> Row {
    let waits = one.waits(page.now);
    let open = one.fingerprint == page.open;
    let forbidden = never::forbids(&one.rulings);
    Row {
        id: one.fingerprint.clone(),
        open,
        selected: one.fingerprint == selected,
        done: (!waits).then(|| standing(one)).flatten(),
        waits: match (&one.incident, forbidden) {
            (Some(id), _) => format!("Waits for {id}"),
            (None, Some(ruling)) => format!("Never: {}", plain(&ruling.words, 60)),
            (None, None) => String::new(),
        },
        can_undo: one.standing.can_undo(),
        since: since(one),
        title: cut(&title(one), 80),
        pattern: marked(&one.alert.pattern),
        note: plain(&one.standing.note, 400),
        reason: match (one.standing.approval(), forbidden) {
            (Some(approval), _) => approval.reason.words(),
            (None, Some(_)) => "–",
            (None, None) => one.reason.words(),
        },
        confidence: format!("{}, {:.2}", level(one.confidence), one.confidence),
        pages: one.saved().to_string(),
        expires: match &one.standing.state {
            Stands::Active(approval) => approval.expires.to_timestamp().strftime("%-d %b").to_string(),
            Stands::Snoozed(until) => until.to_timestamp().strftime("until %-d %b").to_string(),
            _ => plural(page.expiry_days as usize, "day", "days"),
        },
        severity: State::of(one.alert.severity),
        body: open.then(|| body(one, page)),
    }
}

fn standing(one: &Proposal) -> Option<State> {
    Some(match &one.standing.state {
        Stands::Active(_) => State::new("st-ok", "i-ok", "Approved"),
        Stands::Rejected => State::new("st-none", "i-x", "Rejected"),
        Stands::Snoozed(_) => State::new("st-none", "i-none", "Snoozed"),
        Stands::Undecided | Stands::Reopened(_) => return None,
    })
}

fn since(one: &Proposal) -> String {
    one.standing.since.map_or_else(String::new, |at| at.0.to_string())
}

fn title(one: &Proposal) -> String {
    match one.alert.service.as_str() {
        "" => one.alert.rule.clone(),
        service => format!("{service}: {}", one.alert.rule),
    }
}

const fn level(confidence: f64) -> &'static str {
    match confidence {
        c if c >= 0.85 => "High",
        c if c >= 0.6 => "Medium",
        _ => "Low",
    }
}

/// A pattern in pieces; those that vary are marked.
fn marked(pattern: &str) -> Vec<(String, bool)> {
    let pattern = plain(pattern, 300);
    let mut pieces = Vec::new();
    for (index, piece) in pattern.split("<*>").enumerate() {
        if index > 0 {
            pieces.push(("<*>".to_owned(), true));
        }
        if !piece.is_empty() {
            pieces.push((piece.to_owned(), false));
        }
    }
    pieces
}

fn body(one: &Proposal, page: &ReviewPage) -> Body {
    let approval = one.standing.approval();
    let limit = approval.map_or(one.limit, |approval| approval.limit);
    let end = hour_of(page.now) + 1;
    let start = end - WEEK_HOURS;
    let hourly: Vec<f64> = (start..end).map(|hour| f64::from(one.history.of_hour(hour))).collect();
    let from_start = |hours: Vec<i64>| {
        hours.into_iter().map(|hour| usize::try_from(hour - start).unwrap_or(0)).collect::<Vec<_>>()
    };
    let pages = |limit| {
        if one.alert.severity >= Severity::Warning {
            from_start(one.history.pages(start, end, limit))
        } else {
            Vec::new()
        }
    };
    let (before, after) = (pages(None), pages(Some(limit)));
    let highest = hourly.iter().copied().fold(0.0, f64::max);
    let label = format!(
        "Alerts per hour over the last 7 days: {} in all, at most {} in an hour; the limit is {}. Pages: {} as it was, {} with this suppression.",
        number(hourly.iter().sum()),
        number(highest),
        number(limit.0),
        before.len(),
        after.len(),
    );
    let chart = rates(&Rates {
        start: UnixNanos::from_seconds(start * 3600),
        hourly: &hourly,
        limit: limit.0,
        before: &before,
        after: &after,
        label: &label,
    });
    let (passed, failed): (Vec<_>, Vec<_>) = one.rulings.iter().partition(|ruling| ruling.passed);
    let words = |rulings: Vec<&detectors::suppression::Ruling>| {
        rulings.iter().map(|ruling| plain(&ruling.words, 120)).collect()
    };
    Body {
        why: why(one, &page.details),
        passed: words(passed),
        failed: words(failed),
        back: format!(
            "more than {} an hour, a new host or version, an incident at the same time, or {}. It is then never suppressed automatically again.",
            number(limit.0),
            match approval {
                Some(approval) => format!("on {}", approval.expires.date()),
                None => format!("after {}", plural(page.expiry_days as usize, "day", "days")),
            },
        ),
        linked: page.details.linked.iter().take(MOST_LINKED).map(|id| (id.0, id.to_string())).collect(),
        linked_omitted: page.details.linked.len().saturating_sub(MOST_LINKED),
        chart: Svg(chart),
        days: days(&one.history, start, end, &before, &after),
        similar: page
            .details
            .similar
            .iter()
            .map(|similar| {
                let name = format!("{}: {}", plain(&similar.service, 40), plain(&similar.pattern, 80));
                (
                    name,
                    plain(&similar.decided, 80),
                    plain(&similar.outcome, 80),
                    format!("{:.2}", similar.similarity),
                    similar.linked.to_string(),
                )
            })
            .collect(),
        same_count: page.details.same_pattern.len(),
        same: plural(page.details.same_pattern.len(), "other service", "other services"),
        reasons: Reason::ALL
            .into_iter()
            .map(|reason| {
                (
                    reason.as_str(),
                    reason.words(),
                    reason == approval.map_or(one.reason, |approval| approval.reason),
                )
            })
            .collect(),
        expiry_days: page.expiry_days,
        said: plain(&one.alert.text, 400),
        numbers: one.alert.numbers.iter().map(|(name, value)| (plain(name, 60), plain(value, 60))).collect(),
    }
}

/// What the score rests on, in sentences.
fn why(one: &Proposal, details: &Details) -> Vec<String> {
    let features = &one.features;
    let history = &one.history;
    let mut said = Vec::new();
    if one.standing.sampled {
        said.push(
            "It is suppressed; this one was drawn as a sample, so that wrong suppression is noticed.".into(),
        );
    }
    if let Stands::Reopened(reopening) = &one.standing.state {
        said.push(format!("It was suppressed and came back: {}.", reopening.words()));
    }
    let times = counted(i64::try_from(history.total).unwrap_or(i64::MAX));
    said.push(match history.in_incidents {
        0 => format!("It came {times} times, never during an incident of its service."),
        some => format!("It came {times} times, {some} of them during incidents of its service."),
    });
    if let (Some(first), Some(last)) = (history.first, history.last) {
        let from = first.to_timestamp().strftime("%-d %b %H:%M");
        let to = last.to_timestamp().strftime("%-d %b %H:%M");
        said.push(format!("First on {from}, last on {to} UTC."));
    }
    said.push(match details.similar.len() {
        0 => "Nobody decided on an alert like it yet.".into(),
        _ => format!(
            "Decided alerts like it were noise to {}, those of its rule to {}.",
            percent(features.neighbours),
            percent(features.rule_approved)
        ),
    });
    said
}

fn days(
    history: &History,
    start: i64,
    end: i64,
    before: &[usize],
    after: &[usize],
) -> Vec<(String, String, String, String)> {
    let mut days: BTreeMap<i64, (u64, usize, usize)> = BTreeMap::new();
    for hour in start..end {
        days.entry(hour.div_euclid(24)).or_default().0 += u64::from(history.of_hour(hour));
    }
    let day_of = |index: &usize| (start + i64::try_from(*index).unwrap_or(0)).div_euclid(24);
    before.iter().for_each(|index| days.entry(day_of(index)).or_default().1 += 1);
    after.iter().for_each(|index| days.entry(day_of(index)).or_default().2 += 1);
    days.into_iter()
        .map(|(day, (alerts, before, after))| {
            let name = UnixNanos::from_seconds(day * 86_400).to_timestamp().strftime("%a %-d %b").to_string();
            (name, alerts.to_string(), before.to_string(), after.to_string())
        })
        .collect()
}

fn shell(top: &Top) -> Shell {
    Shell::new("Review", "review", top)
}

/// The file of policies, to be read and replaced.
pub(super) fn policies(yaml: &str, said: &str, failed: bool, top: &Top) -> String {
    #[derive(Serialize)]
    struct Policies<'a> {
        shell: Shell,
        tab: &'static str,
        yaml: &'a str,
        said: &'a str,
        failed: bool,
    }
    render("policies.html", &Policies { shell: shell(top), tab: "policies", yaml, said, failed })
}

/// Every rule and its mode.
pub(super) fn rules(page: &RulesPage<'_>) -> String {
    #[derive(Serialize)]
    struct Choice {
        mode: &'static str,
        on: bool,
        locked: bool,
    }
    #[derive(Serialize)]
    struct Line {
        id: String,
        name: Cut,
        label: String,
        alerts: String,
        pages: String,
        suppressed: String,
        decided: String,
        choices: Vec<Choice>,
        note: String,
    }
    #[derive(Serialize)]
    struct Rules {
        shell: Shell,
        tab: &'static str,
        lead: &'static str,
        said: String,
        auto: String,
        rules: Vec<Line>,
        omitted: usize,
    }
    let needs = page.measures.auto_needs();
    let choices = |present: Mode, locked: bool| {
        let choice = |mode: Mode| Choice {
            mode: mode.as_str(),
            on: mode == present,
            locked: mode == Mode::Auto && mode != present && locked,
        };
        Mode::ALL.into_iter().map(choice).collect()
    };
    let whole = |value: u64| counted(i64::try_from(value).unwrap_or(i64::MAX));
    let all = Line {
        id: "*".into(),
        name: cut("All others", 60),
        label: "all others".into(),
        alerts: String::new(),
        pages: String::new(),
        suppressed: String::new(),
        decided: format!("{} of {}", page.measures.approved, page.measures.decided),
        choices: choices(page.default_mode, needs.is_some()),
        note: String::new(),
    };
    let line = |rule: &RuleInForce| {
        let own = rule.measures.auto_needs_of_rule();
        let apart = rule.apart.then(|| "set apart".to_owned());
        let missing = own.as_ref().map(|needs| format!("auto needs {needs}"));
        Line {
            id: rule.rule.clone(),
            name: cut(&rule.rule, 60),
            label: plain(&rule.rule, 60),
            alerts: whole(rule.alerts),
            pages: rule.pages.to_string(),
            suppressed: whole(rule.suppressed),
            decided: format!("{} of {}", rule.measures.approved, rule.measures.decided),
            choices: choices(rule.mode, needs.is_some() || own.is_some()),
            note: [apart, missing].into_iter().flatten().collect::<Vec<_>>().join("; "),
        }
    };
    let rules = std::iter::once(all).chain(page.rules.iter().take(MOST_ROWS).map(line)).collect();
    let (approved, decided) = (page.measures.approved, page.measures.decided);
    let view = Rules {
        shell: shell(page.top),
        tab: "rules",
        lead: "Observe hides nothing. Recommend hides what you approved. Auto hides what is sure, once it has proved itself.",
        said: plain(page.said, 200),
        auto: match needs {
            Some(needs) => format!("Auto is locked for every rule: it needs {needs} over all of them."),
            None => format!(
                "Auto can be switched on for rules that have proved themselves: over all, {approved} of {decided} proposals were right."
            ),
        },
        rules,
        omitted: page.rules.len().saturating_sub(MOST_ROWS),
    };
    render("rules.html", &view)
}

/// Every decision, latest first.
pub(super) fn audit(decisions: &[Noted], modes: &[ModeChange], top: &Top) -> String {
    #[derive(Serialize)]
    struct Line {
        at: String,
        iso: String,
        what: String,
        note: String,
        change: String,
        actor: String,
        source: String,
        title: Cut,
        pattern: Cut,
        id: String,
    }
    #[derive(Serialize)]
    struct Audit {
        shell: Shell,
        tab: &'static str,
        lines: Vec<Line>,
    }
    let line = |noted: &Noted| Line {
        at: noted.at.to_timestamp().strftime("%-d %b %H:%M:%S").to_string(),
        iso: noted.at.to_string(),
        what: match &noted.entry.event {
            Event::Reopened(reopening) => format!("Came back: {}", reopening.words()),
            Event::Approved(approval) => {
                format!("Approved: {}, until {}", approval.reason.words(), approval.expires.date())
            }
            Event::Snoozed { until } => format!("Snoozed until {}", until.date()),
            other => other.word().to_owned(),
        },
        note: plain(noted.entry.said(), 400),
        change: match noted.before == noted.after {
            true => String::new(),
            false => format!("{} → {}", noted.before, noted.after),
        },
        actor: plain(&noted.entry.actor, 60),
        source: format!("{:?}", noted.entry.source).to_lowercase(),
        title: cut(&format!("{}: {}", noted.entry.service, noted.entry.rule), 60),
        pattern: cut(&noted.entry.pattern, 90),
        id: noted.fingerprint.clone(),
    };
    let set = |change: &ModeChange| Line {
        at: change.at.to_timestamp().strftime("%-d %b %H:%M:%S").to_string(),
        iso: change.at.to_string(),
        what: format!("Mode {}, was {}", change.to.as_str(), change.from.as_str()),
        note: String::new(),
        change: String::new(),
        actor: plain(&change.actor, 60),
        source: "rules".into(),
        title: cut(if change.rule == "*" { "All others" } else { &change.rule }, 60),
        pattern: cut("", 90),
        id: String::new(),
    };
    let mut lines: Vec<(UnixNanos, Line)> = decisions.iter().map(|noted| (noted.at, line(noted))).collect();
    lines.extend(modes.iter().map(|change| (change.at, set(change))));
    lines.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let lines = lines.into_iter().map(|(_, line)| line).collect();
    render("audit.html", &Audit { shell: shell(top), tab: "audit", lines })
}
