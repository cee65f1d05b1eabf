//! What leat-gen says to command lines that cannot be meant, a row each: exit status 2, nothing printed on standard output,
//! nothing started. Beside them some that can.
#![cfg(feature = "dpdk")]

use std::process::{Command, Output};

fn run(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leat-gen")).args(arguments.split_whitespace()).output().unwrap()
}

/// Arguments, and what the message says.
const BAD: &[(&str, &[&str])] = &[
    // Nothing to do, or everything on the wrong side of `--`.
    ("", &["there is nothing to do", "--vip ADDR:PORT"]),
    ("--", &["there is no --vip to send to"]),
    ("-l 0 --vdev=net_null0", &["there is no `--`"]),
    ("--vip 10.0.0.10:80", &["--vip is leat-gen's", "after `--`", "leat-gen [EAL options] -- --vip"]),
    ("-- --vip 10.0.0.10:80 -l 0", &["-l is EAL's", "before `--`", "leat-gen -l ... -- [options]"]),
    ("-l -- --vip 10.0.0.10:80", &["EAL option -l needs a value"]),
    ("--no-huge --in-memory -- --vip 10.0.0.10:80", &["exclude each other"]),
    // What clap finds.
    ("-- --vpi 10.0.0.10:80", &["unexpected argument '--vpi'", "--vip"]),
    ("-- --vip", &["a value is required for '--vip"]),
    ("-- --vip 10.0.0.10:80 --rate 1 --rate 2", &["--rate", "multiple times"]),
    ("-- --vip 10.0.0.10:80 --json=yes", &["--json"]),
    ("-- --vip 10.0.0.10:80 extra", &["unexpected argument 'extra'"]),
    // Who.
    ("-- --vip 10.0.0.10", &["--vip 10.0.0.10: the port is missing", "write 10.0.0.10:8080"]),
    ("-- --vip 10.0.0.10:0", &["port 0 is out of range", "1 to 65535"]),
    ("-- --vip any:10.0.0.10:80", &["protocol \"any\" is unknown", "write tcp or udp"]),
    ("-- --vip upd:10.0.0.10:80", &["did you mean udp?"]),
    ("-- --vip [2001:db8::10]", &["the port is missing", "write [2001:db8::10]:8080"]),
    ("-- --vip 2001:db8::10", &["the port is missing", "write [2001:db8::10]:8080"]),
    ("-- --vip [::ffff:10.0.0.10]:80", &["an IPv4 address written in IPv6's way", "write 10.0.0.10"]),
    ("-- --vip [2001:db8::10%eth0]:80", &["has a zone", "write the address without it"]),
    ("-- --vip [fe80::1]:80", &["a link-local address"]),
    ("-- --vip [ff02::1]:80", &["a multicast address"]),
    ("-- --vip sctp:[2001:db8::10]:80", &["protocol \"sctp\" is unknown", "write tcp or udp"]),
    ("-- --vip [2001:2::7]:80", &["it is one of the clients 2001:2::/48", "--clients"]),
    ("-- --vip web:80", &["\"web\" is not an IP address"]),
    ("-- --vip 198.18.7.7:80", &["it is one of the clients 198.18.0.0/15", "--clients"]),
    ("-- --vip 10.0.0.10:80 --backend 127.0.0.1", &["--backend 127.0.0.1", "a loopback address"]),
    ("-- --vip 10.0.0.10:80 --backend 10.0.0.2:80", &["has a port, which does not belong here"]),
    ("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --backend 10.0.0.2", &["it is there twice"]),
    ("-- --vip 10.0.0.10:80 --backend 198.18.0.1", &["--backend 198.18.0.1: it is one of the clients"]),
    ("-- --vip [2001:db8::10]:80 --backend ::ffff:10.0.0.2", &["--backend ::ffff:10.0.0.2", "write 10.0.0.2"]),
    ("-- --vip [2001:db8::10]:80 --backend 2001:db8::2%1", &["--backend 2001:db8::2%1", "has a zone"]),
    ("-- --vip [2001:db8::10]:80 --backend [2001:db8::2]", &["brackets", "write 2001:db8::2"]),
    ("-- --vip [2001:db8::10]:80 --backend 2001:db8::2 --backend 2001:DB8:0::2", &["it is there twice"]),
    ("-- --vip [2001:db8::10]:80 --backend 2001:2::1", &["--backend 2001:2::1: it is one of the clients"]),
    ("-- --reflect", &["--reflect needs an address", "--backend ADDR"]),
    ("-- --reflect --backend 10.0.0.2 --vip 10.0.0.10:80", &["--vip is about clients"]),
    ("-- --reflect --backend 10.0.0.2 --rate 5k", &["--rate is about clients"]),
    ("-- --reflect --backend 10.0.0.2 --direct", &["--reflect returns packets and --direct does not"]),
    ("-- --vip 10.0.0.10:80 --clients 10.1.0.0", &["--clients 10.1.0.0", "write 10.1.0.0/32"]),
    ("-- --vip 10.0.0.10:80 --clients 10.1.0.1/16", &["bits set beyond its prefix", "write 10.1.0.0/16"]),
    (
        "-- --vip [2001:db8::10]:80 --clients 10.1.0.0/16",
        &[
            "--clients 10.1.0.0/16",
            "clients 10.1.0.0 is of IPv4, and the service 2001:db8::10 is of IPv6",
            "2001:2::/48",
        ],
    ),
    ("-- --vip 10.0.0.10:80 --clients 2001:db8::/64", &["is of IPv6, and the service", "198.18.0.0/15"]),
    ("-- --vip [2001:db8::10]:80 --clients 2001:db8:1::1/64", &["write 2001:db8:1::/64"]),
    ("-- --vip [2001:db8::10]:80 --clients fd00::/129", &["not 0 to 128"]),
    ("-- --vip [2001:db8::10]:80 --clients ::ffff:10.1.0.0/112", &["IPv4 addresses written in IPv6's way"]),
    ("-- --vip [2001:db8::10]:80 --clients fe80::/64", &["--clients fe80::/64", "a link-local address"]),
    ("-- --vip [2001:db8::10]:80 --clients fd00::%eth0/64", &["has a zone"]),
    ("-- --vip 10.0.0.10:80 --client-ports 2000-1000", &["write 1000-2000"]),
    ("-- --vip 10.0.0.10:80 --client-ports 0-1000", &["port 0 is out of range"]),
    ("-- --vip 10.0.0.10:80 --client-ports all", &["port \"all\" is not a whole number"]),
    ("-- --vip 10.0.0.10:80 --to-mac ff:ff:ff:ff:ff:ff", &["--to-mac", "a group address"]),
    ("-- --vip 10.0.0.10:80 --mac 1", &["mac \"1\"", "02:00:00:00:00:01"]),
    ("-- --vip 10.0.0.10:80 --gateway 0.0.0.0", &["gateway 0.0.0.0 is the unspecified address"]),
    ("-- --vip 10.0.0.10:80 --gateway 10.0.0.1 --to-mac 02:00:00:00:00:01", &["--to-mac and --gateway both say"]),
    ("-- --vip [2001:db8::10]:80 --gateway 10.0.0.1", &["gateway 10.0.0.1 is of IPv4", "of IPv6", "fe80::1"]),
    ("-- --vip 10.0.0.10:80 --gateway fe80::1", &["gateway fe80::1 is of IPv6", "of IPv4", "10.0.0.1"]),
    ("-- --vip [2001:db8::10]:80 --gateway fe80::1%eth0", &["--gateway fe80::1%eth0", "has a zone"]),
    // What.
    ("-- --vip 10.0.0.10:80 --flows 0", &["--flows 0", "write 1 to 100000000"]),
    ("-- --vip 10.0.0.10:80 --flows 101M", &["--flows 101M", "write 1 to 100000000"]),
    ("-- --vip 10.0.0.10:80 --flows many", &["flows \"many\" is not a number", "500k"]),
    (
        "-- --vip 10.0.0.10:80 --flows 100 --clients 10.1.0.1/32 --client-ports 1000-1098",
        &["100 flows do not fit in 99"],
    ),
    (
        "-- --vip [2001:db8::10]:80 --flows 1k --clients fd00::/126 --client-ports 1000-1299",
        &["--flows 1000: 1000 flows do not fit in 900"],
    ),
    ("-- --vip 10.0.0.10:80 --order radnom", &["order \"radnom\" is unknown", "did you mean random?"]),
    ("-- --vip 10.0.0.10:80 --order zipf=0", &["exponent 0 is out of range", "0.01 to 10"]),
    ("-- --vip 10.0.0.10:80 --seed -1", &["seed -1 is out of range"]),
    ("-- --vip 10.0.0.10:80 --size 60", &["--size 60", "64 to 1518", "check sequence"]),
    ("-- --vip 10.0.0.10:80 --size 9000", &["size 9000 is out of range"]),
    ("-- --vip [2001:db8::10]:80 --size 64", &["--size 64", "84 to 1518", "check sequence"]),
    ("-- --vip udp:[2001:db8::10]:80 --size 83", &["--size 83", "84 to 1518"]),
    ("-- --vip 10.0.0.10:80 --backend 2001:db8::2 --size 1499", &["--size 1499", "64 to 1498"]),
    ("-- --vip 10.0.0.10:80 --size 64*0", &["a weight of 0 means never"]),
    ("-- --vip 10.0.0.10:80 --size 64*2000", &["weights add up to more than 1024"]),
    ("-- --vip 10.0.0.10:80 --size 64,", &["size \"\" is not a whole number"]),
    ("-- --vip 10.0.0.10:80 --syn-share 101", &["--syn-share 101", "write 0 to 100"]),
    ("-- --vip 10.0.0.10:80 --syn-share -1", &["SYN share -1 is out of range"]),
    ("-- --vip udp:10.0.0.10:80 --syn-share 5", &["--syn-share is about TCP"]),
    ("-- --vip udp:10.0.0.10:80 --open-rate 5", &["--open-rate is about TCP"]),
    ("-- --vip udp:10.0.0.10:80 --connections", &["--connections is about TCP"]),
    ("-- --vip 10.0.0.10:80 --connections --syn-share 5", &["--syn-share cannot be used with --connections"]),
    ("-- --vip 10.0.0.10:80 --connections --direct", &["--direct cannot be used with --connections"]),
    // How much.
    ("-- --vip 10.0.0.10:80 --rate 0", &["--rate 0", "rate 0 is out of range"]),
    ("-- --vip 10.0.0.10:80 --rate -5", &["rate -5 is out of range"]),
    ("-- --vip 10.0.0.10:80 --rate 1e6", &["rate \"1e6\" is not a number", "1.5M"]),
    ("-- --vip 10.0.0.10:80 --rate inf", &["rate \"inf\" is not a number"]),
    ("-- --vip 10.0.0.10:80 --rate 2G", &["rate 2G is out of range"]),
    ("-- --vip 10.0.0.10:80 --count 0.5", &["count 0.5 is out of range"]),
    ("-- --vip 10.0.0.10:80 --duration 10", &["--duration 10", "write \"10s\""]),
    ("-- --vip 10.0.0.10:80 --duration 0ms", &["no time at all"]),
    ("-- --vip 10.0.0.10:80 --wait 0s", &["no time at all"]),
    ("-- --vip 10.0.0.10:80 --burst 0", &["burst 0 is out of range", "1 to 64"]),
    ("-- --vip 10.0.0.10:80 --burst 65", &["burst 65 is out of range"]),
];

#[test]
fn bad_arguments_end_with_status_2_and_say_what_would_be_right() {
    for (arguments, says) in BAD {
        let Output { status, stdout, stderr } = run(arguments);
        let message = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(2), "{arguments:?}\n{message}");
        assert!(message.starts_with("leat-gen: "), "{arguments:?}\n{message}");
        for part in *says {
            assert!(message.contains(part), "{arguments:?}\nsays: {message}\nbut not: {part}");
        }
        assert!(stdout.is_empty(), "{arguments:?} prints {:?}", String::from_utf8_lossy(&stdout));
    }
}

#[test]
fn arguments_that_are_not_text_are_refused() {
    use std::os::unix::ffi::OsStringExt;
    let argument = std::ffi::OsString::from_vec(vec![b'1', 0xff]);
    let output = Command::new(env!("CARGO_BIN_EXE_leat-gen")).args(["--", "--vip"]).arg(argument).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not UTF-8 text"), "{output:?}");
}

#[test]
fn help_and_version_need_nothing_else() {
    for arguments in ["--help", "-l 0 --help", "-- --help", "-l 0 -- --flows x --help"] {
        let Output { status, stdout, .. } = run(arguments);
        let help = String::from_utf8(stdout).unwrap();
        assert!(status.success(), "{arguments}");
        for part in ["Usage: leat-gen [EAL options] -- --vip", "--flows", "--direct", "Examples:", "net_memif0"] {
            assert!(help.contains(part), "{arguments}: {help}");
        }
    }
    for arguments in ["--version", "-- --version"] {
        let Output { status, stdout, .. } = run(arguments);
        let version = String::from_utf8(stdout).unwrap();
        assert!(status.success() && version.starts_with("leat-gen 0.1.0 (") && version.contains("DPDK "), "{version}");
    }
}
