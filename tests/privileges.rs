//! leat without root's rights: what the system says of each of its threads, and that nothing stops working.
#![cfg(feature = "dpdk")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use support::{
    LIMIT, TempDir,
    leat::{Leat, TAP, VETH, run_leat},
    net::{B1, CLIENT, Net, Shape},
    servers::Nginx,
    wait_for,
};

/// The user and group `nobody` of Debian.
const NOBODY: &str = "65534";

/// Insists that every thread of a process is nobody's, with no right left.
fn assert_powerless(id: u32) {
    let threads = fs::read_dir(format!("/proc/{id}/task")).expect("the process runs");
    let mut count = 0;
    for thread in threads {
        let status = fs::read_to_string(thread.expect("a thread").path().join("status")).expect("it has a status");
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{status}"));
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        for ids in ["Uid:", "Gid:"] {
            assert_eq!(line(ids), [NOBODY; 4], "{status}");
        }
        assert_eq!(line("Groups:"), [NOBODY], "{status}");
        for capabilities in ["CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(line(capabilities), ["0000000000000000"], "{status}");
        }
        count += 1;
    }
    assert!(count >= 4, "EAL's threads and leat's: {count}");
}

/// Insists that others may write neither the file nor anything in the folder at `path`.
fn assert_private(path: &Path) {
    let is_writable = |path: &Path| fs::symlink_metadata(path).is_ok_and(|it| it.permissions().mode() & 0o002 != 0);
    let inside = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let writable: Vec<_> = inside.chain([path.to_owned()]).filter(|path| is_writable(path)).collect();
    assert!(writable.is_empty(), "others can write {writable:?}");
}

#[test]
fn as_another_user_leat_balances_answers_reloads_and_ends_in_order() {
    let lcores = ["--lcores", "0@0,1@1", "--no-pci", "--vdev=net_tap0,iface=tapdpdk"];
    for (eal, veth) in [(TAP, false), (&lcores[..], false), (VETH, true)] {
        let net = Net::up_as("user", Shape { veth, ..Shape::default() });
        let _server = Nginx::start(&net, B1, 8080);
        let directory = TempDir::new("user");
        let file = directory.join("leat.toml");
        let service = "[[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 8080\n\
                       health = { type = \"tcp\", interval = \"1s\", timeout = \"1s\" }\nbackend = [{ address = \"10.0.0.2\" }]\n";
        fs::write(&file, service).expect("a temporary directory can be written");
        let own = ["-c", file.to_str().expect("a path is text"), "--user", "nobody"];
        let mut leat = Leat::start_in(&net, eal, &own);
        assert_powerless(leat.id());
        assert_private(leat.api());
        assert_private(leat.runtime());
        let fetch =
            || net.exec(CLIENT, &["curl", "-sS", "--fail", "--max-time", "10", "http://10.0.0.10:8080/"]).success();
        fetch();
        fs::write(&file, service.replace("name = \"web\"", "name = \"web\"\nscheduler = \"rr\""))
            .expect("it can be written");
        leat.signal("HUP");
        wait_for("the reload", LIMIT, || leat.stderr().contains("reloaded /").then_some(()));
        fetch();
        let runtime = leat.runtime().to_owned();
        let finished = leat.stop().success();
        assert!(!runtime.exists(), "{finished}");
        for sign in ["ermission denied", "not permitted"] {
            assert!(!finished.stderr.contains(sign), "{finished}");
        }
    }
}

#[test]
fn a_user_that_is_not_there_is_a_wrong_argument() {
    let arguments = ["-l", "0", "--no-pci", "--vdev=net_null0", "--", "--vip", "10.0.0.10:80", "--backend", "10.0.0.2"];
    let finished = run_leat(&[&arguments[..], &["--user", "leat-is-not-there"]].concat());
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(finished.stderr.contains("there is no such user here"), "{finished}");
    let finished = run_leat(&[&arguments[..], &["--user", ""]].concat());
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(finished.stderr.contains("--user : user \"\" is no user's name"), "{finished}");
}
