//! One program for each target, which its own name chooses.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    targets::run(env!("CARGO_BIN_NAME"), data);
});
