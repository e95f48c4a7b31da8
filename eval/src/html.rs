//! The report of a run: one self-contained HTML file. Everything outside is escaped by the template engine.

use std::fmt::Write as _;
use std::sync::LazyLock;

use domain::{Diagnosis, Hypothesis, Verdict};
use minijinja::{AutoEscape, Environment, Value, context};

use crate::summary::{ALL, Bin, Scores, Share, Summary};
use crate::{Label, Outcome, Run, floors};

/// Hypotheses and pieces of evidence shown per case.
const MAX_ROWS: usize = 12;
/// Side of the reliability diagram, in pixels.
const SIDE: f64 = 280.0;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment
        .add_template("report.html", include_str!("../templates/report.html"))
        .expect("eval/templates/report.html is checked by a test");
    environment
});

/// Renders a run.
pub fn report(run: &Run) -> Result<String, minijinja::Error> {
    let summary = Summary::new(&run.outcomes);
    let sets = summary.sets.iter().map(|(set, scores)| (set.as_str(), scores)).chain([(ALL, &summary.all)]);
    ENVIRONMENT.get_template("report.html")?.render(context! {
        sets => sets.map(|(set, scores)| set_row(set, scores)).collect::<Vec<_>>(),
        diagram => Value::from_safe_string(diagram(&summary.all.reliability)),
        bins => summary.all.reliability.iter().enumerate().filter(|(_, bin)| bin.cases > 0).map(|(place, bin)| context! {
            from => place * 10, to => place * 10 + 10, cases => bin.cases,
            confidence => percent(bin.confidence), right => percent(bin.right),
        }).collect::<Vec<_>>(),
        ece => format!("{:.3}", summary.all.ece),
        cases => run.outcomes.iter().map(case).collect::<Vec<_>>(),
        failures => run.failures.clone(),
    })
}

fn set_row(set: &str, scores: &Scores) -> Value {
    context! {
        set, cases => scores.cases,
        ac1 => share(scores.ac1), ac3 => share(scores.ac3), ac5 => share(scores.ac5),
        avg5 => format!("{:.3}", scores.avg5), mrr => format!("{:.3}", scores.mrr),
        culprit_hr1 => share(scores.culprit_hr1), culprit_hr3 => share(scores.culprit_hr3),
        no_change => share(scores.no_change), false_blame => share(scores.false_blame),
        evidence => share(scores.evidence), ece => format!("{:.3}", scores.ece),
        median_ms => scores.median_ms, max_ms => scores.max_ms,
        floors => floors::NAMES.iter().filter_map(|name| {
            let floor = scores.floors.get(*name)?;
            Some(context! { name => *name, ac1 => share(floor.ac1), ac3 => share(floor.ac3), culprit_hr1 => share(floor.culprit_hr1) })
        }).collect::<Vec<_>>(),
    }
}

fn case(outcome: &Outcome) -> Value {
    let diagnosis = &outcome.report.diagnosis;
    let result = &outcome.result;
    let right = result.correct_service_rank == Some(1) && result.culprit_correct != Some(false);
    context! {
        id => result.id.clone(), system => result.system.clone(), right,
        verdict => verdict(diagnosis.verdict), confidence => percent(result.confidence),
        rank => result.correct_service_rank.map_or_else(|| "–".to_owned(), |rank| rank.to_string()),
        culprit => match result.culprit_correct { Some(true) => "right", Some(false) => "wrong", None => "–" },
        first => result.ranked.first().map(|first| first.service.clone()),
        elapsed_ms => result.elapsed_ms,
        label => outcome.label.as_ref().map(label),
        missed => outcome.label.as_ref().filter(|_| !right).map(|label| missed(outcome, label)),
        hypotheses => diagnosis.hypotheses.iter().take(MAX_ROWS).map(hypothesis).collect::<Vec<_>>(),
        evidence => diagnosis.evidence.iter().take(MAX_ROWS).map(|evidence| context! {
            id => evidence.id.to_string(), kind => evidence.kind.title(), service => evidence.service.clone(),
            claim => evidence.claim.clone(), query => evidence.query.clone(),
            figures => evidence.figures.iter().map(|figure| format!("{}: {} → {}", figure.name, figure.before, figure.now)).collect::<Vec<_>>(),
        }).collect::<Vec<_>>(),
        changes => diagnosis.changes.iter().take(MAX_ROWS).map(|change| context! {
            reference => change.change.reference.clone(), service => change.change.service.clone(), blamed => change.blamed,
            score => format!("{:.2}", change.score), reason => change.reason.text.clone(),
        }).collect::<Vec<_>>(),
        gaps => diagnosis.gaps.clone(),
        reasons => diagnosis.confidence.reasons.iter().map(|reason| reason.text.clone()).collect::<Vec<_>>(),
    }
}

fn hypothesis(hypothesis: &Hypothesis) -> Value {
    context! {
        id => hypothesis.id.to_string(), service => hypothesis.service.clone(), mechanism => hypothesis.mechanism.as_str(),
        change => hypothesis.change.clone(), score => format!("{:.2}", hypothesis.score), statement => hypothesis.statement.text.clone(),
        tests => hypothesis.predictions.iter().map(|prediction| context! {
            text => prediction.text.text.clone(),
            held => match prediction.held { Some(true) => "held", Some(false) => "failed", None => "unknown" },
        }).collect::<Vec<_>>(),
        cites => hypothesis.supports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}

fn label(label: &Label) -> String {
    let mut words = vec![label.root_service.clone().unwrap_or_else(|| "service not known".to_owned())];
    words.extend(label.fault_type.clone());
    words.extend(label.culprit_change.as_ref().map(|change| format!("change: {change}")));
    words.extend(label.root_metric.clone());
    words.extend(label.root_log_region.clone());
    words.join(" · ")
}

/// Why the right answer is not first, as far as the diagnosis itself tells.
fn missed(outcome: &Outcome, label: &Label) -> Vec<String> {
    let diagnosis = &outcome.report.diagnosis;
    let mut lines = Vec::new();
    let ranked = &outcome.result.ranked;
    let about =
        |service: &str| diagnosis.evidence.iter().filter(|evidence| evidence.service == service).count();
    if let Some(root) = &label.root_service {
        match (outcome.result.correct_service_rank, ranked.first()) {
            (Some(1), _) | (_, None) => {}
            (Some(rank), Some(first)) => lines.push(format!(
                "The right service is at rank {rank} with score {:.2}; {} has {:.2}. {} pieces of evidence are about it, {} about {}.",
                ranked[rank - 1].score,
                first.service,
                first.score,
                about(&ranked[rank - 1].service),
                about(&first.service),
                first.service
            )),
            (None, Some(first)) => lines.push(format!(
                "{root} is not among the hypotheses; {} pieces of evidence are about it. {} stands out instead ({:.2}).",
                about(root),
                first.service,
                first.score
            )),
        }
        if ranked.is_empty() {
            lines.push(format!("Nothing was ranked. {} pieces of evidence are about {root}.", about(root)));
        }
    }
    lines.extend(culprit_missed(diagnosis, label, outcome.result.culprit_correct));
    lines
}

fn culprit_missed(diagnosis: &Diagnosis, label: &Label, correct: Option<bool>) -> Option<String> {
    let culprit = label.culprit_change.as_deref().filter(|_| correct == Some(false))?;
    let considered = diagnosis.changes.iter().find(|change| change.change.reference == culprit);
    Some(match considered {
        Some(change) => format!(
            "Of the guilty change {culprit} it says: {} (score {:.2})",
            change.reason.text, change.score
        ),
        None if label.no_change() => "No change is guilty, but the verdict does not say so.".to_owned(),
        None => format!("The guilty change {culprit} was not considered."),
    })
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Cause => "cause",
        Verdict::NoChange => "no change",
        Verdict::Inconclusive => "inconclusive",
    }
}

fn percent(ratio: f64) -> String {
    format!("{:.0}%", ratio * 100.0)
}

fn share(share: Share) -> String {
    if share.of == 0 {
        "–".to_owned()
    } else {
        format!("{:.3} ({:.0}/{})", share.ratio, share.hits, share.of)
    }
}

/// Claimed against achieved; the area of a dot is its number of cases.
fn diagram(bins: &[Bin]) -> String {
    let most = bins.iter().map(|bin| bin.cases).max().unwrap_or(1).max(1) as f64;
    let mut svg = format!(
        "<svg viewBox=\"-44 -8 {w} {w}\" width=\"360\" role=\"img\" aria-label=\"Reliability diagram\">\
         <rect x=\"0\" y=\"0\" width=\"{SIDE}\" height=\"{SIDE}\" class=\"frame\"/>\
         <line x1=\"0\" y1=\"{SIDE}\" x2=\"{SIDE}\" y2=\"0\" class=\"ideal\"/>",
        w = SIDE + 72.0
    );
    for bin in bins.iter().filter(|bin| bin.cases > 0) {
        let _ = write!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{:.1}\"/>",
            bin.confidence * SIDE,
            (1.0 - bin.right) * SIDE,
            3.0 + 9.0 * (bin.cases as f64 / most).sqrt()
        );
    }
    for tick in [0.0, 0.5, 1.0] {
        let _ = write!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text><text x=\"-8\" y=\"{:.0}\" text-anchor=\"end\">{}</text>",
            tick * SIDE,
            SIDE + 18.0,
            percent(tick),
            (1.0 - tick) * SIDE + 4.0,
            percent(tick)
        );
    }
    svg + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_renders_without_cases() {
        let html = report(&Run { failures: vec!["<script>".to_owned()], ..Run::default() }).expect("HTML");
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script>"), "outside text is escaped");
        assert!(!html.contains("http://") && !html.contains("https://"), "self-contained");
    }
}
