//! `cargo run --release -p eval --example explain -- DIR...`: what the reasoning made of recorded incidents, signal by signal.
//! In place of a folder, a file that `replay observe` kept will do.
#![allow(clippy::print_stdout, reason = "a command of its own: it prints")]

use std::path::PathBuf;
use std::time::Duration;

use investigator::reason::analysis::Analysis;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    for dir in std::env::args().skip(1).map(PathBuf::from) {
        let (dir, observations) = if dir.is_file() {
            let kept = eval::Kept::read(&dir)?;
            (kept.dir, kept.incident)
        } else {
            let observations = eval::case::investigate(&dir, || Duration::ZERO).await?.observations;
            (dir, observations)
        };
        println!("\n## {}", dir.display());
        if let Some(label) = eval::Label::read(&dir)? {
            println!("label {:?} {:?} {:?}", label.root_service, label.fault_type, label.culprit_change);
        }
        println!("failures {:?}", observations.failures);
        let analysis = Analysis::new(&observations);
        let diagnosis = investigator::reason::reason(&observations);
        println!("{:?} {:.3}", diagnosis.verdict, diagnosis.confidence.score);
        for suspect in analysis.suspects.iter().take(10) {
            println!("{suspect:?}");
        }
        for step in analysis.divergences.iter().take(8) {
            println!(
                "  step {} {} -> {} {:.2}->{:.2} z={:.1} w={:.2}",
                step.service, step.from, step.to, step.before, step.now, step.z, step.weight
            );
        }
        for (place, step) in analysis
            .comparison
            .scoped()
            .filter(|(_, step)| analysis.comparison.added_ms(step) > 0.02 * analysis.comparison.usual_ms())
            .take(40)
        {
            println!(
                "  work {place} {} {} callees {:?} n {}/{} own {:.1}->{:.1} added {:.1} of {:.1}",
                step.operation.service,
                step.operation.name,
                step.callees(&analysis.comparison.steps).collect::<Vec<_>>(),
                step.before.calls,
                step.now.calls,
                step.before.own.mean(),
                step.now.own.mean(),
                analysis.comparison.added_ms(step),
                analysis.comparison.usual_ms()
            );
        }
        for metric in analysis.metrics.iter().take(25) {
            println!(
                "  {:?} {} {}<-{} {} new={} filled={:.2} z={:.1} worse={:.3} past={:.3} now={:.3} w={:.2} began={:?}",
                metric.topic,
                metric.name,
                metric.service,
                metric.source,
                metric.instance,
                metric.is_new,
                metric.filled,
                metric.score,
                metric.worse_by,
                metric.before.median,
                metric.now.median,
                metric.weight,
                metric.began.map(domain::UnixNanos::clock_time)
            );
        }
        for pattern in analysis.patterns.iter().take(12) {
            println!(
                "  log {} sev={} {:?} {:.1}->{} z={:.1} {}",
                pattern.service,
                pattern.severity,
                pattern.movement,
                pattern.expected,
                pattern.now,
                pattern.z,
                domain::text::plain(&pattern.template, 140)
            );
        }
        for suspect in analysis.suspects.iter().take(2) {
            println!(
                "  onset of {} {:?}",
                suspect.place,
                analysis.onset_of(&suspect.place).map(|at| at.to_string())
            );
        }
        if let Some(first) = diagnosis.hypotheses.first() {
            let scene = analysis.scene(&first.service, Some(first.mechanism));
            for change in analysis.changes.all.iter().chain(&analysis.changes.aboard) {
                println!(
                    "  words of {} {} {:?} {:?}",
                    change.service,
                    change.reference,
                    analysis.changes.standing(change, &scene),
                    analysis.changes.shared_words(change, &scene)
                );
            }
        }
        for change in diagnosis.changes.iter().take(10) {
            println!(
                "  change {} {} {} {:.2} blamed={} {}",
                change.change.at,
                change.change.service,
                change.change.reference,
                change.score,
                change.blamed,
                change.reason.text
            );
        }
    }
    Ok(())
}
