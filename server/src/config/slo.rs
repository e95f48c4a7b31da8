//! Objectives: what share of requests must succeed, and how fast; and indicators made of metrics.

use detectors::Goal;
use detectors::objective::{ObjectiveTable, Objectives, Scope};
use domain::{Attributes, Sli};
use globset::GlobMatcher;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A share strictly between 0 and 1. An objective of 1 leaves no budget to burn, one of 0 cannot be missed.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Ratio(f64);

impl Ratio {
    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Ratio {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        if value > 0.0 && value < 1.0 {
            Ok(Self(value))
        } else {
            Err(format!("{value} is not a share strictly between 0 and 1, such as 0.995"))
        }
    }
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> Self {
        ratio.0
    }
}

/// A length in milliseconds that is more than nothing and less than a day.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Millis(f64);

impl Millis {
    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Millis {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        if value > 0.0 && value < 86_400_000.0 {
            Ok(Self(value))
        } else {
            Err(format!("{value} is not a number of milliseconds between 0 and a day"))
        }
    }
}

impl From<Millis> for f64 {
    fn from(millis: Millis) -> Self {
        millis.0
    }
}

/// A shell-like pattern over names: `checkout*`, `{cart,payment}`, `POST *`.
#[derive(Clone, Debug)]
pub struct NameGlob(GlobMatcher);

impl NameGlob {
    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        self.0.glob().glob()
    }

    /// Whether it covers a name.
    pub fn is_match(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

impl<'de> Deserialize<'de> for NameGlob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let glob = globset::Glob::new(&text).map_err(serde::de::Error::custom)?;
        Ok(Self(glob.compile_matcher()))
    }
}

impl Serialize for NameGlob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Objectives for the services that `match` covers, or for the endpoints of these that `endpoint` covers. What it leaves
/// out is the default: 99% succeed, 99% within 500 ms.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SloRule {
    /// Services it is for.
    #[serde(rename = "match")]
    pub services: NameGlob,
    /// Endpoints of these; left out, the service as a whole and all its endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<NameGlob>,
    /// Share of requests that must succeed.
    pub availability: Option<Ratio>,
    /// What counts as fast, in milliseconds.
    pub latency_ms: Option<Millis>,
    /// Share of requests that must be fast.
    pub latency_ratio: Option<Ratio>,
}

/// An indicator of its own: the share of good events among all, by two counters.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SliRule {
    /// What people call it: `orders placed`.
    pub name: String,
    /// The service that it is about.
    pub service: String,
    /// Share of events that must be good.
    pub objective: Ratio,
    /// Counts good events.
    pub good: Counter,
    /// Counts all events.
    pub total: Counter,
}

impl SliRule {
    /// What detectors measure.
    pub const fn goal(&self) -> Goal {
        Goal { sli: Sli::Custom, objective: self.objective.get(), threshold_ms: None }
    }
}

/// A counter: the metric of that name, all series of which the labels are these.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    /// The metric's name.
    pub metric: String,
    /// Labels with exact values.
    #[serde(default)]
    pub labels: Attributes,
}

/// The rules as detectors read them: the last match wins.
pub fn table(rules: &[SloRule]) -> ObjectiveTable {
    let default = Objectives::default();
    let overrides = rules.iter().map(|rule| {
        let objectives = Objectives {
            availability: rule.availability.map_or(default.availability, Ratio::get),
            latency_ms: rule.latency_ms.map_or(default.latency_ms, Millis::get),
            latency_ratio: rule.latency_ratio.map_or(default.latency_ratio, Ratio::get),
        };
        let endpoints = rule.endpoint.as_ref().map(|endpoint| endpoint.0.clone());
        (Scope { services: rule.services.0.clone(), endpoints }, objectives)
    });
    ObjectiveTable::new(default, overrides.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        slo: Vec<SloRule>,
    }

    #[test]
    fn the_last_match_wins() {
        let file: File = toml::from_str(
            "[[slo]]\nmatch = '*'\nlatency_ms = 800\n\
             [[slo]]\nmatch = 'checkout*'\navailability = 0.995\n\
             [[slo]]\nmatch = 'checkout-eu'\nlatency_ms = 300\nlatency_ratio = 0.95\n\
             [[slo]]\nmatch = 'checkout*'\nendpoint = 'POST *'\nlatency_ms = 2000",
        )
        .unwrap();
        let table = table(&file.slo);
        let check = |service: &str, availability: f64, latency_ms: f64, latency_ratio: f64| {
            assert_eq!(
                table.of(service),
                Objectives { availability, latency_ms, latency_ratio },
                "{service}"
            );
        };
        check("cart", 0.99, 800.0, 0.99);
        check("checkout", 0.995, 500.0, 0.99);
        check("checkout-eu", 0.99, 300.0, 0.95);
        assert_eq!(table.of_endpoint("checkout-eu", "POST /orders").latency_ms, 2000.0);
        assert_eq!(table.of_endpoint("checkout-eu", "GET /orders").latency_ms, 300.0);
        assert_eq!(table.thresholds(), [300.0, 500.0, 800.0, 2000.0]);
    }

    #[test]
    fn impossible_objectives_are_refused() {
        for line in [
            "availability = 1.0",
            "availability = 99.5",
            "latency_ms = 0",
            "latency_ratio = nan",
            "match = '['",
        ] {
            let key = if line.starts_with("match") { "" } else { "match = '*'\n" };
            assert!(toml::from_str::<SloRule>(&format!("{key}{line}")).is_err(), "{line}");
        }
    }
}
