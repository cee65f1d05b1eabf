//! IPv6's neighbour discovery with real kernels: addresses that somebody else has, routers with link-local addresses.
#![cfg(feature = "dpdk")]

mod support;

use std::fs;

use support::{
    LIMIT, TempDir,
    capture::Capture,
    leat::{Leat, TAP, http_get},
    net::{B1, CLIENT, Net, Role, Shape},
    servers::Nginx,
};

const VIP: &str = "2001:db8::10";
/// leat's port, at the bridge.
const TAP_DEVICE: &str = "tapdpdk";

/// Runs `ip -6` in a namespace.
#[track_caller]
fn ip6(net: &Net, role: Role, words: &[&str]) -> String {
    net.exec(role, &[&["ip", "-6"], words].concat()).success().stdout
}

#[test]
fn leat_does_not_use_an_own_or_local_address_that_another_host_has() {
    const OTHER: Role = Role::Client(2);
    let net = Net::up_as("v6_dad", Shape { clients: 2, ipv6: true, ..Shape::default() });
    let backend = net.address_v6(B1);
    let _server = Nginx::start_v6(&net, B1, 8080, 0);
    for address in ["2001:db8::fe/64", "2001:db8::11/64"] {
        ip6(&net, OTHER, &["address", "add", address, "dev", "eth0", "nodad"]);
    }
    let directory = TempDir::new("v6_dad");
    let file = directory.join("leat.toml");
    let text = format!(
        "[[interface]]\nport = 0\naddresses = [\"2001:db8::fe/64\"]\n[[service]]\nvip = \"{VIP}\"\nport = 80\n\
         local_addresses = [\"2001:db8::11\", \"2001:db8::13\"]\nbackend = [{{ address = \"{backend}\", port = 8080 }}]\n"
    );
    fs::write(&file, text).expect("a temporary directory can be written");
    let leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a temporary path is text")]);
    let given_up = support::wait_for("both addresses to be given up", LIMIT, || {
        let given_up = leat.status()["given_up"].as_array().expect("a list").clone();
        (given_up.len() == 2).then_some(given_up)
    });
    for (it, address) in given_up.iter().zip(["2001:db8::11", "2001:db8::fe"]) {
        assert_eq!((&it["address"], &it["mac"]), (&address.into(), &net.mac(OTHER).into()), "{given_up:?}");
        let line = format!("{address}: the station at {} on port 0 has this address already", net.mac(OTHER));
        assert!(leat.stderr().contains(&line), "{}", leat.stderr());
        let (_, page) = http_get(leat.api(), "/metrics");
        assert!(page.contains(&format!("leat_address_given_up{{address=\"{address}\"}} 1")), "{page}");
    }
    assert_eq!(leat.status()["services"][0]["local_addresses"], serde_json::json!(["2001:db8::13"]));

    // Who asks for the address hears its holder and nobody else; and the backend sees one client.
    let capture = Capture::start(&net, B1, "eth0");
    let url = format!("http://[{VIP}]/?[1-20]");
    let close = ["-H", "Connection: close"];
    let answers = net.exec(CLIENT, &[&["curl", "-6", "-sS"], &close[..], &[&url]].concat()).success().stdout;
    assert_eq!(answers, format!("backend {backend}\n").repeat(20));
    for address in ["2001:db8::fe", "2001:db8::11"] {
        net.exec(CLIENT, &["ping", "-6", "-c", "1", address]).success();
        let neighbour = ip6(&net, CLIENT, &["neighbour", "show", address]);
        assert!(neighbour.contains(&net.mac(OTHER)), "{neighbour}");
    }
    let lines = capture.stop().render(&["ip6 and tcp dst port 8080"]);
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains("2001:db8::13.")), "{lines:?}");

    let mut leatctl = support::process::command(env!("CARGO_BIN_EXE_leatctl"));
    let api = format!("unix:{}", leat.api().display());
    let shown = support::process::run(leatctl.args(["status", "--api", &api]), LIMIT).success().stdout;
    assert!(shown.contains("2001:db8::fe: ") && shown.contains("has it, too"), "{shown}");
    leat.stop();
}

/// The router is the first client's host, known by its link-local address; the other client and the backend are behind it. The
/// way to the client has an MTU of 1400.
#[test]
fn a_router_with_a_link_local_address_leads_to_clients_and_backends() {
    const OTHER: Role = Role::Client(2);
    let net = Net::up_as("v6_router", Shape { clients: 2, backends: 1, ipv6: true, ..Shape::default() });
    let [other, backend] = [OTHER, B1].map(|role| net.address_v6(role).to_string());
    for setting in ["all.forwarding=1", "all.accept_redirects=0"] {
        net.exec(CLIENT, &["sysctl", "-qw", &format!("net.ipv6.conf.{setting}")]).success();
    }
    ip6(&net, CLIENT, &["address", "add", "fe80::1/64", "dev", "eth0", "nodad"]);
    let narrow = ["route", "add", "2001:db8:1::/64", "via", &other, "mtu", "lock", "1400"];
    ip6(&net, CLIENT, &narrow);
    ip6(&net, CLIENT, &["route", "add", "2001:db8:2::/64", "via", &backend]);
    ip6(&net, OTHER, &["address", "add", "2001:db8:1::7/128", "dev", "lo", "nodad"]);
    ip6(&net, OTHER, &["route", "add", &format!("{VIP}/128"), "via", "fe80::1", "dev", "eth0", "src", "2001:db8:1::7"]);
    ip6(&net, B1, &["address", "add", "2001:db8:2::2/128", "dev", "lo", "nodad"]);
    let _server = Nginx::start_v6(&net, B1, 8080, 1_000_000);
    let directory = TempDir::new("v6_router");
    let file = directory.join("leat.toml");
    for addresses in ["addresses = [\"2001:db8::fe/64\"]", ""] {
        let text = format!(
            "[[interface]]\nport = 0\n{addresses}\ngateway = \"fe80::1\"\n[[service]]\nvip = \"{VIP}\"\nport = 80\n\
             backend = [{{ address = \"2001:db8:2::2\", port = 8080 }}]\n"
        );
        fs::write(&file, text).expect("a temporary directory can be written");
        let leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a temporary path is text")]);
        support::wait_for("the router to be found", LIMIT, || {
            let neighbors = leat.status()["neighbors"].clone();
            assert_eq!(neighbors.as_array().map(Vec::len), Some(1), "{neighbors}");
            assert_eq!(neighbors[0]["address"], "fe80::1%net_tap0");
            (neighbors[0]["mac"] == net.mac(CLIENT)).then_some(())
        });
        let page = ["curl", "-6", "-sS", "-o", "/dev/null", "-w", "%{size_download}", "--max-time", "20"];
        let finished = net.exec(OTHER, &[&page[..], &[&format!("http://[{VIP}]/big")]].concat()).success();
        assert_eq!(finished.stdout, "1000000", "{addresses}: {}", leat.stderr());
        // The router forgets everybody, and asks in the name of its link-local address.
        ip6(&net, CLIENT, &["neighbour", "flush", "dev", "eth0"]);
        let finished = net.exec(OTHER, &[&page[..], &[&format!("http://[{VIP}]/")]].concat()).success();
        assert_ne!(finished.stdout, "0");
        for reason in ["neighbor_unresolved", "ndp_malformed", "ipv6_source"] {
            assert_eq!(leat.dropped(reason), 0, "{reason}");
        }
        leat.stop();
    }
}

/// Nothing leads to leat but that it answers for the clients, whom the backends take to be on their link.
#[test]
fn in_nat_on_one_network_leat_answers_the_backends_in_the_clients_name() {
    let net = Net::up_as("v6_proxy", Shape { isolated: true, ipv6: true, ..Shape::default() });
    let backends = [B1, Role::Backend(2)];
    let _servers = backends.map(|role| Nginx::start_v6(&net, role, 8080, 0));
    let [one, two] = backends.map(|role| format!("[{}]:8080", net.address_v6(role)));
    let vip = format!("[{VIP}]:80");
    let own = ["--mode", "nat", "--vip", &vip, "--backend", &one, "--backend", &two, "--scheduler", "rr"];
    let leat = Leat::start_in(&net, TAP, &own);
    let url = format!("http://[{VIP}]/?[1-20]");
    let answers = net.exec(CLIENT, &["curl", "-6", "-sS", "-H", "Connection: close", &url]).success().stdout;
    assert_eq!(support::tally(answers.lines()).values().copied().collect::<Vec<_>>(), [10, 10], "{answers}");
    for role in backends {
        let neighbour = ip6(&net, role, &["neighbour", "show", "2001:db8::1"]);
        assert!(neighbour.contains(&leat.mac()), "{neighbour}");
    }
    assert!(leat.stderr().contains("cannot hear each other's neighbour discovery"), "{}", leat.stderr());
    assert_eq!((leat.dropped("ndp_past_leat"), leat.dropped("stray_reply")), (0, 0));
    leat.stop();
}

/// Where backends hold the VIP and leat has no own address, it asks for them in nobody's name.
#[test]
fn a_backend_that_starts_while_leat_asks_for_it_keeps_its_address() {
    let net = Net::up_as("v6_start", Shape { ipv6: true, ..Shape::default() });
    let backend = format!("{}/64", net.address_v6(B1));
    for setting in ["net.ipv6.conf.all.accept_dad=1", "net.ipv6.conf.eth0.accept_dad=1"] {
        net.exec(B1, &["sysctl", "-qw", setting]).success();
    }
    ip6(&net, B1, &["address", "delete", &backend, "dev", "eth0"]);
    let directory = TempDir::new("v6_start");
    let file = directory.join("leat.toml");
    let text = format!(
        "[[service]]\nvip = \"{VIP}\"\nport = 80\nmode = \"dr\"\nhealth = {{ type = \"arp\", interval = \"1s\", timeout = \"1s\" }}\n\
         backend = [{{ address = \"{}\" }}]\n",
        net.address_v6(B1)
    );
    fs::write(&file, text).expect("a temporary directory can be written");
    let leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a temporary path is text")]);
    let state = || leat.status()["services"][0]["backends"][0]["health"]["state"].as_str().map(str::to_owned);
    support::wait_for("the backend to be missed", LIMIT, || (state()? == "down").then_some(()));
    ip6(&net, B1, &["address", "add", &backend, "dev", "eth0"]);
    support::wait_for("the backend to be found", LIMIT, || {
        let shown = ip6(&net, B1, &["address", "show", "dev", "eth0"]);
        assert!(!shown.contains("dadfailed"), "{shown}");
        (state()? == "up").then_some(())
    });
    leat.stop();
}

/// A switch that passes on to a port only what somebody there listens to, as most do where multicast is in use.
#[test]
fn leat_is_found_behind_a_switch_that_listens_to_reports_of_multicast_listeners() {
    let net = Net::up_as("v6_snoop", Shape { ipv6: true, ..Shape::default() });
    let _server = Nginx::start_v6(&net, B1, 8080, 0);
    let lb = |words: &[&str]| net.exec(Role::Lb, words).success().stdout;
    lb(&["sysctl", "-qw", "net.ipv6.conf.br0.disable_ipv6=0", "net.ipv6.conf.br0.accept_dad=0"]);
    // In hundredths of a second. The switch asks for itself, and believes its table once the first answers are due.
    let snooping = ["mcast_snooping", "1", "mcast_querier", "1", "mcast_query_response_interval", "100"];
    let intervals = ["mcast_startup_query_interval", "100", "mcast_query_interval", "300"];
    lb(&[&["ip", "link", "set", "br0", "type", "bridge"], &snooping[..], &intervals[..]].concat());
    let backend = net.address_v6(B1);
    let own = ["--vip", &format!("[{VIP}]:80"), "--backend", &format!("[{backend}]:8080")];
    let leat = Leat::start_in(&net, TAP, &own);
    let knows = |group: &str| {
        let table = lb(&["bridge", "mdb", "show", "dev", "br0"]);
        table.lines().any(|line| line.contains(&format!("port {} ", TAP_DEVICE)) && line.contains(group))
    };
    support::wait_for("the switch to know leat's group", LIMIT, || knows("ff02::1:ff00:10").then_some(()));
    // Until it was asked again it would remember what leat said at the start.
    lb(&["bridge", "mdb", "del", "dev", "br0", "port", TAP_DEVICE, "grp", "ff02::1:ff00:10"]);
    support::wait_for("an answer to the switch's query", LIMIT, || knows("ff02::1:ff00:10").then_some(()));
    support::wait_for("the client to find leat", LIMIT, || {
        ip6(&net, CLIENT, &["neighbour", "flush", "dev", "eth0"]);
        net.exec(CLIENT, &["ping", "-6", "-c", "1", "-W", "1", VIP]).status.success().then_some(())
    });
    leat.stop();
}
