//! The pattern of each log message, found as it is stored, whichever way it comes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use clickhouse::{Client, Row};
use detectors::log_template::{Change, DEFAULT_CAPACITY, Templater};
use serde::{Deserialize, Serialize};

use crate::append::write;
use crate::error::Error;

/// Patterns of earlier runs that a store takes for known when it opens, the latest first.
const KNOWN_AT_START: usize = DEFAULT_CAPACITY / 2;

/// The patterns that this process knows.
#[derive(Default)]
pub(crate) struct Patterns(Mutex<Templater>);

impl Patterns {
    /// The pattern of each message, given by severity number and text.
    pub fn of<'a>(&self, messages: impl Iterator<Item = (u8, &'a str)>) -> Vec<u64> {
        let mut templater = self.lock();
        messages.map(|(severity, message)| templater.add(severity, message).pattern.0).collect()
    }

    /// The pattern that each message is of by itself, whatever was learned; [`Patterns::settled`] leads on.
    pub fn own_of(&self, severity: u8, message: &str) -> u64 {
        self.lock().add(severity, message).own.0
    }

    /// The pattern that by now stands for each.
    pub fn settled(&self, patterns: &mut [u64]) {
        let templater = self.lock();
        for pattern in patterns {
            *pattern = templater.settled(detectors::log_template::PatternId(*pattern)).0;
        }
    }

    /// Writes what is new of patterns. Before the messages: one whose pattern is not described cannot be read.
    pub async fn append(&self, client: &Client) -> Result<(), Error> {
        let changes = self.lock().take_changes();
        let written =
            write::<PatternRow<'_>>(client, "log_patterns", changes.iter().map(PatternRow::from)).await;
        if written.is_err() {
            self.lock().tell_again();
        }
        written
    }

    /// Takes the patterns in the store for known.
    pub async fn recall(&self, client: &Client) -> Result<(), Error> {
        #[derive(Row, Deserialize)]
        struct Known {
            severity: u8,
            template: String,
        }
        let query = format!(
            "SELECT any(Severity) AS severity, any(Template) AS template FROM log_patterns GROUP BY Id \
             ORDER BY max(Written) DESC, Id LIMIT {KNOWN_AT_START}"
        );
        let known = client.query(&query).fetch_all::<Known>().await?;
        let mut templater = self.lock();
        // The latest last, so that it is forgotten last.
        for Known { severity, template } in known.iter().rev() {
            templater.know(*severity, template);
        }
        templater.take_changes();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Templater> {
        // A panic elsewhere leaves at worst a pattern that is taken for known.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A row of `log_patterns`.
#[derive(Row, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PatternRow<'a> {
    id: u64,
    severity: u8,
    general: u64,
    template: &'a str,
    learned: u8,
}

impl<'a> From<&'a Change> for PatternRow<'a> {
    fn from(change: &'a Change) -> Self {
        Self {
            id: change.pattern.0,
            severity: change.severity,
            general: change.settled.0,
            template: &change.template,
            learned: u8::from(change.settled != change.pattern),
        }
    }
}
