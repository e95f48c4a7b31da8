//! What models may cost: a ledger with caps per incident and month, a circuit breaker, and kept answers.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use domain::UnixNanos;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Draft, Usage};

/// Failures in a row after which a model is left alone.
const MAX_FAILURES: u32 = 3;
/// For how long.
const REST: Duration = Duration::from_secs(60);
/// Answers kept.
const MAX_KEPT: usize = 256;
/// Incidents whose spending is remembered.
const MAX_INCIDENTS: usize = 10_000;

/// The most that may be used. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Caps {
    /// Tokens in and out for one incident.
    pub incident_tokens: Option<u64>,
    /// Tokens in and out in a calendar month, UTC.
    pub month_tokens: Option<u64>,
    /// Cost of one incident, in the currency of the prices.
    pub incident_cost: Option<f64>,
    /// Cost in a calendar month.
    pub month_cost: Option<f64>,
}

/// What a million tokens cost, in any one currency.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prices {
    /// Of prompts.
    pub input: f64,
    /// Of answers.
    pub output: f64,
}

impl Prices {
    /// What this use costs.
    pub fn cost(&self, usage: Usage) -> f64 {
        (usage.input as f64 * self.input + usage.output as f64 * self.output) / 1e6
    }
}

/// What a model is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To phrase a report.
    #[default]
    Report,
    /// To answer a question.
    Question,
    /// To choose what to look up for a question.
    Lookup,
}

/// An entry of the ledger: one call, paid or feared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// What it was for: an incident, or empty.
    pub incident: String,
    /// What was asked for.
    #[serde(default)]
    pub purpose: Purpose,
    /// Month, UTC: `2026-11`.
    pub month: String,
    /// Who answered.
    pub model: String,
    /// Tokens of the prompt.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
    /// Whether the provider did not say, so that the most it can have been stands here.
    pub guessed: bool,
    /// Cost, in the currency of the prices.
    pub cost: f64,
    /// Milliseconds until the answer, or until it was given up.
    #[serde(default)]
    pub ms: u64,
    /// `answered`, or why not.
    pub outcome: String,
}

/// The calendar month of a moment, UTC.
pub fn month(now: UnixNanos) -> String {
    now.to_timestamp().strftime("%Y-%m").to_string()
}

/// Tokens and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    /// In and out.
    pub tokens: u64,
    /// In the currency of the prices.
    pub cost: f64,
}

impl Total {
    fn add(&mut self, tokens: u64, cost: f64) {
        self.tokens = self.tokens.saturating_add(tokens);
        self.cost += cost;
    }

    fn fits(&self, tokens: u64, cost: f64, most_tokens: Option<u64>, most_cost: Option<f64>) -> bool {
        most_tokens.is_none_or(|most| self.tokens.saturating_add(tokens) <= most)
            && most_cost.is_none_or(|most| self.cost + cost <= most)
    }
}

/// What was used so far this month.
#[derive(Debug, Default)]
pub struct Ledger {
    month: String,
    total: Total,
    incidents: BTreeMap<String, Total>,
    /// Calls under way, by number, with the most that they can use.
    reserved: BTreeMap<u64, (String, Total)>,
    reservations: u64,
}

impl Ledger {
    /// Notes what was used.
    pub fn note(&mut self, spent: &Spent) {
        self.turn_to(&spent.month);
        let tokens = spent.input + spent.output;
        if spent.month == self.month {
            self.total.add(tokens, spent.cost);
        }
        if !spent.incident.is_empty() {
            if self.incidents.len() >= MAX_INCIDENTS && !self.incidents.contains_key(&spent.incident) {
                self.incidents.pop_first();
            }
            self.incidents.entry(spent.incident.clone()).or_default().add(tokens, spent.cost);
        }
    }

    /// Sets aside the most that a call can use, with all that others have set aside counted as used; its number is for
    /// [`Self::release`]. The words of the error complete "MODEL ...".
    pub fn reserve(
        &mut self,
        incident: &str,
        month: &str,
        most: Total,
        caps: &Caps,
    ) -> Result<u64, &'static str> {
        self.turn_to(month);
        let mut of_incident = self.incidents.get(incident).copied().unwrap_or_default();
        let mut of_month = self.total;
        for (other, reserved) in self.reserved.values() {
            of_month.add(reserved.tokens, reserved.cost);
            if other == incident {
                of_incident.add(reserved.tokens, reserved.cost);
            }
        }
        let Total { tokens, cost } = most;
        if !incident.is_empty() && !of_incident.fits(tokens, cost, caps.incident_tokens, caps.incident_cost) {
            return Err("has reached its limit for this incident");
        }
        if !of_month.fits(tokens, cost, caps.month_tokens, caps.month_cost) {
            return Err("has reached its limit for this month");
        }
        self.reservations += 1;
        self.reserved.insert(self.reservations, (incident.to_owned(), most));
        Ok(self.reservations)
    }

    /// Gives back what was set aside, once what was used is noted.
    pub fn release(&mut self, reservation: u64) {
        self.reserved.remove(&reservation);
    }

    /// What was used in a month; nothing of months that are over.
    pub fn used(&self, month: &str) -> Total {
        if month == self.month { self.total } else { Total::default() }
    }

    fn turn_to(&mut self, month: &str) {
        if month > self.month.as_str() {
            self.month = month.to_owned();
            self.total = Total::default();
        }
    }
}

/// Leaves a model alone after failures in a row.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// Whether it may be asked. After the rest, one call tries it out.
    pub fn is_closed(&mut self, now: Instant) -> bool {
        match self.open_until {
            Some(until) if now < until => false,
            Some(_) => {
                self.open_until = Some(now + REST);
                true
            }
            None => true,
        }
    }

    /// Notes how a call ended.
    pub fn note(&mut self, succeeded: bool, now: Instant) {
        self.failures = if succeeded { 0 } else { self.failures.saturating_add(1) };
        self.open_until = (self.failures >= MAX_FAILURES).then_some(now + REST);
    }
}

/// A checked answer that can be given again.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// What passed.
    pub draft: Draft,
    /// Sentences that did not.
    pub dropped: u32,
    /// Whether it was repaired.
    pub repaired: bool,
}

/// Answers by the hash of everything that they depend on; the oldest give way.
#[derive(Debug, Default)]
pub struct Cache {
    kept: BTreeMap<String, Kept>,
    order: VecDeque<String>,
}

impl Cache {
    /// The answer kept.
    pub fn get(&self, key: &str) -> Option<&Kept> {
        self.kept.get(key)
    }

    /// Keeps an answer.
    pub fn put(&mut self, key: String, kept: Kept) {
        if self.kept.insert(key.clone(), kept).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MAX_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.kept.remove(&oldest);
        }
    }
}
