//! A service of another system, which has nothing to do with this one: without edges, and either well all the time or
//! unwell all the time.

use std::path::Path;

use domain::Window;
use eval::Label;

use super::Context;
use super::draft::{Draft, Table};
use super::transformation::{strings, within};

/// Pieces that a time is filled with, at most.
const MAX_PIECES: i64 = 400;

/// Adds a stranger. One that is well shows what a service without fault showed in another recording's quiet time; one
/// that is unwell what the faulty service showed during the incident, over and over, in the baseline as in the window.
pub async fn add(draft: &mut Draft, context: &Context<'_>, is_noisy: bool) -> anyhow::Result<()> {
    let Some((donor, service)) = donor(context, is_noisy).await? else { return Ok(()) };
    let asked = donor.question()?;
    let extent = donor.extent(context.store).await?;
    let shown = if is_noisy { asked.harm_window() } else { quiet(&asked) };
    let shown = Window::new(shown.start.max(extent.start), shown.end.min(extent.end));
    if shown.end <= shown.start {
        return Ok(());
    }
    let own = draft.question()?;
    let here = draft.extent(context.store).await?;
    for stretch in [own.quiet_time(), own.window] {
        let stretch = Window::new(stretch.start.max(here.start), stretch.end.min(here.end));
        let length = shown.end.0 - shown.start.0;
        let pieces = ((stretch.end.0 - stretch.start.0) / length + 1).clamp(0, MAX_PIECES);
        if stretch.end <= stretch.start {
            continue;
        }
        let place = Place { shown, first: stretch.start.0, pieces, until: stretch, service: &service };
        let parts = [
            (&mut draft.spans, &donor.spans, "ServiceName"),
            (&mut draft.logs, &donor.logs, "ServiceName"),
            (&mut draft.metrics, &donor.metrics, "Labels['service']"),
        ];
        for (table, from, owner) in parts {
            let (Some(table), Some(from)) = (table.as_mut(), from.as_ref()) else { continue };
            table.added.push(place.rows(from, owner));
        }
    }
    Ok(())
}

/// The time before an incident; of a window that holds its own past, its beginning.
fn quiet(asked: &investigator::Question) -> Window {
    match asked.baseline {
        Some(_) => asked.quiet_time(),
        None => {
            let before = Window::new(asked.window.start, asked.started.unwrap_or(asked.window.end));
            Window::new(before.start, before.end.minus(before.duration() / 3))
        }
    }
}

/// Where a stranger's telemetry goes.
struct Place<'a> {
    shown: Window,
    first: i64,
    pieces: i64,
    until: Window,
    service: &'a str,
}

impl Place<'_> {
    fn rows(&self, from: &Table, owner: &str) -> String {
        let Self { shown, first, pieces, until, service } = self;
        let service = super::draft::literal(service);
        let (shift, length) = (first - shown.start.0, shown.end.0 - shown.start.0);
        let mut told =
            vec![format!("Timestamp + toIntervalNanosecond({shift} + piece * {length}) AS Timestamp")];
        if owner == "ServiceName" {
            // Each piece holds traces of its own.
            for id in ["TraceId", "SpanId"] {
                told.push(format!("if({id} = '', '', lower(hex(sipHash64({id}, piece, {first})))) AS {id}"));
            }
            told.push("'stranger' AS ServiceName".to_owned());
        } else {
            told.push(
                "mapApply((k, v) -> (k, if(k = 'service', 'stranger', concat('stranger-', v))), Labels) AS Labels"
                    .to_owned(),
            );
        }
        if from.source.contains("ParentSpanId") {
            told.push(format!(
                "if(ParentSpanId = '', '', lower(hex(sipHash64(ParentSpanId, piece, {first})))) AS ParentSpanId"
            ));
        }
        // Its edges stay where it comes from.
        let alone = if owner == "ServiceName" {
            "1"
        } else {
            "NOT mapContains(Labels, 'source') AND NOT mapContains(Labels, 'destination')"
        };
        format!(
            "SELECT * FROM (SELECT * EXCEPT piece REPLACE ({}) FROM (\
               SELECT *, arrayJoin(range({pieces})) AS piece FROM {} \
               WHERE {owner} = {service} AND {alone} AND toUnixTimestamp64Nano(Timestamp) > 0 AND {})) \
             WHERE {}",
            told.join(", "),
            from.source,
            within(shown),
            within(until),
        )
    }
}

/// A recording of another system, and a service of it: the faulty one, or one that is not.
async fn donor(context: &Context<'_>, is_noisy: bool) -> anyhow::Result<Option<(Draft, String)>> {
    let here = system(&context.all[context.place])?;
    let count = context.all.len();
    // Any other recording is as likely; the seed says which is tried first.
    let start = (context.seed as usize).wrapping_mul(7919).wrapping_add(context.place * 31) % count.max(1);
    for offset in 0..count {
        let dir = &context.all[(start + offset) % count];
        if system(dir)? == here {
            continue;
        }
        let Some(label) = Label::read(dir)? else { continue };
        let donor = Draft::read(dir)?;
        let mut services = Vec::new();
        for table in [&donor.spans, &donor.logs].into_iter().flatten() {
            services.extend(strings(context, table, "ServiceName").await?);
        }
        if let Some(metrics) = &donor.metrics {
            services.extend(strings(context, metrics, "Labels['service']").await?);
        }
        services.sort();
        services.dedup();
        services.retain(|service| label.accepts(service) == is_noisy);
        if !services.is_empty() {
            let service = services.swap_remove(context.place % services.len());
            return Ok(Some((donor, service)));
        }
    }
    Ok(None)
}

fn system(dir: &Path) -> anyhow::Result<String> {
    Ok(storage::recording::read(dir)?.meta.system)
}
