//! Any text as a configuration file: it is refused with words, or it is one that says the same after it was written out.

#![no_main]

use leat::config::{emit::emit, file};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    match file::load("fuzz.toml", text) {
        Err(failure) => assert!(!failure.to_string().is_empty()),
        Ok(loaded) => {
            let once = emit(&loaded.config);
            let again = file::load("again.toml", once.as_bytes()).unwrap_or_else(|failure| panic!("{failure}\n{once}"));
            assert_eq!(emit(&again.config), once);
        }
    }
});
