//! What the pages promise: the order of the story, escaping, links that lead somewhere, no inline styles or scripts.
//!
//! With `INQUEST_RENDER_DIR` set, the pages of the fixture are written there, for a look in a browser.

use std::collections::BTreeSet;

use domain::evidence::{Exhibit, Frame, LogPattern};
use domain::{ConfidenceLevel, Incident, IncidentStatus, Sentence, Verdict};

use super::fixture::{
    findings, health_page, incident, incident_page, incidents_page, progress, report, service_page,
    services_page, trace_page,
};
use super::*;

/// Text of a page without its tags, drawings and hidden previews; one line per block, white space joined.
fn told(html: &str) -> String {
    const BLOCKS: [&str; 16] = [
        "h1", "h2", "h3", "p", "li", "tr", "dt", "dd", "section", "article", "figure", "summary", "div",
        "nav", "header", "pre",
    ];
    let main = &html[html.find("<main").expect("a main part")..html.find("</main>").expect("its end")];
    let mut text = String::new();
    let mut skipped: Option<(&str, usize)> = None;
    for piece in main.split('<').skip(1) {
        let (tag, after) = piece.split_once('>').unwrap_or((piece, ""));
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap_or("");
        if let Some((skip, depth)) = skipped {
            let depth = if name != skip {
                depth
            } else if tag.starts_with('/') {
                depth - 1
            } else {
                depth + 1
            };
            skipped = (depth > 0).then_some((skip, depth));
            if skipped.is_none() {
                text.push_str(after);
            }
            continue;
        }
        let hidden = [("svg", "svg"), ("span", "class=\"peek\""), ("details", "class=\"fold")];
        if let Some((skip, _)) = hidden.iter().find(|(skip, mark)| name == *skip && tag.contains(mark)) {
            skipped = Some((skip, 1));
            continue;
        }
        if BLOCKS.contains(&name) {
            text.push('\n');
            text.push_str(match (tag.starts_with('/'), name) {
                (false, "h1") => "# ",
                (false, "h2") => "## ",
                (false, "h3") => "### ",
                (false, "li") => "- ",
                _ => "",
            });
        } else if !name.is_empty() && ["td", "th", "span", "small", "time", "b"].contains(&name) {
            text.push(' ');
        }
        text.push_str(after);
    }
    let unescaped = text
        .replace("&nbsp;", " ")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#39;", "'")
        .replace("&quot;", "\"")
        .replace("&amp;", "&");
    let lines = unescaped.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty() && line != "-").collect::<Vec<_>>().join("\n")
}

/// Values of an attribute.
fn attribute<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let mark = format!(" {name}=\"");
    html.split(&mark).skip(1).map(|rest| rest.split('"').next().unwrap_or("")).collect()
}

/// Compares with the snapshot of the running test.
#[track_caller]
fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// What holds for every page.
fn check(name: &str, html: &str) {
    assert!(html.starts_with("<!doctype html>"), "{name}: {}", &html[..html.len().min(200)]);
    assert!(html.trim_end().ends_with("</html>"), "{name} ends early");
    assert!(!html.contains("could not be drawn"), "{name}");
    for forbidden in [" style=", "<style", "javascript:", " onclick=", " onload=", "hx-on", "NaN"] {
        assert!(!html.contains(forbidden), "{name} has {forbidden}");
    }
    for script in html.split("<script").skip(1) {
        assert!(script.starts_with(" src=\""), "{name} has an inline script");
    }
    let ids = attribute(html, "id");
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), distinct.len(), "{name} repeats an id");
    for href in attribute(html, "href") {
        if let Some((_, id)) = href.split_once('#') {
            assert!(ids.contains(&id) || html.contains(&format!("<symbol id=\"{id}\"")), "{name}: {href}");
        }
    }
    let mut level = 0;
    for heading in html.split("<h").skip(1).filter_map(|rest| rest.chars().next()?.to_digit(10)) {
        assert!(heading <= level + 1, "{name}: a heading of level {heading} after {level}");
        level = heading;
    }
    assert_eq!(
        html.matches("<th ").count() + html.matches("<th>").count(),
        html.matches("<th scope=").count()
    );
    if let Some(directory) = std::env::var_os("INQUEST_RENDER_DIR") {
        std::fs::write(std::path::Path::new(&directory).join(format!("{name}.html")), html)
            .expect("a folder");
    }
}

#[test]
fn the_incident_page_tells_its_story_in_order() {
    let html = render_incident(&incident_page());
    check("incident", &html);
    assert!(html.len() < 120 * 1024, "{} bytes", html.len());
    snapshot("incident", &told(&html));
}

#[test]
fn an_incident_without_a_report_shows_its_checks() {
    let page = IncidentPage { report: None, progress: progress(), ..incident_page() };
    let html = render_incident(&page);
    check("incident-running", &html);
    assert!(html.contains(r#"hx-sse:connect="/incidents/142/progress""#));
    for absent in ["id=\"impact\"", "id=\"chain\"", "id=\"evidence\"", "Is this right?"] {
        assert!(!html.contains(absent), "{absent}");
    }
    snapshot("incident-running", &told(&html));
    let over = Incident { status: IncidentStatus::Resolved, ..incident() };
    let over = render_incident(&IncidentPage { incident: over, report: None, ..incident_page() });
    check("incident-over", &over);
    assert!(!over.contains("hx-sse:connect"), "there is nothing to wait for");
    assert!(html.contains(&render_progress(&progress())), "the fragment is what the page holds");
    assert!(render_progress(&[]).contains("about to start"));
}

#[test]
fn an_inconclusive_report_names_no_cause() {
    let mut report = report();
    report.diagnosis.verdict = Verdict::Inconclusive;
    report.diagnosis.confidence.level = ConfidenceLevel::Inconclusive;
    report.answer.cause.clear();
    report.diagnosis.chain.clear();
    report.diagnosis.changes.clear();
    let html = render_incident(&IncidentPage { report: Some(report), ..incident_page() });
    check("incident-inconclusive", &html);
    let text = told(&html);
    assert!(text.contains("The evidence does not single out a cause."), "{text}");
    assert!(text.contains("Inconclusive."), "{text}");
    assert!(html.contains(r#"id="h1""#), "H1 is listed with the others");
    assert!(text.contains("No deploy, flag, config or scale change was seen"), "{text}");
    assert!(!html.contains(r#"id="chain""#));
}

#[test]
fn a_picked_frame_is_marked_and_explained() {
    let html = render_incident(&IncidentPage { frame: Some(9), ..incident_page() });
    check("incident-frame", &html);
    assert!(html.contains(r##"<a href="?frame=9#e3" aria-current="true">"##));
    let text = told(&html);
    assert!(text.contains("SELECT price FROM prices WHERE product_id = $1"), "{text}");
    assert!(
        text.contains("9.4 ms → 384 ms per request, 1 → 40 calls. Each call takes as long as before"),
        "{text}"
    );
    let beyond = render_incident(&IncidentPage { frame: Some(4000), ..incident_page() });
    assert!(
        beyond.contains(r##"<a href="?frame=8#e3" aria-current="true">"##),
        "falls back to the one that grew"
    );
}

/// Text as an attacker would write it: markup, template syntax, reordering, endless.
fn hostile() -> String {
    let long = "A".repeat(10_000);
    format!(
        "</svg></title>\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{{{7*7}}}}\u{202e}\u{0}{long}"
    )
}

#[test]
fn hostile_text_is_only_ever_text() {
    let evil = hostile();
    let mut report = report();
    let sentence = Sentence::new(evil.clone(), [domain::EvidenceId(1), domain::EvidenceId(999)]);
    let diagnosis = &mut report.diagnosis;
    diagnosis.gaps.push(evil.clone());
    diagnosis.hypotheses[1].statement = sentence.clone();
    diagnosis.changes[0].change.service.clone_from(&evil);
    diagnosis.changes[0].change.detail.clone_from(&evil);
    diagnosis.chain[1].component.clone_from(&evil);
    diagnosis.chain[1].edge.clone_from(&evil);
    diagnosis.impact.endpoints[0].name.clone_from(&evil);
    diagnosis.impact.objectives[0].name.clone_from(&evil);
    for evidence in &mut diagnosis.evidence {
        evidence.claim.clone_from(&evil);
        evidence.service.clone_from(&evil);
        evidence.query.clone_from(&evil);
        match &mut evidence.exhibit {
            Exhibit::Panels { panels, marks, .. } => {
                panels[0].title.clone_from(&evil);
                panels[0].lines[0].name.clone_from(&evil);
                panels[0].lines[0].points[3].1 = f64::NAN;
                marks[0].name.clone_from(&evil);
            }
            Exhibit::ErrorCauses { causes, .. } => {
                causes[0].service.clone_from(&evil);
                causes[0].message.clone_from(&evil);
                causes[0].sample_trace.clone_from(&evil);
            }
            Exhibit::Latency { operation, frames, sample } => {
                operation.clone_from(&evil);
                let change = |frame: &mut Frame| {
                    frame.name.clone_from(&evil);
                    frame.detail.clone_from(&evil);
                };
                frames.iter_mut().for_each(change);
                let trace = sample.as_mut().expect("a sample");
                trace.trace_id.clone_from(&evil);
                trace.spans[1].name.clone_from(&evil);
                trace.spans[1].message.clone_from(&evil);
            }
            Exhibit::LogPatterns { patterns } => {
                let change = |pattern: &mut LogPattern| {
                    pattern.template.clone_from(&evil);
                    pattern.sample.clone_from(&evil);
                };
                patterns.iter_mut().for_each(change);
            }
            Exhibit::Skew { rows, .. } => rows[0].name.clone_from(&evil),
            Exhibit::Change { change } => change.source.clone_from(&evil),
            Exhibit::Table { columns, rows } => {
                columns[0].clone_from(&evil);
                rows[0][1].clone_from(&evil);
            }
            Exhibit::None => {}
        }
    }
    report.answer.cause = vec![sentence];
    report.answer.next_steps[1].command.clone_from(&evil);
    let mut incident = incident();
    incident.title.clone_from(&evil);
    incident.summary.clone_from(&evil);
    let page = IncidentPage { incident: incident.clone(), report: Some(report), ..incident_page() };
    let html = render_incident(&page);
    check("incident-hostile", &html);
    for forbidden in ["<script>", "<img", "\u{202e}", "\u{0}", "alert(1)</"] {
        assert!(!html.contains(forbidden), "{forbidden:?}");
    }
    assert!(html.contains("{{7*7}}"), "template syntax stays text");
    assert!(html.len() < 200 * 1024, "{} bytes", html.len());

    let mut health = health_page();
    health.services[0].name.clone_from(&evil);
    health.changes[0].version.clone_from(&evil);
    health.dropped[0].0.clone_from(&evil);
    health.incidents = vec![incident.clone()];
    let list = IncidentsPage { query: evil.clone(), incidents: vec![incident], ..incidents_page() };
    let mut trace = trace_page();
    trace.trace.spans[0].service.clone_from(&evil);
    trace.trace.spans[0].message.clone_from(&evil);
    for finding in &mut health.findings {
        finding.service.clone_from(&evil);
        finding.subject.clone_from(&evil);
    }
    let mut service = service_page();
    service.service.name.clone_from(&evil);
    service.versions[0].0.clone_from(&evil);
    service.endpoints[0].endpoint.clone_from(&evil);
    service.objectives[0].name.clone_from(&evil);
    service.changes[0].version.clone_from(&evil);
    service.findings[0].finding = health.findings[1].clone();
    service.findings[0].panels[0].title.clone_from(&evil);
    service.findings[1].finding = health.findings[3].clone();
    let mut services = services_page();
    services.services[0].name.clone_from(&evil);
    let searched = ServicesPage { query: evil.clone(), ..services_page() };
    let pages = [
        ("service-hostile", render_service(&service)),
        ("services-hostile", render_services(&services)),
        ("services-searched-hostile", render_services(&searched)),
        ("health-hostile", render_health(&health)),
        ("incidents-hostile", render_incidents(&list)),
        ("trace-hostile", render_trace(&trace)),
        ("error-hostile", render_error(500, &evil)),
    ];
    for (name, html) in pages {
        check(name, &html);
        assert!(!html.contains("<script>") && !html.contains("<img"), "{name}");
    }
}

#[test]
fn the_overview_puts_the_worst_first() {
    let html = render_health(&health_page());
    check("health", &html);
    snapshot("health", &told(&html));
}

#[test]
fn the_service_page_says_how_it_fares_and_why() {
    let html = render_service(&service_page());
    check("service", &html);
    snapshot("service", &told(&html));
}

#[test]
fn a_service_that_fares_well_has_a_page_too() {
    let quiet = ServicePage {
        findings: Vec::new(),
        incidents: Vec::new(),
        endpoints: Vec::new(),
        edges: Vec::new(),
        versions: Vec::new(),
        service: ServiceRow { name: "..".into(), status: ServiceStatus::Healthy, ..ServiceRow::default() },
        ..service_page()
    };
    let html = render_service(&quiet);
    check("service-quiet", &html);
    let text = told(&html);
    assert!(text.contains("# .. meets its objectives"), "{text}");
    assert!(text.contains("Nothing was found"), "{text}");
    assert!(html.contains("?range=6h&amp;name=.."), "the range keeps the name: {html}");
}

#[test]
fn every_service_is_in_the_list_and_has_a_page() {
    let html = render_services(&services_page());
    check("services", &html);
    snapshot("services", &told(&html));
    assert!(html.contains(r#"href="/services/checkout""#));
    let narrowed = render_services(&ServicesPage { query: "CART".into(), ..services_page() });
    assert!(narrowed.contains(r#"href="/services/cart""#) && !narrowed.contains(r#"href="/services/mail""#));
    assert_eq!(findings().len(), 4, "one of each kind on the overview");
}

#[test]
fn an_empty_overview_says_what_to_do() {
    let page = HealthPage {
        services: Vec::new(),
        findings: Vec::new(),
        incidents: Vec::new(),
        changes: Vec::new(),
        freshness: Vec::new(),
        dropped: Vec::new(),
        ..health_page()
    };
    let html = render_health(&page);
    check("health-empty", &html);
    let text = told(&html);
    assert!(text.contains("# No service has sent anything yet"), "{text}");
    assert!(text.contains("4317"), "{text}");
}

#[test]
fn the_list_shows_open_ones_first_and_can_be_narrowed() {
    let html = render_incidents(&incidents_page());
    check("incidents", &html);
    snapshot("incidents", &told(&html));
    let narrowed = |filter, query: &str| {
        told(&render_incidents(&IncidentsPage { filter, query: query.into(), ..incidents_page() }))
    };
    assert!(!narrowed(IncidentFilter::Resolved, "").contains("INC-0142"));
    assert!(narrowed(IncidentFilter::All, "CATALOG inc-0142").contains("INC-0142"));
    assert!(narrowed(IncidentFilter::All, "nonsense").contains("Nothing here."));
    let by_trace = render_incidents(&IncidentsPage {
        query: "4BF92F3577B34DA6A3CE929D0E0E4736".into(),
        ..incidents_page()
    });
    assert!(by_trace.contains(r#"href="/traces/4bf92f3577b34da6a3ce929d0e0e4736""#));
}

#[test]
fn a_trace_is_a_waterfall_and_its_errors() {
    let html = render_trace(&trace_page());
    check("trace", &html);
    snapshot("trace", &told(&html));
}

#[test]
fn errors_have_a_page() {
    let html = render_error(404, "No incident 7.");
    check("error", &html);
    assert!(told(&html).contains("No incident 7."));
}

#[test]
fn links_carry_the_base_path() {
    let top = || Top { base_path: "/inquest".into(), ..Top::default() };
    let html = render_incident(&IncidentPage { top: top(), ..incident_page() });
    let html = html
        + &render_service(&ServicePage { top: top(), ..service_page() })
        + &render_health(&HealthPage { top: top(), ..health_page() });
    let own = |link: &&str| link.starts_with('/') && !link.starts_with("/inquest/");
    let links = [attribute(&html, "href"), attribute(&html, "action"), attribute(&html, "src")].concat();
    assert_eq!(links.iter().find(|link| own(link)), None);
}
