//! The detector of anomalies on the Numenta benchmark's series, where they are at hand.

use std::path::{Path, PathBuf};

use eval::nab::{corpus, detect, judge, score};

#[test]
fn the_standard_profile_stays_above_70() {
    let root = std::env::var_os("INQUEST_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let folder = root.join("nab");
    if !folder.is_dir() {
        eprintln!("skipped: {} is absent; set INQUEST_SHARED_DATA", folder.display());
        return;
    }
    let series = corpus::read(&folder).unwrap();
    let outcome = judge(&series, &detect(&series), score::PROFILES[0]);
    assert!(outcome.score > 70.0, "{}", outcome.score);
}
