//! Bad command lines and files, a row each: what goes in, and what the message says. Beside them what is legal, so that
//! no rule is stricter than it should be.
//!
//! Every bad row runs twice: through the library, and through the real program, which must exit with status 2, print
//! nothing on standard output and start nothing.

mod arguments;
mod files;
mod good;
mod modes;
mod row;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use leat::config::cli::{self, Invocation};
use leat::config::{Failure, file};
use proptest::prelude::*;
use row::Row;

fn rows() -> impl Iterator<Item = &'static Row> {
    arguments::BAD.iter().chain(files::BAD).chain(modes::BAD)
}

/// The message that the library refuses a row with.
fn message(row: &Row, dir: &Path) -> String {
    match parse(row.args, row.file.map(str::as_bytes), dir) {
        Err(failure) => failure.message,
        Ok(accepted) => panic!("accepted: {:?} {:?}: {accepted:?}", row.args, row.file),
    }
}

fn parse(args: &str, file: Option<&[u8]>, dir: &Path) -> Result<Invocation, Failure> {
    prepare(file, dir);
    cli::parse(args.split_whitespace().map(OsString::from), |path| file::read(&dir.join(path)))
}

fn prepare(file: Option<&[u8]>, dir: &Path) {
    let path = dir.join("leat.toml");
    match file {
        Some(bytes) => fs::write(path, bytes).unwrap(),
        None if path.exists() => fs::remove_file(path).unwrap(),
        None => {}
    }
}

#[track_caller]
fn assert_says(row: &Row, message: &str) {
    for part in row.says {
        assert!(message.contains(part), "{:?} {:?}\nsays: {message}\nbut not: {part}", row.args, row.file);
    }
    assert!(message.starts_with("leat: "), "{message}");
}

#[test]
fn the_library_refuses_each_row_with_its_message() {
    let dir = tempfile::tempdir().unwrap();
    for row in rows() {
        assert_says(row, &message(row, dir.path()));
    }
}

#[cfg(feature = "dpdk")]
#[test]
fn the_program_refuses_each_row_with_status_2_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for row in rows() {
        prepare(row.file.map(str::as_bytes), dir.path());
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_leat"))
            .args(row.args.split_whitespace())
            .current_dir(dir.path())
            .output()
            .unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_says(row, &message);
        assert_eq!(output.status.code(), Some(2), "{:?} {:?}\n{message}", row.args, row.file);
        assert!(output.stdout.is_empty(), "{:?} prints {:?}", row.args, String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn what_is_not_text_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let failure = parse("-- -c leat.toml", Some(b"# ok\n# \xff"), dir.path()).unwrap_err();
    assert!(failure.message.contains("leat.toml:2: not UTF-8"), "{failure}");

    use std::os::unix::ffi::OsStringExt;
    let args = [OsString::from("--"), OsString::from("--vip"), OsString::from_vec(vec![b'1', 0xff])];
    let failure = cli::parse(args, file::read).unwrap_err();
    assert!(failure.message.contains("is not UTF-8"), "{failure}");
}

#[test]
fn complaints_come_in_the_order_of_the_file_one_a_line() {
    let text =
        "[[service]]\nvip = \"10.0.0.10\"\nport = 0\n[[service.backend]]\naddress = \"x\"\n[timeouts]\nudp = \"x\"\n";
    let message = file::load("leat.toml", text.as_bytes()).unwrap_err().message;
    let places: Vec<&str> = message.lines().map(|line| line.split(": ").nth(1).unwrap()).collect();
    assert_eq!(places, ["leat.toml:3:8", "leat.toml:5:11", "leat.toml:7:7"], "{message}");
}

#[test]
fn legal_input_becomes_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    for (args, file, holds) in good::GOOD.iter().chain(modes::GOOD) {
        match parse(args, file.map(str::as_bytes), dir.path()) {
            Ok(Invocation::Run(run)) => assert!(holds(&run), "{args:?} {file:?} became {run:#?}"),
            other => panic!("{args:?} {file:?} became {other:#?}"),
        }
    }
}

#[test]
fn check_takes_what_follows_it_and_eal_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        "-l 0 --check -c leat.toml",
        "-l 0 -- --check -c leat.toml",
        "-l 0 -- -c leat.toml --check",
        "--check -l 0 -- -c leat.toml",
    ] {
        match parse(args, Some(b""), dir.path()) {
            Ok(Invocation::Check(run)) => assert_eq!(run.eal, ["-l", "0"], "{args}"),
            other => panic!("{args}: {other:?}"),
        }
    }
    assert!(matches!(parse("--check -c leat.toml", Some(b""), dir.path()), Ok(Invocation::Check(_))));
}

#[test]
fn help_and_version_need_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    for args in ["--help", "-l 0 --help", "-- --help", "-- -h", "--help -- --vip", "-l 0 -- --vip x --help"] {
        match parse(args, None, dir.path()) {
            Ok(Invocation::Help(text)) => {
                for part in ["Usage: leat [EAL options] -- ", "--vip", "Examples:", "--vdev=net_tap0"] {
                    assert!(text.contains(part), "{args}: {text}");
                }
            }
            other => panic!("{args}: {other:?}"),
        }
    }
    for args in ["--version", "-- --version", "-- -V"] {
        match parse(args, None, dir.path()) {
            Ok(Invocation::Version(text)) => assert!(text.starts_with("leat 0.1.0 ("), "{text}"),
            other => panic!("{args}: {other:?}"),
        }
    }
}

#[test]
fn only_so_many_complaints_are_shown() {
    let text: String = (0..1000).map(|number| format!("key{number} = 1\n")).collect();
    let message = file::load("leat.toml", text.as_bytes()).unwrap_err().message;
    assert_eq!(message.lines().count(), 21);
    assert_eq!(message.lines().last(), Some("leat: and 980 more like these"));
}

#[test]
fn a_single_line_of_a_hundred_thousand_mistakes_is_refused_at_once() {
    let mut text = "service = [".to_owned();
    for _ in 0..100_000 {
        text.push_str("{ vip = 1 }, ");
    }
    text.push(']');
    let message = file::load("leat.toml", text.as_bytes()).unwrap_err().message;
    assert!(message.contains("leat.toml:1:20: service 1: vip must be a string"), "{message}");
}

proptest! {
    /// The example with a piece of it replaced: right or refused, never a panic, and every complaint has a place.
    #[test]
    fn a_damaged_file_is_refused_with_places_or_still_right(
        start in 0..7000_usize,
        length in 0..40_usize,
        piece in "[a-z0-9\"=\\[\\]{}., \n:/-]{0,12}|\"[0-9./:]{0,16}\"|-?[0-9]{1,45}|\\PC{0,4}",
    ) {
        let mut text: Vec<char> = include_str!("../../docs/leat.example.toml").chars().collect();
        let start = start.min(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, piece.chars());
        let text: String = text.into_iter().collect();
        if let Err(failure) = file::load("leat.toml", text.as_bytes()) {
            for line in failure.message.lines() {
                prop_assert!(line.starts_with("leat: leat.toml:") || line.starts_with("leat: and "), "{}", line);
            }
        }
    }

    /// Arguments made of what users type, in any order: right or refused, never a panic.
    #[test]
    fn shuffled_arguments_are_right_or_refused(
        words in prop::collection::vec(
            prop_oneof![
                "--(vip|backend|mode|scheduler|persistence|local-address|address|connections|buffers|mac|api|check|trace)?",
                "(tcp:|udp:|any:)?10\\.0\\.0\\.[0-9]{1,3}(:[0-9]{1,5})?(/[0-9]{1,2})?(,weight=[0-9]{1,5})?(,mac=[0-9a:]{17})?",
                "-[a-z]|\\PC{0,6}|[0-9]{1,12}",
            ],
            0..10,
        ),
    ) {
        if let Err(failure) = cli::parse(words.into_iter().map(OsString::from), |_| Ok(Vec::new())) {
            prop_assert!(failure.message.starts_with("leat: "));
        }
    }
}

#[test]
fn the_example_file_is_right_and_raises_no_warning() {
    let loaded = file::load("leat.example.toml", include_bytes!("../../docs/leat.example.toml")).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.config.services.len(), 6);
}
