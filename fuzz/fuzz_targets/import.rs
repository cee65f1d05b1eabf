//! Any text as what ipvsadm prints, or as a keepalived.conf: it is refused with words, or becomes a file that leat accepts.

#![no_main]

use std::io;
use std::path::{Path, PathBuf};

use leat::config::file;
use leat::import::{self, Files, Wishes};
use libfuzzer_sys::fuzz_target;

/// What is included is not there.
struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn matching(&self, _pattern: &str) -> Vec<PathBuf> {
        Vec::new()
    }
}

fuzz_target!(|input: (bool, Vec<u8>)| {
    let (is_ipvsadm, text) = input;
    let wishes = Wishes { addresses: vec!["10.255.0.1/24".parse().expect("a prefix")], ..Wishes::default() };
    let imported = match is_ipvsadm {
        true => import::ipvsadm("fuzz", &text, &wishes),
        false => import::keepalived("fuzz", Path::new("fuzz.conf"), &text, &NoFiles, &wishes),
    };
    match imported {
        Err(failure) => assert!(!failure.to_string().is_empty()),
        Ok(imported) => {
            file::load("imported.toml", imported.toml.as_bytes())
                .unwrap_or_else(|it| panic!("{it}\n{}", imported.toml));
        }
    }
});
