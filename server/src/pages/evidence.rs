//! Evidence cards: what every card says, whatever it draws.

use domain::evidence::Exhibit;
use domain::text::plain;
use domain::{Diagnosis, Evidence, EvidenceKind, HypothesisId, Strength};
use serde::Serialize;

use super::exhibits::{self, Drawing};
use super::words::{Cut, cut, lines};

const CLAIM_LIMIT: usize = 400;
const QUERY_LIMIT: usize = 20_000;
const MOST_FIGURES: usize = 6;

/// A card.
#[derive(Serialize)]
pub(super) struct Card {
    id: u32,
    kind: String,
    claim: Cut,
    strength: &'static str,
    supports: Vec<HypothesisLink>,
    contradicts: Vec<HypothesisLink>,
    figures: Vec<FigureView>,
    /// Whether the drawing needs the whole width, with the words above it.
    wide: bool,
    drawing: Drawing,
    query: String,
    window: String,
}

/// A hypothesis by name, and where the page explains it; nowhere, when it is one of those left out.
#[derive(Clone, Serialize)]
pub(super) struct HypothesisLink {
    name: String,
    href: Option<String>,
}

#[derive(Serialize)]
struct FigureView {
    name: String,
    before: String,
    now: String,
}

/// What cards need to know about the rest of the page.
pub(super) struct Around<'a> {
    pub diagnosis: &'a Diagnosis,
    /// Hypotheses that the page shows below the answer.
    pub listed: &'a [HypothesisId],
    pub frame: Option<u32>,
    pub ongoing: bool,
    pub base: &'a str,
}

impl Around<'_> {
    fn link(&self, id: HypothesisId) -> HypothesisLink {
        let href = if self.diagnosis.cause().is_some_and(|cause| cause.id == id) {
            Some("#answer".to_owned())
        } else {
            self.listed.contains(&id).then(|| format!("#h{}", id.0))
        };
        HypothesisLink { name: id.to_string(), href }
    }
}

/// The card of one piece of evidence.
pub(super) fn card(evidence: &Evidence, around: &Around<'_>) -> Card {
    let links = |ids: &[HypothesisId]| ids.iter().map(|id| around.link(*id)).collect();
    let figures = evidence.figures.iter().take(MOST_FIGURES).map(|figure| FigureView {
        name: plain(&figure.name, 60),
        before: plain(&figure.before, 40),
        now: plain(&figure.now, 40),
    });
    let drawing = exhibits::drawing(evidence, around);
    Card {
        id: evidence.id.0,
        kind: kind(evidence),
        claim: cut(&evidence.claim, CLAIM_LIMIT),
        strength: strength(evidence.strength),
        supports: links(&evidence.supports),
        contradicts: links(&evidence.contradicts),
        figures: figures.collect(),
        wide: drawing.is_wide(),
        drawing,
        query: lines(&evidence.query, QUERY_LIMIT),
        window: format!("{} to {} UTC", evidence.window.start.clock_time(), evidence.window.end.clock_time()),
    }
}

fn kind(evidence: &Evidence) -> String {
    let title = evidence.kind.title();
    match (&evidence.exhibit, evidence.kind) {
        (Exhibit::Latency { operation, .. }, _) => format!("{title}, {}", plain(operation, 60)),
        (_, EvidenceKind::Change | EvidenceKind::ErrorCauses) => title.to_owned(),
        _ if evidence.service.is_empty() => title.to_owned(),
        _ => format!("{title}, {}", plain(&evidence.service, 60)),
    }
}

const fn strength(strength: Strength) -> &'static str {
    match strength {
        Strength::Strong => "Strong",
        Strength::Medium => "Medium",
        Strength::Weak => "Weak",
    }
}
