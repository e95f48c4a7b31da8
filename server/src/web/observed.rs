//! The chart of an observation: the series, or the messages, that it was made in.

use std::collections::BTreeMap;

use detectors::log_template::PatternId;
use domain::evidence::{Line, LineRole, Panel, Unit};
use domain::{Detail, Finding, Observation, SeenIn, UnixNanos};

use super::App;
use super::fleet::{self, window};
use crate::pages::Range;

/// Series drawn at most: the one that the observation is about, and some beside it.
const MOST_LINES: usize = 8;

/// The chart of a finding over the range, when it is an observation and anything is stored of it.
pub async fn panel(
    app: &App,
    finding: &Finding,
    now: UnixNanos,
    range: Range,
) -> Result<Option<Panel>, storage::Error> {
    let Detail::Observation(observation) = &finding.detail else { return Ok(None) };
    let lines = match &observation.seen_in {
        SeenIn::Nothing => Vec::new(),
        SeenIn::Series(ids) => {
            let ids = &ids[..ids.len().min(MOST_LINES)];
            let mut points = app.store.metric_points(ids, window(now, range)).await?;
            // What an inspection reads in parts is told by its first part.
            let role = |place| if place == 0 { LineRole::Subject } else { LineRole::Peer };
            let line = |(place, id)| {
                let points = points.remove(id)?;
                Some(Line { name: name(observation, place), role: role(place), points })
            };
            ids.iter().enumerate().filter_map(line).collect()
        }
        SeenIn::LogPattern(pattern) => {
            let step = fleet::step(range);
            let counts =
                app.store.log_pattern_counts(&finding.service, PatternId(*pattern), window(now, range), step);
            let counts: BTreeMap<UnixNanos, u64> = counts.await?.into_iter().collect();
            let steps = fleet::series(&[], now, range).into_iter().map(|point| point.at);
            // A step without messages is a step with none.
            let points = steps.map(|at| (at, counts.get(&at).map_or(0.0, |count| *count as f64))).collect();
            vec![Line { name: "messages".into(), role: LineRole::Subject, points }]
        }
    };
    let title = match observation.seen_in {
        SeenIn::LogPattern(_) => "Messages",
        _ => "Value",
    };
    let drawn = lines.iter().any(|line| !line.points.is_empty());
    Ok(drawn.then(|| Panel { title: title.into(), unit: Unit::Number, lines, limit: None, band: None }))
}

fn name(observation: &Observation, place: usize) -> String {
    match (place, observation.detector.as_str()) {
        (0, _) => "here".into(),
        (_, "unlike its peers") => "peer".into(),
        (place, _) => format!("part {}", place + 1),
    }
}
