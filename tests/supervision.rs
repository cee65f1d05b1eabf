//! What a service manager sees of leat: systemd's notifications, and the log as JSON.
#![cfg(feature = "dpdk")]

mod support;

use std::{fs, io::ErrorKind, os::unix::net::UnixDatagram, time::Duration};

use serde_json::Value;
use support::{
    LIMIT, TempDir,
    leat::{Leat, binary},
    process::{command, run},
};

const QUIET: &[&str] = &["-l", "0", "--no-pci", "--vdev=net_null0,no-rx=1"];
const FILE: &str =
    "[[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 80\n[[service.backend]]\naddress = \"10.0.0.2\"\n";

/// The lines of the next notification that has one that `wanted` takes.
fn told(socket: &UnixDatagram, wanted: &str) -> Vec<String> {
    let mut datagram = [0; 4096];
    loop {
        let len = match socket.recv(&mut datagram) {
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => panic!("{wanted} was not told: {error}"),
        };
        let text = std::str::from_utf8(&datagram[..len]).expect("notifications are text");
        let lines: Vec<_> = text.lines().map(ToOwned::to_owned).collect();
        if lines.iter().any(|line| line == wanted) {
            return lines;
        }
    }
}

#[test]
fn systemd_is_told_of_readiness_life_reloads_and_the_end() {
    let directory = TempDir::new("supervision");
    let (address, file) = (directory.join("notify"), directory.join("leat.toml"));
    let socket = UnixDatagram::bind(&address).expect("the socket can be made");
    socket.set_read_timeout(Some(LIMIT)).expect("a limit can be set");
    fs::write(&file, FILE).expect("the file can be written");

    let mut leat = command(binary());
    leat.env("NOTIFY_SOCKET", &address).env("WATCHDOG_USEC", "400000").env_remove("WATCHDOG_PID");
    let mut leat = Leat::launch(leat, QUIET, &["-c", file.to_str().expect("the path is text")]);
    told(&socket, "READY=1");
    for _ in 0..3 {
        told(&socket, "WATCHDOG=1");
    }
    leat.signal("HUP");
    let reloading = told(&socket, "RELOADING=1");
    assert!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    told(&socket, "READY=1");

    // A process that is stopped gives no sign of life.
    leat.signal("STOP");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a limit can be set");
    while socket.recv(&mut [0; 4096]).is_ok() {}
    assert!(socket.recv(&mut [0; 4096]).is_err(), "nothing comes from a stopped leat");
    leat.signal("CONT");
    socket.set_read_timeout(Some(LIMIT)).expect("a limit can be set");
    told(&socket, "WATCHDOG=1");

    leat.stop().success();
    told(&socket, "STOPPING=1");
}

#[test]
fn the_log_is_json_on_request_one_object_an_event() {
    let mut leat = command(binary());
    leat.env("LEAT_LOG_FORMAT", "json").env("RUST_LOG", "info");
    let leat = Leat::launch(leat, QUIET, &["--vip", "10.0.0.10:80", "--backend", "10.0.0.2"]);
    let finished = leat.stop().success();
    // What EAL prints is EAL's.
    let ours: Vec<_> = finished.stderr.lines().filter(|line| line.starts_with('{')).collect();
    assert!(!ours.is_empty(), "leat says at least which memory it took: {finished}");
    for line in ours {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(event["time"].as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')), "{line}");
        assert!(["info", "warn", "error"].contains(&event["level"].as_str().unwrap_or_default()), "{line}");
        assert!(event["message"].as_str().is_some_and(|message| !message.is_empty()), "{line}");
    }
    let text: Vec<_> = finished.stderr.lines().filter(|line| line.starts_with('[')).collect();
    assert!(text.is_empty(), "no line has the other form: {text:?}");
}

#[test]
fn an_unknown_form_of_the_log_is_refused_by_every_program() {
    for program in [binary(), env!("CARGO_BIN_EXE_leat-gen")] {
        let mut leat = command(program);
        leat.env("LEAT_LOG_FORMAT", "xml").arg("--version");
        let finished = run(&mut leat, LIMIT).code_is(2);
        assert!(finished.stderr.contains("LEAT_LOG_FORMAT=xml: there is no such form"), "{finished}");
    }
}
