//! Answers given before, kept in files; where there is none, one composed of the findings themselves.

use std::path::Path;

use anyhow::Context as _;
use investigator::narrate::{Draft, INCONCLUSIVE, Pack, Segment};

/// The answers to give for an incident: each line of `DIR/ID.jsonl` is one, in the order in which they came.
pub fn answers(dir: &Path, id: &str, pack: &Pack) -> anyhow::Result<Vec<String>> {
    let path = dir.join(format!("{id}.jsonl"));
    if !path.exists() {
        return Ok(vec![serde_json::to_string(&faithful(pack))?]);
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}

/// A draft that says what the findings say, in their own words.
pub fn faithful(pack: &Pack) -> Draft {
    let of_cause = pack.candidate(&pack.verdict).map(|candidate| candidate.evidence.clone());
    let cause = match &of_cause {
        Some(evidence) => {
            evidence.iter().find_map(|id| pack.item(id)).map(|item| sentence(&item.claim, &item.id))
        }
        None => None,
    };
    let going_on = pack.evidence.iter().take(1).map(|item| sentence(&item.claim, &item.id)).collect();
    let verdict = if cause.is_some() { pack.verdict.clone() } else { INCONCLUSIVE.to_owned() };
    Draft { verdict, going_on, cause: cause.into_iter().collect(), next_steps: Vec::new() }
}

fn sentence(text: &str, cite: &str) -> Segment {
    Segment { text: text.to_owned(), cites: vec![cite.to_owned()] }
}
