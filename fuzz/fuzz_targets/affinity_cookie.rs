//! Searches `decoders::affinity_cookie` for inputs that break it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| underpass_tests::decoders::affinity_cookie(data));
