//! How well suppression did: precision of proposals, alerts that were hidden though an incident came, pages avoided.

use serde::{Deserialize, Serialize};

/// Decisions before automatic suppression can be switched on.
pub const AUTO_DECISIONS: usize = 100;
/// The share of proposals that must have been approved.
pub const AUTO_PRECISION: f64 = 0.98;
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

    /// Why automatic suppression cannot be switched on yet, if so.
    pub fn auto_locked(&self) -> Option<String> {
        if self.decided < AUTO_DECISIONS {
            let missing = AUTO_DECISIONS - self.decided;
            return Some(format!(
                "automatic needs {missing} more decision{}",
                if missing == 1 { "" } else { "s" }
            ));
        }
        if self.precision().is_none_or(|precision| precision < AUTO_PRECISION) {
            return Some(format!("automatic needs a precision of {}", domain::text::percent(AUTO_PRECISION)));
        }
        (self.wrongly_lately > 0).then(|| {
            format!("automatic needs {AUTO_NO_FALSE_IN} suppressed alerts in a row without an incident")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_locked_until_it_has_proved_itself() {
        let check = |decided, approved, lately, expected: Option<&str>| {
            let measures = Measures { decided, approved, wrongly_lately: lately, ..Measures::default() };
            assert_eq!(measures.auto_locked().as_deref(), expected);
        };
        check(0, 0, 0, Some("automatic needs 100 more decisions"));
        check(99, 99, 0, Some("automatic needs 1 more decision"));
        check(100, 97, 0, Some("automatic needs a precision of 98%"));
        check(100, 98, 0, None);
        check(100, 98, 1, Some("automatic needs 200 suppressed alerts in a row without an incident"));
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
