//! How leat starts and how it ends: what it prints, its exit status, and what it leaves behind.
#![cfg(feature = "dpdk")]

mod support;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
};

use support::{
    LIMIT, TempDir,
    frames::{B2, C1, Segment, VIP, syn},
    leat::{Leat, binary, http_get, run_leat},
    pcap,
    process::{Process, command, run},
    unique, wait_for,
};

/// A port that nothing comes from.
const QUIET: &[&str] = &["-l", "0", "--no-pci", "--vdev=net_null0,no-rx=1"];
const SERVICE: &[&str] = &["--vip", "10.0.0.10:8080", "--backend", "10.0.0.2"];

/// Starts leat with its API at a place of the test's choice, and does not wait for it.
fn spawn_at(api: &Path, eal: &[&str]) -> Process {
    let mut leat = command(binary());
    leat.args(eal).args(["--file-prefix", &unique("start"), "--"]).args(SERVICE);
    Process::spawn(leat.arg("--api").arg(format!("unix:{}", api.display())))
}

fn wait_until_ready(leat: &mut Process) {
    leat.wait_for_output("'leat: ready'", LIMIT, |stdout, _| stdout.lines().any(|line| line == "leat: ready"));
}

#[test]
fn either_signal_ends_it_with_a_summary_and_leaves_nothing_behind() {
    for signal in ["TERM", "INT"] {
        let leat = Leat::start(QUIET, SERVICE);
        let (api, runtime) = (leat.api().to_owned(), leat.runtime().to_owned());
        assert!(api.exists() && runtime.exists(), "{}, {}", api.display(), runtime.display());
        let finished = leat.stop_by(signal).success();
        let stdout = &finished.stdout;
        assert_eq!(stdout.lines().filter(|line| *line == "leat: ready").count(), 1, "{finished}");
        assert!(
            stdout.contains(concat!("\nleat ", env!("CARGO_PKG_VERSION"), " on DPDK "))
                && stdout.ends_with("\nend of statistics\n"),
            "{finished}"
        );
        assert!(!api.exists(), "the socket's file");
        assert!(!runtime.exists(), "EAL's directory: {finished}");
        assert!(!finished.stderr.contains("EAL's memory must stay"), "{finished}");
    }
}

/// From the moment that the socket is there, and so before leat is ready, a signal is obeyed.
#[test]
fn a_signal_while_it_starts_is_not_lost() {
    let directory = TempDir::new("early");
    let api = directory.join("leat.sock");
    let mut leat = spawn_at(&api, QUIET);
    wait_for("the socket", LIMIT, || api.exists().then_some(()));
    let finished = leat.stop(LIMIT).success();
    assert!(finished.stdout.ends_with("\nend of statistics\n"), "{finished}");
    assert!(!api.exists());
}

#[test]
fn sigusr1_prints_tables_and_it_goes_on() {
    let directory = TempDir::new("usr1");
    let (input, output) = (directory.join("in.pcap"), directory.join("out.pcap"));
    let stray = Segment::new(B2, VIP, (8080, 50_000), ".").frame();
    let answer = Segment::new(B2, VIP, (8080, 40_000), "S.").seq(5000).ack(1001).frame();
    pcap::write(&input, &[syn(C1, (40_000, 8080)), answer, stray.clone(), stray, vec![0; 9]]);
    let device = format!("--vdev=net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let own = ["--mac", "02:00:00:00:00:fe", "--vip", "10.0.0.10:8080", "--connections", "1000", "--backend"];
    let own: Vec<&str> = own.into_iter().chain(["10.0.0.2,weight=7,mac=02:00:00:00:00:02"]).collect();
    let mut leat = Leat::start(&["-l", "0", "--no-pci", &device], &own);
    wait_for("the connection to be counted", LIMIT, || {
        let worker = &leat.status()["workers"][0];
        (worker["received"] == 5 && worker["connections"] == 1).then_some(())
    });

    let page = leat.dump_stats("end of statistics");
    let cells = |start: &str| -> Vec<&str> {
        let line = page.lines().find(|line| line.trim_start().starts_with(start));
        line.unwrap_or_else(|| panic!("no line {start}: {page}"))
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect()
    };
    let head = [
        "port",
        "name",
        "mac",
        "link",
        "steering",
        "received",
        "bytes",
        "sent",
        "bytes",
        "missed",
        "no buffer",
        "errors",
    ];
    assert_eq!(cells("port  "), head, "{page}");
    let row = ["0", "net_pcap0", "02:00:00:00:00:fe", "up", "one lcore", "5", "225"];
    assert_eq!(cells("0     net_pcap0")[..7], row, "{page}");
    let head =
        ["lcore", "worker", "received", "sent", "dropped", "handed over", "taken over", "connections", "of", "busy"];
    assert_eq!(cells("lcore  "), head, "{page}");
    let row = cells("0       0  ");
    assert_eq!(
        [row[0], row[1], row[2], row[4], row[5], row[6], row[7], row[8]],
        ["0", "0", "5", "3", "0", "0", "1", "1000"],
        "{page}"
    );
    assert!(page.contains("\nservice tcp:10.0.0.10:8080: tcp 10.0.0.10:8080, fullnat, maglev\n"), "{page}");
    let head =
        ["backend", "health", "weight", "open", "opened", "packets to", "bytes to", "packets from", "bytes from"];
    assert_eq!(cells("backend"), head, "{page}");
    let row = ["10.0.0.2:8080", "not probed", "7", "1", "1", "1", "54", "1", "54"];
    assert_eq!(cells("10.0.0.2:8080"), row, "{page}");
    assert_eq!(cells("total"), ["total", "1", "1", "1", "54", "1", "54"], "{page}");
    assert_eq!(cells("reason"), ["reason", "packets", "meaning"], "{page}");
    assert_eq!(cells("frame_truncated"), ["frame_truncated", "1", "shorter than an Ethernet header"], "{page}");
    assert_eq!(cells("stray_reply")[1], "2", "{page}");

    let again = leat.dump_stats("end of statistics");
    assert!(again.contains("stray_reply"), "{again}");
    leat.stop().success();
}

#[test]
fn a_stale_socket_is_replaced() {
    let directory = TempDir::new("stale");
    let api = directory.join("leat.sock");
    drop(UnixListener::bind(&api).expect("a temporary directory can hold a socket"));
    assert!(api.exists(), "nobody listens there, and it is still there");
    let mut leat = spawn_at(&api, QUIET);
    wait_until_ready(&mut leat);
    assert_eq!(http_get(&api, "/api/v1/status").0, 200);
    leat.stop(LIMIT).success();
}

#[test]
fn a_live_socket_is_left_alone_and_the_message_names_the_option() {
    let first = Leat::start(QUIET, SERVICE);
    let refused = spawn_at(first.api(), QUIET).wait(LIMIT).code_is(1);
    let message = format!(
        "leat: --api: {0} is in use by a running leat; give this one another, such as --api unix:{0}.2\n",
        first.api().display()
    );
    assert!(refused.stderr.ends_with(&message), "{refused}");
    assert!(!refused.stdout.contains("ready"), "{refused}");
    assert_eq!(first.status()["version"], env!("CARGO_PKG_VERSION"));
    first.stop().success();
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let directory = TempDir::new("file");
    let api = directory.join("leat.sock");
    fs::write(&api, "precious").expect("a temporary directory can be written");
    let refused = spawn_at(&api, QUIET).wait(LIMIT).code_is(1);
    assert!(refused.stderr.contains("leat: --api: ") && refused.stderr.contains("is not a socket"), "{refused}");
    assert_eq!(fs::read_to_string(&api).expect("it is still there"), "precious");
}

#[test]
fn the_socket_is_for_owner_and_group_in_a_folder_that_is_made() {
    let directory = TempDir::new("mode");
    let api = directory.join("a/b/leat.sock");
    let mut leat = spawn_at(&api, QUIET);
    wait_until_ready(&mut leat);
    let mode = fs::metadata(&api).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o660);
    leat.stop(LIMIT).success();
}

/// Neither is told a `--file-prefix`, nor anything about memory.
#[test]
fn two_run_side_by_side() {
    let directory = TempDir::new("two");
    let mut both: Vec<(Process, _)> = ["one.sock", "two.sock"]
        .map(|name| {
            let api = directory.join(name);
            let mut leat = command(binary());
            leat.args(QUIET).arg("--").args(SERVICE).arg("--api").arg(format!("unix:{}", api.display()));
            (Process::spawn(&mut leat), api)
        })
        .into();
    for (leat, _) in &mut both {
        wait_until_ready(leat);
    }
    for (leat, api) in &mut both {
        assert_eq!(http_get(api, "/api/v1/status").0, 200);
        leat.stop(LIMIT).success();
    }
}

#[test]
fn a_device_that_fails_ends_it_with_status_1_and_nothing_half_started() {
    let rows: &[(&[&str], &str)] = &[
        (&[], "leat: there is no port: give EAL one, such as --vdev=net_tap0"),
        (&["--vdev=net_nonsense0"], "leat: EAL cannot start: "),
        (&["--vdev=net_pcap0,rx_pcap=/nowhere.pcap"], "leat: --vdev=net_pcap0: EAL could not open this device"),
        (
            &["--vdev=net_null0", "--vdev", "net_pcap7,rx_pcap=/nowhere.pcap"],
            "leat: --vdev=net_pcap7: EAL could not open this device",
        ),
    ];
    for (devices, message) in rows {
        let directory = TempDir::new("device");
        let api = directory.join("leat.sock");
        let eal = [&["-l", "0", "--no-pci"], *devices].concat();
        let failed = spawn_at(&api, &eal).wait(LIMIT).code_is(1);
        let mut lines =
            failed.stderr.lines().rev().skip_while(|line| line.starts_with("leat: perhaps because of this: "));
        assert!(lines.next().is_some_and(|line| line.starts_with(message)), "{message}: {failed}");
        assert!(failed.stdout.is_empty() && !api.exists(), "{failed}");
    }
}

#[test]
fn a_port_that_keeps_many_buffers_starts_when_there_are_enough() {
    let directory = TempDir::new("buffers");
    let capture = directory.join("in.pcap");
    pcap::write(&capture, &vec![syn(C1, (40_000, 8080)); 5000]);
    let device = format!("--vdev=net_pcap0,rx_pcap={},infinite_rx=1", capture.display());
    let eal = ["-l", "0", "--no-pci", &device];

    let mut leat = command(binary());
    leat.args(eal).args(["--file-prefix", &unique("buffers"), "--"]).args(SERVICE);
    let mut refused = Process::spawn(leat.arg("--api").arg(format!("unix:{}", directory.join("leat.sock").display())));
    let finished = refused.wait(LIMIT).code_is(1);
    assert!(finished.stderr.contains("At least 5000 mbufs per queue is required"), "{finished}");

    let leat = Leat::start(&eal, &[SERVICE, &["--buffers", "8000"]].concat());
    let buffers = leat.status()["buffers"].clone();
    assert!(buffers["in_use"].as_u64() >= Some(5000), "{buffers}");
    leat.stop().success();
}

#[test]
fn an_interface_whose_port_is_not_there_is_a_mistake_in_the_file() {
    let rows = [("net_tap9", "net_tap9", 8), ("3", "3", 8)];
    for (port, shown, column) in rows {
        let directory = TempDir::new("interface");
        let file = directory.join("leat.toml");
        fs::write(&file, format!("\n[[interface]]\nport = \"{port}\"\n"))
            .expect("a temporary directory can be written");
        let api = format!("unix:{}", directory.join("leat.sock").display());
        let file = file.to_str().expect("a path of letters");
        let prefix = unique("interface");
        let arguments = [QUIET, &["--file-prefix", &prefix, "--", "-c", file, "--api", &api]].concat();
        let refused = run_leat(&arguments).code_is(2);
        let message = format!(
            "leat: {file}:3:{column}: [[interface]] port = \"{shown}\": there is no such port; there is net_null0 (0)\n"
        );
        assert!(refused.stderr.ends_with(&message), "{message}: {refused}");
        assert!(refused.stdout.is_empty(), "{refused}");
    }
}

/// Whoever can read the program can check a configuration: no root, no port, no socket, no hugepage is needed.
#[test]
fn check_needs_no_root_and_starts_nothing() {
    let directory = TempDir::new("check");
    let program = directory.join("leat");
    fs::copy(binary(), &program).expect("there is room for the program");
    let check = |own: &[&str]| {
        let mut leat = command("setpriv");
        leat.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"]).arg(&program);
        run(leat.args(["-l", "0-3", "--vdev=net_tap0"]).arg("--").args(own), LIMIT)
    };
    let right = check(&["--vip", "10.0.0.10:8080", "--backend", "10.0.0.2", "--scheduler", "rr", "--check"]).success();
    for line in [
        "The arguments are right. This would run:",
        "service tcp:10.0.0.10:8080: tcp 10.0.0.10:8080",
        "  mode       fullnat, from 10.0.0.10",
        "  scheduler  rr",
        "  backend    10.0.0.2:8080, weight 1",
        "api          unix:/run/leat/leat.sock",
    ] {
        assert!(right.stdout.lines().any(|printed| printed == line), "{line}: {right}");
    }
    assert!(right.stdout.contains("EAL          -l 0-3 --vdev=net_tap0 "), "{right}");
    let wrong = check(&["--check", "--vip", "10.0.0.10:8080", "--backend", "10.0.0.2:70000"]).code_is(2);
    assert_eq!(wrong.stderr, "leat: --backend 10.0.0.2:70000: port 70000 is out of range; write 1 to 65535\n");
    assert!(wrong.stdout.is_empty(), "{wrong}");
}

#[test]
fn version_and_help_need_nothing_else() {
    for arguments in [&["--version"][..], &["--", "-V"]] {
        let version = run_leat(arguments).success();
        assert!(version.stdout.starts_with(concat!("leat ", env!("CARGO_PKG_VERSION"), " ")), "{version}");
        assert!(version.stdout.contains(", DPDK ") && version.stdout.lines().count() == 1, "{version}");
    }
    for arguments in [&["--help"][..], &["--", "--help"], &["--", "-h"]] {
        let help = run_leat(arguments).success();
        for option in ["--vip", "--backend", "--config", "--scheduler", "--check", "--trace", "[EAL options] --"] {
            assert!(help.stdout.contains(option), "{option}: {help}");
        }
    }
}
