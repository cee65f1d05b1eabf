//! What the black-box tests share: namespaces, processes, captures, real servers, and leat's own binary.
//!
//! Everything that a test starts belongs to a value; when the value goes, also by a panic, it is stopped and removed.
//! Nothing waits without a limit. A test declares its [`net::Net`] first, so that it goes last.

#![allow(dead_code, unreachable_pub, reason = "each test binary compiles this module, and uses a part of it")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

pub mod agent;
pub mod capture;
pub mod connections;
pub mod frames;
pub mod generator;
pub mod lab;
pub mod leat;
pub mod net;
pub mod pcap;
pub mod process;
pub mod servers;
pub mod tunnel;
pub mod verdict;

/// How long anything may take that should take a moment. Generous: the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The same for what moves much data, on a machine that is busy with other tests as well.
pub const LONG: Duration = Duration::from_secs(120);

/// Tries until there is an answer.
///
/// # Panics
/// When there is none within `limit`, with `what` in the message.
pub fn wait_for<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = attempt() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Stops a test that cannot run as who it runs. It fails: a test that is skipped proves nothing.
///
/// # Panics
/// Unless run by root.
pub fn require_root() {
    let owner = fs::metadata("/proc/self").expect("/proc is mounted").uid();
    assert_eq!(owner, 0, "this test needs root, for network namespaces and DPDK: run scripts/test.sh as root");
}

/// A name that no other test, and no other run, has at the same time: it ends in this process's id, by which
/// `netns.sh down --orphans` knows what a crash left.
pub fn unique(label: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{label}_{}_{}", COUNT.fetch_add(1, Ordering::Relaxed), std::process::id())
}

/// How often each of these words occurs.
pub fn tally<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word.to_owned()).or_insert(0) += 1;
    }
    counts
}

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A new directory, removed with all that is in it when the value goes.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new(label: &str) -> Self {
        let path = std::env::temp_dir().join(format!("leat_{}", unique(label)));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of `name` in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What cannot be removed harms no other test.
        let _ = fs::remove_dir_all(&self.0);
    }
}
