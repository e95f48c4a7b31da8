//! A report for a terminal: the answer first, then what it rests on.

use std::fmt::Write as _;

use domain::text::plain;
use domain::{CheckOutcome, ConfidenceLevel, Hypothesis, HypothesisStatus, Report, Sentence, StepKind};

/// Columns kept free at the left of wrapped text.
const INDENT: usize = 2;

/// The report, wrapped at `width` columns, without colour codes. Outside text has its control characters removed, so it
/// cannot drive the terminal.
pub fn to_text(report: &Report, width: usize) -> String {
    let mut text = String::new();
    write(&mut text, report, width.max(40)).expect("writing to a string cannot fail");
    text
}

fn write(out: &mut String, report: &Report, width: usize) -> std::fmt::Result {
    let diagnosis = &report.diagnosis;
    writeln!(out, "{}", plain(&diagnosis.title, 200))?;
    writeln!(out, "{} to {}\n", diagnosis.window.start, diagnosis.window.end)?;
    heading(out, "What is going on")?;
    paragraphs(out, &report.answer.going_on, width)?;
    heading(out, "Most likely cause")?;
    paragraphs(out, &report.answer.cause, width)?;
    let reasons: Vec<&str> = diagnosis.confidence.reasons.iter().map(|reason| reason.text.as_str()).collect();
    let confidence = match diagnosis.confidence.level {
        ConfidenceLevel::Inconclusive => String::new(),
        level => format!("{} confidence ({:.2}). ", level.word(), diagnosis.confidence.score),
    };
    wrapped(out, &format!("{confidence}{}", reasons.join(" ")), width)?;
    if let Some(first) = diagnosis.hypotheses.first() {
        predictions(out, first, width)?;
    }
    writeln!(out)?;
    if !report.answer.next_steps.is_empty() {
        heading(out, "Do next")?;
        for step in &report.answer.next_steps {
            let kind = match step.kind {
                StepKind::Verify => "verify  ",
                StepKind::Mitigate => "mitigate",
                StepKind::Fix => "fix     ",
            };
            wrapped(out, &format!("{kind}  {}", cited(&step.text)), width)?;
        }
        writeln!(out)?;
    }
    if !diagnosis.changes.is_empty() {
        heading(out, "What changed")?;
        for change in &diagnosis.changes {
            let verdict = if change.blamed { "LIKELY CAUSE" } else { "not blamed" };
            let title = crate::reason::collect::changes::title(&change.change);
            wrapped(
                out,
                &format!("{} {title} – {verdict}. {}", change.change.at.clock_time(), change.reason.text),
                width,
            )?;
        }
        writeln!(out)?;
    }
    heading(out, "Evidence")?;
    for evidence in &diagnosis.evidence {
        wrapped(
            out,
            &format!("{:<4}{}: {}", evidence.id.to_string(), evidence.kind.title(), evidence.claim),
            width,
        )?;
        for figure in &evidence.figures {
            let from =
                if figure.before.is_empty() { String::new() } else { format!("{} → ", figure.before) };
            wrapped(out, &format!("      {}: {from}{}", figure.name, figure.now), width)?;
        }
    }
    writeln!(out)?;
    if diagnosis.hypotheses.len() > 1 {
        heading(out, "Other hypotheses")?;
        for hypothesis in &diagnosis.hypotheses[1..] {
            let status = match hypothesis.status {
                HypothesisStatus::Supported => "possible",
                HypothesisStatus::RuledOut => "ruled out",
                HypothesisStatus::NotEnoughData => "not enough data",
            };
            wrapped(
                out,
                &format!(
                    "{} {status}, {:.2}: {}",
                    hypothesis.id,
                    hypothesis.score,
                    cited(&hypothesis.statement)
                ),
                width,
            )?;
            predictions(out, hypothesis, width)?;
        }
        writeln!(out)?;
    }
    heading(out, "Checks run")?;
    for check in &diagnosis.checks {
        let outcome = match check.outcome {
            CheckOutcome::Found => "found",
            CheckOutcome::Nothing => "nothing found",
            CheckOutcome::CouldNotLook => "could not look",
        };
        let note = if check.note.is_empty() { String::new() } else { format!(" ({})", check.note) };
        wrapped(out, &format!("{}: {outcome}{note}", check.kind.title()), width)?;
    }
    for gap in &diagnosis.gaps {
        wrapped(out, &format!("gap: {gap}"), width)?;
    }
    writeln!(
        out,
        "\nWritten from template, {} of {} citations checked.",
        report.citations_checked, report.citations
    )
}

fn heading(out: &mut String, text: &str) -> std::fmt::Result {
    writeln!(out, "{}", text.to_uppercase())
}

fn paragraphs(out: &mut String, sentences: &[Sentence], width: usize) -> std::fmt::Result {
    for sentence in sentences {
        wrapped(out, &cited(sentence), width)?;
    }
    writeln!(out)
}

/// What a hypothesis predicts, and whether it was seen.
fn predictions(out: &mut String, hypothesis: &Hypothesis, width: usize) -> std::fmt::Result {
    for prediction in &hypothesis.predictions {
        let held = match prediction.held {
            Some(true) => "fits",
            Some(false) => "does not fit",
            None => "not tested",
        };
        wrapped(out, &format!("     {held}: {}", cited(&prediction.text)), width)?;
    }
    Ok(())
}

fn cited(sentence: &Sentence) -> String {
    let cites: Vec<String> = sentence.cites.iter().map(|id| format!(" [{id}]")).collect();
    format!("{}{}", sentence.text, cites.concat())
}

/// Greedy wrapping by characters; words longer than a line stand alone.
fn wrapped(out: &mut String, text: &str, width: usize) -> std::fmt::Result {
    let text = plain(text, 2_000);
    let leading = text.chars().take_while(|character| *character == ' ').count();
    let mut line = " ".repeat(INDENT + leading);
    let mut length = line.len();
    let indent = length;
    for word in text.split_whitespace() {
        let word_length = word.chars().count();
        if length > indent && length + 1 + word_length > width {
            writeln!(out, "{line}")?;
            line = " ".repeat(indent + 2);
            length = line.len();
        } else if length > indent {
            line.push(' ');
            length += 1;
        }
        line.push_str(word);
        length += word_length;
    }
    writeln!(out, "{line}")
}
