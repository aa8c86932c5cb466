//! Any stream of messages through the engine: never a panic, and every number stays finite.
#![no_main]

#[path = "../tests/laws/finite.rs"]
mod finite;
#[path = "../tests/laws/stepped.rs"]
mod stepped;

libfuzzer_sys::fuzz_target!(|stream: &[u8]| stepped::stepped(stream));
