//! Whatever comes in, there is no panic, and what comes out is a file that leat accepts.

use std::io;
use std::path::{Path, PathBuf};

use leat::import::{self, Files, Imported, Wishes};
use proptest::prelude::*;

use super::accepted;

/// Two files, one of which includes the other.
struct Pretended;

impl Files for Pretended {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("a.conf") => Ok(b"include b.conf\nvirtual_server 192.0.2.3 $P {\n".to_vec()),
            Some("b.conf") => Ok(b"real_server 10.0.0.9 {\n}\n".to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn matching(&self, _pattern: &str) -> Vec<PathBuf> {
        vec!["b.conf".into(), "none.conf".into()]
    }
}

fn wishes(with_address: bool) -> Wishes {
    let addresses = if with_address { vec!["10.0.0.1/24".parse().unwrap()] } else { Vec::new() };
    Wishes { addresses, port: "net_tap0".to_owned(), config_id: with_address.then(|| "m".to_owned()) }
}

fn both(bytes: &[u8], with_address: bool) {
    let wishes = wishes(with_address);
    for imported in
        [import::ipvsadm("in", bytes, &wishes), import::keepalived("in", Path::new("in"), bytes, &Pretended, &wishes)]
    {
        match imported {
            Ok(imported) => is_sound(&imported),
            Err(failure) => assert!(failure.message.starts_with("leatctl: ") && failure.message.lines().count() == 1),
        }
    }
}

fn is_sound(imported: &Imported) {
    let loaded = accepted(&imported.toml);
    assert_eq!(loaded.config.services.len(), imported.services);
    assert_eq!(loaded.config.services.iter().map(|service| service.backends.len()).sum::<usize>(), imported.backends);
    for note in &imported.notes {
        assert!(!note.chars().any(char::is_control), "{note:?}");
        assert!(imported.toml.lines().any(|line| line == format!("# {note}")), "{note}");
    }
}

/// Pieces of keepalived.conf; numbers and addresses are few, so that they meet.
fn keepalived_word() -> impl Strategy<Value = String> {
    one_of(concat!(
        "virtual_server|virtual_server_group|real_server|group|fwmark|g|{|}|{\n|\n}\n|\n|\n|80|0|53|3|-1|70000|",
        "192.0.2.1|192.0.2.2|192.0.2.1-4|192.0.2.0/30|0.0.0.0/1|10.0.0.1|10.0.0.2|10.0.0.255|127.0.0.1|255.255.255.255|",
        "::1|lb_algo|rr|sh|mh|fo|sh-port|lb_kind|lvs_method TUN|NAT|DR|TUN|type|gue|gre|port|csum|",
        "protocol TCP|protocol UDP|protocol|persistence_timeout|delay_loop 5|weight 2|TCP_CHECK {\n}|HTTP_GET|url|",
        "path /x|status_code 200|regex ok|PING_CHECK {\n}|MISC_CHECK|ops|uthreshold 9|lthreshold 5|connect_port|retry 3|alpha|quorum 2|sorry_server|",
        "snmp_name|web|$A|$A=|${A}|$A= \\|@m|@^m|~SEQ(A,1,3)|~LST(A,1,2)|include a.conf|include *|includea x|",
        "\"|\"a b\"|#|!|\\|é|\0",
    ))
}

/// Whole virtual servers, most of them right.
fn keepalived_server() -> impl Strategy<Value = String> {
    let kind = proptest::sample::select(["NAT", "DR", "TUN", "TUN type gue port 6080"].as_slice());
    let vip = proptest::sample::select(
        ["192.0.2.1 80", "192.0.2.2 81", "192.0.2.2", "10.0.0.2 80", "10.0.0.1 80", "1.1.1.255 9", "::1 80"].as_slice(),
    );
    let check = proptest::sample::select(
        ["TCP_CHECK", "PING_CHECK", "UDP_CHECK", "HTTP_GET { url { path / \n } \n", ""].as_slice(),
    );
    let reals = proptest::collection::vec((1..6_u8, 80..82_u16, kind.clone(), check), 0..5);
    (vip, kind, any::<bool>(), reals).prop_map(|(vip, kind, is_tcp, reals)| {
        let protocol = if is_tcp { "TCP" } else { "UDP" };
        let reals: String = reals
            .iter()
            .map(|(host, port, kind, check)| {
                let check = match *check {
                    "" => String::new(),
                    check if check.contains('{') => format!("{check} }}\n"),
                    check => format!("{check} {{\n}}\n"),
                };
                format!("real_server 10.0.0.{host} {port} {{\nlvs_method {kind}\n{check}}}\n")
            })
            .collect();
        format!("virtual_server {vip} {{\nlb_kind {kind}\nprotocol {protocol}\n{reals}}}\n")
    })
}

fn ipvsadm_word() -> impl Strategy<Value = String> {
    one_of(concat!(
        "-A|-a|-t|-u|-f|-s|-p|-r|-m|-i|-g|-w|-x|-y|-M|-b|-o|ops|pe|sip|rr|mh|1|0|300|192.0.2.1:80|192.0.2.1|10.0.0.1:80|",
        "10.0.0.2|[::1]:80|x.example:http|--tun-type|gue|--tun-port|6080|--set|-é|--|-|#|\n|\n-A -t 192.0.2.1:80|",
        "\n-a -t 192.0.2.1:80 -r 10.0.0.1:80|\n-a -t 192.0.2.1:80 -r 10.0.0.2 -m|\n-A -u 192.0.2.2:0 -p|",
        "\n-a -u 192.0.2.2:0 -r 10.0.0.1 -i",
    ))
}

fn one_of(words: &str) -> impl Strategy<Value = String> + use<> {
    proptest::sample::select(words.split('|').map(str::to_owned).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn any_bytes_are_imported_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), address in any::<bool>()) {
        both(&bytes, address);
    }

    #[test]
    fn any_words_of_keepalived_are_imported_or_refused(
        words in proptest::collection::vec(keepalived_word(), 0..60), address in any::<bool>(),
    ) {
        both(words.join(" ").as_bytes(), address);
    }

    #[test]
    fn any_words_of_ipvsadm_are_imported_or_refused(
        words in proptest::collection::vec(ipvsadm_word(), 0..40), address in any::<bool>(),
    ) {
        both(words.join(" ").as_bytes(), address);
    }

    #[test]
    fn any_virtual_servers_become_a_file_that_leat_accepts(
        servers in proptest::collection::vec(keepalived_server(), 0..8), address in any::<bool>(),
    ) {
        both(servers.concat().as_bytes(), address);
    }
}
