//! Which alerts are noise: a score that is computed, rules that no score can pass, and what brings a suppressed alert back.
//!
//! [`never`] comes first and is code. [`model`] learns from what people decided about other alerts; [`policy`] is the fold of
//! what they decided about this one; [`spike`] is how loud it may become before it is heard again; [`measure`] is how well
//! all of that did. Deliberately absent: a language model. It may phrase a reason; it never decides.

pub mod features;
pub mod history;
pub mod measure;
pub mod model;
pub mod never;
pub mod policy;
pub mod similarity;
pub mod spike;

pub use features::Features;
pub use history::History;
pub use measure::Measures;
pub use model::{Decided, Model, Neighbour};
pub use never::{Context, Rule, Ruling};
pub use policy::{Approval, Entry, Event, Mode, Reason, Reopening, Source, Standing, State};
pub use spike::SpikeLimit;

/// Confidence from which suppression is proposed to people.
pub const DEFAULT_THRESHOLD: f64 = 0.75;
/// Confidence from which mode auto suppresses without asking: acting takes more than asking does. By the neighbours' vote it
/// takes five that are alike to 0.8 and were all approved.
pub const AUTO_THRESHOLD: f64 = 0.9;
/// A suppression ends after this many days unless told otherwise.
pub const DEFAULT_EXPIRY_DAYS: u32 = 14;
/// The longest that a suppression may last, in days.
pub const MAX_EXPIRY_DAYS: u32 = 90;
/// The share of suppressed alerts that go back to the queue, so that false suppression is measured.
pub const SAMPLED_BACK: f64 = 0.05;

/// Whether an alert is known for long enough to be proposed, or suppressed without asking: a day. What is new is news, however
/// much it looks like what is known; a person may still decide on it.
pub fn is_ripe(history: &History, now: domain::UnixNanos) -> bool {
    history.first.is_some_and(|first| now.seconds_since(first) >= never::NEW_FOR.as_secs_f64())
}

/// Whether this suppressed alert is one of the sampled: decided by a hash of its fingerprint and hour, so that the same
/// alerts are sampled whenever they are replayed.
pub fn is_sampled(fingerprint: &str, hour: i64) -> bool {
    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(fingerprint.as_bytes(), hour.unsigned_abs());
    (hash as f64) < u64::MAX as f64 * SAMPLED_BACK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_news() {
        let at = |hours: i64| domain::UnixNanos::from_seconds(hours * 3600);
        let mut history = History::default();
        assert!(!is_ripe(&history, at(100)));
        history.note(at(10), 1, "", "", false);
        assert!(!is_ripe(&history, at(33)) && is_ripe(&history, at(34)));
    }

    #[test]
    fn one_in_twenty_is_sampled() {
        let sampled = (0..20_000).filter(|hour| is_sampled("00ff", *hour)).count();
        assert!((800..1200).contains(&sampled), "{sampled}");
    }
}
