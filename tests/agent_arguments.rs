//! What leat-agent says to arguments that cannot be meant. Needs no privilege: nothing is touched.

use std::process::{Command, Output};

fn run(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leat-agent")).args(arguments.split_whitespace()).output().unwrap()
}

#[test]
fn bad_arguments_end_with_status_2_and_say_what_would_be_right() {
    let rows = [
        ("", "--vip <ADDR>"),
        ("--vip", "--vip <ADDR>"),
        ("--ipip", "--vip <ADDR>"),
        ("--vip nonsense", "nonsense"),
        ("--vip 20.0.0.1/32", "20.0.0.1/32"),
        ("--vip 20.0.0.1:80", "20.0.0.1:80"),
        ("--vip 2001:db8::1/128", "2001:db8::1/128"),
        ("--vip [2001:db8::1]", "write 2001:db8::1"),
        ("--vip [2001:db8::1]:80", "write 2001:db8::1"),
        ("--vip 2001:db8::1%eth0", "a zone, which means something on one machine only"),
        ("--vip fe80::1", "a link-local address"),
        ("--vip ::ffff:20.0.0.1", "write 20.0.0.1"),
        ("--vip ::1", "a loopback address"),
        ("--vip ::", "the unspecified address"),
        ("--vip ff02::1", "a multicast address"),
        ("--vip 2001:db8::12345", "2001:db8::12345"),
        ("--vip 2001:db8:1:2:3:4:5:6:7", "not an IP address"),
        ("--vip 127.0.0.1", "a loopback address"),
        ("--vip 0.0.0.0", "the unspecified address"),
        ("--vip 224.0.0.1", "a multicast address"),
        ("--vip 255.255.255.255", "the broadcast address"),
        ("--vip 20.0.0.1 --vip 20.0.0.1", "--vip 20.0.0.1 is given twice"),
        ("--vip 2001:db8::1 --vip 2001:db8:0::1", "--vip 2001:db8::1 is given twice"),
        ("--vip 20.0.0.1 --gue 0", "'0' for '--gue"),
        ("--vip 20.0.0.1 --gue 65536", "'65536' for '--gue"),
        ("--vip 20.0.0.1 --gue http", "'http' for '--gue"),
        ("--vip 20.0.0.1 --gue 6080 --gue 6081", "cannot be used multiple times"),
        ("--vip 20.0.0.1 --ipip 4", "unexpected argument '4'"),
        ("--vip 20.0.0.1 --mss 87", "87 is not in 88..=65495"),
        ("--vip 20.0.0.1 --mss 65496", "65496 is not in"),
        ("--vip 20.0.0.1 --mss big", "'big' for '--mss"),
        ("--vip 20.0.0.1 --from 10.0.0.1/8", "write 10.0.0.0/8"),
        ("--vip 20.0.0.1 --from 10.0.0.0/33", "10.0.0.0/33"),
        ("--vip 20.0.0.1 --from leat", "leat"),
        ("--vip 20.0.0.1 --from 2001:db8::1/64", "write 2001:db8::/64"),
        ("--vip 20.0.0.1 --from 2001:db8::/129", "0 to 128"),
        ("--vip 20.0.0.1 --from fe80::1", "a link-local address"),
        ("--vip 20.0.0.1 --from fe80::/64", "link-local addresses"),
        ("--vip 20.0.0.1 --from ::ffff:10.0.0.1", "write 10.0.0.1"),
        ("--vip 20.0.0.1 --from ::ffff:10.0.0.0/104", "write 10.0.0.0/8"),
        ("--vip 20.0.0.1 --from 2001:db8::1%eth0", "a zone"),
        ("--vip 20.0.0.1 --from 2001:db8::1%eth0/64", "a zone"),
        ("--vip 20.0.0.1 --device a-name-of-16-byt", "1 to 15 bytes"),
        ("--vip 20.0.0.1 --device ../eth0", "write letters, digits"),
        ("--vip 20.0.0.1 --device leat%d", "write letters, digits"),
        ("--vip 20.0.0.1 --device all", "no interface can have this name"),
        ("--vip 20.0.0.1 --device default", "no interface can have this name"),
        ("--vip 20.0.0.1 --interface ..", "no interface can have this name"),
        ("--vip 20.0.0.1 --interface leat0", "--interface leat0 is the device that leat-agent makes"),
        ("--vip 20.0.0.1 --backend 10.0.0.2", "unexpected argument '--backend'"),
        ("20.0.0.1", "unexpected argument '20.0.0.1'"),
    ];
    for (arguments, message) in rows {
        let output = run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "leat-agent {arguments}: {stderr}");
        assert!(stderr.contains(message), "leat-agent {arguments}: no '{message}' in: {stderr}");
        assert!(output.stdout.is_empty(), "leat-agent {arguments}");
    }
}

#[test]
fn help_names_every_option_and_version_the_program() {
    let help = run("--help");
    assert!(help.status.success());
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for option in ["--vip", "--ipip", "--gue", "--from", "--interface", "--device", "--mss"] {
        assert!(help.contains(option), "{option}");
    }
    let version = run("--version");
    assert!(version.status.success());
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("leat-agent "));
}
