//! Who imports whom, held against the floor plan.

use super::source::{self, Source};
use super::{assert_none, source::files};
use std::collections::{BTreeMap, BTreeSet};

type Plan = BTreeMap<String, BTreeSet<String>>;

/// The rows of the floor plan whose rooms `belong`, groups written out.
fn plan(belong: impl Fn(&str) -> bool) -> Plan {
    let text = source::file("ARCHITECTURE.md").text;
    let (_, section) = text.split_once("## Floor plan").expect("ARCHITECTURE.md has a floor plan");
    let (section, _) = section.split_once("\n## ").expect("the floor plan is not the last section");
    let mut plan = Plan::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [room, allowed] = cells[..] else { panic!("a row has two cells: {row}") };
        let room = room.trim().trim_matches('`').to_owned();
        let mut allowed: BTreeSet<String> =
            allowed.split_whitespace().map(|word| word.trim_matches('`').to_owned()).collect();
        if allowed.remove("vocabulary") {
            let names =
                ["id", "time", "rng", "limits", "value", "landing", "peer", "resource", "outcome", "spec", "window"];
            allowed.extend(names.iter().map(|name| format!("core::{name}")));
        }
        if allowed.remove("services") {
            allowed.extend(["config", "telemetry", "clock", "shutdown"].iter().map(|name| format!("src::{name}")));
        }
        if belong(&room) {
            plan.insert(room, allowed);
        }
    }
    for (room, allowed) in &plan {
        let unknown: Vec<_> = allowed.iter().filter(|name| !plan.contains_key(*name)).collect();
        assert!(unknown.is_empty(), "the floor plan's row {room} names rooms that have no row: {unknown:?}");
    }
    plan
}

/// The room that `path` lies in: the longest row that it begins with.
fn room<'a>(plan: &'a Plan, path: &str, separator: &str) -> Option<&'a str> {
    let within = |room: &str| path == room || path.strip_prefix(room).is_some_and(|rest| rest.starts_with(separator));
    plan.keys().map(String::as_str).filter(|room| within(room)).max_by_key(|room| room.len())
}

/// What `importer` may not import although it does.
fn forbidden(plan: &Plan, importer: &str, imported: &BTreeSet<String>, separator: &str) -> Vec<String> {
    let Some(here) = room(plan, importer, separator) else {
        return vec![format!("{importer} is in no room of the floor plan")];
    };
    let mut wrong = Vec::new();
    for path in imported {
        match room(plan, path, separator) {
            Some(there) if there == here || plan[here].contains(there) => {}
            Some(there) => wrong.push(format!("{importer} imports {path}, but {here} may not import {there}")),
            None => wrong.push(format!("{importer} imports {path}, which is in no room of the floor plan")),
        }
    }
    wrong
}

/// `core/src/client/mod.rs` is `core::client`.
fn rust_module(path: &str) -> String {
    let path = path.strip_suffix(".rs").expect("a Rust file").replace("core/src/", "core/").replace("sim/src/", "sim/");
    path.trim_end_matches("/mod").replace('/', "::")
}

/// Every path in `text` that begins with `head::`, groups written out.
fn paths(text: &str, head: &str) -> Vec<String> {
    let mut found = Vec::new();
    let token = format!("{head}::");
    for (at, _) in text.match_indices(&token) {
        let before = text[..at].chars().next_back();
        if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            expand("", &text[at + token.len()..], &mut found);
        }
    }
    found
}

/// Reads one use tree; what follows it is ignored. Returns how many bytes it took.
fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) -> usize {
    if let Some(group) = tree.strip_prefix('{') {
        let mut at = 0;
        loop {
            at += group[at..].len() - group[at..].trim_start_matches([' ', '\n', ',']).len();
            if group[at..].is_empty() || group[at..].starts_with('}') {
                return at + 2;
            }
            let taken = expand(prefix, &group[at..], found);
            at += taken.max(1);
            let rest = group[at..].trim_start();
            if let Some(renamed) = rest.strip_prefix("as ") {
                let skipped = renamed.find([',', '}']).unwrap_or(renamed.len());
                at = group.len() - renamed.len() + skipped;
            }
        }
    }
    if tree.starts_with('*') {
        found.push(prefix.to_owned());
        return 1;
    }
    let length = tree.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(tree.len());
    let path = if prefix.is_empty() { tree[..length].to_owned() } else { format!("{prefix}::{}", &tree[..length]) };
    if let Some(rest) = tree[length..].strip_prefix("::") {
        length + 2 + expand(&path, rest, found)
    } else {
        found.push(path);
        length
    }
}

/// What a Rust file imports from this workspace, as `core::…` and `src::…`.
fn rust_imports(file: &Source) -> BTreeSet<String> {
    let text = file.shipped().join("\n");
    let own = if file.path.starts_with("core/") { "core" } else { "src" };
    let own = if file.path.starts_with("sim/") { "sim" } else { own };
    let mut imports: BTreeSet<String> = paths(&text, "crate").into_iter().map(|p| format!("{own}::{p}")).collect();
    imports.extend(paths(&text, "plait_core").into_iter().map(|p| format!("core::{p}")));
    // The crate does not name itself but where it logs.
    if own != "src" {
        imports.extend(paths(&text, "plait").into_iter().map(|p| format!("src::{p}")));
    }
    let module = rust_module(&file.path);
    let parents: Vec<&str> = module.split("::").collect();
    for path in paths(&text, "super") {
        let climbs = 1 + path.split("::").take_while(|part| *part == "super").count();
        let rest: Vec<&str> = path.split("::").skip(climbs - 1).collect();
        // A file's own inline modules climb less far than this reading takes them: the error is on the strict side.
        let base = &parents[..parents.len().saturating_sub(climbs).max(1)];
        imports.insert([base, &rest[..]].concat().join("::"));
    }
    imports
}

#[test]
fn rust_imports_follow_the_floor_plan() {
    let plan = plan(|room| !room.starts_with("plait"));
    let mut wrong = Vec::new();
    for file in source::shipped_rust() {
        let module = rust_module(&file.path);
        if ["core::lib", "src::lib"].contains(&module.as_str()) {
            continue; // A crate root names its modules and nothing else.
        }
        wrong.extend(forbidden(&plan, &module, &rust_imports(&file), "::"));
    }
    assert_none("imports against the floor plan in ARCHITECTURE.md", &wrong);
}

/// What a Python file imports from `plait`, but for what only a type checker sees.
fn python_imports(file: &Source) -> BTreeSet<String> {
    let mut imports = BTreeSet::new();
    let mut typing = None;
    for line in file.text.lines() {
        let indent = line.len() - line.trim_start().len();
        let code = line.trim();
        if typing.is_some_and(|outer| indent <= outer && !code.is_empty()) {
            typing = None;
        }
        if code.starts_with("if TYPE_CHECKING") {
            typing = Some(indent);
        }
        if typing.is_some() {
            continue;
        }
        if let Some((from, names)) = code.strip_prefix("from ").and_then(|rest| rest.split_once(" import ")) {
            if from == "plait" {
                let names = names.split('#').next().unwrap_or(names).trim_matches(['(', ')', ' ']);
                for name in names.split(',').filter_map(|name| name.split_whitespace().next()) {
                    imports.insert(if name.starts_with('_') { format!("plait.{name}") } else { "plait".to_owned() });
                }
            } else if from.starts_with("plait.") {
                imports.insert(from.to_owned());
            }
        } else if let Some(names) = code.strip_prefix("import ") {
            let names = names.split(',').filter_map(|name| name.split_whitespace().next());
            imports.extend(names.filter(|name| *name == "plait" || name.starts_with("plait.")).map(str::to_owned));
        }
    }
    imports
}

#[test]
fn python_imports_follow_the_floor_plan() {
    let plan = plan(|room| room.starts_with("plait"));
    let mut wrong = Vec::new();
    for file in files("python/plait", "py") {
        let module = file.path.trim_start_matches("python/").trim_end_matches(".py").trim_end_matches("/__init__");
        let module = module.replace('/', ".");
        if file.text.lines().any(|line| line.trim_start().starts_with("from .")) {
            wrong.push(format!("{} imports relatively: write the module's whole name", file.path));
        }
        wrong.extend(forbidden(&plan, &module, &python_imports(&file), "."));
    }
    assert_none("imports against the floor plan in ARCHITECTURE.md", &wrong);
}

#[test]
fn an_import_tree_is_read_whole() {
    let text = "use crate::{a::b, c::{self, D as E}, f::*};\nlet x = crate::g::h(); mycrate::no::no;";
    assert_eq!(paths(text, "crate"), ["a::b", "c::self", "c::D", "f", "g::h"]);
}

#[test]
fn a_forbidden_arrow_is_seen() {
    let plan = plan(|room| !room.starts_with("plait"));
    let file = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let clock = file("core/src/scheduler/task.rs", "use crate::protocol::hello::PROTOCOL;\n");
    assert_eq!(forbidden(&plan, "core::scheduler::task", &rust_imports(&clock), "::").len(), 1);
    let climbs = file("src/coordinator/driver.rs", "use super::super::worker::Launch;\nuse super::session;\n");
    assert_eq!(forbidden(&plan, "src::coordinator::driver", &rust_imports(&climbs), "::").len(), 1);
    let tests =
        file("src/worker/mod.rs", "use crate::net::link;\n#[cfg(test)]\nmod tests {\n use crate::client::X;\n}\n");
    assert!(forbidden(&plan, "src::worker", &rust_imports(&tests), "::").is_empty());
}
