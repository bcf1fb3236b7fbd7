//! What the shipped crates stand on: licences, and libraries that must not be there.
//!
//! `cargo tree` prints the resolved graph with licences and features; a fresh machine has no other tool for it.

use super::{assert_none, source};
use std::collections::BTreeSet;
use std::process::Command;

/// Licences under which plait may be given away as it is.
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "0BSD",
    "CC0-1.0",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// Crates that only the root crate may use.
const ROOT_ALONE: &[&str] = &["pyo3", "tokio", "tokio-rustls", "rustls", "rustix"];
/// Crates that must not be there at all, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl", "rustls speaks TLS"),
    ("openssl-sys", "rustls speaks TLS"),
    ("native-tls", "rustls speaks TLS"),
    ("aws-lc-rs", "one provider, ring, is enough"),
    ("pyo3-async-runtimes", "resolves from detached threads and has no shutdown"),
    ("chrono", "nothing is decided by dates"),
    ("rand", "core draws from a given seed, keys from ring"),
];

/// A resolved package: its name, licence, features.
struct Package {
    name: String,
    licence: String,
    features: BTreeSet<String>,
}

fn tree(package: &str, edges: &str) -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--prefix", "none", "--no-dedupe", "--format", "{p}|{l}|{f}"])
        .args(["--edges", edges, "--package", package])
        .current_dir(source::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo speaks UTF-8");
    let lines: BTreeSet<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let package = |line: &str| {
        let [name, licence, features] = line.split('|').collect::<Vec<_>>()[..] else { panic!("odd line: {line}") };
        Package {
            name: name.split(' ').next().unwrap_or(name).to_owned(),
            licence: licence.to_owned(),
            features: features.split(',').map(str::to_owned).collect(),
        }
    };
    lines.into_iter().map(package).collect()
}

/// Whether an SPDX expression leaves a choice that we allow: every `AND` part, any `OR` part.
fn is_allowed(licence: &str) -> bool {
    let words = licence.replace(['(', ')'], "").replace('/', " OR ");
    words.split(" AND ").all(|part| part.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

#[test]
fn every_licence_is_allowed() {
    let wrong: Vec<String> = tree("plait", "normal,build")
        .iter()
        .filter(|package| !is_allowed(&package.licence))
        .map(|package| format!("{}: {}", package.name, package.licence))
        .collect();
    assert_none("licences", &wrong);
    assert!(!is_allowed("GPL-3.0-only") && !is_allowed("MIT AND GPL-2.0") && is_allowed("GPL-2.0 OR MIT"));
}

#[test]
fn banned_crates_are_absent() {
    let root = tree("plait", "normal,build");
    let mut wrong: Vec<String> = BANNED
        .iter()
        .filter(|(name, _)| root.iter().any(|package| package.name == *name))
        .map(|(name, why)| format!("{name}: {why}"))
        .collect();
    for member in ["plait-core", "plait-sim"] {
        let found = tree(member, "normal,build,dev");
        let strays = found.iter().filter(|package| ROOT_ALONE.contains(&package.name.as_str()));
        wrong.extend(
            strays.map(|package| format!("{member} stands on {}, which is the root crate's alone", package.name)),
        );
    }
    assert_none("banned crates", &wrong);
    assert!(root.iter().any(|package| package.name == "rustls"), "the tree is the real one");
}

#[test]
fn tls_1_2_is_not_compiled_in() {
    let packages = tree("plait", "normal");
    let rustls: Vec<_> = packages.iter().filter(|p| p.name == "rustls" || p.name == "tokio-rustls").collect();
    assert_eq!(rustls.len(), 2, "both are there");
    let wrong: Vec<String> =
        rustls.iter().filter(|p| p.features.contains("tls12")).map(|p| format!("{} has tls12", p.name)).collect();
    assert_none("TLS 1.3 alone", &wrong);
}
