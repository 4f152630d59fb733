//! Searches `decoders::http_targets` for inputs that break it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| underpass_tests::decoders::http_targets(data));
