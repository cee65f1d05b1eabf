//! Input that neither ipvsadm nor keepalived would understand, and arguments that cannot be meant: exit status 2, one
//! message with the place, nothing on standard output.

use std::fs;

use super::{examples_folder, run};

const IPVSADM: &[(&str, &str)] = &[
    ("\n-A -t 192.0.2.1:80 --frob", "stdin:2: ipvsadm has no option --frob"),
    ("-A -t 192.0.2.1:80 -k", "stdin:1: ipvsadm has no option -k"),
    ("-A -t", "stdin:1: -t has no value after it"),
    ("-A -t 192.0.2.1:80 --numeric=3", "stdin:1: --numeric=3: --numeric takes no value"),
    ("-A -s rr", "stdin:1: the line needs one virtual server"),
    ("-A -t 192.0.2.1:80 -u 192.0.2.1:80", "stdin:1: the line needs one virtual server"),
    ("-A -t 192.0.2.1:70000", "stdin:1: 192.0.2.1:70000 70000 is out of range; write 0 to 65535"),
    ("-A -t 192.0.2:80", "stdin:1: \"192.0.2:80\" is not an address"),
    ("-A -t 192.0.2.1", "stdin:1: -t 192.0.2.1:0: every port of an address needs -p"),
    ("-A -t 192.0.2.1:80 -m", "stdin:1: --masquerading is no option of a virtual server (-A)"),
    ("-A -t 192.0.2.1:80 rr", "stdin:1: \"rr\" belongs to no option"),
    ("-a -t 192.0.2.1:80 -r 10.0.0.1", "stdin:1: there is no virtual server -t 192.0.2.1:80 to add"),
    ("-A -t 192.0.2.1:80\n-a -t 192.0.2.1:80", "stdin:2: -a has no real server"),
    ("-A -t 192.0.2.1:80\n-a -t 192.0.2.1:80 -r 10.0.0.1 -w 70000", "stdin:2: -w 70000 is out of range"),
    ("-A -t 192.0.2.1:80\n-a -t 192.0.2.1:80 -r 10.0.0.1 -i --tun-type gue", "stdin:2: --tun-type gue needs a port"),
    ("-A -f 0", "stdin:1: -f 0 is out of range"),
    ("TCP  192.0.2.1:80 wlc", "stdin:1: \"TCP\" is no command of ipvsadm's"),
];

const KEEPALIVED: &[(&str, &str)] = &[
    ("virtual_server 192.0.2.1 80 {\n", "stdin:1: the block of virtual_server 192.0.2.1 80 has no }"),
    ("\n}\n", "stdin:2: a } has no { before it"),
    ("global_defs {\n router_id \"x\n}", "stdin:2: a \" has no other"),
    ("virtual_server {\n}", "stdin:1: virtual_server has no value"),
    ("virtual_server 192.0.2.1 eighty {\n}", "stdin:1: port \"eighty\" is not a whole number"),
    ("virtual_server 192.0.2.1 80000 {\n}", "stdin:1: port 80000 is out of range"),
    ("virtual_server fwmark x {\n}", "stdin:1: fwmark \"x\" is not a whole number"),
    ("virtual_server 192.0.2.1 80 {\nlb_kind FNAT\n}", "stdin:2: lb_kind \"FNAT\" is unknown; write NAT, DR or TUN"),
    ("virtual_server 192.0.2.1 80 {\nlb_kind TUN type gue\n}", "stdin:2: type gue needs a port"),
    ("virtual_server 192.0.2.1 80 {\nlb_kind TUN type vxlan\n}", "stdin:2: tunnel type \"vxlan\" is unknown"),
    ("virtual_server 192.0.2.1 80 {\nlb_kind TUN frob\n}", "stdin:2: TUN \"frob\" is unknown"),
    ("virtual_server 192.0.2.1 80 {\nprotocol TPC\n}", "stdin:2: protocol \"TPC\" is unknown"),
    ("virtual_server 192.0.2.1 80 {\ndelay_loop soon\n}", "stdin:2: delay_loop \"soon\" is not a number of seconds"),
    ("virtual_server 192.0.2.1 80 {\ndelay_loop -1\n}", "stdin:2: delay_loop \"-1\" is not a number of seconds"),
    ("virtual_server 192.0.2.1 80 {\nlb_algo\n}", "stdin:2: lb_algo has no value"),
    ("virtual_server 192.0.2.1 80 {\nalpha maybe\n}", "stdin:2: alpha \"maybe\" is neither on nor off"),
    ("virtual_server 192.0.2.1 80 {\nreal_server 10.0.0.1 80 {\nweight -2\n}\n}", "stdin:3: weight -2 is out of range"),
    (
        "virtual_server 192.0.2.1 80 {\nreal_server 10.0.0.1 80 {\nHTTP_GET {\nurl {\npath /\nstatus_code 999\n}\n}\n}\n}",
        "stdin:6: status_code 999 is out of range; write 100 to 599",
    ),
    ("virtual_server_group g {\n192.0.2.9-3 80\n}", "stdin:2: 192.0.2.9-3 ends before it begins"),
    ("virtual_server_group g {\n192.0.2.9/24 80\n}", "stdin:2: 192.0.2.9/24 has bits set beyond its prefix"),
    (
        "virtual_server_group g {\n2001:db8::9-3 80\n}",
        "stdin:2: 2001:db8::9-3 ends before it begins; write 2001:db8::3-1f",
    ),
    ("virtual_server_group g {\n2001:db8::9/64 80\n}", "stdin:2: 2001:db8::9/64 has bits set beyond its prefix"),
    ("virtual_server_group g {\n\n2001:db8::9-12345 80\n}", "stdin:3: 2001:db8::9-12345 has no end"),
    (
        "virtual_server_group g {\n2001:db8::9-192.0.2.1 80\n}",
        "stdin:2: 2001:db8::9-192.0.2.1 begins in one version of IP",
    ),
    ("virtual_server_group g {\n2001:db8::/129 80\n}", "stdin:2: prefix length 129 is out of range; write 1 to 128"),
    ("virtual_server_group g {\n192.0.2.9-x 80\n}", "stdin:2: the end of the range \"x\" is not a whole number"),
    ("$A=$A b\nfoo $A", "stdin:2: a parameter stands for itself"),
    (
        "$A=${B}${B}${B}${B}\n$B=${C}${C}${C}${C}\n$C=${D}${D}${D}${D}\n$D=${E}${E}${E}${E}\n$E=${F}${F}${F}${F}\n\
      $F=${G}${G}${G}${G}\n$G=${H}${H}${H}${H}\n$H=0123456789\n$A",
        "stdin:9: the line is longer than 64 KiB",
    ),
    ("~SEQ(N, 1, 0, 9) x", "stdin:1: ~SEQ(N, 1, 0, 9) never comes to its end"),
    ("includea no-such-file.conf", "stdin:1: no-such-file.conf: no-such-file.conf cannot be read"),
    ("includer services.d/none-*.conf", "stdin:1: services.d/none-*.conf: no file matches"),
];

#[test]
fn each_line_that_ipvsadm_would_refuse_is_named() {
    refuses("ipvsadm", IPVSADM);
}

#[test]
fn each_line_that_keepalived_would_refuse_is_named() {
    refuses("keepalived", KEEPALIVED);
}

fn refuses(kind: &str, rows: &[(&str, &str)]) {
    for (input, says) in rows {
        let said = run(&examples_folder(), &[kind, "-"], input.as_bytes());
        assert!(said.notes.contains(says), "{input}\nsays: {}\nbut not: {says}", said.notes);
        assert!(said.notes.starts_with("leatctl: ") && said.notes.lines().count() == 1, "{}", said.notes);
        assert_eq!((said.status, said.toml.as_str()), (Some(2), ""), "{input}: {}", said.notes);
    }
}

#[test]
fn a_configuration_that_grows_without_end_is_refused() {
    let input = format!("$A={}\n~SEQ(N, 1, 99999) ~SEQ(M, 1, 99999) $A", "x".repeat(8000));
    let said = run(&examples_folder(), &["keepalived", "-"], input.as_bytes());
    assert!(said.notes.contains("stdin:2: the configuration is longer than 64 MiB"), "{}", said.notes);
    assert_eq!(said.status, Some(2));
}

#[test]
fn files_that_include_each_other_without_end_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.conf"), "include b.conf\n").unwrap();
    fs::write(dir.path().join("b.conf"), "\ninclude a.conf\n").unwrap();
    let said = run(dir.path(), &["keepalived", "a.conf"], b"");
    assert_eq!(said.status, Some(2));
    assert!(said.notes.contains("b.conf:2: a.conf includes itself"), "{}", said.notes);
}

#[test]
fn arguments_that_cannot_be_meant_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let rules = "-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.1 -g\n";
    fs::write(dir.path().join("x.rules"), rules).unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    for (args, says) in [
        (&["ipvsadm"][..], "<FILE>"),
        (&[], "ipvsadm"),
        (&["haproxy", "x.rules"], "haproxy"),
        (&["ipvsadm", "none.rules"], "none.rules: cannot be read"),
        (&["ipvsadm", "folder"], "folder: cannot be read"),
        (&["ipvsadm", "x.rules", "-o", "folder"], "folder: cannot be written"),
        (&["ipvsadm", "x.rules", "-o", "x.rules"], "--output x.rules is the file that is to be imported"),
        (&["ipvsadm", "x.rules", "-o", "./folder/../x.rules"], "is the file that is to be imported"),
        (&["ipvsadm", "x.rules", "--address", "10.0.0.1"], "has no prefix length"),
        (&["ipvsadm", "x.rules", "--port", "0"], "--address"),
        (&["ipvsadm", "x.rules", "--address", "10.0.0.1/24", "--port", "a b"], "port \"a b\" is no device's name"),
        (&["ipvsadm", "x.rules", "--address", "10.0.0.1/24", "--address", "10.0.0.1/24"], "there already"),
        (&["ipvsadm", "x.rules", "--config-id", "a"], "--config-id"),
    ] {
        let said = run(dir.path(), args, b"");
        assert!(said.notes.contains(says), "{args:?}\nsays: {}\nbut not: {says}", said.notes);
        assert_eq!((said.status, said.toml.as_str()), (Some(2), ""), "{args:?}: {}", said.notes);
    }
    assert_eq!(fs::read_to_string(dir.path().join("x.rules")).unwrap(), rules);
}

#[test]
fn input_without_a_virtual_server_is_nothing_to_import() {
    for (kind, input) in
        [("ipvsadm", ""), ("ipvsadm", "# nothing\n"), ("keepalived", ""), ("keepalived", "global_defs {\n}\n")]
    {
        let said = run(&examples_folder(), &[kind, "-"], input.as_bytes());
        assert_eq!((said.status, said.toml.as_str()), (Some(1), ""), "{input}");
        assert!(said.notes.ends_with("leatctl: stdin: nothing in it can be imported\n"), "{}", said.notes);
    }
}

#[test]
fn nothing_is_written_when_nothing_can_be_imported() {
    let dir = tempfile::tempdir().unwrap();
    let said = run(dir.path(), &["ipvsadm", "-", "-o", "leat.toml"], b"-A -f 1 -s rr\n");
    assert_eq!(said.status, Some(1));
    assert!(!dir.path().join("leat.toml").exists());
}
