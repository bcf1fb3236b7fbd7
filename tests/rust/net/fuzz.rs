//! The fuzz targets, over the corpus that is kept and a few thousand mutations of it.

#[path = "../../../fuzz/harness.rs"]
mod harness;

use plait_core::rng::Rng;
use std::fs;
use std::path::Path;

/// Mutations of each kept file.
const MUTATIONS: u32 = 300;

fn over_corpus(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "{target} has a corpus");
    let mut rng = Rng::new(9);
    for file in files {
        let bytes = fs::read(&file).unwrap();
        run(&bytes);
        for _ in 0..MUTATIONS {
            run(&mutated(&bytes, &mut rng));
        }
    }
}

fn mutated(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        match rng.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, [0, 1, 0x7f, 0xfb, 0xfd, 0xff][rng.below(6) as usize]),
            2 => drop(bytes.drain(..at)),
            3 => bytes.extend_from_within(..at),
            _ if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            _ => {}
        }
    }
    bytes
}

#[test]
fn frames_hold() {
    over_corpus("frame", harness::frame);
}

#[test]
fn what_a_client_reads_holds() {
    over_corpus("proto_client", harness::proto_client);
}

#[test]
fn what_a_worker_reads_holds() {
    over_corpus("proto_worker", harness::proto_worker);
}

#[test]
fn what_a_coordinator_reads_holds() {
    over_corpus("proto_coord", harness::proto_coord);
}

#[test]
fn join_lines_hold() {
    over_corpus("join_line", harness::join_line);
}
