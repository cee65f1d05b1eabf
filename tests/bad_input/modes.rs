//! Modes and what belongs to them, health, and what happens when a backend or a connection is missing.

use super::row::{Good, Row, args, toml};

/// A service at 10.0.0.10:80 with two backends, and with what is given between.
macro_rules! service {
    ($($text:literal)*) => {
        concat!(
            "[[service]]\nname = \"s\"\nvip = \"10.0.0.10\"\nport = 80\n",
            $($text, "\n",)*
            "backend = [{ address = \"10.0.0.2\" }, { address = \"10.0.0.3\" }]\n"
        )
    };
}

/// As `service!`, with an interface that is connected to 10.0.0.0/24, and a gateway.
macro_rules! connected {
    ($($text:literal)*) => {
        concat!(
            "[[interface]]\nport = 0\naddresses = [\"10.0.0.254/24\"]\ngateway = \"10.0.0.1\"\n",
            "[[service]]\nname = \"s\"\nvip = \"10.0.0.10\"\nport = 80\n",
            $($text, "\n",)*
        )
    };
}

pub(crate) const BAD: &[Row] = &[
    // The port stays in one-way modes.
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2:8080 --mode dr",
        &["--backend 10.0.0.2:8080", "port 8080: mode dr leaves ports as they are", "the service's is 80"],
    ),
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2:8080 --mode ipip --address 10.0.0.254/24",
        &["port 8080: mode ipip leaves ports"],
    ),
    args(
        "-- --mode gue --address 10.0.0.254/24 --vip 10.0.0.10:80 --backend 10.0.0.2 --backend 10.0.0.3:81",
        &["--backend 10.0.0.3:81", "port 81: mode gue leaves ports"],
    ),
    args("-- --vip any:10.0.0.10 --backend 10.0.0.2:80 --mode dr", &["protocol any has no port of its own"]),
    toml(
        service!(
            "mode = \"dr\"\n[[service.backend]]\naddress = \"10.0.0.4\"\nport = 81\n[[service]]\nvip = \"10.0.0.11\"\nport = 1"
        ),
        &["leat.toml:8:8: service \"s\": port 81: mode dr"],
    ),
    // Tunnels need a source that their backends do not hold.
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2 --mode ipip",
        &["--mode ipip: mode ipip needs an own address", "a backend holds the VIP itself", "write --address ADDR/LEN"],
    ),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --mode gue", &["mode gue needs an own address"]),
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2 --mode ipip --address 10.0.0.10/24",
        &["needs an own address that is not a VIP", "10.0.0.10 is one", "write --address"],
    ),
    toml(
        service!("mode = \"ipip\""),
        &["leat.toml:5:8: service \"s\": mode ipip needs an own address", "addresses of an [[interface]]"],
    ),
    toml(
        concat!(
            "[[interface]]\nport = 0\naddresses = [\"10.0.0.11/24\"]\n",
            "[[service]]\nname = \"dr\"\nvip = \"10.0.0.11\"\nport = 80\nmode = \"dr\"\n",
            service!("mode = \"gue\"")
        ),
        &["service \"s\": mode gue needs an own address that is not a VIP", "10.0.0.11 is one"],
    ),
    // Local addresses are fullnat's.
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2 --mode nat --local-address 10.0.0.11",
        &["--local-address 10.0.0.11", "belongs to mode fullnat, and the mode is nat", "--mode fullnat"],
    ),
    args(
        "-- --vip any:10.0.0.10 --backend 10.0.0.2 --mode dr --local-address 10.0.0.11",
        &["belongs to mode fullnat, and the mode is dr"],
    ),
    toml(
        connected!("mode = \"gue\"\nlocal_addresses = [\"10.0.0.11\"]"),
        &["leat.toml:10:20", "local address \"10.0.0.11\" belongs to mode fullnat", "write mode = \"fullnat\""],
    ),
    args("-- --vip any:10.0.0.10 --backend 10.0.0.2 --mode fullnat", &["in mode fullnat needs a local address"]),
    // GUE's settings.
    toml(service!("gue_port = 6080"), &["leat.toml:5:12", "gue_port belongs to mode gue, and the mode is fullnat"]),
    toml(connected!("mode = \"ipip\"\ngue_version = 0"), &["gue_version belongs to mode gue, and the mode is ipip"]),
    toml(service!("mode = \"dr\"\ngue_checksum = false"), &["gue_checksum belongs to mode gue, and the mode is dr"]),
    toml(
        service!("mode = \"nat\"\ngue_port = 1\ngue_version = 1\ngue_checksum = true"),
        &["leat.toml:6:12: service \"s\": gue_port", "leat.toml:7:15: service \"s\": gue_version", "leat.toml:8:16"],
    ),
    toml(connected!("mode = \"gue\"\ngue_port = 0"), &["gue_port 0 is out of range; write 1 to 65535"]),
    toml(connected!("mode = \"gue\"\ngue_port = 65536"), &["gue_port 65536 is out of range"]),
    toml(connected!("mode = \"gue\"\ngue_port = \"6080\""), &["gue_port must be a whole number, not a string"]),
    toml(connected!("mode = \"gue\"\ngue_version = 2"), &["gue_version 2 is unknown; write 0", "or 1"]),
    toml(connected!("mode = \"gue\"\ngue_version = -1"), &["gue_version -1 is unknown"]),
    toml(connected!("mode = \"gue\"\ngue_checksum = 1"), &["gue_checksum must be true or false, not a number"]),
    toml(connected!("mode = \"gue\"\ngue_prot = 1"), &["unknown key gue_prot; did you mean gue_port?"]),
    // Proxy ARP.
    toml(
        service!("proxy_arp = [\"10.0.0.0/24\"]"),
        &["leat.toml:5:14: service \"s\": proxy_arp belongs to mode nat, and the mode is fullnat"],
    ),
    toml(service!("mode = \"dr\"\nproxy_arp = [\"10.0.0.0/24\"]"), &["belongs to mode nat, and the mode is dr"]),
    toml(service!("mode = \"nat\"\nproxy_arp = \"10.0.0.0/24\""), &["proxy_arp must be a list of strings"]),
    toml(
        service!("mode = \"nat\"\nproxy_arp = [\"10.0.0.1/24\"]"),
        &["proxy_arp 10.0.0.1/24 has bits set beyond its prefix; write 10.0.0.0/24"],
    ),
    toml(
        service!("mode = \"nat\"\nproxy_arp = [\"10.0.0.1\"]"),
        &["proxy_arp 10.0.0.1 has no prefix length; write 10.0.0.1/32"],
    ),
    toml(service!("mode = \"nat\"\nproxy_arp = [\"10.0.0.0/33\"]"), &["prefix length that is not 0 to 32"]),
    toml(
        service!("mode = \"nat\"\nproxy_arp = [\"fd00::/64\"]"),
        &["proxy_arp fd00::/64 is of IPv6, and the VIP's clients are of IPv4"],
    ),
    toml(service!("mode = \"nat\"\nproxy_arp = [\"fe80::/64\"]"), &["proxy_arp fe80::/64 has link-local addresses"]),
    toml(service!("mode = \"nat\"\nproxy_arp = [\"::ffff:10.0.0.0/120\"]"), &["write 10.0.0.0/24"]),
    toml(service!("mode = \"nat\"\nproxy_arp = [\"224.0.0.0/4\"]"), &["224.0.0.0/4 is no range of hosts"]),
    toml(service!("mode = \"nat\"\nproxy_arp = [\"127.0.0.0/8\"]"), &["127.0.0.0/8 is no range of hosts"]),
    toml(
        service!("mode = \"nat\"\nproxy_arp = [\"10.0.0.0/24\", \"10.0.0.0/24\"]"),
        &["leat.toml:6:29", "proxy_arp 10.0.0.0/24 is there twice"],
    ),
    toml(
        service!("mode = \"nat\"\nproxy_arp = [\"10.0.0.10/32\"]"),
        &["leat.toml:6:14", "proxy_arp 10.0.0.10/32 holds nothing but addresses of leat's own"],
    ),
    toml(
        service!("mode = \"nat\"\nproxy_arp = [\"10.0.0.2/31\"]"),
        &["proxy_arp 10.0.0.2/31 holds nothing but addresses of leat's own and backends"],
    ),
    // A dr backend is on the link.
    toml(
        connected!("mode = \"dr\"\nbackend = [{ address = \"10.0.0.2\" }, { address = \"10.1.0.2\" }]"),
        &[
            "leat.toml:10:50: service \"s\": backend 10.1.0.2 is beyond a router, which mode dr cannot cross",
            "10.0.0.0/24",
        ],
    ),
    toml(
        concat!(
            "[[interface]]\nport = 0\naddresses = [\"10.0.0.254/24\"]\nroutes = [{ to = \"10.1.0.0/16\", via = \"10.0.0.1\" }]\n",
            "[[interface]]\nport = 1\n",
            "[[service]]\nvip = \"10.0.0.10\"\nport = 80\nmode = \"dr\"\nbackend = [{ address = \"10.1.0.2\" }]"
        ),
        &["backend 10.1.0.2 is beyond a router"],
    ),
    // The segment size.
    toml(service!("mss_clamp = 535"), &["leat.toml:5:13", "mss_clamp 535 is out of range; write 536 to 65495"]),
    toml(service!("mss_clamp = 65496"), &["mss_clamp 65496 is out of range"]),
    toml(service!("mss_clamp = \"1400\""), &["mss_clamp must be a whole number"]),
    toml(service!("protocol = \"udp\"\nmss_clamp = 1400"), &["mss_clamp is about TCP, and the protocol is udp"]),
    // Flow memory.
    toml(service!("flow_memory = \"0s\""), &["leat.toml:5:15", "flow_memory \"0s\" is no time at all"]),
    toml(service!("flow_memory = 300"), &["flow_memory must be a string"]),
    toml(service!("flow_memory = \"500ms\""), &["flow_memory \"500ms\" is not a time"]),
    toml(service!("flow_memory = \"366d\""), &["flow_memory \"366d\" is longer than 365 days"]),
    // Health.
    toml(service!("health = \"arp\""), &["health must be a table, not a string"]),
    toml(service!("health = {}"), &["leat.toml:5:10: service \"s\", health: type is missing; write type = \"tcp\""]),
    toml(service!("health = { type = \"apr\" }"), &["type \"apr\" is unknown; did you mean arp?"]),
    toml(service!("health = { type = \"smtp\" }"), &["type \"smtp\" is unknown", "none, arp, icmp, tcp or http"]),
    toml(
        service!("health = { type = \"arp\", path = \"/\" }"),
        &["leat.toml:5:33: service \"s\", health: path belongs to type http, and the type is arp"],
    ),
    toml(service!("health = { type = \"tcp\", status = 200 }"), &["status belongs to type http, and the type is tcp"]),
    toml(service!("health = { type = \"icmp\", port = 80 }"), &["port belongs to types tcp and http"]),
    toml(service!("health = { type = \"tcp\", port = 0 }"), &["port"]),
    toml(
        service!("health = { type = \"http\", path = \"health\" }"),
        &["path \"health\" is none of a URL; write it as /"],
    ),
    toml(service!("health = { type = \"http\", path = \"/a b\" }"), &["path \"/a b\" is none of a URL"]),
    toml(service!("health = { type = \"http\", host = \"a\\r\\nb\" }"), &["is no name of a host"]),
    toml(service!("health = { type = \"http\", body = \"\" }"), &["body is empty, and every body contains that"]),
    toml(service!("health = { type = \"http\", status = 99 }"), &["status 99 is out of range; write 100 to 599"]),
    toml(
        service!("health = { type = \"http\", status = \"299-200\" }"),
        &["status \"299-200\" is none; write it as 200"],
    ),
    toml(service!("health = { type = \"http\", status = \"ok\" }"), &["status \"ok\" is none"]),
    toml(service!("health = { type = \"http\", status = \"200,\" }"), &["status \"200,\" is none"]),
    toml(service!("health = { type = \"http\", status = true }"), &["status must be a string or a whole number"]),
    toml(
        service!("health = { type = \"tcp\", interval = \"1s\", jitter = \"2s\" }"),
        &["jitter \"2s\" is longer than the interval, 1s"],
    ),
    toml(service!("health = { type = \"tcp\", start_delay = \"2h\" }"), &["start_delay \"2h\" is out of range"]),
    toml(
        service!("mode = \"dr\"\nhealth = { type = \"tcp\" }"),
        &["health type tcp needs an own address to ask from in mode dr, where the backend holds the VIP itself"],
    ),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nprotocol = \"any\"\nmode = \"nat\"\nhealth = { type = \"tcp\" }",
        &["type tcp needs a port where the protocol is any"],
    ),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nprotocol = \"any\"\nmode = \"nat\"\nhealth = { type = \"icmp\" }",
        &["health type icmp needs an own address", "all ports of the VIP are the clients'"],
    ),
    toml(service!("health = { type = \"arp\", intreval = \"1s\" }"), &["did you mean interval?"]),
    toml(service!("health = { type = \"arp\", interval = 5 }"), &["interval must be a string"]),
    toml(service!("health = { type = \"arp\", interval = \"5\" }"), &["interval \"5\" is not a time", "\"5s\""]),
    toml(
        service!("health = { type = \"arp\", interval = \"99ms\" }"),
        &["leat.toml:5:37: service \"s\", health: interval \"99ms\" is out of range; write 100ms to 1h"],
    ),
    toml(service!("health = { type = \"arp\", interval = \"2h\" }"), &["interval \"2h\" is out of range"]),
    toml(service!("health = { type = \"arp\", timeout = \"0ms\" }"), &["timeout \"0ms\" is out of range"]),
    toml(
        service!("health = { type = \"arp\", timeout = \"6s\" }"),
        &["timeout \"6s\" is longer than the interval, 5s", "the next probe would leave", "no more than the interval"],
    ),
    toml(
        service!("health = { type = \"none\", interval = \"500ms\", timeout = \"1s\" }"),
        &["timeout \"1s\" is longer than the interval, 500ms"],
    ),
    toml(service!("health = { type = \"arp\", rise = 0 }"), &["rise 0 is out of range; write 1 to 255"]),
    toml(service!("health = { type = \"arp\", fall = 256 }"), &["fall 256 is out of range; write 1 to 255"]),
    toml(
        connected!("health = { type = \"arp\" }\nbackend = [{ address = \"10.0.0.2\", mac = \"02:00:00:00:00:02\" }]"),
        &["leat.toml:10:42", "backend 10.0.0.2 has a mac", "type arp would learn nothing", "leave one of the two out"],
    ),
    toml(
        connected!("health = { type = \"arp\" }\nbackend = [{ address = \"10.1.0.2\" }]"),
        &["backend 10.1.0.2 is beyond a router, where health type arp cannot see it", "10.0.0.0/24"],
    ),
    // A failed backend's connections, and segments without one.
    toml(
        service!("on_failure = \"move\""),
        &[
            "leat.toml:5:14",
            "on_failure \"move\" is for nat and the one-way modes, and the mode is fullnat",
            "write keep or reset",
        ],
    ),
    toml(service!("slow_start = \"0s\""), &["slow_start \"0s\" is no time at all"]),
    toml(service!("panic = 0"), &["leat.toml:5:9", "panic 0 is out of range; write 1 to 100"]),
    toml(service!("panic = \"50%\""), &["panic must be a whole number"]),
    toml(service!("on_failure = \"kep\""), &["on_failure \"kep\" is unknown; did you mean keep?"]),
    toml(
        service!("no_connection = \"schedule\""),
        &["no_connection \"schedule\" in mode fullnat is not in this version; drop and reset are"],
    ),
    toml(service!("no_connection = \"dorp\""), &["no_connection \"dorp\" is unknown; did you mean drop?"]),
    toml(
        service!("mode = \"dr\"\nsyn_proxy = \"auto\""),
        &["leat.toml:6:", "syn_proxy \"auto\" needs the backends' answers to pass leat, and in mode dr they do not"],
    ),
    toml(service!("protocol = \"udp\"\nsyn_proxy = \"always\""), &["syn_proxy is about TCP, and the protocol is udp"]),
    toml(service!("syn_proxy = \"alway\""), &["syn_proxy \"alway\" is unknown; did you mean always?"]),
    toml(
        service!("mode = \"nat\"\nsequence_numbers = \"own\""),
        &["sequence_numbers is for mode fullnat, and in mode nat the backends see the client itself"],
    ),
    toml(service!("protocol = \"udp\"\nsequence_numbers = \"own\""), &["sequence_numbers is about TCP"]),
    toml(service!("client_address = \"proxy\""), &["client_address \"proxy\" is unknown", "proxy_v1"]),
    toml(service!("mode = \"dr\"\nclient_address = \"toa\""), &["client_address is for mode fullnat"]),
    toml(service!("protocol = \"udp\"\nclient_address = \"toa\""), &["client_address is about TCP"]),
    toml(service!("toa_kind = 200"), &["toa_kind is for client_address \"toa\""]),
    toml(service!("client_address = \"toa\"\ntoa_kind = 8"), &["toa_kind 8 is out of range; write 31 to 255"]),
    toml(service!("one_packet = true"), &["one_packet is about UDP, and the protocol is tcp"]),
    toml(
        service!("protocol = \"udp\"\nmode = \"nat\"\none_packet = true"),
        &["one_packet is for fullnat and the one-way modes"],
    ),
    toml(service!("one_packet = 1"), &["one_packet must be true or false"]),
    toml(service!("max_connections = 0"), &["max_connections 0 is out of range; write 1 to 4294967295"]),
    toml(service!("max_rate = -1"), &["max_rate -1 is out of range"]),
    toml(
        service!("client_max_connections = 65536"),
        &["client_max_connections 65536 is out of range; write 1 to 65535"],
    ),
    toml(service!("client_max_rate = 0"), &["client_max_rate 0 is out of range"]),
    toml(service!("no_connection = true"), &["no_connection must be a string in \" \", not true or false"]),
];

pub(crate) const GOOD: &[Good] = &[
    ("-- --vip any:10.0.0.254 --backend 10.0.0.5 --backend 10.0.0.6 --mode nat --scheduler rr", None, |run| {
        let service = &run.config.services[0];
        service.mode.name() == "nat"
            && service.local_addresses.is_empty()
            && service.tunnel.is_none()
            && service.no_connection.name() == "drop"
            && service.on_failure.name() == "keep"
            && run.warnings.len() == 1
            && run.warnings[0].contains("cannot hear each other's ARP")
    }),
    (
        "-- --vip 10.0.0.10:80 --backend 10.1.0.5:8080 --mode nat --address 10.0.0.9/24 --address 10.1.0.9/24",
        None,
        |run| run.config.services[0].backends[0].port == 8080 && run.warnings.is_empty(),
    ),
    ("-- --vip any:10.0.0.10 --backend 10.0.0.2 --mode dr", None, |run| {
        let service = &run.config.services[0];
        service.mode.is_one_way()
            && service.local_addresses.is_empty()
            && service.no_connection.name() == "schedule"
            && run.warnings.is_empty()
    }),
    ("-- --vip 20.0.0.1:80 --backend 10.3.0.2 --backend 10.3.0.3:80 --mode ipip --address 10.0.0.2/24", None, |run| {
        run.config.services[0].tunnel.is_some_and(|tunnel| tunnel.between() == 0) && run.warnings.is_empty()
    }),
    ("-- --vip any:20.0.0.1 --backend 10.3.0.2 --mode gue --address 20.0.0.1/32 --address 10.0.0.2/24", None, |run| {
        run.config.services[0].tunnel.is_some_and(|tunnel| tunnel.between() == 12)
    }),
    // The VIP of a service whose backends do not hold it is as good a source as any.
    (
        "-- -c leat.toml",
        Some(concat!(
            "[[interface]]\nport = 0\naddresses = [\"10.0.0.11/24\"]\n",
            "[[service]]\nvip = \"10.0.0.11\"\nport = 80\nbackend = [{ address = \"10.0.0.5\" }]\n",
            service!("mode = \"gue\"\ngue_version = 1\ngue_port = 19\ngue_checksum = true")
        )),
        |run| {
            let tunnel = run.config.services[1].tunnel;
            format!("{tunnel:?}") == "Some(Gue(Gue { port: 19, version: V1, checksum: true }))"
                && tunnel.is_some_and(|tunnel| tunnel.between() == 8)
                && run.warnings.is_empty()
        },
    ),
    // A range may hold backends and own addresses, and everything.
    (
        "-- -c leat.toml",
        Some(service!("mode = \"nat\"\nproxy_arp = [\"10.0.0.0/24\", \"10.0.0.8/29\", \"0.0.0.0/0\"]")),
        |run| run.config.services[0].proxy_arp.len() == 3,
    ),
    // With its Ethernet address known, or where an interface has no addresses, a backend may be on the link.
    (
        "-- -c leat.toml",
        Some(connected!(
            "mode = \"dr\"\nbackend = [{ address = \"10.1.0.2\", mac = \"02:00:00:00:00:02\" }, { address = \"10.0.0.3\" }]"
        )),
        |run| run.config.services[0].backends.len() == 2,
    ),
    (
        "-- -c leat.toml",
        Some(concat!(
            "[[interface]]\nport = 0\naddresses = [\"10.0.0.254/24\"]\n[[interface]]\nport = 1\n",
            "[[service]]\nvip = \"10.0.0.10\"\nport = 80\nmode = \"nat\"\nhealth = { type = \"arp\" }\n",
            "backend = [{ address = \"10.1.0.2\" }]"
        )),
        |run| run.warnings.is_empty(),
    ),
    (
        "-- -c leat.toml",
        Some(service!(
            "mode = \"nat\"\nhealth = { type = \"arp\", interval = \"1500ms\", timeout = \"1500ms\", rise = 2, fall = 255 }\n"
            "on_failure = \"move\"\nno_connection = \"schedule\"\nflow_memory = \"5m\"\nmss_clamp = 1400"
        )),
        |run| {
            let service = &run.config.services[0];
            service.health.as_ref().is_some_and(|health| {
                (health.interval.as_millis(), health.timeout.as_millis(), health.rise, health.fall)
                    == (1500, 1500, 2, 255)
            }) && service.on_failure.name() == "move"
                && service.no_connection.name() == "schedule"
                && service.flow_memory.is_some_and(|time| time.as_secs() == 300)
                && service.mss_clamp == Some(1400)
        },
    ),
    // The defaults of health, and that a short interval shortens the default timeout.
    (
        "-- -c leat.toml",
        Some(concat!(
            "[[service]]\nvip = \"10.0.0.11\"\nport = 80\nhealth = { type = \"arp\", interval = \"500ms\" }\n",
            service!("health = { type = \"arp\" }")
        )),
        |run| {
            let [short, usual] = [0, 1].map(|index| run.config.services[index].health.clone().unwrap());
            (short.interval.as_millis(), short.timeout.as_millis()) == (500, 500)
                && (usual.interval.as_secs(), usual.timeout.as_secs(), usual.rise, usual.fall) == (5, 3, 1, 1)
        },
    ),
    (
        "-- -c leat.toml",
        Some(concat!("standby = true\n", service!("health = { type = \"tcp\" }\nslow_start = \"30s\"\npanic = 50"))),
        |run| {
            let service = &run.config.services[0];
            run.config.standby
                && run.warnings.len() == 1
                && run.warnings[0].contains("as long as the VIP is withdrawn, nothing is asked")
                && (service.slow_start.map(|time| time.as_secs()), service.panic) == (Some(30), Some(50))
        },
    ),
    ("-- -c leat.toml", Some(service!("slow_start = \"30s\"\nscheduler = \"rr\"")), |run| run.warnings.len() == 2),
    ("-- -c leat.toml", Some(service!("health = { type = \"none\", interval = \"1s\" }")), |run| {
        run.config.services[0].health.is_none()
    }),
    ("-- -c leat.toml", Some(service!("mode = \"dr\"\nno_connection = \"drop\"\non_failure = \"move\"")), |run| {
        run.config.services[0].no_connection.name() == "drop" && run.warnings[0].contains("without health no failure")
    }),
    ("-- -c leat.toml", Some(service!("protocol = \"udp\"\nflow_memory = \"1s\"")), |run| {
        run.config.services[0].flow_memory.is_some_and(|time| time.as_secs() == 1)
    }),
    // What is the VIP to a backend is no source towards it.
    (
        "-- -c leat.toml",
        Some(concat!(
            service!("mode = \"dr\""),
            "[[service]]\nname = \"full\"\nvip = \"10.0.0.10\"\nport = 81\nbackend = [{ address = \"10.0.0.3\" }]"
        )),
        |run| {
            run.warnings.len() == 1
                && run.warnings[0]
                    .contains("service \"full\": its local address 10.0.0.10 is the VIP of a one-way service")
                && run.warnings[0].contains("backend 10.0.0.3")
        },
    ),
];
