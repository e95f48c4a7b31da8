//! Burn-rate rules: a pair of windows and the rate that fires.

use std::time::Duration;

use detectors::BurnRule;
use detectors::burn_rate::RULES;
use domain::Severity;
use serde::{Deserialize, Serialize};

use super::Span;

/// The longest window; what is kept at hand for rules ends there.
const LONGEST: Duration = Duration::from_secs(72 * 3600);

/// Fires when the error budget burns faster than `limit` over both windows.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Burn(BurnRule);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    long: Span,
    short: Span,
    limit: f64,
    severity: Severity,
}

impl Burn {
    /// The rules of the detectors.
    pub fn defaults() -> Vec<Self> {
        RULES.map(Self).into()
    }

    /// As detectors read it.
    pub const fn rule(&self) -> BurnRule {
        self.0
    }
}

impl TryFrom<Written> for Burn {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { long, short, limit, severity } = written;
        if short.0 < Duration::from_secs(60) {
            return Err(format!("the short window ({short}) is shorter than a minute"));
        }
        if short.0 >= long.0 {
            return Err(format!("the short window ({short}) is not shorter than the long one ({long})"));
        }
        if long.0 > LONGEST {
            return Err(format!("the long window ({long}) is longer than {}", Span(LONGEST)));
        }
        if !(limit > 0.0 && limit.is_finite()) {
            return Err(format!("a limit of {limit} is not a burn rate above 0"));
        }
        Ok(Self(BurnRule { long: long.0, short: short.0, limit, severity }))
    }
}

impl From<Burn> for Written {
    fn from(Burn(rule): Burn) -> Self {
        Self { long: Span(rule.long), short: Span(rule.short), limit: rule.limit, severity: rule.severity }
    }
}
