//! The kept bytes of every variant. Within a protocol version they never change: an older peer reads them.
//!
//! A new variant wants a line of its own: `UPDATE_GOLDEN=1 cargo test -p plait-core golden` adds what is missing and
//! leaves the rest alone. Bytes that must change want a new protocol version, and with it a new file; only what no
//! release ever spoke may be removed from a file and made anew.

use super::arbitrary::{draw, variants};
use super::{ForEach, for_each_kind};
use crate::protocol::codec;
use crate::protocol::hello::{CoordinatorHello, PROTOCOL, PeerHello};
use crate::protocol::message::Message;
use crate::rng::Rng;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::string::String;
use std::{format, vec::Vec};

fn path() -> String {
    format!("{}/src/protocol/golden/protocol-{PROTOCOL}.txt", env!("CARGO_MANIFEST_DIR"))
}

/// One kept message.
struct Line {
    kind: String,
    bytes: Vec<u8>,
    variants: BTreeSet<String>,
    shown: String,
}

impl Line {
    fn parse(text: &str) -> Self {
        let columns: Vec<&str> = text.splitn(4, " | ").collect();
        let [kind, hex, variants, shown] = columns[..] else { panic!("four columns: {text}") };
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        Self {
            kind: kind.into(),
            bytes: (0..hex.len()).step_by(2).map(byte).collect(),
            variants: variants.split_whitespace().map(String::from).collect(),
            shown: shown.into(),
        }
    }

    fn print(&self) -> String {
        let hex: String = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let variants: Vec<&str> = self.variants.iter().map(String::as_str).collect();
        format!("{} | {hex} | {} | {}\n", self.kind, variants.join(" "), self.shown)
    }
}

struct Golden {
    lines: Vec<Line>,
    fresh: Vec<Line>,
    wrong: Vec<String>,
}

impl Golden {
    fn check<T: DeserializeOwned + Serialize + Debug>(&mut self, kind: &'static str) {
        let mut missing: BTreeSet<String> = variants::<T>().into_iter().collect();
        if missing.is_empty() {
            missing.insert(kind.into()); // A struct: one line will do.
        }
        for line in self.lines.iter().filter(|line| line.kind == kind) {
            missing.retain(|variant| !line.variants.contains(variant));
            let Ok(message) = codec::decode::<T>(&line.bytes) else {
                self.wrong.push(format!("{kind} can no longer be decoded: {}", line.shown));
                continue;
            };
            let mut bytes = Vec::new();
            codec::encode(&message, &mut bytes).expect("what was decoded can be encoded");
            if format!("{message:?}") != line.shown || bytes != line.bytes {
                self.wrong.push(format!("{kind} has changed:\n  was {}\n  is  {message:?}", line.shown));
            }
        }
        let mut rng = Rng::new(2);
        let wanted = missing.clone();
        while !missing.is_empty() && std::env::var_os("UPDATE_GOLDEN").is_some() {
            let (message, mut seen) = draw::<T>(&mut rng);
            if wanted.contains(kind) {
                seen.drawn.insert(kind.into());
            }
            if seen.drawn.iter().any(|variant| missing.remove(variant)) {
                missing.retain(|variant| !seen.drawn.contains(variant));
                let mut bytes = Vec::new();
                codec::encode(&message, &mut bytes).expect("every message can be encoded");
                let shown = format!("{message:?}");
                self.fresh.push(Line { kind: kind.into(), bytes, variants: seen.drawn, shown });
            }
        }
        self.wrong.extend(missing.iter().map(|variant| format!("{kind}: no line has {variant}")));
    }
}

impl ForEach for Golden {
    fn visit<M: Message + Debug + PartialEq + Clone>(&mut self, name: &'static str) {
        self.check::<M>(name);
    }
}

#[test]
fn the_bytes_of_every_variant_stay_as_they_are() {
    let text = std::fs::read_to_string(path()).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(Line::parse).collect();
    let mut golden = Golden { lines, fresh: Vec::new(), wrong: Vec::new() };
    golden.check::<CoordinatorHello>("CoordinatorHello");
    golden.check::<PeerHello>("PeerHello");
    for_each_kind(&mut golden);
    if !golden.fresh.is_empty() {
        let head = format!(
            "# Messages of protocol {PROTOCOL}: kind | bytes | variants in it | shown. Lines are added, never changed.\n"
        );
        let text = if text.is_empty() { head } else { text };
        let fresh: String = golden.fresh.iter().map(Line::print).collect();
        std::fs::write(path(), text + &fresh).expect("the golden file can be written");
    }
    assert!(golden.wrong.is_empty(), "{}", golden.wrong.join("\n"));
}
