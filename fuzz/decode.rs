//! Any bytes as a message of every topic and as a line of a recording: taken whole or refused, never a panic.
#![no_main]

#[path = "../tests/laws/taken.rs"]
mod taken;

libfuzzer_sys::fuzz_target!(|payload: &[u8]| taken::taken_or_refused(payload));
