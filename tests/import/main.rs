//! `leatctl import`, through the real program: configurations of IPVS and keepalived go in, and what comes out is read by
//! leat's own validator.
//!
//! `examples/` has one file for each kind of configuration, and beside it what it becomes, remarks included. The rows of
//! `becomes.rs` and `refused.rs` are the rules one by one.

mod becomes;
mod random;
mod refused;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use leat::config::file::{self, Loaded};

/// What the program says and how it ends.
struct Said {
    status: Option<i32>,
    toml: String,
    notes: String,
}

/// Runs `leatctl import ARGS` in `folder`, with `input` on standard input.
fn run(folder: &Path, args: &[&str], input: &[u8]) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_leatctl"))
        .arg("import")
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have refused its arguments without reading.
    let _ = child.stdin.take().unwrap().write_all(input);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { status: status.code(), toml: text(stdout), notes: text(stderr) }
}

/// The kind of input that a name of a file has in `examples/`.
fn kind_of(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()? {
        "conf" => Some("keepalived"),
        "rules" => Some("ipvsadm"),
        _ => None,
    }
}

fn examples_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/examples")
}

/// The examples, each with its kind.
fn examples() -> Vec<(&'static str, PathBuf)> {
    let mut examples: Vec<_> = fs::read_dir(examples_folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| Some((kind_of(&path)?, path)))
        .collect();
    examples.sort();
    assert!(examples.len() >= 10, "{examples:?}");
    examples
}

/// What leat reads in the file.
#[track_caller]
fn accepted(toml: &str) -> Loaded {
    file::load("imported.toml", toml.as_bytes()).unwrap_or_else(|failure| panic!("{failure}\n{toml}"))
}

#[test]
fn each_example_becomes_the_file_beside_it() {
    for (kind, path) in examples() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let said = run(&examples_folder(), &[kind, name], b"");
        let expected = fs::read_to_string(path.with_extension("toml")).unwrap_or_default();
        assert_eq!(said.toml, expected, "{name} becomes another file; its remarks:\n{}", said.notes);
        assert_eq!(said.status, Some(i32::from(expected.is_empty())), "{name}: {}", said.notes);
    }
}

#[test]
fn leat_accepts_what_every_example_becomes() {
    for (kind, path) in examples() {
        let name = path.file_name().unwrap().to_str().unwrap();
        for wishes in [&[][..], &["--address", "10.255.0.1/24", "--port", "net_tap0"]] {
            let said = run(&examples_folder(), &[&[kind, name], wishes].concat(), b"");
            if said.status == Some(1) {
                continue;
            }
            let loaded = accepted(&said.toml);
            let backends: usize = loaded.config.services.iter().map(|service| service.backends.len()).sum();
            let services = loaded.config.services.len();
            assert!(services > 0, "{name}");
            let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
            let summary = format!("{} with {} imported", count(services, "service"), count(backends, "backend"));
            assert!(said.notes.contains(&summary), "{name}: {summary} is not in\n{}", said.notes);
        }
    }
}

#[cfg(feature = "dpdk")]
#[test]
fn leat_check_accepts_what_every_example_becomes() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, path) in examples() {
        let said = run(&examples_folder(), &[kind, path.to_str().unwrap()], b"");
        if said.status == Some(1) {
            continue;
        }
        fs::write(dir.path().join("leat.toml"), &said.toml).unwrap();
        let checked = Command::new(env!("CARGO_BIN_EXE_leat"))
            .args(["--check", "-c", "leat.toml"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{}: {error}", path.display());
    }
}

#[test]
fn every_remark_is_on_standard_error_and_a_comment_in_the_file() {
    for (kind, path) in examples() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let said = run(&examples_folder(), &[kind, name], b"");
        if said.status == Some(1) {
            assert!(
                said.notes.ends_with(&format!("leatctl: {name}: nothing in it can be imported\n")),
                "{}",
                said.notes
            );
            continue;
        }
        let remarks: Vec<&str> = said.notes.lines().filter(|line| !line.starts_with("leatctl: ")).collect();
        for remark in &remarks {
            assert!(said.toml.lines().any(|line| line == format!("# {remark}")), "{name}: {remark}");
            // FILE:LINE, or the place in an included file.
            let place = remark.split(": ").next().unwrap();
            let (file, line) = place.rsplit_once(':').unwrap();
            let line: usize = line.parse().unwrap();
            let lines = fs::read_to_string(examples_folder().join(file)).unwrap().lines().count();
            assert!((1..=lines).contains(&line), "{remark}");
        }
    }
}

#[test]
fn standard_input_and_an_output_file_work_as_files_do() {
    let dir = tempfile::tempdir().unwrap();
    let input = b"-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.1:80 -g\n";
    let said = run(dir.path(), &["ipvsadm", "-", "-o", "leat.toml"], input);
    assert_eq!(said.status, Some(0), "{}", said.notes);
    assert_eq!(said.toml, "");
    let written = fs::read_to_string(dir.path().join("leat.toml")).unwrap();
    assert!(written.contains("# stdin:1: -t 192.0.2.1:80\n[[service]]\n"), "{written}");
    assert_eq!(accepted(&written).config.services.len(), 1);
    assert_eq!(said.notes, "leatctl: 1 service with 1 backend imported; everything has a counterpart\n");
}

#[test]
fn what_standard_input_includes_is_looked_for_in_the_current_folder() {
    let said = run(&examples_folder(), &["keepalived", "-"], b"include services.d/extra.conf\n");
    assert_eq!(said.status, Some(0), "{}", said.notes);
    assert_eq!(accepted(&said.toml).config.services[0].vip.to_string(), "203.0.113.9");
}

#[test]
fn lines_for_one_machine_are_taken_when_it_is_named() {
    for (id, interval) in [("north", "3s"), ("south", "7s")] {
        let said = run(&examples_folder(), &["keepalived", "template.conf", "--config-id", id], b"");
        assert!(said.toml.contains(&format!("interval = \"{interval}\"")), "{id}: {}", said.toml);
        assert!(!said.notes.contains("--config-id"), "{}", said.notes);
    }
}

#[test]
fn a_tunnel_has_its_source_when_an_address_is_given() {
    let input = b"-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.1:80 -i\n";
    let here = examples_folder();
    let without = run(&here, &["ipvsadm", "-"], input);
    assert_eq!(without.status, Some(1), "{}", without.notes);
    assert!(
        without.notes.contains("stdin:1: -t 192.0.2.1:80: left out: mode ipip needs an own address"),
        "{}",
        without.notes
    );
    assert_eq!(without.toml, "");
    let with = run(&here, &["ipvsadm", "-", "--address", "10.0.0.254/24", "--port", "0000:01:00.0"], input);
    assert_eq!(with.status, Some(0), "{}", with.notes);
    assert!(
        with.toml.contains("[[interface]]\nport = \"0000:01:00.0\"\naddresses = [\"10.0.0.254/24\"]\n"),
        "{}",
        with.toml
    );
    let config = accepted(&with.toml).config;
    assert!(config.services[0].tunnel.is_some());
}

#[test]
fn a_service_that_needs_something_stands_in_the_file_as_a_comment() {
    let input = b"-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.1:80 -i\n\
                  -A -t 192.0.2.2:80 -s rr\n-a -t 192.0.2.2:80 -r 10.0.0.1:80 -g\n";
    let said = run(&examples_folder(), &["ipvsadm", "-"], input);
    assert_eq!(accepted(&said.toml).config.services.len(), 1);
    // What a person would do: take the # away, and write an [[interface]].
    let (before, after) = said.toml.split_once("# [[service]]\n").expect("a service as a comment");
    let (comment, after) = after.split_once("\n\n").unwrap();
    let service: String =
        comment.lines().map(|line| format!("{}\n", line.trim_start_matches('#').trim_start())).collect();
    let interface = "[[interface]]\nport = 0\naddresses = [\"10.0.0.254/24\"]\n";
    let restored = format!("{before}{interface}[[service]]\n{service}\n{after}");
    let services = accepted(&restored).config.services;
    assert_eq!(services.iter().map(|service| service.mode.name()).collect::<Vec<_>>(), ["ipip", "dr"]);
}
