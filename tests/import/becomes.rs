//! What becomes of what, a row each: a line or a block in, the lines of the file and the remarks that must be there.

use super::{accepted, examples_folder, run};

/// A rule.
struct Row {
    input: &'static str,
    /// Lines of the file.
    has: &'static [&'static str],
    /// Parts of remarks. None: nothing is remarked, apart from what mode nat asks for.
    says: &'static [&'static str],
}

const IPVSADM: &[Row] = &[
    Row {
        input: "-A -t 192.0.2.1:80 -s wlc\n-a -t 192.0.2.1:80 -r 10.0.0.1:8080 -m -w 7",
        has: &[
            "vip = \"192.0.2.1\"",
            "protocol = \"tcp\"",
            "port = 80",
            "mode = \"nat\"",
            "scheduler = \"wlc\"",
            "  address = \"10.0.0.1\"",
            "  port = 8080",
            "  weight = 7",
        ],
        says: &[],
    },
    Row {
        input: "-A -u 192.0.2.1:53\n-a -u 192.0.2.1:53 -r 10.0.0.1",
        has: &["protocol = \"udp\"", "mode = \"dr\"", "scheduler = \"wlc\""],
        says: &[],
    },
    Row {
        input: "-A -t 192.0.2.1:80 -p\n-a -t 192.0.2.1:80 -r 10.0.0.1 -g",
        has: &["persistence = \"5m\""],
        says: &[],
    },
    Row {
        input: "-A -t 192.0.2.1:80 -p 90 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.1 -g",
        has: &["persistence = \"1m30s\""],
        says: &[],
    },
    Row {
        input: "-At192.0.2.1:80 -srr -p\n-at192.0.2.1:80 -r10.0.0.1:80 -gw0",
        has: &["persistence = \"5m\"", "  weight = 0"],
        says: &[],
    },
    Row {
        input: "-A -t 192.0.2.1:80 -p 99999999 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.1 -g",
        has: &["persistence = \"365d\""],
        says: &["1: -t 192.0.2.1:80: persistence of 99999999 s: changed: 365d is the longest"],
    },
    Row {
        input: "-A -t 192.0.2.1:80 -s mh -b mh-fallback,mh-port\n-a -t 192.0.2.1:80 -r 10.0.0.1 -g",
        has: &["scheduler = \"maglev\""],
        says: &[],
    },
    Row {
        input: "-A -t 192.0.2.1:80 -s sh -b flag-1\n-a -t 192.0.2.1:80 -r 10.0.0.1 -g",
        has: &["scheduler = \"sh\""],
        says: &[],
    },
    Row {
        input: "-A -t 192.0.2.1:80 -s fo\n-a -t 192.0.2.1:80 -r 10.0.0.1 -g",
        has: &["scheduler = \"wlc\""],
        says: &["scheduler fo: changed: fo has no counterpart; wlc is the nearest"],
    },
    Row {
        input: "-A -u 192.0.2.1:53 -s rr -o\n-a -u 192.0.2.1:53 -r 10.0.0.1 -g",
        has: &["protocol = \"udp\"", "mode = \"dr\"", "scheduler = \"rr\"", "one_packet = true"],
        says: &[],
    },
    Row {
        input: "-A -u 192.0.2.1:53 -s rr --ops\n-a -u 192.0.2.1:53 -r 10.0.0.1 -m",
        has: &["mode = \"nat\""],
        says: &["1: -u 192.0.2.1:53: -o: left out: leat's one_packet is not for mode nat"],
    },
    Row {
        input: "-A -u 192.0.2.1:53 -s rr -p 60 -o\n-a -u 192.0.2.1:53 -r 10.0.0.1 -g",
        has: &["persistence = \"1m\""],
        says: &["1: -u 192.0.2.1:53: -o: left out: with persistence all datagrams of a client"],
    },
    Row {
        input: "-A -t 192.0.2.1:53 -s rr -o\n-a -t 192.0.2.1:53 -r 10.0.0.1 -g",
        has: &["protocol = \"tcp\""],
        says: &["1: -t 192.0.2.1:53: -o: left out: only datagrams are scheduled one by one"],
    },
    Row {
        input: "-A -u 192.0.2.1:0 -s rr -p 60 -o\n-a -u 192.0.2.1:0 -r 10.0.0.1 -g",
        has: &["protocol = \"any\""],
        says: &["1: -u 192.0.2.1:0: -o: left out: leat's one_packet is for a service of one port"],
    },
    Row {
        input: "-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.1 -g -x 2000\n-a -t 192.0.2.1:80 -r 10.0.0.2 -g --u-threshold=4294967295 --l-threshold=0",
        has: &["  max_connections = 2000", "  max_connections = 4294967295"],
        says: &[],
    },
    Row {
        input: "-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.1 -g -x 0 -y 0",
        has: &["  weight = 1"],
        says: &[],
    },
    Row {
        input: "-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.1 -g -y 1500 -x 2000",
        has: &["  max_connections = 2000"],
        says: &[
            "2: -t 192.0.2.1:80: -r 10.0.0.1 -y 1500: left out: a full backend gets new connections again as soon as",
        ],
    },
    Row {
        input: "-A -t 192.0.2.1:80\n-a -t 192.0.2.1:80 -r 10.0.0.1 -m\n-a -t 192.0.2.1:80 -r 10.0.0.2 -g\n-a -t 192.0.2.1:80 -r 10.0.0.3 -g",
        has: &["mode = \"dr\"", "  address = \"10.0.0.3\""],
        says: &["2: -t 192.0.2.1:80: -r 10.0.0.1: left out: its mode is nat"],
    },
    Row {
        input: "-A -t 192.0.2.1:80\n-a -t 192.0.2.1:80 -r 10.0.0.1\n-A -t 192.0.2.1:80\n-A -t 224.0.0.1:80\n-a -t 224.0.0.1:80 -r 10.0.0.1",
        has: &["vip = \"192.0.2.1\""],
        says: &[
            "3: -t 192.0.2.1:80: left out: it is there already",
            "4: -t 224.0.0.1:80: 224.0.0.1: left out: vip 224.0.0.1 is a multicast address",
        ],
    },
];

const KEEPALIVED: &[Row] = &[
    Row {
        input: "virtual_server 192.0.2.1 80 { protocol TCP\nlb_kind NAT\n delay_loop 0.25\nconnect_timeout 0.2\nreal_server 10.0.0.1 { TCP_CHECK { } } }",
        has: &[
            "health = { type = \"tcp\", interval = \"250ms\", timeout = \"200ms\", rise = 1, fall = 2 }",
            "scheduler = \"wlc\"",
        ],
        says: &[],
    },
    Row {
        input: "virtual_server 192.0.2.1 80 { protocol TCP\nlb_kind NAT\nsnmp_name shop\npersistence_timeout\nweight 4\nreal_server 10.0.0.1 { PING_CHECK { } } }",
        has: &[
            "name = \"shop\"",
            "persistence = \"6m\"",
            "  weight = 4",
            "health = { type = \"icmp\", interval = \"1m\", timeout = \"5s\", rise = 1, fall = 2 }",
        ],
        says: &[],
    },
    Row {
        input: "virtual_server 192.0.2.1 80 { protocol TCP\nlb_kind DR\nsnmp_name \"the shop\"\nreal_server 10.0.0.1 { \n} }",
        has: &["vip = \"192.0.2.1\""],
        says: &["3: virtual_server 192.0.2.1 80: the name \"the shop\": left out: name \"the shop\" cannot be used"],
    },
    Row {
        input: "virtual_server 192.0.2.1 80 {\nprotocol TCP\nlb_kind NAT\nvirtualhost a.example\nreal_server 10.0.0.1 80 {\nvirtualhost b.example\nHTTP_GET {\nurl {\npath /\"x_y\\\"\"\nstatus_code 200\nvirtualhost c.example\nregex \"up and running\"\n}\n}\n}\n}",
        has: &[
            "health = { type = \"http\", interval = \"1m\", timeout = \"5s\", rise = 1, fall = 2, path = \"/x_y\\\"\", status = \"200\", host = \"c.example\", body = \"up and running\" }",
        ],
        says: &[],
    },
    Row {
        input: "virtual_server 192.0.2.1 80 {\nprotocol TCP\nlb_kind NAT\nreal_server 10.0.0.1 80 {\nHTTP_GET {\nurl {\npath /\nstatus_code 200\nregex \"up.*\"\n}\nurl {\npath /b\n}\n}\n}\n}",
        has: &[
            "health = { type = \"http\", interval = \"1m\", timeout = \"5s\", rise = 1, fall = 2, path = \"/\", status = \"200\" }",
        ],
        says: &[
            "9: virtual_server 192.0.2.1 80: real_server 10.0.0.1 80: HTTP_GET: url /: regex up.*: left out: body is a text",
            "11: ",
        ],
    },
    Row {
        input: "virtual_server 192.0.2.1 80 {\nprotocol TCP\nlb_kind NAT\nreal_server 10.0.0.1 80 {\nTCP_CHECK {\nconnect_port 80\nretry 300\nconnect_ip 10.0.0.9\n}\n}\n}",
        has: &["health = { type = \"tcp\", interval = \"1m\", timeout = \"5s\", rise = 1, fall = 255 }"],
        says: &[
            "TCP_CHECK: retry: changed: 255 missing answers",
            "8: virtual_server 192.0.2.1 80: real_server 10.0.0.1 80: TCP_CHECK: connect_ip 10.0.0.9: left out: leat probes",
        ],
    },
    Row {
        input: "virtual_server 192.0.2.1 80 {\nprotocol TCP\nlb_kind NAT\nreal_server 10.0.0.1 80 {\nPING_CHECK {\n}\nHTTP_GET {\n}\n}\n}",
        has: &["health = { type = \"icmp\", interval = \"1m\", timeout = \"5s\", rise = 1, fall = 2 }"],
        says: &["7: virtual_server 192.0.2.1 80: real_server 10.0.0.1 80: HTTP_GET: left out: it has no url"],
    },
    Row {
        input: "virtual_server 192.0.2.1 {\nprotocol TCP\nlb_kind NAT\nreal_server 10.0.0.1 {\nTCP_CHECK {\nconnect_port 22\n}\n}\n}",
        has: &["protocol = \"any\"", "persistence = \"6m\""],
        says: &[
            "1: virtual_server 192.0.2.1: every port: changed: keepalived makes it persistent",
            "TCP_CHECK: left out: health type tcp needs an own address to ask from where the protocol is any",
            "leat's protocol any balances UDP and ping",
        ],
    },
    Row {
        input: "virtual_server 192.0.2.1 80 {\nprotocol TCP\nlb_kind DR\nfrobnicate 3\nreal_server 10.0.0.1 80 {\nfrobnicate 4\nFROB_CHECK {\n}\nTCP_CHECK {\nfrobnicate 5\n}\n}\n}",
        has: &["mode = \"dr\""],
        says: &["4: virtual_server 192.0.2.1 80: frobnicate 3: left out", ":6: ", ":7: ", ":10: "],
    },
    Row {
        input: "virtual_server 192.0.2.1 80 {\nprotocol TCP\nlb_kind DR\nreal_server 10.0.0.1 80 {\nlvs_method TUN type gre\n}\nreal_server 10.0.0.2 80 {\n}\n}",
        has: &["  address = \"10.0.0.2\""],
        says: &[
            "5: virtual_server 192.0.2.1 80: real_server 10.0.0.1 80: lvs_method TUN type gre: left out: tunnels of type gre",
        ],
    },
    Row {
        input: "virtual_server 192.0.2.1 53 {\nprotocol UDP\nlb_kind DR\nops\nreal_server 10.0.0.1 53 {\nuthreshold 7\n}\n}",
        has: &["one_packet = true", "  max_connections = 7"],
        says: &[],
    },
    Row {
        input: "virtual_server 192.0.2.1 53 {\nlb_kind NAT\nprotocol UDP\nops\nreal_server 10.0.0.1 53 {\nuthreshold 0\nlthreshold 5\n}\n}",
        has: &["mode = \"nat\"", "  weight = 1"],
        says: &[
            "4: virtual_server 192.0.2.1 53: ops: left out: leat's one_packet is not for mode nat",
            "7: virtual_server 192.0.2.1 53: real_server 10.0.0.1 53: lthreshold 5: left out: a full backend",
        ],
    },
    Row {
        input: "virtual_server db.example 80 {\n}\nvirtual_server 192.0.2.1 80 {\nprotocol TCP\nlb_kind DR\nreal_server db.example {\n}\nreal_server 10.0.0.2 80 {\n}\n}",
        has: &["  address = \"10.0.0.2\""],
        says: &["1: virtual_server db.example 80: left out: \"db.example\" is not an IP address", ":6: "],
    },
];

#[track_caller]
fn holds(kind: &str, row: &Row) {
    let said = run(&examples_folder(), &[kind, "-"], row.input.as_bytes());
    assert_eq!(said.status, Some(0), "{}\n{}", row.input, said.notes);
    accepted(&said.toml);
    for line in row.has {
        assert!(said.toml.lines().any(|has| has == *line), "{}\nhas no line {line}:\n{}", row.input, said.toml);
    }
    for part in row.says {
        assert!(said.notes.contains(part), "{}\nsays:\n{}\nbut not: {part}", row.input, said.notes);
    }
    let remarks = said.notes.lines().filter(|line| !line.starts_with("leatctl: ") && !line.contains("mode nat: to do"));
    if row.says.is_empty() {
        assert_eq!(remarks.collect::<Vec<_>>(), [""; 0], "{}", row.input);
    }
}

#[test]
fn each_rule_for_ipvsadm_holds() {
    IPVSADM.iter().for_each(|row| holds("ipvsadm", row));
}

#[test]
fn each_rule_for_keepalived_holds() {
    KEEPALIVED.iter().for_each(|row| holds("keepalived", row));
}
