//! How long things are, what stands at their doors, and where dangerous words may stand.

use super::assert_none;
use super::source::{self, Source};

/// Longest file, in lines, without its tests.
const FILE_LINES: usize = 800;
/// Longest function, in lines.
const FUNCTION_LINES: usize = 70;
/// Functions that are longer for a reason, as `path name`. The list may only shrink.
const LONG_FUNCTIONS: &[&str] = &[];
/// The two doors through which `unsafe` comes in.
const UNSAFE_DOORS: &[&str] = &["src/store/shm/", "src/python/buffer.rs"];

/// The functions of a file formatted by rustfmt, with their lengths.
fn functions<'a>(lines: &[&'a str]) -> Vec<(&'a str, usize)> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let bare = code.trim_start_matches("pub ").trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
        let bare = bare.trim_start_matches("const ").trim_start_matches("async ").trim_start_matches("unsafe ");
        let Some(rest) = bare.strip_prefix("fn ") else { continue };
        let name = rest.split(['(', '<']).next().unwrap_or(rest);
        let end = format!("{}}}", &line[..line.len() - code.len()]);
        let one_line = code.ends_with('}') || code.ends_with(';');
        let rest_of_it = lines[at + 1..].iter().position(|line| *line == end);
        found.push((name, if one_line { 1 } else { rest_of_it.map_or(1, |more| more + 2) }));
    }
    found
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    let mut excused = Vec::new();
    for file in source::shipped_rust() {
        let lines = file.shipped();
        if lines.len() > FILE_LINES {
            wrong.push(format!("{} has {} lines", file.path, lines.len()));
        }
        for (name, length) in functions(&lines).into_iter().filter(|(_, length)| *length > FUNCTION_LINES) {
            let key = format!("{} {name}", file.path);
            if LONG_FUNCTIONS.contains(&key.as_str()) {
                excused.push(key);
            } else {
                wrong.push(format!("{key} has {length} lines"));
            }
        }
    }
    for file in source::files("python", "py") {
        let lines = file.text.lines().count();
        if lines > FILE_LINES {
            wrong.push(format!("{} has {lines} lines", file.path));
        }
    }
    let needless = LONG_FUNCTIONS.iter().filter(|key| !excused.iter().any(|seen| seen == *key));
    wrong.extend(needless.map(|key| format!("{key} is short now: strike it off LONG_FUNCTIONS")));
    assert_none("longer than 800 lines a file or 70 a function", &wrong);
}

/// Whether `word` stands in `line` as a word, not as a part of one.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word)
        .any(|(at, _)| !part(line[..at].chars().next_back()) && !part(line[at + word.len()..].chars().next()))
}

/// A line without what stands between its quotation marks.
fn without_text(line: &str) -> String {
    line.split('"').step_by(2).collect()
}

/// Where `word` stands outside `rooms`, tests included, comments not.
fn strays(word: &str, rooms: &[&str]) -> Vec<String> {
    let folders = ["core/src", "sim/src", "src", "benches"];
    let all = folders.iter().flat_map(|folder| source::files(folder, "rs"));
    let mut found = Vec::new();
    for file in all.filter(|file| !rooms.iter().any(|room| file.path.starts_with(room))) {
        let lines = file.text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        let hits = lines.filter(|(_, line)| has_word(&without_text(line), word));
        found.extend(hits.map(|(n, _)| format!("{}:{} says {word}", file.path, n + 1)));
    }
    found
}

#[test]
fn unsafe_has_two_doors() {
    assert_none("unsafe outside its doors", &strays("unsafe", UNSAFE_DOORS));
    let mut silent = Vec::new();
    for file in
        source::files("src", "rs").iter().filter(|file| UNSAFE_DOORS.iter().any(|door| file.path.starts_with(door)))
    {
        let lines: Vec<&str> = file.text.lines().collect();
        for (at, _) in lines.iter().enumerate().filter(|(_, line)| line.contains("unsafe {")) {
            let says_why = lines[at.saturating_sub(6)..=at].iter().any(|line| line.contains("SAFETY"));
            if !says_why {
                silent.push(format!("{}:{} has no SAFETY comment", file.path, at + 1));
            }
        }
    }
    assert_none("unsafe blocks that do not say why they are sound", &silent);
}

#[test]
fn libraries_stay_in_their_rooms() {
    assert_none("pyo3 is named by the binding alone", &strays("pyo3", &["src/python/"]));
    assert_none("bincode is named by one file", &strays("bincode", &["core/src/protocol/codec.rs"]));
    assert_none("unordered maps have no place in core", &core_strays(&["HashMap", "HashSet", "f32", "f64"]));
}

fn core_strays(words: &[&str]) -> Vec<String> {
    let shipped = source::shipped_rust();
    let mut found = Vec::new();
    for file in shipped.iter().filter(|file| file.path.starts_with("core/")) {
        for (n, line) in file.shipped().iter().enumerate() {
            let hits = words.iter().filter(|word| has_word(line, word));
            found.extend(hits.map(|word| format!("{}:{} says {word}", file.path, n + 1)));
        }
    }
    found
}

/// Public items of a file that have no doc comment.
fn undocumented(file: &Source) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate().take(file.shipped().len()) {
        let item = ["pub struct ", "pub enum ", "pub trait ", "pub union "].iter().any(|head| line.starts_with(head));
        let above = lines[..at].iter().rev().find(|line| !is_attribute(line));
        if item && !above.is_some_and(|line| line.trim_start().starts_with("///")) {
            found.push(format!("{}:{} {line}", file.path, at + 1));
        }
    }
    found
}

/// Whether a line (looked at from below) belongs to an attribute.
fn is_attribute(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("#[") || line.ends_with(")]") || line.ends_with("\",") && !line.starts_with("///")
}

#[test]
fn doors_are_documented() {
    let mut wrong = Vec::new();
    for file in source::shipped_rust() {
        if !file.text.starts_with("//!") {
            wrong.push(format!("{} does not begin with what it is (//!)", file.path));
        }
        wrong.extend(undocumented(&file));
    }
    for file in source::files("python", "py") {
        if !file.text.starts_with("\"\"\"") && !file.text.starts_with("r\"\"\"") {
            wrong.push(format!("{} does not begin with a docstring", file.path));
        }
    }
    assert_none("undocumented doors", &wrong);
}

/// Whether a line holds a span or a channel's bound as a bare number; a channel for one or two messages is none.
fn has_bare_bound(line: &str) -> bool {
    let number = |after: &str| after.chars().take_while(|c| c.is_ascii_digit() || *c == '_').collect::<String>();
    let spans = ["from_secs(", "from_millis(", "from_micros("];
    let span =
        spans.iter().filter_map(|span| line.split_once(span)).any(|(_, after)| !["", "0"].contains(&&*number(after)));
    let channel = line.split_once("channel(").is_some_and(|(_, after)| !["", "1", "2"].contains(&&*number(after)));
    span || channel || has_word(line, "unbounded_channel") || has_word(line, "unbounded")
}

#[test]
fn bounds_have_names() {
    let mut wrong = Vec::new();
    let hands = source::shipped_rust();
    for file in hands.iter().filter(|f| !f.path.starts_with("sim/") && f.path != "core/src/limits.rs") {
        let text: Vec<&str> = file.text.lines().collect();
        for (n, line) in file.shipped().iter().enumerate().filter(|(_, line)| has_bare_bound(line)) {
            // What only one file needs may stand at its top, with its reason.
            let named = line.contains("const ") && text[n.saturating_sub(1)].starts_with("///");
            if !named {
                wrong.push(format!("{}:{} {}", file.path, n + 1, line.trim()));
            }
        }
    }
    assert_none("a bound without a name and a reason", &wrong);
}

#[test]
fn every_test_file_is_reached() {
    let main = source::file("tests/rust/main.rs").text;
    let mut lost = Vec::new();
    for file in source::files("tests/rust", "rs") {
        let path = file.path.trim_start_matches("tests/rust/").trim_end_matches(".rs");
        let (owner, name) = path.trim_end_matches("/mod").rsplit_once('/').unwrap_or(("main", path));
        let text = if owner == "main" { main.clone() } else { owner_text(owner) };
        if path != "main" && !text.contains(&format!("mod {name};")) {
            lost.push(format!("{} is named by no `mod`", file.path));
        }
    }
    assert_none("test files that never run", &lost);
}

fn owner_text(owner: &str) -> String {
    let flat = format!("tests/rust/{owner}.rs");
    let path = if source::root().join(&flat).exists() { flat } else { format!("tests/rust/{owner}/mod.rs") };
    source::file(&path).text
}

#[test]
fn long_functions_are_measured() {
    let text = "fn short() {}\nimpl X {\n    pub fn long(\n        a: u8,\n    ) {\n        b();\n    }\n}\n";
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(functions(&lines), [("short", 1), ("long", 5)]);
}
