//! See `harness::proto_client`.
#![no_main]

#[path = "../harness.rs"]
#[allow(dead_code, reason = "each target uses one of them")]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::proto_client(bytes));
