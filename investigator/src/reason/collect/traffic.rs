//! Whether requests arrive at another rate.

use domain::text::number;
use domain::{Exhibit, Strength};

use super::{Analysis, Draft, Outcome, figure};

/// Rates within this factor of each other count as equal.
const NOTABLE: f64 = 1.3;

/// The request rate of the impacted service.
pub fn collect(analysis: &Analysis<'_>) -> Outcome {
    let service = &analysis.impacted;
    let Some((before, now)) = analysis.traffic(service) else {
        return Outcome::Blind("no requests to count on one side".to_owned());
    };
    let ratio = now / before.max(1e-9);
    if (1.0 / NOTABLE..=NOTABLE).contains(&ratio) {
        return Outcome::Nothing(format!(
            "{} requests per second before, {} now",
            number(before),
            number(now)
        ));
    }
    let direction = if ratio > 1.0 { "rose" } else { "fell" };
    Outcome::Found(vec![Draft {
        service: service.clone(),
        claim: format!(
            "Requests to {service} {direction} from {} to {} per second.",
            number(before),
            number(now)
        ),
        strength: if (0.5..2.0).contains(&ratio) { Strength::Medium } else { Strength::Strong },
        figures: vec![figure("Requests per s", before, now, number)],
        began: analysis.onset(service),
        query: analysis.seen.queries.requests.clone(),
        exhibit: Exhibit::None,
    }])
}
