//! Other names for the same things.

use std::collections::{BTreeMap, BTreeSet};

use investigator::reason::topic::words;
use regex::Regex;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Context;
use super::draft::{Draft, literal};
use super::transformation::{retell, strings};

/// Labels that name services.
const OWNERS: [&str; 3] = ["service", "source", "destination"];

/// How metrics are named.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Convention {
    /// `http.server.duration`: the unit is told beside the name, and whether it counts.
    Dotted,
    /// `HttpServerDuration`: the unit is not told.
    Camel,
}

/// Last words of a name that are units, and how units are written.
const UNITS: &[(&str, &str)] = &[
    ("seconds", "s"),
    ("s", "s"),
    ("ms", "ms"),
    ("milliseconds", "ms"),
    ("bytes", "By"),
    ("mi", "MiBy"),
    ("gib", "GiBy"),
    ("ratio", "1"),
    ("pct", "%"),
    ("percent", "%"),
    ("cores", "{cpu}"),
    ("m", "m{cpu}"),
    ("ops", "{operation}/s"),
];

/// Services get names that say nothing, wherever they are named.
pub async fn opaque_services(draft: &mut Draft, context: &Context<'_>) -> anyhow::Result<()> {
    let mut services: BTreeSet<String> = BTreeSet::new();
    for table in [&draft.spans, &draft.logs].into_iter().flatten() {
        services.extend(strings(context, table, "ServiceName").await?);
    }
    if let Some(metrics) = &draft.metrics {
        for owner in OWNERS {
            services.extend(strings(context, metrics, &format!("Labels['{owner}']")).await?);
        }
    }
    for file in ["changes.json", "alerts.json"] {
        let entries = draft.documents.get(file).and_then(Value::as_array).into_iter().flatten();
        let named = entries.filter_map(|entry| entry.get("service")?.as_str());
        services.extend(named.filter(|name| !name.is_empty()).map(str::to_owned));
    }
    let edges = draft.documents.get("topology.json").and_then(|topology| topology.get("edges")?.as_array());
    for end in edges.into_iter().flatten().filter_map(Value::as_array).flatten().filter_map(Value::as_str) {
        services.insert(end.to_owned());
    }
    // Longer names first: they may hold shorter ones.
    let mut renamed: Vec<(String, String)> = services
        .into_iter()
        .map(|name| {
            let opaque = format!("q{:08x}", xxh3_64_with_seed(name.as_bytes(), context.seed) >> 32);
            (name, opaque)
        })
        .collect();
    renamed.sort_by(|left, right| right.0.len().cmp(&left.0.len()).then_with(|| left.cmp(right)));

    let patterns: Vec<(Regex, &str)> = renamed
        .iter()
        .map(|(name, opaque)| Ok((Regex::new(&whole(name))?, opaque.as_str())))
        .collect::<anyhow::Result<_>>()?;
    let told = |text: &str| {
        patterns
            .iter()
            .fold(text.to_owned(), |text, (pattern, opaque)| pattern.replace_all(&text, *opaque).into_owned())
    };
    draft.documents.values_mut().for_each(|value| retell(value, &told));

    let text = |column: &str| {
        renamed.iter().fold(column.to_owned(), |text, (name, opaque)| {
            format!("replaceRegexpAll({text}, {}, '{opaque}')", literal(&whole(name)))
        })
    };
    let values = |column: &str| format!("mapApply((k, v) -> (k, {}), {column})", text("v"));
    if let Some(spans) = &mut draft.spans {
        spans.replaced.extend([
            ("ServiceName", text("ServiceName")),
            ("SpanName", text("SpanName")),
            ("StatusMessage", text("StatusMessage")),
            ("SpanAttributes", values("SpanAttributes")),
            ("ResourceAttributes", values("ResourceAttributes")),
        ]);
    }
    if let Some(logs) = &mut draft.logs {
        logs.replaced.extend([
            ("ServiceName", text("ServiceName")),
            ("Body", text("Body")),
            ("LogAttributes", values("LogAttributes")),
            ("ResourceAttributes", values("ResourceAttributes")),
        ]);
    }
    if let Some(metrics) = &mut draft.metrics {
        // Many samples, few labels: each is told once.
        let labels = strings(context, metrics, "arrayJoin(mapValues(Labels))").await?;
        let (old, new) = lists(labels.iter().map(|label| (label.clone(), told(label))));
        metrics
            .replaced
            .push(("Labels", format!("mapApply((k, v) -> (k, transform(v, [{old}], [{new}], v)), Labels)")));
    }
    Ok(())
}

/// A name that stands alone.
fn whole(name: &str) -> String {
    format!(r"\b{}\b", regex::escape(name))
}

/// Old and new texts as lists in SQL.
fn lists(told: impl Iterator<Item = (String, String)>) -> (String, String) {
    let (old, new): (Vec<String>, Vec<String>) =
        told.map(|(old, new)| (literal(&old), literal(&new))).unzip();
    (old.join(", "), new.join(", "))
}

/// Metrics are named by another convention.
pub async fn rename_metrics(
    draft: &mut Draft,
    context: &Context<'_>,
    convention: Convention,
) -> anyhow::Result<()> {
    let Some(metrics) = &mut draft.metrics else { return Ok(()) };
    let names = strings(context, metrics, "MetricName").await?;
    let told: BTreeMap<String, Told> =
        names.into_iter().map(|name| (name.clone(), tell(&name, convention))).collect();
    let column = |value: fn(&Told) -> &str, of: &str| {
        let (old, new) = lists(told.iter().map(|(name, told)| (name.clone(), value(told).to_owned())));
        format!("transform(toString(MetricName), [{old}], [{new}], {of})")
    };
    let (name, unit, kind) = (
        column(|told| &told.name, "MetricName"),
        column(|told| &told.unit, "Unit"),
        column(|told| told.kind, "Kind"),
    );
    // What is written down already stays.
    let unit = format!("if(Unit = '', {unit}, Unit)");
    let kind = format!("if(Kind = '', {kind}, Kind)");
    metrics.replaced.extend([("MetricName", name), ("Unit", unit), ("Kind", kind)]);
    Ok(())
}

/// A metric told otherwise.
struct Told {
    name: String,
    unit: String,
    kind: &'static str,
}

fn tell(name: &str, convention: Convention) -> Told {
    let mut words = words(name);
    let mut unit = String::new();
    let mut kind = "";
    if name.ends_with("_total") && words.len() > 1 {
        kind = "counter";
        if convention == Convention::Dotted {
            words.pop();
        }
    }
    if name.contains('%') {
        unit = "%".to_owned();
    }
    // The unit may stand before a statistic.
    let known = |word: &str| UNITS.iter().find(|(unit, _)| *unit == word);
    if words.len() > 1
        && let Some(place) = words.iter().rposition(|word| known(word).is_some()).filter(|place| *place > 0)
    {
        let word = words.remove(place);
        unit = known(&word).map_or(unit, |(_, written)| (*written).to_owned());
    }
    match convention {
        Convention::Dotted => Told { name: words.join("."), unit, kind },
        Convention::Camel => {
            let name = words.iter().map(|word| capitalised(word)).collect();
            Told { name, unit: String::new(), kind }
        }
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
