//! The folder in which the demo keeps its data: `--data`, or one that goes with it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Where the demo keeps its data.
pub enum Folder {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Folder {
    /// The folder to keep must be empty or not there: the shop's telemetry must not get among that of real services, and an incident
    /// that an earlier demo left open would be taken for this one's.
    pub fn open(kept: Option<&Path>) -> anyhow::Result<Self> {
        match kept {
            Some(path) => {
                anyhow::ensure!(
                    is_vacant(path)?,
                    "{path} already holds data; name an empty or new folder (`inquest serve --data {path}` shows what a demo kept)",
                    path = path.display()
                );
                Ok(Self::Kept(path.to_owned()))
            }
            None => {
                let folder = tempfile::Builder::new().prefix("inquest-demo-").tempdir();
                Ok(Self::Temporary(folder.context("cannot make a temporary folder")?))
            }
        }
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// Whether the folder is empty or not there.
fn is_vacant(folder: &Path) -> anyhow::Result<bool> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).with_context(|| format!("cannot use {} as a data folder", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_data_in_a_new_or_an_empty_folder() {
        let parent = tempfile::tempdir().unwrap();
        assert_eq!(Folder::open(Some(parent.path())).unwrap().path(), parent.path());
        let new = parent.path().join("new");
        assert_eq!(Folder::open(Some(&new)).unwrap().path(), new);
    }

    #[test]
    fn refuses_a_folder_of_an_earlier_run_and_says_how_to_see_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("store")).unwrap();
        let error = Folder::open(Some(folder.path())).err().unwrap().to_string();
        assert!(error.contains("already holds data") && error.contains("inquest serve --data"), "{error}");
    }

    #[test]
    fn refuses_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Folder::open(Some(file.path())).err().unwrap().to_string();
        assert!(error.starts_with("cannot use "), "{error}");
    }

    #[test]
    fn without_a_name_the_folder_goes_with_the_demo() {
        let folder = Folder::open(None).unwrap();
        let path = folder.path().to_owned();
        assert!(path.is_dir());
        drop(folder);
        assert!(!path.exists());
    }
}
