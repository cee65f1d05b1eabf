//! Records what was built, for `leat --version`: the commit, in a release build made in a clone.
//!
//! Other builds do not look, so that a commit does not make them compile everything again.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let revision = if is_release { commit() } else { None };
    println!("cargo::rustc-env=LEAT_REVISION={}", revision.as_deref().unwrap_or("development build"));
}

/// The commit that is checked out; nothing where there is no git, as in an unpacked archive.
fn commit() -> Option<String> {
    // HEAD changes when another branch is checked out, its log whenever it comes to mean another commit.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        // cargo takes a file that does not exist for one that has changed.
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=10", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
