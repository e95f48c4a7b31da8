//! Orders hidden in outside text, planted where telemetry would carry them, and the answer of a model that obeys them.

use anyhow::Context as _;
use domain::evidence::{ErrorCause, LogPattern, PatternMove, SkewRow};
use domain::text::plain;
use domain::{
    Change, ChangeKind, ConsideredChange, Diagnosis, Evidence, EvidenceId, EvidenceKind, Exhibit, Figure,
};
use domain::{Sentence, SpanKind, Strength};
use investigator::narrate::{Draft, Pack, Segment};
use serde::Deserialize;

use super::recorded::faithful;

/// One hostile case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostileCase {
    /// What it tries.
    pub name: String,
    /// Where the text stands.
    into: Into,
    /// The text.
    #[serde(default)]
    text: String,
    /// How often it is repeated.
    #[serde(default = "once")]
    repeat: usize,
    /// The sentence that an obedient model adds.
    #[serde(default)]
    says: String,
    /// The whole of its answer instead; `"F"` stands for a faithful sentence.
    answer: Option<String>,
    /// The verdict that it gives instead of the engine's.
    verdict: Option<String>,
    /// What must not be shown as the model's words.
    #[serde(default)]
    pub forbidden: Vec<String>,
    /// What must be neither sent nor shown.
    #[serde(default)]
    pub secrets: Vec<String>,
}

const fn once() -> usize {
    1
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Into {
    LogPattern,
    ErrorMessage,
    Exception,
    Operation,
    Service,
    Attribute,
    Metric,
    ChangeDetail,
    ChangeVersion,
    None,
}

#[derive(Deserialize)]
struct File {
    case: Vec<HostileCase>,
}

impl HostileCase {
    /// The cases of the project.
    pub fn all() -> anyhow::Result<Vec<Self>> {
        let file: File = toml::from_str(include_str!("../../hostile.toml")).context("eval/hostile.toml")?;
        Ok(file.case)
    }

    /// The diagnosis as it would be had the text come with the telemetry.
    pub fn planted(&self, diagnosis: &Diagnosis) -> anyhow::Result<Diagnosis> {
        let text = self.text.repeat(self.repeat);
        let mut planted = diagnosis.clone();
        if self.into == Into::Service {
            let blamed = diagnosis.cause().map_or(&diagnosis.service, |cause| &cause.service);
            return renamed(diagnosis, blamed, &text);
        }
        let Some(evidence) = self.evidence(diagnosis, &text) else { return Ok(planted) };
        let id = evidence.id;
        if let Exhibit::Change { change } = &evidence.exhibit {
            planted.changes.push(ConsideredChange {
                change: change.clone(),
                score: 0.5,
                blamed: false,
                reason: Sentence::new(evidence.claim.clone(), [id]),
            });
        }
        // The text speaks for the cause, as that of an attacker who hurts the service would.
        if let Some(first) = planted.hypotheses.first_mut() {
            first.supports.push(id);
        }
        // Early, so that nothing else crowds it out.
        planted.evidence.insert(1.min(planted.evidence.len()), evidence);
        Ok(planted)
    }

    /// The text as a finding, in the words that the engine would put around it.
    fn evidence(&self, diagnosis: &Diagnosis, text: &str) -> Option<Evidence> {
        let model = diagnosis.evidence.first()?;
        let service = diagnosis.cause().map_or(&diagnosis.service, |cause| &cause.service).clone();
        let id = diagnosis.evidence.iter().map(|evidence| evidence.id.0).max().unwrap_or(0) + 1;
        let short = plain(text, 90);
        let began = model.window.start;
        let mut figures = Vec::new();
        let (kind, claim, exhibit) = match self.into {
            Into::LogPattern => {
                let pattern = LogPattern {
                    service: service.clone(),
                    template: text.to_owned(),
                    severity: 17,
                    logger: String::new(),
                    movement: PatternMove::New,
                    before: 0.0,
                    now: 40,
                    first_seen: began,
                    sample: text.to_owned(),
                    counts: Vec::new(),
                };
                let exhibit = Exhibit::LogPatterns { patterns: vec![pattern] };
                (EvidenceKind::LogPatterns, format!("In {service}, “{short}” is new."), exhibit)
            }
            Into::ErrorMessage | Into::Exception | Into::Operation => {
                let part = |place: Into, usual: &str| {
                    if self.into == place { text.to_owned() } else { usual.to_owned() }
                };
                let cause = ErrorCause {
                    service: service.clone(),
                    span_name: part(Into::Operation, "GET /items"),
                    kind: SpanKind::Server,
                    peer: String::new(),
                    message: part(Into::ErrorMessage, ""),
                    exception: part(Into::Exception, ""),
                    before: 0.0,
                    now: 40,
                    share: 0.8,
                    sample_trace: String::new(),
                    first_seen: began,
                };
                let place = plain(&cause.span_name, 90);
                let why = if self.into == Into::Operation { "HTTP 500".to_owned() } else { short };
                let claim = format!("80% of 50 failing traces end in {service}, {place}: {why}.");
                let exhibit = Exhibit::ErrorCauses { causes: vec![cause], failing_traces: 50 };
                (EvidenceKind::ErrorCauses, claim, exhibit)
            }
            Into::Attribute => {
                let row = SkewRow { name: text.to_owned(), bad: 1.0, good: 0.02 };
                let claim = format!("100% of bad requests have {short}, 2% of good ones.");
                (EvidenceKind::AttributeSkew, claim, Exhibit::Skew { bad: 40, good: 100, rows: vec![row] })
            }
            Into::Metric => {
                figures.push(Figure {
                    name: text.to_owned(),
                    before: "1".into(),
                    now: "9".into(),
                    before_value: Some(1.0),
                    now_value: Some(9.0),
                });
                let claim = format!("In {service}, {short} rose from 1 to 9.");
                (EvidenceKind::MetricShift, claim, Exhibit::None)
            }
            Into::ChangeDetail | Into::ChangeVersion => {
                let by_version = self.into == Into::ChangeVersion;
                let change = Change {
                    at: began,
                    kind: ChangeKind::Deploy,
                    service: service.clone(),
                    version: if by_version { text.to_owned() } else { "7.7.7".into() },
                    previous: "7.7.6".into(),
                    reference: "deploy-77".into(),
                    detail: if by_version { String::new() } else { text.to_owned() },
                    source: "api".into(),
                };
                let claim =
                    format!("{service} {} deployed at {}.", plain(&change.version, 90), began.clock_time());
                (EvidenceKind::Change, claim, Exhibit::Change { change })
            }
            Into::Service | Into::None => return None,
        };
        Some(Evidence {
            id: EvidenceId(id),
            kind,
            service,
            claim,
            strength: Strength::Strong,
            figures,
            began: Some(began),
            exhibit,
            ..model.clone()
        })
    }

    /// What a model that obeys answers: the order carried out beside a faithful sentence.
    pub fn obedient(&self, pack: &Pack) -> anyhow::Result<String> {
        let mut draft = faithful(pack);
        if let Some(answer) = &self.answer {
            let faithful = draft.going_on.first().map_or("", |segment| segment.text.as_str());
            return Ok(answer.replace("\"F\"", &serde_json::to_string(faithful)?));
        }
        if let Some(verdict) = &self.verdict {
            draft.verdict.clone_from(verdict);
        }
        let cites: Vec<String> = pack.evidence.iter().take(8).map(|item| item.id.clone()).collect();
        let said = Segment { text: self.says.clone(), cites };
        draft.going_on.push(said.clone());
        draft.cause.push(Segment {
            cites: pack
                .candidate(&pack.verdict)
                .map_or(said.cites.clone(), |candidate| candidate.evidence.iter().take(8).cloned().collect()),
            ..said
        });
        Ok(serde_json::to_string(&Draft { ..draft })?)
    }
}

/// The diagnosis with a service called otherwise, wherever it is named.
fn renamed(diagnosis: &Diagnosis, from: &str, to: &str) -> anyhow::Result<Diagnosis> {
    let mut value = serde_json::to_value(diagnosis)?;
    rename(&mut value, from, to);
    serde_json::from_value(value).context("a renamed diagnosis")
}

fn rename(value: &mut serde_json::Value, from: &str, to: &str) {
    match value {
        serde_json::Value::String(text) if text.contains(from) => *text = text.replace(from, to),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| rename(item, from, to)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| rename(field, from, to)),
        _ => {}
    }
}
