//! The benchmark's files: series as `timestamp,value`, and labelled windows as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use detectors::table;
use domain::UnixNanos;

/// A labelled series.
#[derive(Clone, Debug)]
pub struct Series {
    /// Path below the data folder.
    pub name: String,
    /// Its values.
    pub points: Vec<(UnixNanos, f64)>,
    /// First and last row of each labelled window.
    pub windows: Vec<(usize, usize)>,
}

/// Reads every series that has labels and is there, in order of name. `folder` holds `data` and `labels`.
pub fn read(folder: &Path) -> anyhow::Result<Vec<Series>> {
    let path = folder.join("labels/combined_windows.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let labels: BTreeMap<String, Vec<(String, String)>> = serde_json::from_str(&text)?;
    let mut series = Vec::new();
    for (name, windows) in labels {
        let path = folder.join("data").join(&name);
        if !path.is_file() {
            continue;
        }
        let points = table::read(&std::fs::read_to_string(&path)?).with_context(|| name.clone())?;
        let place = |text: &str| {
            let at = table::instant(text).with_context(|| format!("{name}: no time {text:?}"))?;
            points
                .iter()
                .position(|(point, _)| *point == at)
                .with_context(|| format!("{name}: no row at {text}"))
        };
        let windows = windows
            .iter()
            .map(|(first, last)| Ok((place(first)?, place(last)?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        series.push(Series { name, points, windows });
    }
    Ok(series)
}
