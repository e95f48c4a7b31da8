//! Messages in Block Kit, within Slack's limits whatever they are made of. Outside text is escaped, and never a link, a
//! mention or markup.

use domain::Alert;
use investigator::redact::Redactor;
use serde_json::{Value, json};

use crate::brief::Brief;

/// Most blocks of a message.
pub const MAX_BLOCKS: usize = 50;
/// Longest text of a section, in characters.
pub const MAX_SECTION: usize = 3000;
/// Longest header.
pub const MAX_HEADER: usize = 150;
/// Longest value of a button, in characters.
pub const MAX_VALUE: usize = 2000;
/// Longest text of an alert under an answer.
const MAX_ALERT: usize = 240;
/// Longest message that we send, over all of its blocks. Slack refuses more than about 13 000.
pub const MAX_TOTAL: usize = 3000;

/// A button: what it says, what it does, what it is about.
pub struct Button<'a> {
    /// What it says.
    pub label: &'a str,
    /// What it does.
    pub action: &'a str,
    /// What it is about: an id.
    pub value: &'a str,
}

/// Outside text for `mrkdwn`: `&`, `<` and `>` are escaped as Slack asks; marks of formatting, links and mentions lose
/// their meaning through a zero-width space.
pub fn escape(text: &str, limit: usize) -> String {
    let mut escaped = String::new();
    let mut length = 0;
    for character in domain::text::plain(text, limit).chars() {
        let piece = match character {
            '&' => "&amp;".into(),
            '<' => "&lt;".into(),
            '>' => "&gt;".into(),
            '*' | '_' | '~' | '`' | '@' | '#' => format!("{character}\u{200b}"),
            // Without it, Slack finds addresses in plain text and makes links of them.
            ':' | '.' if escaped.chars().next_back().is_some_and(char::is_alphanumeric) => {
                format!("{character}\u{2060}")
            }
            other => other.to_string(),
        };
        let more = piece.chars().count();
        if length + more > limit {
            escaped.push('…');
            break;
        }
        length += more;
        escaped.push_str(&piece);
    }
    escaped
}

fn section(text: String) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}})
}

fn header(text: &str) -> Value {
    json!({"type": "header", "text": {"type": "plain_text", "text": domain::text::plain(text, MAX_HEADER - 1), "emoji": false}})
}

fn context(text: String) -> Value {
    json!({"type": "context", "elements": [{"type": "mrkdwn", "text": text, "verbatim": true}]})
}

fn actions(link: Option<&str>, buttons: &[Button<'_>]) -> Option<Value> {
    let mut elements: Vec<Value> = Vec::new();
    if let Some(link) = link.filter(|link| link.len() <= MAX_SECTION) {
        elements.push(json!({"type": "button", "action_id": "open", "url": link, "text": {"type": "plain_text", "text": "Open"}}));
    }
    for button in buttons.iter().filter(|button| button.value.chars().count() <= MAX_VALUE) {
        elements.push(json!({"type": "button", "action_id": button.action, "value": button.value,
            "text": {"type": "plain_text", "text": button.label}}));
    }
    (!elements.is_empty()).then(|| json!({"type": "actions", "elements": elements}))
}

/// One sentence, for nobody but the one who asked.
pub fn say(text: &str) -> Value {
    json!({"response_type": "ephemeral", "text": escape(text, MAX_SECTION)})
}

/// What can be asked.
pub fn help() -> Value {
    let text = "*/why checkout*  why does this service fail?\n*/why checkout since 1h*  look so far back\n\
                */why incident INC-0142*  the answer to an incident\n\
                */why incident INC-0142 was there a deploy?*  a question about it\n*/why help*  this";
    json!({"response_type": "ephemeral", "text": "How to ask /why", "blocks": [section(text.into())]})
}

/// An answer. `name` is the incident's, if it is one; `link` leads to the page.
pub fn answer(brief: &Brief, name: Option<&str>, link: Option<&str>, buttons: &[Button<'_>]) -> Value {
    let mut left = MAX_TOTAL - 600 - MAX_ALERT;
    let mut take = |text: &str, limit: usize| {
        let text = escape(text, limit.min(left));
        left -= text.chars().count().min(left);
        text
    };
    let mut blocks = vec![header(&match name {
        Some(name) => format!("{name}: {}", brief.title),
        None => brief.title.clone(),
    })];
    let paragraph = |take: &mut dyn FnMut(&str, usize) -> String, sentences: &[String]| {
        sentences
            .iter()
            .map(|sentence| take(sentence, 500))
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let going_on = paragraph(&mut take, &brief.going_on);
    if !going_on.is_empty() {
        blocks.push(section(format!("*What is going on*\n{going_on}")));
    }
    let cause = paragraph(&mut take, &brief.cause);
    let confidence = escape(&brief.confidence, 40);
    let cause = if cause.is_empty() { "The cause is still being looked for.".to_owned() } else { cause };
    blocks.push(section(match confidence.is_empty() {
        true => format!("*What caused it*\n{cause}"),
        false => format!("*What caused it* (confidence: {confidence})\n{cause}"),
    }));
    for (title, lines, most) in [("Evidence", &brief.evidence, 300), ("What to do next", &brief.next, 300)] {
        let lines: Vec<String> =
            lines.iter().map(|line| take(line, most)).filter(|line| !line.is_empty()).collect();
        if !lines.is_empty() {
            blocks.push(section(format!("*{title}*\n• {}", lines.join("\n• "))));
        }
    }
    if brief.redacted > 0 {
        let word = if brief.redacted == 1 { "secret" } else { "secrets" };
        blocks.push(context(format!("{} {word} taken out", brief.redacted)));
    }
    blocks.extend(actions(link, buttons));
    debug_assert!(blocks.len() <= MAX_BLOCKS);
    json!({"text": escape(&format!("{}. {}", brief.title, brief.verdict()), 400), "blocks": blocks})
}

/// The answer to a question about an incident. `source` says who phrased it.
pub fn asked(name: &str, question: &str, sentences: &[String], source: &str, link: &str) -> Value {
    let mut redactor = Redactor::new();
    let mut left = MAX_TOTAL - 900;
    let said: Vec<String> = sentences
        .iter()
        .map(|sentence| {
            let text = escape(&redactor.text(sentence), left.min(600));
            left -= text.chars().count().min(left);
            text
        })
        .filter(|text| !text.is_empty())
        .collect();
    let said = if said.is_empty() { investigator::ask::NOTHING.to_owned() } else { said.join("\n") };
    let question = escape(&redactor.text(question), 300);
    let mut blocks = vec![section(format!("*{}*: {question}", escape(name, 40))), section(said.clone())];
    blocks.push(context(escape(source, 200)));
    blocks.extend(actions(Some(link), &[]));
    json!({"text": said, "blocks": blocks})
}

/// Adds what to decide about: the alert of what was asked that is the likeliest noise, and the buttons that decide.
pub fn with_alert(message: &mut Value, alert: &Alert, may_suppress: bool) {
    let Some(blocks) = message["blocks"].as_array_mut() else { return };
    let mut redactor = Redactor::new();
    let said = redactor.text(&format!("{}: {}", alert.rule, alert.pattern)).into_owned();
    let fingerprint = alert.fingerprint();
    blocks.push(context(format!("Is this alert noise? {}", escape(&said, MAX_ALERT))));
    blocks.extend(actions(None, &alert_buttons(&fingerprint, may_suppress)));
}

/// The buttons under an answer to `asked`: `checkout since 1h`.
pub fn why_buttons(asked: &str, in_channel: bool) -> Vec<Button<'_>> {
    match in_channel {
        true => Vec::new(),
        false => vec![Button { label: "Post to channel", action: "post", value: asked }],
    }
}

/// The buttons under an alert. One that a rule forbids to suppress cannot be suppressed here either.
pub fn alert_buttons(value: &str, may_suppress: bool) -> Vec<Button<'_>> {
    let button = |label, action| Button { label, action, value };
    let mut buttons = Vec::new();
    if may_suppress {
        buttons.push(button("Suppress", "suppress"));
    }
    buttons.push(button("Not noise", "not_noise"));
    buttons
}

/// The buttons under an incident.
pub fn incident_buttons<'a>(name: &'a str, in_channel: bool) -> Vec<Button<'a>> {
    let button = |label, action| Button { label, action, value: name };
    let mut buttons = Vec::new();
    if !in_channel {
        buttons.push(button("Post to channel", "post"));
    }
    buttons.extend([button("Right", "right"), button("Wrong", "wrong")]);
    buttons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hostile() -> Brief {
        let text = "<!channel> <@U1> & *bold* `code` https://evil.example/x?a=<b> ".repeat(200);
        Brief {
            title: text.clone(),
            service: text.clone(),
            confidence: "High".into(),
            going_on: vec![text.clone(); 9],
            cause: vec![text.clone(); 9],
            evidence: vec![text.clone(); 9],
            next: vec![text; 9],
            redacted: 2,
        }
    }

    /// All text of a message that Slack would interpret.
    fn texts(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                let interpreted = map.get("type").is_some_and(|kind| kind == "mrkdwn");
                match map.get("text") {
                    Some(Value::String(text)) if interpreted => found.push(text.clone()),
                    _ => map.values().for_each(|value| texts(value, found)),
                }
            }
            Value::Array(list) => list.iter().for_each(|value| texts(value, found)),
            _ => {}
        }
    }

    #[test]
    fn a_flood_of_hostile_text_stays_within_the_limits_and_means_nothing() {
        let message = answer(
            &hostile(),
            Some("INC-0001"),
            Some("https://inquest.example/incidents/1"),
            &incident_buttons("INC-0001", false),
        );
        client_limits(&message);
        let mut found = Vec::new();
        texts(&message, &mut found);
        let total: usize = found.iter().map(|text| text.chars().count()).sum();
        assert!(total <= MAX_TOTAL, "{total}");
        for text in &found {
            assert!(!text.contains("<!") && !text.contains("<@") && !text.contains("`code`"), "{text}");
            assert!(!text.contains("https://"), "{text}");
        }
    }

    fn client_limits(message: &Value) {
        super::super::client::check_limits(message).unwrap();
    }

    #[test]
    fn an_answer_reads_well() {
        let brief = Brief {
            title: "checkout availability 92.1%, objective 99%".into(),
            service: "checkout".into(),
            confidence: "High".into(),
            going_on: vec!["7.9% of requests to checkout fail.".into()],
            cause: vec!["The deploy of cart 1.4.2 is to blame.".into()],
            evidence: vec!["Errors began 21 s after the deploy.".into()],
            next: vec!["Roll cart back to 1.4.1.".into()],
            redacted: 0,
        };
        insta::assert_json_snapshot!(answer(
            &brief,
            Some("INC-0142"),
            Some("https://inquest.example/incidents/142"),
            &incident_buttons("INC-0142", true)
        ));
    }
}
