//! Who phrases reports, put together from the settings; and what that costs, noted in the journal.
//!
//! Deliberately absent: prompts and checks (`investigator::narrate`).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::{Clock, Diagnosis, Evidence, Report, Used, Window};
use investigator::Knowledge;
use investigator::ask::MAX_QUESTION;
use investigator::lookup;
use investigator::narrate::{
    Anthropic, Asked, Caps, Model, Narrator, OpenAi, Prices, Settings, Spent, Total,
};
use storage::Store;

use crate::config::{self, Provider};

/// The journal's stream of the ledger.
const STREAM: &str = "model";
/// Longest that the store, and a model that chooses what to ask of it, may take over one question.
const LOOKED_FOR: Duration = Duration::from_secs(25);

/// Phrases reports. Cheap to clone.
#[derive(Clone)]
pub struct Telling {
    narrator: Arc<Narrator>,
    store: Store,
    clock: Arc<dyn Clock>,
    described: Arc<[(String, String)]>,
}

impl Telling {
    /// The narrator of the settings, with the ledger of the journal.
    pub async fn load(
        settings: &config::Narrator,
        knowledge: Arc<Knowledge>,
        store: Store,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let narrator = narrator(settings).context("the section `narrator` of the config file")?;
        let narrator = narrator.knowing(knowledge);
        if narrator.has_model() {
            for entry in store.journal_read(STREAM).await.context("cannot read the ledger of the model")? {
                match serde_json::from_value::<Spent>(entry.body) {
                    Ok(spent) => narrator.remember(&spent),
                    Err(error) => {
                        tracing::warn!(sequence = entry.sequence, %error, "cannot read an entry of the ledger");
                    }
                }
            }
        }
        Ok(Self { narrator: Arc::new(narrator), store, clock, described: described(settings).into() })
    }

    /// Whether a model is configured.
    pub fn has_model(&self) -> bool {
        self.narrator.has_model()
    }

    /// The report in a model's words, or from templates with the reason why not; `None` when no model is configured.
    /// `incident` is whose budget it is on; empty for none.
    pub async fn retell(&self, diagnosis: Diagnosis, incident: &str) -> anyhow::Result<Option<Report>> {
        if !self.narrator.has_model() {
            return Ok(None);
        }
        let narration = self.narrator.narrate(diagnosis, incident, self.clock.now()).await?;
        self.note(&narration.spent, incident).await?;
        let used = narration.spent.iter().fold(Used::default(), |used, spent| Used {
            tokens: used.tokens + spent.input + spent.output,
            cost: used.cost + spent.cost,
        });
        let used = (!narration.spent.is_empty()).then_some(used);
        Ok(Some(Report { used, ..narration.report }))
    }

    /// Answers a question about a report, in time, with a model or without: from what the report says, and from what the store
    /// answers to the lookups that the question asks for. When its words ask for none, a model may choose some.
    pub async fn ask(&self, report: &Report, question: &str, incident: &str) -> anyhow::Result<Asked> {
        let question: String = question.chars().take(MAX_QUESTION).collect();
        let looked = self.look_in_time(report, &question, incident, self.has_model()).await;
        let asked = self.narrator.ask(report, looked, &question, incident, self.clock.now()).await;
        self.note(&asked.spent, incident).await?;
        Ok(asked)
    }

    /// The same without a model: at once.
    pub async fn ask_at_once(&self, report: &Report, question: &str) -> Asked {
        let question: String = question.chars().take(MAX_QUESTION).collect();
        let looked = self.look_in_time(report, &question, "", false).await;
        Narrator::template().ask(report, looked, &question, "", self.clock.now()).await
    }

    async fn look_in_time(
        &self,
        report: &Report,
        question: &str,
        incident: &str,
        may_choose: bool,
    ) -> Vec<Evidence> {
        let looking = self.look(report, question, incident, may_choose);
        let error = match tokio::time::timeout(LOOKED_FOR, looking).await {
            Ok(Ok(looked)) => return looked,
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "not in time".to_owned(),
        };
        tracing::warn!(incident, error, "what was asked could not be looked up");
        Vec::new()
    }

    async fn look(
        &self,
        report: &Report,
        question: &str,
        incident: &str,
        may_choose: bool,
    ) -> anyhow::Result<Vec<Evidence>> {
        let span = lookup::span(question, report);
        let known = Window::new(span.before.start.min(span.now.start), span.now.end);
        let services = self.store.services(known).await.context("cannot ask which services there are")?;
        let mut lookups = lookup::chosen(question, report, &services);
        if lookups.is_empty() && may_choose {
            let options = lookup::options(report, &services);
            let (chosen, spent) =
                self.narrator.choose(report, &options, question, incident, self.clock.now()).await;
            self.note(&spent, incident).await?;
            lookups = chosen;
        }
        lookup::look(&self.store, &lookups, span, question, report).await.context("cannot ask the store")
    }

    /// Who phrases answers, for people.
    pub fn describe(&self) -> Vec<(String, String)> {
        let mut rows = self.described.to_vec();
        if self.has_model() {
            let caps = self.narrator.caps();
            rows.push(("This month".to_owned(), of_limits(self.narrator.used(self.clock.now()), &caps)));
        }
        rows
    }

    async fn note(&self, spent: &[Spent], incident: &str) -> anyhow::Result<()> {
        for spent in spent {
            let body = serde_json::to_value(spent).context("an entry of the ledger does not serialise")?;
            let noted = self.store.journal_append(self.clock.now(), STREAM, incident, &body).await;
            noted.context("cannot note what the model used")?;
        }
        Ok(())
    }
}

/// What is set, for people: names and values, no key.
fn described(settings: &config::Narrator) -> Vec<(String, String)> {
    let limit =
        |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), |limit| format!("{limit} tokens"));
    let row = |name: &str, value: String| (name.to_owned(), value);
    match settings.provider {
        Provider::Template => vec![row("Narrator", "templates; nothing is sent anywhere".into())],
        Provider::OpenAi | Provider::Anthropic => vec![
            row("Narrator", settings.model.clone()),
            row("Limit for an incident", limit(settings.incident_tokens)),
            row("Limit for a month", limit(settings.month_tokens)),
            row("Timeout", settings.timeout.to_string()),
        ],
    }
}

/// What was used of what may be: `41200 of 2000000 tokens, cost 0.12 of 5.00`.
fn of_limits(used: Total, caps: &Caps) -> String {
    let tokens = caps.month_tokens.map_or(String::new(), |limit| format!(" of {limit}"));
    let cost = match caps.month_cost {
        Some(limit) => format!(", cost {:.2} of {limit:.2}", used.cost),
        None if used.cost > 0.0 => format!(", cost {:.2}", used.cost),
        None => String::new(),
    };
    format!("{}{tokens} tokens{cost}", used.tokens)
}

/// The narrator of the settings.
pub fn narrator(settings: &config::Narrator) -> anyhow::Result<Narrator> {
    Ok(match model(settings)? {
        None => Narrator::template(),
        Some(model) => Narrator::new(model, bounds(settings)),
    })
}

/// How the model of the settings may be used.
pub fn bounds(settings: &config::Narrator) -> Settings {
    Settings {
        timeout: settings.timeout.0,
        max_output_tokens: settings.max_output_tokens,
        caps: Caps {
            incident_tokens: settings.incident_tokens,
            month_tokens: settings.month_tokens,
            incident_cost: settings.incident_cost,
            month_cost: settings.month_cost,
        },
        prices: Prices { input: settings.input_price, output: settings.output_price },
    }
}

/// The model of the settings; `None` when they name none.
pub fn model(settings: &config::Narrator) -> anyhow::Result<Option<Arc<dyn Model>>> {
    if settings.provider == Provider::Template {
        return Ok(None);
    }
    ensure!(!settings.model.is_empty(), "`model` names no model");
    let capped = settings.incident_cost.or(settings.month_cost).is_some();
    let priced = settings.input_price > 0.0 || settings.output_price > 0.0;
    ensure!(!capped || priced, "a cap on cost needs `input_price` and `output_price`");
    let key = key(settings)?;
    let base_url = |own: &str| settings.base_url.clone().unwrap_or_else(|| own.to_owned());
    let model: Arc<dyn Model> = match settings.provider {
        Provider::Template => return Ok(None),
        Provider::OpenAi => {
            Arc::new(OpenAi::new(&base_url("https://api.openai.com/v1"), &settings.model, &key)?)
        }
        Provider::Anthropic => {
            Arc::new(Anthropic::new(&base_url("https://api.anthropic.com"), &settings.model, &key)?)
        }
    };
    Ok(Some(model))
}

/// The key; servers of one's own may want none.
fn key(settings: &config::Narrator) -> anyhow::Result<String> {
    if let Some(path) = &settings.key_file {
        let key = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        return Ok(key.trim().to_owned());
    }
    let key = std::env::var(&settings.key_env).unwrap_or_default();
    ensure!(
        !key.is_empty() || settings.base_url.is_some(),
        "the environment variable {} holds no key",
        settings.key_env
    );
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn check(text: &str, expected: Result<bool, &str>) {
        let config = Config::parse(text).unwrap();
        let found = narrator(&config.narrator).map(|narrator| narrator.has_model());
        assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn use_is_shown_against_its_limits() {
        let used = Total { tokens: 41_200, cost: 0.123 };
        let check = |caps: Caps, expected: &str| assert_eq!(of_limits(used, &caps), expected);
        check(Caps::default(), "41200 tokens, cost 0.12");
        check(
            Caps { month_tokens: Some(2_000_000), month_cost: Some(5.0), ..Caps::default() },
            "41200 of 2000000 tokens, cost 0.12 of 5.00",
        );
        assert_eq!(of_limits(Total::default(), &Caps::default()), "0 tokens");
    }

    #[test]
    fn settings_name_a_model_or_none() {
        check("", Ok(false));
        check("[narrator]\nprovider = 'openai'\nbase_url = 'http://localhost:1/v1'\nmodel = 'm'", Ok(true));
        check(
            "[narrator]\nprovider = 'openai'\nbase_url = 'http://localhost:1/v1'",
            Err("`model` names no model"),
        );
        check(
            "[narrator]\nprovider = 'anthropic'\nmodel = 'm'\nkey_env = 'INQUEST_NO_SUCH_KEY'",
            Err("the environment variable INQUEST_NO_SUCH_KEY holds no key"),
        );
        check(
            "[narrator]\nprovider = 'openai'\nbase_url = 'http://localhost:1/v1'\nmodel = 'm'\nmonth_cost = 5.0",
            Err("a cap on cost needs `input_price` and `output_price`"),
        );
    }
}
