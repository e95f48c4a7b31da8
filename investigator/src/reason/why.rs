//! Why one cause, one change, is named before another: in words, never in scores.

use domain::text::{duration, seconds};
use domain::{Change, Hypothesis, Mechanism, Verdict};

use super::analysis::Analysis;
use super::blame::{Scene, Standing, TELLING_WORD};
use super::collect::changes::title;
use super::collect::short;
use super::neighbour::{Neighbour, neighbour};
use super::outside::outside_address;
use super::resource::{fills, movement};
use super::skew::newcomers_answer;

/// Words quoted, and signs named.
const FEW: usize = 3;

/// What a place itself shows, strongest first; `None` when it shows nothing.
pub fn signs(analysis: &Analysis<'_>, place: &str) -> Option<String> {
    let suspect = analysis.suspects.iter().find(|suspect| suspect.place == place)?;
    let moved = |worse: &dyn Fn(&super::metrics::MetricMove) -> bool| {
        analysis.metrics.iter().find(|metric| metric.service == place && worse(metric)).map(movement)
    };
    let symptom = || moved(&|metric| metric.topic.is_symptom() && metric.worse_by > 0.0);
    let mut named: Vec<(f64, String)> = vec![
        (suspect.errors, "failures begin there".to_owned()),
        (suspect.latency, "requests spend more time there".to_owned()),
        (suspect.calls, "it makes other calls than before".to_owned()),
        (suspect.logs, "it logs what it did not".to_owned()),
        (suspect.paths, "its log statements follow each other in another order".to_owned()),
        (suspect.symptoms, symptom().unwrap_or_else(|| "its own latency or failures grow".to_owned())),
        (suspect.filled, moved(&fills).unwrap_or_else(|| "a resource of it fills up".to_owned())),
        (suspect.resources, moved(&|_| true).unwrap_or_else(|| "its metrics move".to_owned())),
    ];
    named.retain(|(share, _)| *share > 0.0);
    named.sort_by(|left, right| right.0.total_cmp(&left.0));
    let mut texts: Vec<String> = Vec::new();
    for (_, text) in named {
        if !texts.contains(&text) && texts.len() < FEW {
            texts.push(text);
        }
    }
    (!texts.is_empty()).then(|| texts.join(", "))
}

/// Why a place is no better explanation than another: a clause.
pub fn weaker(analysis: &Analysis<'_>, place: &str, than: &str) -> String {
    let (name, other) = (short(place), short(than));
    let Some(signs) = signs(analysis, place) else {
        return format!("{name} shows nothing itself{}", spends(analysis, place));
    };
    let slack = 2.0 * analysis.slice_seconds().unwrap_or(60.0);
    let later = analysis
        .onset_of(place)
        .zip(analysis.onset_of(than))
        .map(|(own, theirs)| own.seconds_since(theirs))
        .filter(|later| *later > slack);
    if place != than && analysis.path(place, than).len() > 1 {
        format!("{name} calls {other}, whose trouble explains what it shows ({signs})")
    } else if let Some(later) = later {
        format!("{name} began to deviate {} after {other} ({signs})", duration(later))
    } else if place != analysis.impacted && analysis.path(&analysis.impacted, place).is_empty() {
        format!("{} is not known to depend on {name} ({signs})", short(&analysis.impacted))
    } else {
        match self::signs(analysis, than) {
            Some(stronger) if stronger != signs => {
                format!("its signs ({signs}) are weaker than those of {other} ({stronger})")
            }
            _ => format!("its signs ({signs}) are weaker than those of {other}"),
        }
    }
}

/// That a service takes as long as before, where traces tell.
fn spends(analysis: &Analysis<'_>, service: &str) -> String {
    let mine = analysis.comparison.steps.iter().filter(|step| step.operation.service == service);
    let (before, now) =
        mine.fold((0.0, 0.0), |(before, now), step| (before + step.before.own.sum, now + step.now.own.sum));
    let entries = analysis.comparison.entries;
    if entries.0 < 1.0 || entries.1 < 1.0 || before <= 0.0 {
        return String::new();
    }
    format!(
        "; it spends {} per request, {} before",
        seconds(now / entries.1 / 1000.0),
        seconds(before / entries.0 / 1000.0)
    )
}

/// Why a change is or is not blamed for the first hypothesis, and how far it explains it, 0 to 1.
pub fn reason_for(
    analysis: &Analysis<'_>,
    change: &Change,
    first: Option<&Hypothesis>,
    verdict: Verdict,
) -> (f64, String) {
    let Some(first) = first else { return (0.0, "No cause was found that it could explain.".to_owned()) };
    let place = short(&change.service);
    let scene = analysis.scene(&first.service, Some(first.mechanism));
    match analysis.changes.standing(change, &scene) {
        Standing::Explains(score) => {
            let when = scene.onset.filter(|_| first.began.is_some()).map_or_else(String::new, |onset| {
                let (order, _) = onset.order(change);
                format!(", {} it began to deviate", order.words(" as"))
            });
            let where_to =
                if change.service == first.service { "where the harm begins" } else { "next to the harm" };
            let touched = match place.as_str() {
                "" => "It names no service and may reach all".to_owned(),
                place => format!("It touched {place}, {where_to}"),
            };
            let text = format!(
                "{touched}{when}.{}{}{}",
                said(analysis, change, &scene),
                of_instances(analysis, &scene, change),
                beside(analysis, change, first, &scene, verdict)
            );
            (score, text)
        }
        Standing::Elsewhere if change.service.is_empty() => {
            (0.0, "It names no service, and neither its time nor its words tie it to what fails.".to_owned())
        }
        Standing::Elsewhere => {
            let instances = of_instances(analysis, &scene, change);
            (
                0.0,
                format!(
                    "It touched {place}: {}.{instances}",
                    weaker(analysis, &change.service, &first.service)
                ),
            )
        }
        Standing::Later => (0.0, "It came after the harm began.".to_owned()),
        Standing::Unneeded => (0.0, unneeded(analysis, &place, first)),
    }
}

/// What explains the harm without a change.
fn unneeded(analysis: &Analysis<'_>, touched: &str, first: &Hypothesis) -> String {
    let place = short(&first.service);
    let cause = match first.mechanism {
        Mechanism::TrafficSurge => format!("more requests than {place} can serve"),
        Mechanism::BadInput => format!("one record that {place} cannot read"),
        Mechanism::NoisyNeighbour => match neighbour(analysis, &first.service) {
            Some(Neighbour { name, host: None }) => {
                format!("{}, if it runs on the same machine,", short(name))
            }
            _ => format!("what {place} shares its machine with"),
        },
        _ => match outside_address(analysis, &first.service) {
            Some(host) => short(host),
            None => format!("{place}, which sends no telemetry,"),
        },
    };
    format!("It touched {touched}, but {cause} explains the harm without a change.")
}

/// What is better than a change that would explain the harm as well, or why none is blamed. Empty for the one that is.
fn beside(
    analysis: &Analysis<'_>,
    change: &Change,
    first: &Hypothesis,
    scene: &Scene<'_>,
    verdict: Verdict,
) -> String {
    let named = first.change.as_deref().and_then(|named| analysis.changes.named(&first.service, named));
    let Some(better) = named else {
        return match scene.skew {
            Some(skew) if skew < 0.25 => String::new(),
            _ => " Nothing but the time ties it to what fails.".to_owned(),
        };
    };
    if better.reference == change.reference && better.service == change.service {
        return match verdict {
            Verdict::Cause => String::new(),
            _ => {
                " It would be the first to suspect, but the signs are too weak to blame a change.".to_owned()
            }
        };
    }
    let because = if better.service == first.service && change.service != first.service {
        format!("it touched {} itself", short(&first.service))
    } else {
        let weight = |change: &Change| -> f64 {
            analysis.changes.shared_words(change, scene).iter().map(|(_, weight)| weight).sum()
        };
        let words = quoted(analysis, better, scene);
        if !words.is_empty() && weight(better) > weight(change) {
            format!("it shares {words} with what fails")
        } else if better.at > change.at && scene.onset.is_none_or(|onset| better.at <= onset.at) {
            "it came closer before the harm".to_owned()
        } else {
            "what it did fits what fails better".to_owned()
        }
    };
    format!(" {} explains more: {because}.", capitalised(&title(better)))
}

fn capitalised(text: &str) -> String {
    // Names of services keep their case; only our own words begin a sentence.
    let ours = ["canary", "flag", "configuration", "migration", "commit", "change"];
    match text.chars().next() {
        Some(first) if ours.iter().any(|word| text.starts_with(word)) => {
            format!("{}{}", first.to_uppercase(), &text[first.len_utf8()..])
        }
        _ => text.to_owned(),
    }
}

/// Which of its words what fails uses as well.
fn said(analysis: &Analysis<'_>, change: &Change, scene: &Scene<'_>) -> String {
    let words = quoted(analysis, change, scene);
    if words.is_empty() { String::new() } else { format!(" It shares {words} with what fails.") }
}

fn quoted(analysis: &Analysis<'_>, change: &Change, scene: &Scene<'_>) -> String {
    let shared = analysis.changes.shared_words(change, scene);
    let words: Vec<String> = shared
        .iter()
        .filter(|(word, weight)| *weight >= TELLING_WORD && !word.starts_with('~'))
        .take(FEW)
        .map(|(word, _)| format!("“{}”", short(word)))
        .collect();
    words.join(", ")
}

/// What the instances that a release brought say of it.
fn of_instances(analysis: &Analysis<'_>, scene: &Scene<'_>, change: &Change) -> &'static str {
    match scene.skew.filter(|_| change.service == scene.place) {
        Some(skew) if skew < 0.25 => " Its old instances suffer as much as the new ones.",
        Some(skew) if skew > 0.75 => " Its new instances suffer, the old ones do not.",
        Some(_) => "",
        None => match newcomers_answer(analysis, change) {
            Some(true) => " Its new instances answer well.",
            Some(false) => " None of its new instances is seen to answer.",
            None => "",
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::reason::fixture::{World, deploy, load};
    use crate::reason::reason;
    use domain::{Diagnosis, HypothesisStatus};

    /// The shop is slow because its cart is; the mail is spared.
    fn slow_cart() -> World {
        World::new()
            .requests("shop", load(100, 0, 60.0), load(100, 0, 400.0))
            .requests("cart", load(100, 0, 30.0), load(100, 0, 370.0))
            .calls(["shop", "GET /", ""], "", (6000, 10.0), (3000, 10.0), 0)
            .calls(["cart", "GET /cart", "GET /"], "", (6000, 10.0), (3000, 180.0), 0)
            .calls(["mail", "POST /mail", "GET /"], "", (6000, 5.0), (3000, 5.0), 0)
            .changed(deploy("mail", 30))
            .changed(deploy("cart", 90))
            .changed(domain::Change {
                reference: "older".into(),
                version: "1.9".into(),
                ..deploy("cart", 900)
            })
    }

    fn reason_of<'a>(diagnosis: &'a Diagnosis, reference: &str) -> &'a str {
        let found = diagnosis.changes.iter().find(|considered| considered.change.reference == reference);
        &found.expect("it is considered").reason.text
    }

    #[test]
    fn what_is_not_blamed_is_compared_with_what_is() {
        let diagnosis = reason(&slow_cart().0);
        assert_eq!(diagnosis.cause().and_then(|cause| cause.change.clone()).as_deref(), Some("deploy-cart"));
        assert_eq!(
            reason_of(&diagnosis, "deploy-cart"),
            "It touched cart, where the harm begins, 1 m 30 s before it began to deviate."
        );
        assert_eq!(
            reason_of(&diagnosis, "older"),
            "It touched cart, where the harm begins, 15 m 0 s before it began to deviate. cart 2.0 deployed explains more: it \
             came closer before the harm."
        );
        assert_eq!(
            reason_of(&diagnosis, "deploy-mail"),
            "It touched mail: mail shows nothing itself; it spends 5.0 ms per request, 5.0 ms before."
        );
    }

    #[test]
    fn a_change_that_came_with_the_harm_is_not_said_to_have_come_first() {
        let world = World::new()
            .requests("shop", load(100, 0, 60.0), load(100, 0, 400.0))
            .calls(["shop", "GET /", ""], "", (6000, 10.0), (3000, 180.0), 0)
            .changed(deploy("shop", -5));
        let diagnosis = reason(&world.0);
        assert_eq!(
            reason_of(&diagnosis, "deploy-shop"),
            "It touched shop, where the harm begins, within the same 30 s as it began to deviate."
        );
        let predictions = &diagnosis.hypotheses[0].predictions;
        let first = predictions.iter().find(|one| one.text.text.starts_with("The change should come first"));
        let first = first.expect("it is blamed");
        assert_eq!(
            (first.text.text.as_str(), first.held),
            ("The change should come first; shop 2.0 deployed came within the same 30 s.", None)
        );
    }

    #[test]
    fn what_shows_nothing_is_said_to_have_changed_only() {
        let diagnosis = reason(&slow_cart().0);
        let mail = diagnosis.hypotheses.iter().find(|other| other.service == "mail" && other.began.is_some());
        let mail = mail.expect("a change right before makes it a suspect");
        assert!(
            mail.statement.text.ends_with("changed shortly before the harm; it shows nothing itself."),
            "{}",
            mail.statement.text
        );
        assert_eq!(mail.status, HypothesisStatus::RuledOut);
        assert!(!mail.contradicts.is_empty());
        let why = mail.predictions.last().expect("why it is ruled out");
        assert!(
            why.text.text.starts_with("It should deviate first and most; mail shows nothing"),
            "{}",
            why.text.text
        );
        let all = serde_json::to_string(&diagnosis.hypotheses).unwrap();
        assert!(!all.contains("deviates little") && !all.contains("deviates most"), "{all}");
    }
}
