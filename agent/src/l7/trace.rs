//! `traceparent`, as the W3C defines it.

/// Where a request belongs in a distributed trace. <https://www.w3.org/TR/trace-context/#traceparent-header>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace, not zero.
    pub trace_id: u128,
    /// The span that asked, not zero.
    pub span_id: u64,
    /// Whether whoever asked records its part.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads the value of the header; `None` when it is not valid.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        let (fixed, rest) = text.split_at_checked(55)?;
        let version = hex(fixed.get(0..2)?)?;
        let separated = [2, 35, 52].iter().all(|at| fixed[*at] == b'-');
        let later = !rest.is_empty() && (version == 0 || rest[0] != b'-');
        if !separated || version == 0xff || later {
            return None;
        }
        let trace_id = hex(&fixed[3..35])?;
        let span_id = u64::try_from(hex(&fixed[36..52])?).ok()?;
        let flags = hex(&fixed[53..55])?;
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }
}

fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::TraceParent;

    fn check(text: &str, expected: Option<(u128, u64, bool)>) {
        let found = TraceParent::parse(text.as_bytes()).map(|it| (it.trace_id, it.span_id, it.sampled));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn as_the_specification_says() {
        let ids = (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some((ids.0, ids.1, true)));
        check(" 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00 ", Some((ids.0, ids.1, false)));
        check("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", Some((ids.0, ids.1, true)));
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", None);
        check("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None);
        check("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", None);
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", None);
        check("00-4bf92f35", None);
        check("", None);
    }
}
