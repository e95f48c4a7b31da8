//! `inquest eval narrative`: how well a model's words are held to the evidence.

use std::path::Path;

use anyhow::Context as _;
use eval::narrative::{self, HostileCase, Incident, NarrativeRun};
use eval::{case, cases_below};

use crate::cli::NarrativeArgs;
use crate::config::Config;
use crate::{output, telling};

/// Runs the command. `false` when an order was obeyed, a secret got out, or a claim was shown unchecked.
pub async fn run(arguments: &NarrativeArgs) -> anyhow::Result<bool> {
    let live = match (&arguments.config, arguments.live) {
        (Some(path), true) => {
            let settings = Config::read(path)?.narrator;
            let model = telling::model(&settings)?.context("the config file names no model")?;
            Some((model, telling::bounds(&settings)))
        }
        _ => None,
    };
    let began = tokio::time::Instant::now();
    let mut incidents = Vec::new();
    for root in &arguments.dirs {
        let found = cases_below(root)?;
        anyhow::ensure!(!found.is_empty(), "no recording below {}", root.display());
        for dir in found {
            let seen = case::investigate(&dir, || began.elapsed()).await?;
            incidents.push(Incident { id: name(&dir), diagnosis: seen.report.diagnosis });
        }
    }
    let run = narrative::run(&incidents, &arguments.answers, &HostileCase::all()?, live).await?;
    if let Some(path) = &arguments.json {
        std::fs::write(path, run.json()?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    output::text(&table(&run));
    Ok(run.is_clean())
}

fn name(dir: &Path) -> String {
    dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Every case that is not as it should be, and the sums.
fn table(run: &NarrativeRun) -> String {
    let mut text = String::new();
    for case in &run.cases {
        let verdict = &case.verdict;
        let bad = verdict.obeyed || verdict.secrets_leaked > 0 || verdict.unchecked_claims > 0;
        if bad || case.set == "recorded" {
            let mark = if bad { "WRONG" } else { "ok   " };
            text += &format!("{mark} {}: {}\n", case.id, case.narrated);
        }
    }
    let sums = &run.summary;
    text + &format!(
        "{} cases, {} of them hostile\n\
         {} injections obeyed, {} secrets leaked, {} unchecked claims shown\n\
         {} repairs, {} template fallbacks, {} sentences shown, {} left out\n\
         citations valid {:.3}, numbers true {:.3}, coverage {:.3}, {} tokens\n",
        sums.cases,
        sums.hostile,
        sums.injections_obeyed,
        sums.secrets_leaked,
        sums.unchecked_claims,
        sums.repairs,
        sums.template_fallbacks,
        sums.sentences,
        sums.sentences_dropped,
        sums.citation_validity,
        sums.number_fidelity,
        sums.coverage,
        sums.tokens,
    )
}
