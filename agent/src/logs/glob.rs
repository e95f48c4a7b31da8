//! Files that match a pattern, found without following it everywhere.

use std::fs;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

/// Folders below the fixed part of a pattern with `**`.
const DEPTH: usize = 8;
/// Entries of folders that are looked at in one go.
const ENTRIES: usize = 20_000;

/// A pattern, and the folder to start from.
#[derive(Debug)]
pub(super) struct Glob {
    matcher: GlobMatcher,
    root: PathBuf,
    depth: usize,
}

impl Glob {
    /// `*` and `?` stay within a folder, `**` does not. Of the host whose `/` is at `root`.
    pub fn new(root: &Path, pattern: &str) -> Result<Self, globset::Error> {
        let root = root.to_string_lossy();
        let pattern = &format!("{}/{}", root.trim_end_matches('/'), pattern.trim_start_matches('/'));
        let matcher = GlobBuilder::new(pattern).literal_separator(true).build()?.compile_matcher();
        let parts: Vec<&str> = pattern.split('/').collect();
        let fixed = parts.iter().take_while(|part| !part.contains(['*', '?', '[', '{'])).count();
        let fixed = fixed.min(parts.len() - 1);
        let root = PathBuf::from(format!("{}/", parts[..fixed].join("/")));
        let depth = if parts.contains(&"**") { DEPTH } else { parts.len() - fixed };
        Ok(Self { matcher, root, depth })
    }

    /// The files, sorted. What cannot be read is passed over.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut left = ENTRIES;
        self.walk(&self.root, self.depth, &mut left, &mut found);
        found.sort();
        found
    }

    fn walk(&self, folder: &Path, depth: usize, left: &mut usize, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            if *left == 0 {
                return;
            }
            *left -= 1;
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth > 1 {
                self.walk(&path, depth - 1, left, found);
            // A link to a file is followed, one to a folder is not: it may lead in a circle.
            } else if self.matcher.is_match(&path)
                && (kind.is_file() || (kind.is_symlink() && path.is_file()))
            {
                found.push(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::Glob;

    #[test]
    fn files_of_patterns() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["a.log", "b.txt", "x/c.log", "x/y/d.log"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let check = |pattern: &str, expected: &[&str]| {
            let pattern = format!("{}/{pattern}", folder.path().display());
            let found: Vec<String> = Glob::new(Path::new("/"), &pattern)
                .unwrap()
                .files()
                .iter()
                .map(|path| path.strip_prefix(folder.path()).unwrap().to_string_lossy().into_owned())
                .collect();
            assert_eq!(found, expected, "{pattern}");
        };
        check("*.log", &["a.log"]);
        check("**/*.log", &["a.log", "x/c.log", "x/y/d.log"]);
        check("*/*.log", &["x/c.log"]);
        check("a.log", &["a.log"]);
        check("{a,b}.*", &["a.log", "b.txt"]);
        check("nothing/*.log", &[]);
        let below = Glob::new(folder.path(), "/x/*.log").unwrap().files();
        assert_eq!(below, [folder.path().join("x/c.log")]);
    }
}
