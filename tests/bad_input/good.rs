//! Legal command lines and files.

use super::row::Good;

pub(crate) const GOOD: &[Good] = &[
    ("-l 0 --vdev=net_tap0,iface=tapdpdk -- --vip 10.0.0.10:8080 --backend 10.0.0.2 --backend 10.0.0.3", None, |run| {
        let service = &run.config.services[0];
        run.eal == ["-l", "0", "--vdev=net_tap0,iface=tapdpdk"]
            && (service.name.as_str(), service.port) == ("tcp:10.0.0.10:8080", 8080)
            && service.local_addresses == [service.vip]
            && service.maglev_table_size.get() == 65_537
            && service.backends.iter().all(|backend| backend.port == 8080 && backend.weight == 1)
            && run.config.connections == 1_048_576
            && run.config.api.to_string() == "unix:/run/leat/leat.sock"
            && run.config.mac.to_string() == "auto"
            && !run.trace
            && run.warnings.is_empty()
    }),
    ("-- --vip [2001:db8::10]:80 --backend 2001:db8::2 --backend [2001:db8::3]:81,weight=2", None, |run| {
        let service = &run.config.services[0];
        service.name == "tcp:[2001:db8::10]:80"
            && service.local_addresses == [service.vip]
            && service.backends.iter().map(|backend| backend.port).eq([80, 81])
    }),
    ("-- --vip udp:[2001:db8::10]:53 --backend 10.0.0.2 --local-address 10.0.0.11", None, |run| {
        let service = &run.config.services[0];
        service.vip.is_ipv6() && service.backends[0].address.is_ipv4() && run.warnings.is_empty()
    }),
    (
        "-- -c leat.toml",
        Some(
            "[clients]\ndeny = [\"2001:db8:1::/48\"]\n[[interface]]\nport = 0\n\
             addresses = [\"2001:db8::fe/64\", \"10.0.0.254/24\"]\ngateway = \"fe80::1\"\n\
             routes = [{ to = \"0.0.0.0/0\", via = \"10.0.0.1\" }, { to = \"2001:db8:2::/48\", via = \"2001:db8::1\" }]",
        ),
        |run| run.config.interfaces[0].routes.len() == 2 && run.config.interfaces[0].gateway.is_some(),
    ),
    ("-- --trace --backend 10.0.0.3:81 --vip udp:10.0.0.10:53", None, |run| {
        let service = &run.config.services[0];
        run.trace && service.protocol.to_string() == "udp" && service.backends[0].port == 81 && run.eal.is_empty()
    }),
    ("-- --vip any:10.0.0.10 --backend 10.0.0.2 --local-address 10.0.0.11 --local-address 10.0.0.12", None, |run| {
        let service = &run.config.services[0];
        service.name == "any:10.0.0.10"
            && service.port == 0
            && service.backends[0].port == 0
            && service.local_addresses.len() == 2
    }),
    (
        "-- --vip tcp:10.0.0.10:80 --backend 10.0.0.2,mac=02:00:00:00:00:02,weight=0 --backend 10.0.0.2:81",
        None,
        |run| {
            let backends = &run.config.services[0].backends;
            backends[0].weight == 0 && backends[0].mac.is_some() && backends[1].port == 81 && run.warnings.is_empty()
        },
    ),
    (
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2,weight=65535 --scheduler wlc --mode fullnat --persistence 300",
        None,
        |run| {
            let service = &run.config.services[0];
            service.scheduler.to_string() == "wlc"
                && service.persistence.is_some_and(|time| time.as_secs() == 300)
                && service.backends[0].weight == 65_535
        },
    ),
    ("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --address 10.0.0.254/24 --address 10.1.0.1/32", None, |run| {
        run.config.addresses[0].to_string() == "10.0.0.254/24" && run.config.addresses.len() == 2
    }),
    ("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --address 10.0.0.10/24 --local-address 10.0.0.10", None, |run| {
        run.config.services[0].local_addresses == [run.config.addresses[0].addr()]
    }),
    (
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2 --connections 1 --api 127.0.0.1:9406 --mac 00:00:00:00:00:fe",
        None,
        |run| {
            run.config.connections == 1
                && run.config.api.to_string() == "127.0.0.1:9406"
                && run.config.mac.to_string() == "00:00:00:00:00:fe"
        },
    ),
    ("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --scheduler rr --mac auto", None, |run| {
        run.config.mac.to_string() == "auto"
    }),
    ("-- --vip 10.0.0.10:80 --backend 10.0.0.2,weight=0", None, |run| run.warnings[0].contains("weight 0")),
    ("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --backend 10.0.0.3,weight=2 --scheduler rr", None, |run| {
        run.warnings[0].contains("rr ignores weights")
    }),
    // Files.
    ("-- -c leat.toml", Some(""), |run| {
        run.config.services.is_empty() && run.warnings[0].contains("no service") && run.file.is_some()
    }),
    ("-- --config=leat.toml", Some("[[service]]\nvip = \"10.0.0.10\"\nport = 80"), |run| {
        run.config.services[0].backends.is_empty() && run.warnings[0].contains("no backends")
    }),
    (
        "-- --mac 02:00:00:00:00:01 -c leat.toml --api unix:mine",
        Some(
            "mac = \"02:00:00:00:00:02\"\napi = \"unix:theirs\"\nhash_seed = 18446744073709551615\nconnections = 0x10_00\n\
             buffers = 16777216",
        ),
        |run| {
            run.config.mac.to_string() == "02:00:00:00:00:01"
                && run.config.api.to_string() == "unix:mine"
                && run.config.hash_seed == u64::MAX
                && run.config.connections == 4096
                && run.config.buffers == 16_777_216
        },
    ),
    (
        "-- -c leat.toml",
        Some(
            "[timeouts]\ntcp_established = \"1d\"\nudp = \"90s\"\n[[interface]]\nport = 0\naddresses = [\"10.0.0.254/24\"]\n\
             gateway = \"10.0.0.1\"\nroutes = [{ to = \"192.0.2.0/24\", via = \"10.0.0.2\" }, { to = \"198.51.100.7/32\", via = \"10.0.0.3\" }]\n\
             [[interface]]\nport = \"0000:01:00.0\"",
        ),
        |run| {
            let config = &run.config;
            config.timeouts.tcp_established.as_secs() == 86_400
                && config.timeouts.udp.as_secs() == 90
                && config.timeouts.icmp.as_secs() == 60
                && config.interfaces[0].port.to_string() == "0"
                && config.interfaces[0].gateway.is_some()
                && config.interfaces[0].routes.len() == 2
                && config.interfaces[1].port.to_string() == "0000:01:00.0"
        },
    ),
    (
        "-- -c leat.toml",
        Some(
            "[[service]]\nname = \"all\"\nvip = \"10.0.0.10\"\nprotocol = \"any\"\nlocal_addresses = [\"10.0.0.11\"]\n\
             backend = [{ address = \"10.0.0.2\" }]\n\
             [[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 80\nhealth = { type = \"none\" }\non_failure = \"keep\"\n\
             no_connection = \"drop\"\nbackend = [{ address = \"10.0.0.2\", port = 8080 }, { address = \"10.0.0.2\", port = 8081 }]\n\
             [[service]]\nvip = \"10.0.0.10\"\nprotocol = \"udp\"\nport = 80\nmaglev_table_size = 655373\nlocal_addresses = [\"10.0.0.11\"]",
        ),
        |run| {
            let services = &run.config.services;
            services.len() == 3
                && services[1].backends[1].port == 8081
                && services[2].name == "udp:10.0.0.10:80"
                && services[2].maglev_table_size.get() == 655_373
                && run
                    .warnings
                    .iter()
                    .any(|warning| warning.contains("\"web\": its local address 10.0.0.10 is the VIP of \"all\""))
        },
    ),
];
