//! The prompts: templates filled in strictly, and a version that says which.

use std::sync::LazyLock;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use super::check::Violation;
use super::{Pack, Prompt, Speaker, Turn, schema};

/// Version of the files in `prompts/narrate`. Raise it with any change to them: kept answers of another are not used.
pub const VERSION: &str = "narrate-1";

/// Violations named in one repair.
const MAX_VIOLATIONS: usize = 20;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    for (name, source) in [
        ("system", include_str!("../../../prompts/narrate/system.txt")),
        ("findings", include_str!("../../../prompts/narrate/findings.txt")),
        ("ask", include_str!("../../../prompts/narrate/ask.txt")),
        ("repair", include_str!("../../../prompts/narrate/repair.txt")),
    ] {
        environment.add_template(name, source).expect("a test renders every prompt");
    }
    environment
});

/// What is asked first.
pub fn first(pack: &Pack, max_output_tokens: u32) -> Result<Prompt, minijinja::Error> {
    let findings = pack.json();
    // Nobody can write the end marker into the findings without knowing all of them.
    let marker = &blake3::hash(findings.as_bytes()).to_hex()[..16];
    let system = render(
        "system",
        context! { verdict => pack.verdict.clone(), confidence => pack.confidence.clone() },
    )?;
    let text = render("findings", context! { marker, findings })?;
    Ok(Prompt {
        system,
        turns: vec![Turn { speaker: Speaker::Us, text }],
        schema: schema(pack),
        max_output_tokens,
    })
}

/// A question about the findings, without its secrets.
pub fn ask(pack: &Pack, question: &str, max_output_tokens: u32) -> Result<Prompt, minijinja::Error> {
    let mut prompt = first(pack, max_output_tokens)?;
    let question = crate::redact::Redactor::new().text(question).into_owned();
    let question = serde_json::to_string(&question).expect("text serialises");
    let marker = &blake3::hash(question.as_bytes()).to_hex()[..16];
    let text = render("ask", context! { marker, question })?;
    prompt.turns.push(Turn { speaker: Speaker::Us, text });
    Ok(prompt)
}

/// What is asked after an answer that breaks rules.
pub fn repair(prompt: &Prompt, answer: &str, violations: &[Violation]) -> Result<Prompt, minijinja::Error> {
    let violations: Vec<_> = violations
        .iter()
        .take(MAX_VIOLATIONS)
        .map(
            |violation| context! { place => violation.place.to_string(), advice => violation.advice.clone() },
        )
        .collect();
    let text = render("repair", context! { violations })?;
    let mut prompt = prompt.clone();
    prompt.turns.push(Turn { speaker: Speaker::Model, text: answer.to_owned() });
    prompt.turns.push(Turn { speaker: Speaker::Us, text });
    Ok(prompt)
}

fn render(name: &str, values: minijinja::Value) -> Result<String, minijinja::Error> {
    ENVIRONMENT.get_template(name)?.render(values)
}
