//! What can be set about noise.

use detectors::suppression::{DEFAULT_EXPIRY_DAYS, DEFAULT_THRESHOLD, MAX_EXPIRY_DAYS, Mode};
use globset::GlobSet;

use crate::config;

/// Settings, ready to use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The mode of rules that nobody set apart.
    pub mode: Mode,
    /// Services whose alerts are never suppressed.
    pub protected: GlobSet,
    /// Confidence from which suppression is proposed.
    pub threshold: f64,
    /// Days that a suppression lasts.
    pub expiry_days: u32,
    /// Address of an Alertmanager that approved suppressions are told to.
    pub alertmanager: Option<String>,
}

impl Settings {
    /// From the file.
    pub fn new(noise: &config::Noise) -> anyhow::Result<Self> {
        let mut protected = globset::GlobSetBuilder::new();
        for glob in &noise.protected {
            protected.add(globset::Glob::new(glob.as_str())?);
        }
        Ok(Self {
            // Auto is earned, not set: see `Book::auto_locked`.
            mode: noise.mode.min(Mode::Recommend),
            protected: protected.build()?,
            threshold: noise.threshold.map_or(DEFAULT_THRESHOLD, config::Ratio::get),
            expiry_days: noise.expiry_days.unwrap_or(DEFAULT_EXPIRY_DAYS).clamp(1, MAX_EXPIRY_DAYS),
            alertmanager: noise.alertmanager.clone(),
        })
    }
}
