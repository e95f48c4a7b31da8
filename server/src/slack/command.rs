//! What people ask: `/why checkout since 1h`, `/why incident INC-0142`, `/why help`.

use domain::IncidentId;
use investigator::ask::MAX_QUESTION;

use crate::config::Span;

/// Longest name of a service taken, in characters.
const MAX_SERVICE: usize = 200;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Why does this service fail?
    Service {
        /// Its name, as written.
        service: String,
        /// How far back; the incident, or an hour, when left out.
        since: Option<Span>,
    },
    /// What of this incident?
    Incident(IncidentId),
    /// A question about this incident.
    Question(IncidentId, String),
    /// What can be asked?
    Help,
}

impl Ask {
    /// Reads what stands behind `/why`, or behind a mention. What makes no sense is answered with a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.replace(['`', '"', '“', '”'], " ");
        let mut words: Vec<&str> = text.split_whitespace().filter(|word| !word.starts_with("<@")).collect();
        if words.first().is_some_and(|word| word.eq_ignore_ascii_case("why")) {
            words.remove(0);
        }
        let plain = |word: &str| domain::text::plain(word, 40);
        match words.as_slice() {
            [] => Ok(Self::Help),
            [help] if help.eq_ignore_ascii_case("help") => Ok(Self::Help),
            [incident, id] if incident.eq_ignore_ascii_case("incident") => IncidentId::parse(id)
                .map(Self::Incident)
                .ok_or_else(|| format!("{} is not the name of an incident, such as INC-0142.", plain(id))),
            [id] if id.to_ascii_uppercase().starts_with("INC-")
                && IncidentId::parse(&id.to_ascii_uppercase()).is_some() =>
            {
                Ok(IncidentId::parse(&id.to_ascii_uppercase()).map_or(Self::Help, Self::Incident))
            }
            [incident, id, question @ ..] if incident.eq_ignore_ascii_case("incident") => {
                let question: String = question.join(" ").chars().take(MAX_QUESTION).collect();
                let id = IncidentId::parse(id);
                id.map(|id| Self::Question(id, question))
                    .ok_or_else(|| "That is not the name of an incident, such as INC-0142.".into())
            }
            [service] => Self::of(service, None),
            [service, since, length] if since.eq_ignore_ascii_case("since") => {
                let length: Span = length.parse().map_err(|_| {
                    format!("{} is not a length of time such as 30m, 1h or 2d.", plain(length))
                })?;
                if length.0.is_zero() {
                    return Err("A length of time is more than nothing.".into());
                }
                Self::of(service, Some(length))
            }
            _ => Err("I did not understand that. Try /why help.".into()),
        }
    }

    fn of(service: &str, since: Option<Span>) -> Result<Self, String> {
        match service.chars().count() <= MAX_SERVICE {
            true => Ok(Self::Service { service: service.to_owned(), since }),
            false => Err("That is too long for the name of a service.".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_understood_or_answered_with_help() {
        let service = |name: &str, since: Option<&str>| {
            Ok(Ask::Service { service: name.into(), since: since.map(|text| text.parse().unwrap()) })
        };
        let check =
            |text: &str, expected: Result<Ask, String>| assert_eq!(Ask::parse(text), expected, "{text}");
        check("checkout", service("checkout", None));
        check("  `checkout`  since 1h ", service("checkout", Some("1h")));
        check("<@U123> why checkout", service("checkout", None));
        check("incident INC-0142", Ok(Ask::Incident(IncidentId(142))));
        check("incident 142", Ok(Ask::Incident(IncidentId(142))));
        check("inc-0142", Ok(Ask::Incident(IncidentId(142))));
        check(
            "incident INC-0142 was there a  deploy?",
            Ok(Ask::Question(IncidentId(142), "was there a deploy?".into())),
        );
        check("", Ok(Ask::Help));
        check("HELP", Ok(Ask::Help));
        for (text, part) in [
            ("incident yesterday", "not the name of an incident"),
            ("checkout since yesterday", "not a length"),
            ("checkout since 0s", "more than nothing"),
            ("is the checkout down", "did not understand"),
        ] {
            let error = Ask::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(Ask::parse(&"x".repeat(5000)).is_err());
    }
}
