//! What recordings had to say, kept in files: observed once, reasoned about many times.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use investigator::Observations;
use serde::{Deserialize, Serialize};

/// What a recording and its fault-free windows had to say.
#[derive(Serialize, Deserialize)]
pub struct Kept {
    /// Name of the recording's folder.
    pub id: String,
    /// The folder, for its label.
    pub dir: PathBuf,
    /// The system it was recorded on.
    pub system: String,
    /// What was seen of the incident.
    pub incident: Observations,
    /// What was seen where nothing was wrong.
    pub quiet: Vec<Observations>,
}

impl Kept {
    /// One file.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("parse {}", file.display()))
    }

    /// All files of a folder, in order of their names.
    pub fn all(folder: &Path) -> anyhow::Result<Vec<Self>> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
            .with_context(|| format!("read folder {}", folder.display()))?
            .map(|entry| Ok(entry?.path()))
            .collect::<anyhow::Result<_>>()?;
        files.sort();
        files.iter().map(|file| Self::read(file)).collect()
    }

    /// Writes it into a folder.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let file = std::fs::File::create(folder.join(format!("{}.json", self.id)))?;
        Ok(serde_json::to_writer(std::io::BufWriter::new(file), self)?)
    }
}
