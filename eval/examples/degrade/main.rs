//! Recordings made poorer or stranger, as other systems are: what the investigator owes to the recordings at hand.
//!
//! `cargo run --release -p eval --example degrade -- SEED OUT DIR...` writes every recording below the folders into
//! `OUT/TRANSFORMATION/CASE`, once for each transformation of [`transformation::ALL`]. With the same seed the same rows.
//! `inquest eval run OUT/TRANSFORMATION` scores them; `replay observe` and `replay table` do so for all at once.
#![allow(clippy::print_stdout, reason = "a command of its own: it prints")]

mod draft;
mod names;
mod stranger;
mod transformation;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use storage::Store;

use draft::Draft;

/// What transformations may ask for beside the recording itself.
pub struct Context<'a> {
    /// What all draws come from.
    pub seed: u64,
    /// An engine to read files with.
    pub store: &'a Store,
    /// All recordings, in order: whence strangers come.
    pub all: &'a [PathBuf],
    /// The place of this one among them.
    pub place: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [seed, out, roots @ ..] = arguments.as_slice() else {
        anyhow::bail!("usage: degrade SEED OUT DIR...");
    };
    let seed: u64 = seed.parse().context("SEED is a number")?;
    let mut all = Vec::new();
    for root in roots {
        all.extend(eval::cases_below(Path::new(root))?);
    }
    let store = Store::scratch().await?;
    let outcome = write_all(&store, seed, Path::new(out), &all).await;
    store.close().await?;
    outcome
}

async fn write_all(store: &Store, seed: u64, out: &Path, all: &[PathBuf]) -> anyhow::Result<()> {
    for (name, transformation) in transformation::ALL {
        for (place, dir) in all.iter().enumerate() {
            let context = Context { seed, store, all, place };
            let mut draft = Draft::read(dir)?;
            let done = transformation.apply(&mut draft, &context).await;
            done.with_context(|| format!("{name} of {}", dir.display()))?;
            let case = dir.file_name().context("a folder has a name")?;
            draft.write(store, &out.join(name).join(case)).await?;
        }
        println!("{name}: {} recordings", all.len());
    }
    Ok(())
}
