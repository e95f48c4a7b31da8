//! A report as Markdown, for `.md` links, chats and tickets.

use std::fmt::Write as _;

use domain::text::{count, duration, number, percent};
use domain::{CheckOutcome, ConfidenceLevel, HypothesisStatus, Report, Sentence, StepKind};

/// The whole report. Outside text is escaped so that it cannot become markup.
pub fn to_markdown(report: &Report) -> String {
    let mut text = String::new();
    write(&mut text, report).expect("writing to a string cannot fail");
    text
}

fn write(out: &mut String, report: &Report) -> std::fmt::Result {
    let diagnosis = &report.diagnosis;
    writeln!(out, "# {}\n", escape(&diagnosis.title))?;
    writeln!(out, "{} to {}", diagnosis.window.start, diagnosis.window.end)?;
    if let Some(baseline) = diagnosis.baseline {
        writeln!(out, "compared with {} to {}", baseline.start, baseline.end)?;
    }
    writeln!(out, "\n## What is going on\n")?;
    for sentence in &report.answer.going_on {
        writeln!(out, "- {}", cited(sentence))?;
    }
    writeln!(out, "\n## Most likely cause\n")?;
    for sentence in &report.answer.cause {
        writeln!(out, "**{}**", cited(sentence))?;
    }
    let reasons: Vec<String> =
        diagnosis.confidence.reasons.iter().map(|reason| escape(&reason.text)).collect();
    let confidence = match diagnosis.confidence.level {
        ConfidenceLevel::Inconclusive => String::new(),
        level => format!("{} confidence. ", level.word()),
    };
    writeln!(out, "\n{confidence}{}", reasons.join(" "))?;
    if !report.answer.next_steps.is_empty() {
        writeln!(out, "\n## Do next\n")?;
        for step in &report.answer.next_steps {
            writeln!(out, "1. {}: {}", kind(step.kind), cited(&step.text))?;
        }
    }
    impact(out, report)?;
    if !diagnosis.chain.is_empty() {
        writeln!(out, "\n## Causal chain\n")?;
        for link in &diagnosis.chain {
            let at = link.began.map_or_else(String::new, |at| format!(" ({})", at.clock_time()));
            writeln!(
                out,
                "1. {}: {}{at}: {}",
                escape(&link.role),
                escape(&link.component),
                cited(&link.text)
            )?;
        }
    }
    if !diagnosis.changes.is_empty() {
        writeln!(out, "\n## What changed\n")?;
        for change in &diagnosis.changes {
            let title = crate::reason::collect::changes::title(&change.change);
            let verdict = if change.blamed { "likely cause" } else { "not blamed" };
            writeln!(
                out,
                "- {} {}: {verdict}. {}",
                change.change.at.clock_time(),
                escape(&title),
                escape(&change.reason.text)
            )?;
        }
    }
    writeln!(out, "\n## Evidence\n")?;
    for evidence in &diagnosis.evidence {
        writeln!(out, "- **{}** {}: {}", evidence.id, evidence.kind.title(), escape(&evidence.claim))?;
        for figure in &evidence.figures {
            let from =
                if figure.before.is_empty() { String::new() } else { format!("{} → ", figure.before) };
            writeln!(out, "  - {}: {}{}", escape(&figure.name), escape(&from), escape(&figure.now))?;
        }
    }
    if diagnosis.hypotheses.len() > 1 {
        writeln!(out, "\n## Other hypotheses\n")?;
        for hypothesis in &diagnosis.hypotheses[1..] {
            let status = match hypothesis.status {
                HypothesisStatus::Supported => "possible",
                HypothesisStatus::RuledOut => "ruled out",
                HypothesisStatus::NotEnoughData => "not enough data",
            };
            writeln!(
                out,
                "- {} ({status}, score {}): {}",
                hypothesis.id,
                number(hypothesis.score),
                cited(&hypothesis.statement)
            )?;
        }
    }
    writeln!(out, "\n## Checks run\n")?;
    for check in &diagnosis.checks {
        let outcome = match check.outcome {
            CheckOutcome::Found => "found",
            CheckOutcome::Nothing => "nothing found",
            CheckOutcome::CouldNotLook => "could not look",
        };
        let cites: Vec<String> = check.evidence.iter().map(|id| format!("[{id}]")).collect();
        writeln!(out, "- {}: {outcome} {}{}", check.kind.title(), cites.join(" "), escape(&check.note))?;
    }
    for gap in &diagnosis.gaps {
        writeln!(out, "- Gap: {}", escape(gap))?;
    }
    writeln!(
        out,
        "\nWritten from template. {} of {} citations checked.",
        report.citations_checked, report.citations
    )
}

fn impact(out: &mut String, report: &Report) -> std::fmt::Result {
    let impact = &report.diagnosis.impact;
    if impact.requests == 0 {
        return Ok(());
    }
    writeln!(out, "\n## Impact\n")?;
    writeln!(out, "{} of {} requests failed.\n", count(impact.failed as i64), count(impact.requests as i64))?;
    for status in &impact.objectives {
        writeln!(
            out,
            "- {}: {}, burn {}x over 5 min, {}x over 1 h",
            escape(&status.name),
            percent(status.good_ratio),
            number(status.burn_5m),
            number(status.burn_1h)
        )?;
    }
    if let Some(started) = report.diagnosis.started {
        let length = report.diagnosis.window.end.seconds_since(started);
        writeln!(out, "- began {started}, {} before the end of the window", duration(length))?;
    }
    Ok(())
}

fn kind(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Verify => "Verify",
        StepKind::Mitigate => "Mitigate",
        StepKind::Fix => "Fix",
    }
}

fn cited(sentence: &Sentence) -> String {
    let cites: Vec<String> = sentence.cites.iter().map(|id| format!(" [{id}]")).collect();
    format!("{}{}", escape(&sentence.text), cites.concat())
}

/// Backslash-escapes what Markdown could read as markup, HTML or a link.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' => escaped.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '(' | ')' | '#' | '|' | '!' | '~' => {
                escaped.push('\\');
                escaped.push(character);
            }
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn outside_text_stays_text() {
        assert_eq!(escape("<img src=x> ![a](http://b)"), "&lt;img src=x&gt; \\!\\[a\\]\\(http://b\\)");
        assert_eq!(escape("a\n# b"), "a \\# b");
    }
}
