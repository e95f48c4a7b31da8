//! `inquest eval run`: recorded incidents whose cause is known, investigated and scored.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use eval::{Run, Summary, baseline, cases_below, table};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{EvalArgs, SuppressionArgs};
use crate::output;

/// Runs the command. `false` when a case could not be investigated, is worse than in the baseline, or is only there.
pub async fn run(arguments: &EvalArgs) -> anyhow::Result<bool> {
    let earlier = arguments.baseline.as_deref().map(baseline::read).transpose()?;
    let mut dirs: Vec<PathBuf> = Vec::new();
    for root in &arguments.dirs {
        let found = cases_below(root)?;
        anyhow::ensure!(!found.is_empty(), "no recording below {}", root.display());
        dirs.extend(found);
    }
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let jobs = arguments.jobs.map_or(processors, |jobs| usize::from(jobs.get()));
    let began = tokio::time::Instant::now();
    let style = ProgressStyle::with_template("{pos}/{len} {wide_bar} {elapsed} {msg}")?;
    let bar = ProgressBar::new(dirs.len() as u64).with_style(style);
    let name =
        |dir: &Path| dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let run = eval::run(
        &dirs,
        jobs,
        || began.elapsed(),
        |dir| {
            bar.set_message(name(dir));
            bar.inc(1);
        },
    )
    .await;
    bar.finish_and_clear();
    write(arguments, &run)?;
    output::text(&table::cases(&run.outcomes));
    output::text(&table::summary(&Summary::new(&run.outcomes)));
    for failure in &run.failures {
        output::note(&format!("inquest: {failure}"));
    }
    Ok(run.failures.is_empty()
        && earlier.is_none_or(|earlier| told(&baseline::compare(&earlier, &run.results()))))
}

/// `inquest eval suppression`. `false` when an alert that tells of a failure was held back, or too much else was.
pub async fn suppression(arguments: &SuppressionArgs) -> anyhow::Result<bool> {
    let mut outcomes = Vec::new();
    for root in &arguments.dirs {
        let mut logs = eval::suppression::read(root)?;
        let recorded = eval::suppression::read_recordings(&cases_below(root)?).await?;
        if !recorded.is_empty() {
            logs.push((format!("recordings of {}", root.display()), recorded));
        }
        for (system, messages) in logs {
            let replay = |threshold: &f64| eval::suppression::replay(&system, &messages, *threshold);
            outcomes.extend(eval::suppression::THRESHOLDS.iter().map(replay));
        }
    }
    anyhow::ensure!(!outcomes.is_empty(), "no log with labels below these folders");
    let all = eval::suppression::together(&outcomes);
    if let Some(path) = &arguments.json {
        let json = serde_json::json!({"systems": outcomes, "summary": all});
        let text = serde_json::to_string_pretty(&json).context("the results do not serialise")?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    outcomes.extend(all.clone());
    output::text(&eval::suppression::table(&outcomes));
    let default = all.iter().find(|one| one.threshold == detectors::suppression::AUTO_THRESHOLD);
    Ok(default.is_some_and(|one| {
        one.wrongly_suppressed == 0 && one.precision().is_some_and(|precision| precision >= 0.98)
    }))
}

fn write(arguments: &EvalArgs, run: &Run) -> anyhow::Result<()> {
    let put = |path: &Path, text: String| {
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    if let Some(path) = &arguments.json {
        put(path, run.json()?)?;
    }
    if let Some(path) = &arguments.html {
        put(path, eval::html::report(run)?)?;
    }
    Ok(())
}

/// Tells of a comparison; whether nothing became worse and nothing is missing.
fn told(comparison: &baseline::Comparison) -> bool {
    let lines = |mark: &str, lines: &[String]| {
        lines.iter().map(|line| format!("{mark} {line}\n")).collect::<String>()
    };
    output::text(&lines("better ", &comparison.better));
    output::text(&lines("worse  ", &comparison.worse));
    output::text(&lines("missing", &comparison.missing));
    !comparison.is_regression()
}
