//! The tree's files, and the parts of them that rules speak about.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the tree.
pub(super) struct Source {
    /// Its path from the root, with slashes.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    /// The lines that ship: from the first test module or test helper on, nothing; comments are blanked.
    pub(super) fn shipped(&self) -> Vec<&str> {
        let mut lines = Vec::new();
        let mut all = self.text.lines().peekable();
        while let Some(line) = all.next() {
            let opens_tests = line == "#[cfg(test)]"
                && all.peek().is_some_and(|next| next.trim_start().starts_with("mod ") && next.ends_with('{'));
            if opens_tests {
                break;
            }
            lines.push(if line.trim_start().starts_with("//") { "" } else { line });
        }
        lines
    }
}

/// The root of the tree.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` whose name ends in `.{extension}`, sorted; nothing if there is no such folder.
pub(super) fn files(folder: &str, extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("a listed entry can be read").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(read(&path));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The Rust files that ship: what `#[cfg(test)] mod name;` names is left out.
pub(super) fn shipped_rust() -> Vec<Source> {
    let all: Vec<Source> = ["core/src", "sim/src", "src"].iter().flat_map(|folder| files(folder, "rs")).collect();
    let tests: Vec<PathBuf> = all.iter().flat_map(test_modules).collect();
    all.into_iter()
        .filter(|file| {
            let bare = PathBuf::from(&file.path).with_extension("");
            !tests.iter().any(|test| bare.starts_with(test))
        })
        .collect()
}

/// One file by its path from the root.
pub(super) fn file(path: &str) -> Source {
    read(&root().join(path))
}

fn read(path: &Path) -> Source {
    let shown = path.strip_prefix(root()).expect("files are below the root").to_string_lossy().into_owned();
    Source { path: shown, text: fs::read_to_string(path).expect("sources are readable UTF-8") }
}

/// Where the modules live that `file` declares for tests only, without extension.
fn test_modules(file: &Source) -> Vec<PathBuf> {
    let path = PathBuf::from(&file.path);
    let stem = path.file_stem().expect("a file has a name");
    let owner = path.parent().expect("a file has a folder");
    let folder = if ["lib", "main", "mod"].iter().any(|root| stem == *root) { owner.into() } else { owner.join(stem) };
    let lines: Vec<&str> = file.text.lines().collect();
    lines
        .windows(2)
        .filter(|pair| pair[0].trim() == "#[cfg(test)]")
        .filter_map(|pair| pair[1].trim().strip_suffix(';')?.rsplit_once("mod ").map(|(_, name)| folder.join(name)))
        .collect()
}
