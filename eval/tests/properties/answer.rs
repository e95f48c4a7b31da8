//! What of an answer must stay as it is: the verdict, how sure, and the causes in their order.

use std::path::{Path, PathBuf};

use domain::{Diagnosis, Verdict};
use investigator::{Observations, reason};

/// Recordings of incidents with a cause.
pub const RECORDINGS: [&str; 3] = ["shop-n-plus-one", "shop-database-lock", "shop-traffic-surge"];

pub fn recording(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings").join(name)
}

/// What is answered: the verdict, how sure, and each cause in order with how, which change and what score.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub verdict: Verdict,
    confidence: String,
    causes: Vec<Cause>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cause {
    score: String,
    service: String,
    mechanism: String,
    change: String,
}

impl Answer {
    /// The answer to these observations.
    pub fn to(seen: &Observations) -> Self {
        let Diagnosis { verdict, confidence, hypotheses, .. } = reason::reason(seen);
        let causes: Vec<Cause> = hypotheses
            .into_iter()
            .map(|cause| Cause {
                score: format!("{:.6}", cause.score),
                service: cause.service,
                mechanism: cause.mechanism.as_str().to_owned(),
                change: cause.change.unwrap_or_default(),
            })
            .collect();
        Self { verdict, confidence: format!("{:.6}", confidence.score), causes }.ordered()
    }

    /// The same answer about services and changes of other names.
    pub fn renamed(mut self, renamed: impl Fn(&str) -> String) -> Self {
        for cause in &mut self.causes {
            (cause.service, cause.change) = (renamed(&cause.service), renamed(&cause.change));
        }
        self.ordered()
    }

    /// Equal scores are ordered by name.
    fn ordered(mut self) -> Self {
        self.causes.sort_by(|left, right| right.score.cmp(&left.score).then_with(|| left.cmp(right)));
        self
    }
}
