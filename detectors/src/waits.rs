//! Endpoints that wait by design: long polls that hold a request until something happens or a timer ends.
//!
//! Such requests tell nothing of how fast a service works and stay out of its latency objective. Consumers of queues and
//! streams are told by their spans; what is learned here is the rest, from the latency histograms of past hours: *the
//! timer's peak*. In most hours of the last days the endpoint has two modes, a valley of at least four times between them,
//! and the slow one is narrow and longer than a second: work that is slow spreads out, a timer does not. An outage shows
//! such peaks too (a dependency that times out), hence the days: what began yesterday is not how it works.

/// Hours with enough requests that must be known.
const FEWEST_HOURS: usize = 24;
/// Share of these that must have the two modes.
const USUAL: f64 = 0.75;
/// Requests that make an hour worth looking at.
const FEWEST_REQUESTS: u64 = 30;
/// Share of requests that makes a mode.
const MODE: f64 = 0.05;
/// The narrowest valley in buckets: four times.
const VALLEY: i32 = 8;
/// A timer's peak: this share of the slow mode within so many buckets, 68% apart at most.
const PEAK: (f64, i32) = (0.8, 3);
/// The bucket of a second: `4 log2(microseconds)`.
const SECOND: i32 = 79;

/// The bucket from which requests are waits, learned from the latency histograms of hours: pairs of bucket
/// (`floor(4 log2(microseconds))`) and requests. `None` when the endpoint does not wait.
pub fn learn<'a>(hours: impl IntoIterator<Item = &'a [(i16, u64)]>) -> Option<i16> {
    let total = |hour: &[(i16, u64)]| hour.iter().map(|(_, count)| count).sum::<u64>();
    let known: Vec<&[(i16, u64)]> = hours.into_iter().filter(|hour| total(hour) >= FEWEST_REQUESTS).collect();
    let mut splits: Vec<i16> = known.iter().filter_map(|hour| split(hour)).collect();
    splits.sort_unstable();
    let usual = known.len() >= FEWEST_HOURS && splits.len() as f64 >= USUAL * known.len() as f64;
    usual.then(|| splits[splits.len() / 2])
}

/// The first bucket above the valley between a working mode and a timer's peak.
fn split(hour: &[(i16, u64)]) -> Option<i16> {
    let mut buckets: Vec<(i32, f64)> =
        hour.iter().map(|(bucket, count)| (i32::from(*bucket), *count as f64)).collect();
    buckets.sort_unstable_by_key(|(bucket, _)| *bucket);
    let cut = otsu(&buckets)?;
    let (fast, slow) = buckets.split_at(cut);
    let sum = |part: &[(i32, f64)]| part.iter().map(|(_, count)| count).sum::<f64>();
    let (below, above) = (sum(fast), sum(slow));
    let (top, bottom) = (quantile(fast, 0.95)?, quantile(slow, 0.05)?);
    let peak = slow.iter().map(|(start, _)| {
        let inside = slow.iter().filter(|(bucket, _)| (*start..start + PEAK.1).contains(bucket));
        inside.map(|(_, count)| count).sum::<f64>()
    });
    let narrow = peak.fold(0.0, f64::max) >= PEAK.0 * above;
    let modes = below.min(above) >= MODE * (below + above);
    (modes && narrow && bottom - top >= VALLEY && bottom >= SECOND)
        .then(|| i16::try_from(i32::midpoint(top, bottom)).unwrap_or(i16::MAX))
}

/// Where the sorted buckets fall apart best: the cut with the greatest variance between both sides (Otsu 1979), as an
/// index. `None` when there are not two buckets.
fn otsu(buckets: &[(i32, f64)]) -> Option<usize> {
    let weight: f64 = buckets.iter().map(|(_, count)| count).sum();
    let moment: f64 = buckets.iter().map(|(bucket, count)| f64::from(*bucket) * count).sum();
    let (mut left, mut left_moment) = (0.0, 0.0);
    let mut best: Option<(f64, usize)> = None;
    for (index, (bucket, count)) in buckets.iter().enumerate().take(buckets.len().saturating_sub(1)) {
        left += count;
        left_moment += f64::from(*bucket) * count;
        let right = weight - left;
        if left <= 0.0 || right <= 0.0 {
            continue;
        }
        let apart = left_moment / left - (moment - left_moment) / right;
        let between = left * right * apart * apart;
        if best.is_none_or(|(most, _)| between > most) {
            best = Some((between, index + 1));
        }
    }
    best.map(|(_, index)| index)
}

fn quantile(buckets: &[(i32, f64)], q: f64) -> Option<i32> {
    let wanted = q * buckets.iter().map(|(_, count)| count).sum::<f64>();
    let mut passed = 0.0;
    buckets
        .iter()
        .find(|(_, count)| {
            passed += count;
            passed >= wanted
        })
        .map(|(bucket, _)| *bucket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(seconds: f64) -> i16 {
        (4.0 * (seconds * 1e6).log2()).floor() as i16
    }

    /// Requests at times in seconds, the same in every one of 48 hours.
    #[track_caller]
    fn check(requests: &[(f64, u64)], expected: bool) {
        let hour: Vec<(i16, u64)> =
            requests.iter().map(|(seconds, count)| (bucket(*seconds), *count)).collect();
        let cut = learn(std::iter::repeat_n(hour.as_slice(), 48));
        assert_eq!(cut.is_some(), expected, "{requests:?}: {cut:?}");
        if let Some(cut) = cut {
            assert!(cut > bucket(0.1) && cut <= bucket(25.0), "{cut}");
        }
    }

    #[test]
    fn a_timer_is_told_from_slow_work() {
        let long_poll = [(0.005, 40), (0.008, 60), (0.02, 30), (30.0, 200), (31.0, 20)];
        check(&long_poll, true);
        // A cache that misses: slow work spreads out, and the valley is not empty.
        check(&[(0.005, 400), (0.3, 20), (0.5, 30), (0.9, 40), (1.6, 30), (3.0, 20), (5.0, 10)], false);
        check(&[(0.005, 400), (0.006, 300)], false);
        check(&[(0.005, 400), (30.0, 5)], false);
        check(&[(0.005, 400), (0.2, 200)], false);
        check(&[(30.0, 500)], false);
        check(&[], false);
    }

    #[test]
    fn what_began_yesterday_is_not_how_it_works() {
        let well: Vec<(i16, u64)> = vec![(bucket(0.005), 100)];
        let stuck: Vec<(i16, u64)> = vec![(bucket(0.005), 100), (bucket(30.0), 100)];
        let days = |stuck_hours: usize| {
            let hours = (0..72).map(|hour| if hour < 72 - stuck_hours { &well } else { &stuck });
            learn(hours.map(Vec::as_slice))
        };
        assert_eq!(days(24), None);
        assert!(days(60).is_some());
        assert_eq!(learn(std::iter::repeat_n(stuck.as_slice(), 10)), None, "too little is known");
    }
}
