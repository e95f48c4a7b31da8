//! What rows repeat of what they share: a request names a resource and a scope once, each of its rows is stored with both.
//!
//! A log record takes 2 bytes on the wire, its resource up to 4 MiB: without a bound, a request of a few kilobytes would
//! make rows of terabytes.

use domain::Attributes;

use crate::limits::Limits;
use crate::tally::Reason;

/// Counts what the rows of one request repeat.
pub(crate) struct Repeated {
    left_bytes: usize,
}

impl Repeated {
    pub(crate) const fn within(limits: &Limits) -> Self {
        Self { left_bytes: limits.max_repeated_bytes }
    }

    /// Counts one more row that repeats so many bytes, or refuses it. What is refused takes no room, so that rows of a
    /// smaller resource may still be taken.
    pub(crate) fn row(&mut self, bytes: usize) -> Result<(), Reason> {
        self.left_bytes = self.left_bytes.checked_sub(bytes).ok_or(Reason::TooLarge)?;
        Ok(())
    }
}

/// What each row repeats of the attributes of its resource.
pub(crate) fn attribute_bytes(attributes: &Attributes) -> usize {
    attributes.iter().map(|(key, value)| key.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_takes_no_room() {
        let mut repeated = Repeated::within(&Limits { max_repeated_bytes: 100, ..Limits::default() });
        for (bytes, expected) in
            [(60, Ok(())), (50, Err(Reason::TooLarge)), (40, Ok(())), (0, Ok(())), (1, Err(Reason::TooLarge))]
        {
            assert_eq!(repeated.row(bytes), expected, "{bytes}");
        }
    }
}
