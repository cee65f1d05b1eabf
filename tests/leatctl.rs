//! leatctl against a running leat: what an operator types, and what leat does then.
#![cfg(feature = "dpdk")]

mod support;

use std::{fs, path::PathBuf};

use serde_json::Value;
use support::{
    LIMIT, TempDir,
    leat::Leat,
    process::{Finished, command, run},
};

const QUIET: &[&str] = &["-l", "0", "--no-pci", "--vdev=net_null0,no-rx=1"];

const FILE: &str = r#"
[[service]]
name = "web"
vip = "10.0.0.10"
port = 80
scheduler = "wrr"
[[service.backend]]
address = "10.0.0.2"
weight = 3
[[service.backend]]
address = "10.0.0.3"
"#;

/// A leat with [`FILE`], and leatctl beside it.
struct Pair {
    leat: Leat,
    file: PathBuf,
    _directory: TempDir,
}

impl Pair {
    fn start() -> Self {
        let directory = TempDir::new("leatctl");
        let file = directory.join("leat.toml");
        fs::write(&file, FILE).expect("the file can be written");
        let leat = Leat::start(QUIET, &["-c", file.to_str().expect("the path is text")]);
        Self { leat, file, _directory: directory }
    }

    fn ctl(&self, arguments: &str) -> Finished {
        let mut leatctl = command(env!("CARGO_BIN_EXE_leatctl"));
        leatctl.arg("--api").arg(format!("unix:{}", self.leat.api().display())).args(arguments.split_whitespace());
        run(&mut leatctl, LIMIT)
    }

    /// The weights of the backends, by their addresses.
    fn weights(&self) -> Vec<(String, u64)> {
        let status = self.leat.status();
        let backends = status["services"][0]["backends"].as_array().expect("a list of backends");
        let of =
            |it: &Value| (it["address"].as_str().expect("text").to_owned(), it["weight"].as_u64().expect("a number"));
        backends.iter().map(of).collect()
    }
}

fn weights(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(address, weight)| ((*address).to_owned(), *weight)).collect()
}

#[test]
fn every_table_can_be_seen_and_is_json_on_request() {
    let pair = Pair::start();
    let rows = [
        ("status", "services     1, with 2 backends"),
        ("services", "10.0.0.10:80"),
        ("services web", "10.0.0.10:80"),
        ("backends", "10.0.0.3:80"),
        ("lcores", "1048576"),
        ("ports", "net_null0"),
        ("neighbors", "10.0.0.2"),
        ("drops", "none"),
        ("config", "name = \"web\""),
    ];
    for (arguments, expected) in rows {
        let finished = pair.ctl(arguments).success();
        assert!(finished.stdout.contains(expected), "{arguments}: {finished}");
        let json = pair.ctl(&format!("--json {arguments}")).success();
        serde_json::from_str::<Value>(&json.stdout).unwrap_or_else(|error| panic!("{arguments}: {error}: {json}"));
    }
}

#[test]
fn a_backend_is_drained_enabled_weighed_added_and_removed() {
    let pair = Pair::start();
    let drained = pair.ctl("drain web 10.0.0.2 --wait 10s").success();
    assert_eq!(drained.stdout, "service web: backend 10.0.0.2 is drained\n");
    assert_eq!(pair.weights(), weights(&[("10.0.0.2", 0), ("10.0.0.3", 1)]));
    assert_eq!(
        pair.ctl("drain web 10.0.0.2:80").success().stdout,
        "service web: backend 10.0.0.2:80 is drained already\n"
    );
    pair.ctl("enable web 10.0.0.2").success();
    assert_eq!(pair.weights(), weights(&[("10.0.0.2", 3), ("10.0.0.3", 1)]));
    pair.ctl("set web 10.0.0.3 --weight 9").success();
    pair.ctl("add web 10.0.0.4:8080 --weight 2 --mac 02:00:00:00:00:04").success();
    assert_eq!(pair.weights(), weights(&[("10.0.0.2", 3), ("10.0.0.3", 9), ("10.0.0.4", 2)]));
    pair.ctl("remove web 10.0.0.2").success();
    // It has no connection, and goes when that has been seen.
    support::wait_for("the removed backend to go", LIMIT, || {
        (pair.weights() == weights(&[("10.0.0.3", 9), ("10.0.0.4", 2)])).then_some(())
    });
    assert!(pair.ctl("config").success().stdout.contains("weight = 9"));

    // The file wins.
    pair.ctl("reload").success();
    support::wait_for("the file's backends", LIMIT, || {
        (pair.weights() == weights(&[("10.0.0.2", 3), ("10.0.0.3", 1)])).then_some(())
    });
    let log = pair.leat.stderr();
    assert!(log.contains("changed by the API: service web: backend 10.0.0.2 is drained"), "{log}");
}

#[test]
fn a_file_is_checked_and_applied_without_a_restart() {
    let pair = Pair::start();
    let file = pair.file.display().to_string();
    assert_eq!(pair.ctl(&format!("check {file}")).success().stdout, "nothing has changed\n");
    fs::write(&pair.file, FILE.replace("weight = 3", "weight = 5")).expect("the file can be written");
    let expected = "services: 0 added, 0 removed, 1 changed; backends: 0 added, 0 removed, 1 changed\n";
    assert_eq!(pair.ctl(&format!("check {file}")).success().stdout, expected);
    assert_eq!(pair.weights(), weights(&[("10.0.0.2", 3), ("10.0.0.3", 1)]), "a check changes nothing");
    assert_eq!(pair.ctl(&format!("apply {file}")).success().stdout, expected);
    assert_eq!(pair.weights(), weights(&[("10.0.0.2", 5), ("10.0.0.3", 1)]));

    fs::write(&pair.file, FILE.replace("weight = 3", "weight = 70000")).expect("the file can be written");
    for command in ["check", "apply"] {
        let refused = pair.ctl(&format!("{command} {file}")).code_is(2);
        assert!(refused.stderr.contains(&format!("leatctl: {file}:9:10: ")), "{refused}");
        assert!(refused.stderr.contains("70000 is out of range"), "{refused}");
    }
    let refused = pair.ctl("reload").code_is(2);
    assert!(refused.stderr.contains("70000 is out of range"), "{refused}");
    fs::write(&pair.file, format!("connections = 5\n{FILE}")).expect("the file can be written");
    let refused = pair.ctl(&format!("apply {file}")).code_is(1);
    assert!(refused.stderr.contains("connections: 1048576 runs"), "{refused}");
    assert_eq!(pair.weights(), weights(&[("10.0.0.2", 5), ("10.0.0.3", 1)]), "what was refused changes nothing");
}

#[test]
fn what_is_not_there_ends_with_1_and_what_cannot_be_meant_with_2() {
    let pair = Pair::start();
    let rows = [
        ("drain nothing 10.0.0.2", 1, "there is no service \"nothing\"; there is web"),
        ("drain web 10.0.0.9", 1, "service \"web\" has no backend 10.0.0.9; it has 10.0.0.2:80, 10.0.0.3:80"),
        ("services nothing", 1, "there is no service \"nothing\""),
        ("remove ../status", 1, "there is no service \"../status\""),
        ("drain web tree", 2, "write ADDR or ADDR:PORT"),
        ("add web 10.0.0.2", 2, "10.0.0.2"),
        ("add web 10.0.0.10", 2, "is a VIP of leat's"),
        ("add web 10.0.0.4 --mac 01:00:00:00:00:01", 2, "group address"),
        ("add web 10.0.0.4:99999", 2, "write ADDR or ADDR:PORT"),
        ("set web 10.0.0.2 --weight 65536", 2, "65536 is not in 0..=65535"),
        ("set web 10.0.0.2", 2, "--weight"),
        ("drain web 10.0.0.2 --wait soon", 2, "is not a time"),
        ("check /nothing/here", 2, "/nothing/here: "),
        ("dance", 2, "unrecognized subcommand"),
    ];
    for (arguments, code, expected) in rows {
        let finished = pair.ctl(arguments).code_is(code);
        assert!(finished.stderr.contains(expected), "{arguments}: {finished}");
        assert_eq!(finished.stdout, "", "{arguments}");
    }
    assert_eq!(pair.weights(), weights(&[("10.0.0.2", 3), ("10.0.0.3", 1)]));
}

#[test]
fn without_a_leat_it_says_where_it_looked() {
    let mut leatctl = command(env!("CARGO_BIN_EXE_leatctl"));
    leatctl.args(["--api", "unix:/nothing/here.sock", "status"]);
    let finished = run(&mut leatctl, LIMIT).code_is(1);
    assert!(finished.stderr.starts_with("leatctl: no leat answers at unix:/nothing/here.sock: "), "{finished}");
}

#[test]
fn completions_and_manual_pages_are_made() {
    for (arguments, expected) in [
        (&["completions", "bash"][..], &["complete ", "drain"][..]),
        (&["man"], &[".TH leatctl", "drain"]),
        (&["man", "leat"], &[".TH leat 1", "backend", "EAL options"]),
        (&["man", "leat-agent"], &[".TH leat-agent 1", "ipip"]),
        (&["man", "leat-gen"], &[".TH leat-gen 1", "reflect"]),
    ] {
        let mut leatctl = command(env!("CARGO_BIN_EXE_leatctl"));
        leatctl.args(arguments);
        let finished = run(&mut leatctl, LIMIT).success();
        for words in expected {
            assert!(finished.stdout.contains(words), "{arguments:?}: {words:?}");
        }
    }
}
