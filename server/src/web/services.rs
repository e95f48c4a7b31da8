//! The pages of services.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use detectors::burn_rate::{SHOWN, budget};
use detectors::{Goal, SliPoint, SliSeries};
use domain::evidence::{Limit, Line, LineRole, Panel, Unit};
use domain::text::{number, seconds};
use domain::{Change, Detail, Finding, Sli, UnixNanos, Window};
use serde::Deserialize;
use storage::questions::requests::RequestQuestion;
use storage::questions::sli::SliMinute;

use super::App;
use super::error::Error;
use super::fleet::{self, LATELY};
use super::observed;
use crate::detect::custom_series;
use crate::pages::{
    self, EndpointRow, ObjectiveBurn, Range, ServiceFinding, ServicePage, ServiceRow, ServicesPage,
};

/// Characters of a search that count.
const MAX_QUERY: usize = 200;
/// Longest window of a burn that is shown.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the list is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ListQuery {
    range: String,
    q: String,
    /// A service whose name cannot be a part of a path.
    name: Option<String>,
}

/// `GET /services`, and the page of a service whose name the path cannot hold.
pub async fn list(State(app): State<App>, Query(query): Query<ListQuery>) -> Result<Response, Error> {
    let range = Range::parse(&query.range);
    if let Some(name) = query.name {
        return page(&app, name, range).await;
    }
    let now = app.clock.now();
    let page = ServicesPage {
        now,
        range,
        services: fleet::services(&app, now, range).await?,
        query: domain::text::plain(&query.q, MAX_QUERY),
        incidents: app.incidents.open(),
        top: app.top().await,
    };
    Ok(super::page(pages::render_services(&page)))
}

/// What the page of a service is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PageQuery {
    range: String,
    /// As the links of ranges have it for names that the path cannot hold.
    name: Option<String>,
}

/// `GET /services/{name}`.
pub async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Error> {
    if name.is_empty() && query.name.is_none() {
        return Ok(Redirect::to(&format!("{}/services", app.base_path)).into_response());
    }
    page(&app, query.name.unwrap_or(name), Range::parse(&query.range)).await
}

async fn page(app: &App, name: String, range: Range) -> Result<Response, Error> {
    let now = app.clock.now();
    let outlook = app.outlooks.borrow().clone();
    let question = RequestQuestion {
        window: fleet::window(now, range),
        step: fleet::step(range),
        service: Some(&name),
        by_endpoint: true,
        thresholds_ms: &[],
        waits: &outlook.waits,
    };
    let minute = Duration::from_secs(60);
    let lately = RequestQuestion {
        window: Window::new(now.minus(LATELY), question.window.end),
        step: minute,
        ..question.clone()
    };
    let day = RequestQuestion {
        window: Window::new(now.minus(DAY), question.window.end),
        step: minute,
        by_endpoint: false,
        ..question.clone()
    };
    let just_now = lately.window;
    let (steps, lately, day, versions, changes, mut edges) = tokio::try_join!(
        app.store.request_levels(&question),
        app.store.request_levels(&lately),
        app.store.request_levels(&day),
        app.store.versions(),
        app.store.changes(question.window),
        app.store.service_graph(just_now),
    )?;
    edges.retain(|edge| edge.caller == name || edge.callee == name);
    let findings: Vec<&Finding> = outlook.findings.iter().filter(|finding| finding.service == name).collect();
    let versions: Vec<(String, UnixNanos)> = versions
        .into_iter()
        .rev()
        .filter(|seen| seen.service == name)
        .map(|seen| (seen.version, seen.first_seen))
        .collect();
    let incidents = app.incidents.open();
    let takes_part = |incident: &domain::Incident| {
        incident.root_service == name || incident.findings.iter().any(|finding| finding.service == name)
    };
    if steps.is_empty() && day.is_empty() && findings.is_empty() && versions.is_empty() && edges.is_empty() {
        let said =
            format!("no service of the name {} has sent anything lately", domain::text::plain(&name, 80));
        return Err(Error::not_found(said));
    }
    let objectives = app.look.objectives.of(&name);
    let row = ServiceRow {
        name: name.clone(),
        last_deploy: versions.first().cloned(),
        ..fleet::row(&fleet::whole(&steps), &fleet::whole(&lately), &findings, &objectives, now, range)
    };
    let page = ServicePage {
        now,
        range,
        objectives: burns(app, &name, &day, now).await?,
        findings: with_charts(app, &findings, &steps, &incidents, now, range).await?,
        endpoints: endpoints(app, &name, &steps, &lately, &findings, now, range),
        service: row,
        versions,
        edges,
        changes: changes.into_iter().filter(|change: &Change| change.service == name).collect(),
        incidents: incidents.into_iter().filter(takes_part).collect(),
        top: app.top().await,
    };
    Ok(super::page(pages::render_service(&page)))
}

/// How fast the budgets of a service burn, from its minutes of a day.
async fn burns(
    app: &App,
    service: &str,
    day: &[SliMinute],
    now: UnixNanos,
) -> Result<Vec<ObjectiveBurn>, Error> {
    let objectives = app.look.objectives.of(service);
    let series = fleet::points(day, &objectives);
    let mut burns: Vec<ObjectiveBurn> = objectives
        .goals()
        .iter()
        .map(|goal| {
            let name = match goal.threshold_ms {
                Some(threshold) => format!("requests under {}", seconds(threshold / 1e3)),
                None => "requests succeed".into(),
            };
            burn(name, goal, &series, now)
        })
        .collect();
    for rule in app.look.custom.iter().filter(|rule| rule.service == service) {
        let series = custom_series(&app.store, rule, Window::new(now.minus(DAY), now)).await?;
        burns.push(burn(rule.name.clone(), &rule.goal(), &series, now));
    }
    Ok(burns)
}

fn burn(name: String, goal: &Goal, series: &SliSeries, now: UnixNanos) -> ObjectiveBurn {
    let over = |window| series.burn(goal.sli, goal.objective, now, window);
    let day = over(DAY);
    ObjectiveBurn {
        name,
        objective: goal.objective,
        burns: SHOWN
            .map(|window| Some(over(window)).filter(|burn| burn.requests > 0.0).map(|burn| burn.rate)),
        good_ratio: (day.requests > 0.0).then(|| 1.0 - day.bad / day.requests),
        requests: day.requests,
    }
}

fn endpoints(
    app: &App,
    service: &str,
    steps: &[SliMinute],
    lately: &[SliMinute],
    findings: &[&Finding],
    now: UnixNanos,
    range: Range,
) -> Vec<EndpointRow> {
    let mut recent: BTreeMap<&str, Vec<SliMinute>> = BTreeMap::new();
    for minute in lately {
        recent.entry(&minute.endpoint).or_default().push(minute.clone());
    }
    let outlook = app.outlooks.borrow().clone();
    let one = |steps: &[SliMinute]| {
        let endpoint = steps[0].endpoint.clone();
        let recent = recent.remove(endpoint.as_str()).unwrap_or_default();
        let objectives = app.look.objectives.of_endpoint(service, &endpoint);
        let findings: Vec<&Finding> =
            findings.iter().filter(|finding| finding.subject == endpoint).copied().collect();
        EndpointRow {
            row: fleet::row(steps, &recent, &findings, &objectives, now, range),
            waits: outlook.waits.iter().any(|wait| wait.service == service && wait.endpoint == endpoint),
            endpoint,
        }
    };
    steps.chunk_by(|a, b| a.endpoint == b.endpoint).map(one).collect()
}

/// Findings with the share of bad requests over the range, or with the requests that ended.
async fn with_charts(
    app: &App,
    findings: &[&Finding],
    steps: &[SliMinute],
    incidents: &[domain::Incident],
    now: UnixNanos,
    range: Range,
) -> Result<Vec<ServiceFinding>, Error> {
    let mut shown = Vec::new();
    for finding in findings {
        let mut panels = Vec::new();
        match &finding.detail {
            Detail::Objective(missed) => {
                let series = match missed.sli {
                    Sli::Custom => custom(app, finding, now, range).await?,
                    Sli::Availability | Sli::Latency => of_subject(app, finding, steps),
                };
                let limit = missed.burn_limit * budget(missed.objective);
                let name = format!("limit, {} × the budget", number(missed.burn_limit));
                let title = match missed.sli {
                    Sli::Latency => "Slow share of requests",
                    Sli::Availability => "Failed share of requests",
                    Sli::Custom => "Share that is not good",
                };
                let share = |point: &SliPoint| {
                    let (all, bad) = point.of(missed.sli);
                    (all > 0.0).then(|| bad / all)
                };
                panels.push(panel(
                    title,
                    Unit::Ratio,
                    &grouped(&series, range, now),
                    share,
                    Some((name, limit)),
                ));
            }
            Detail::Silence(_) => {
                let series = of_subject(app, finding, steps);
                let count = |point: &SliPoint| Some(point.requests);
                let filled = filled(&series, range, now);
                panels.push(panel("Requests received", Unit::Number, &filled, count, None));
            }
            Detail::Observation(_) => panels.extend(observed::panel(app, finding, now, range).await?),
        }
        let about = |incident: &&domain::Incident| {
            incident.findings.iter().any(|known| known.is_about_the_same(finding))
        };
        let incident = incidents.iter().find(about).map(|incident| incident.id.0);
        shown.push(ServiceFinding { finding: (*finding).clone(), panels, incident });
    }
    Ok(shown)
}

fn of_subject(app: &App, finding: &Finding, steps: &[SliMinute]) -> Vec<SliPoint> {
    let objectives = match finding.subject.as_str() {
        "" => app.look.objectives.of(&finding.service),
        endpoint => app.look.objectives.of_endpoint(&finding.service, endpoint),
    };
    let concerned =
        steps.iter().filter(|step| finding.subject.is_empty() || step.endpoint == finding.subject);
    let mut sums: BTreeMap<UnixNanos, SliPoint> = BTreeMap::new();
    for step in concerned {
        let sum = sums.entry(step.minute).or_insert(SliPoint { minute: step.minute, ..SliPoint::default() });
        sum.requests += step.requests as f64;
        sum.errors += step.errors as f64;
        sum.timed += step.latency.count() as f64;
        sum.slow += step.latency.slower_than(objectives.latency_ms);
    }
    sums.into_values().collect()
}

async fn custom(app: &App, finding: &Finding, now: UnixNanos, range: Range) -> Result<Vec<SliPoint>, Error> {
    let named =
        |rule: &&crate::config::SliRule| rule.service == finding.service && rule.name == finding.subject;
    let Some(rule) = app.look.custom.iter().find(named) else { return Ok(Vec::new()) };
    let series = custom_series(&app.store, rule, fleet::window(now, range)).await?;
    Ok(series.until(now).to_vec())
}

/// Points of the same step of the range together.
fn grouped(points: &[SliPoint], range: Range, now: UnixNanos) -> Vec<SliPoint> {
    let mut sums: BTreeMap<UnixNanos, SliPoint> = BTreeMap::new();
    for point in points.iter().filter(|point| point.minute <= now) {
        let at = point.minute.floor(fleet::step(range));
        let sum = sums.entry(at).or_insert(SliPoint { minute: at, ..SliPoint::default() });
        sum.requests += point.requests;
        sum.errors += point.errors;
        sum.timed += point.timed;
        sum.slow += point.slow;
    }
    sums.into_values().collect()
}

/// The same with a point of no requests where there is none.
fn filled(points: &[SliPoint], range: Range, now: UnixNanos) -> Vec<SliPoint> {
    let mut sums: BTreeMap<UnixNanos, SliPoint> =
        grouped(points, range, now).into_iter().map(|point| (point.minute, point)).collect();
    for empty in fleet::series(&[], now, range) {
        sums.entry(empty.at).or_insert(SliPoint { minute: empty.at, ..SliPoint::default() });
    }
    sums.into_values().collect()
}

fn panel(
    title: &str,
    unit: Unit,
    points: &[SliPoint],
    value: impl Fn(&SliPoint) -> Option<f64>,
    limit: Option<(String, f64)>,
) -> Panel {
    let points = points.iter().filter_map(|point| Some((point.minute, value(point)?))).collect();
    Panel {
        title: title.into(),
        unit,
        lines: vec![Line { name: title.into(), role: LineRole::Subject, points }],
        limit: limit.map(|(name, value)| Limit { name, value }),
        band: None,
    }
}
