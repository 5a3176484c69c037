#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| torrent_fuzz::targets::config(input));
