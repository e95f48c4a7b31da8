//! How well suppression did: precision of proposals, alerts that were hidden though an incident came, pages avoided.

use serde::{Deserialize, Serialize};

/// Decisions, over all rules, before automatic suppression can be switched on for any.
pub const AUTO_DECISIONS: usize = 100;
/// Decisions on alerts of a rule before it can be switched on for this one.
pub const AUTO_DECISIONS_OF_RULE: usize = 10;
/// The share of proposals that must have been approved, in percent.
pub const AUTO_PERCENT: usize = 98;
/// None of so many latest suppressed alerts may have been linked to an incident.
pub const AUTO_NO_FALSE_IN: u64 = 200;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measures {
    /// Proposals that people decided on.
    pub decided: usize,
    /// Of those, approved and not taken back by an incident later.
    pub approved: usize,
    /// Alerts that were suppressed.
    pub suppressed: u64,
    /// Of those, later tied to an incident.
    pub wrongly_suppressed: u64,
    /// Of the last [`AUTO_NO_FALSE_IN`] suppressed, later tied to an incident.
    pub wrongly_lately: u64,
    /// Pages of the last 30 days without suppression.
    pub pages: usize,
    /// Of those, avoided.
    pub pages_avoided: usize,
}

impl Measures {
    /// The share of proposals that were right, or `None` before any was decided.
    pub fn precision(&self) -> Option<f64> {
        (self.decided > 0).then(|| self.approved as f64 / self.decided as f64)
    }

    /// The share of suppressed alerts that were wrongly so, at most, with 95% certainty. Without any wrong one the rule of
    /// three (Hanley and Lippman-Hand 1983): 3 / n; else the upper end of Wilson's interval.
    pub fn wrong_at_most(&self) -> Option<f64> {
        let n = self.suppressed as f64;
        if n == 0.0 {
            return None;
        }
        if self.wrongly_suppressed == 0 {
            return Some((3.0 / n).min(1.0));
        }
        const Z: f64 = 1.645;
        let share = self.wrongly_suppressed as f64 / n;
        let middle = share + Z * Z / (2.0 * n);
        let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        Some(((middle + spread) / (1.0 + Z * Z / n)).min(1.0))
    }

    /// What automatic suppression still needs over all rules, if anything: whether the way in which alerts are judged fits here.
    pub fn auto_needs(&self) -> Option<String> {
        self.needs(AUTO_DECISIONS)
    }

    /// The same of one rule, whose alerts alone were counted. A rule must have shown some of its own: what is true of many
    /// others may not be true of it. It may show fewer, because those of the others speak for the method.
    pub fn auto_needs_of_rule(&self) -> Option<String> {
        self.needs(AUTO_DECISIONS_OF_RULE)
    }

    fn needs(&self, decisions: usize) -> Option<String> {
        let Self { decided, approved, .. } = *self;
        if decided < decisions {
            let missing = decisions - decided;
            return Some(format!("{missing} more decision{}", if missing == 1 { "" } else { "s" }));
        }
        // So many more right ones bring the share up to what is wanted.
        let short = (AUTO_PERCENT * decided).saturating_sub(100 * approved).div_ceil(100 - AUTO_PERCENT);
        if short > 0 {
            return Some(format!(
                "a precision of {AUTO_PERCENT}%: {approved} of {decided} proposals were right, {short} more in a row reach it"
            ));
        }
        (self.wrongly_lately > 0).then(|| {
            format!(
                "{AUTO_NO_FALSE_IN} suppressed alerts in a row without an incident: {} of the latest came with one",
                self.wrongly_lately
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_locked_until_it_has_proved_itself() {
        let check = |decided, approved, lately, all: Option<&str>, rule: Option<&str>| {
            let measures = Measures { decided, approved, wrongly_lately: lately, ..Measures::default() };
            assert_eq!(measures.auto_needs().as_deref(), all);
            assert_eq!(measures.auto_needs_of_rule().as_deref(), rule);
        };
        check(0, 0, 0, Some("100 more decisions"), Some("10 more decisions"));
        check(9, 9, 0, Some("91 more decisions"), Some("1 more decision"));
        check(10, 10, 0, Some("90 more decisions"), None);
        let short = "a precision of 98%: 10 of 11 proposals were right, 39 more in a row reach it";
        check(11, 10, 0, Some("89 more decisions"), Some(short));
        check(50, 49, 0, Some("50 more decisions"), None);
        check(99, 99, 0, Some("1 more decision"), None);
        let short = "a precision of 98%: 97 of 100 proposals were right, 50 more in a row reach it";
        check(100, 97, 0, Some(short), Some(short));
        check(150, 147, 0, None, None);
        check(100, 98, 0, None, None);
        let wrong = "200 suppressed alerts in a row without an incident: 1 of the latest came with one";
        check(100, 98, 1, Some(wrong), Some(wrong));
    }

    #[test]
    fn what_was_never_seen_is_still_bounded() {
        let of = |suppressed, wrongly_suppressed| {
            Measures { suppressed, wrongly_suppressed, ..Measures::default() }.wrong_at_most()
        };
        assert_eq!(of(0, 0), None);
        assert_eq!(of(1, 0), Some(1.0));
        assert_eq!(of(212, 0).map(|share| (share * 1000.0).round()), Some(14.0));
        assert!(of(100, 1).unwrap() > 0.01);
    }
}
