//! What each scheduler does to real connections: curl and nginx, and connections that are held open.
#![cfg(feature = "dpdk")]

mod support;

use support::{
    LIMIT,
    connections::Connections,
    leat::{Leat, TAP},
    net::{B1, B2, CLIENT, Net, Role, Shape},
    servers::Nginx,
    tally, wait_for,
};

/// A service with a scheduler, and these backends.
fn service<'a>(scheduler: &'a str, backends: &[&'a str]) -> Vec<&'a str> {
    let mut own = vec!["--vip", "10.0.0.10:8080", "--scheduler", scheduler];
    own.extend(backends.iter().flat_map(|backend| ["--backend", backend]));
    own
}

/// Which backend answers each of `count` requests, every one on a connection of its own, in their order.
#[track_caller]
fn answers(net: &Net, from: Role, count: usize) -> Vec<String> {
    let url = format!("http://10.0.0.10:8080/who?[1-{count}]");
    let printed = net.exec(from, &["curl", "-sS", "--fail", "-H", "Connection: close", &url]).success().stdout;
    let backends: Vec<String> = printed.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert_eq!(backends.len(), count, "{printed}");
    backends
}

#[test]
fn rr_takes_backends_strictly_in_turn() {
    let net = Net::up_as("rr", Shape { backends: 3, ..Shape::default() });
    let _servers = [1, 2, 3].map(|number| Nginx::start(&net, Role::Backend(number), 8080));
    let _leat = Leat::start_in(&net, TAP, &service("rr", &["10.0.0.2", "10.0.0.3", "10.0.0.4"]));
    let answers = answers(&net, CLIENT, 30);
    let turn: Vec<_> = answers.iter().cycle().skip(3).take(answers.len()).collect();
    assert!(answers.iter().eq(turn), "every third is the same: {answers:?}");
    assert_eq!(tally(answers.iter().map(String::as_str)).len(), 3);
}

#[test]
fn wrr_takes_backends_by_their_weights() {
    let net = Net::up("wrr");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let _leat = Leat::start_in(&net, TAP, &service("wrr", &["10.0.0.2,weight=3", "10.0.0.3,weight=1"]));
    let counts = tally(answers(&net, CLIENT, 40).iter().map(String::as_str));
    assert_eq!((counts["10.0.0.2"], counts["10.0.0.3"]), (30, 10));
}

#[test]
fn maglev_spreads_by_weight_and_a_weight_of_0_is_drained() {
    let net = Net::up_as("weights", Shape { backends: 3, ..Shape::default() });
    let _servers = [1, 2, 3].map(|number| Nginx::start(&net, Role::Backend(number), 8080));
    let backends = ["10.0.0.2,weight=3", "10.0.0.3,weight=1", "10.0.0.4,weight=0"];
    let _leat = Leat::start_in(&net, TAP, &service("maglev", &backends));
    let counts = tally(answers(&net, CLIENT, 400).iter().map(String::as_str));
    // Three quarters of 400 within six standard deviations.
    assert!((248..=352).contains(&counts["10.0.0.2"]) && counts.len() == 2, "{counts:?}");
}

#[test]
fn lc_chooses_a_backend_again_when_its_hundred_connections_are_closed() {
    let net = Net::up("lc");
    let first = Nginx::start(&net, B1, 8080);
    let _second = Nginx::start(&net, B2, 8080);
    let leat = Leat::start_in(&net, TAP, &service("lc", &["10.0.0.2", "10.0.0.3"]));
    let open = || leat.backends().iter().map(|(_, open, _)| *open).collect::<Vec<_>>();

    let mut held = Connections::new(&net, CLIENT, "10.0.0.10", 8080);
    held.open(200);
    assert_eq!(open(), [100, 100]);
    let on_first: Vec<usize> = (0..200).filter(|&number| held.who(number)[0] == "10.0.0.2").collect();
    assert_eq!(on_first.len(), 100);

    for number in on_first {
        held.close(number);
    }
    wait_for("the closed connections to be counted out", LIMIT, || (open() == [0, 100]).then_some(()));
    held.open(100);
    assert_eq!(open(), [100, 100]);
    for number in 200..300 {
        assert_eq!(held.who(number)[0], "10.0.0.2", "connection {number}");
    }

    // So it is when the backend is the first to end them.
    first.kill();
    for number in 200..300 {
        held.close(number);
    }
    wait_for("the ended connections to be counted out", LIMIT, || (open() == [0, 100]).then_some(()));
}

#[test]
fn wlc_weighs_open_connections() {
    let net = Net::up("wlc");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let leat = Leat::start_in(&net, TAP, &service("wlc", &["10.0.0.2,weight=3", "10.0.0.3,weight=1"]));
    let mut held = Connections::new(&net, CLIENT, "10.0.0.10", 8080);
    held.open(80);
    assert_eq!(leat.backends().iter().map(|(_, open, _)| *open).collect::<Vec<_>>(), [60, 20]);
}

#[test]
fn sh_keeps_a_client_on_one_backend() {
    let net = Net::up_as("sh", Shape { clients: 8, ..Shape::default() });
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let addresses = [B1, B2].map(|role| net.address(role).to_string());
    let _leat = Leat::start_in(&net, TAP, &service("sh", &addresses.each_ref().map(String::as_str)));
    let mut used = Vec::new();
    for client in 1..=8 {
        let counts = tally(answers(&net, Role::Client(client), 5).iter().map(String::as_str));
        assert_eq!(counts.len(), 1, "client {client}: {counts:?}");
        used.extend(counts.into_keys());
    }
    used.sort();
    used.dedup();
    assert_eq!(used.len(), 2, "eight clients over two backends");
}

#[test]
fn persistence_keeps_a_client_on_its_backend_until_it_was_silent_for_long() {
    let net = Net::up_as("persistence", Shape { clients: 2, ..Shape::default() });
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let mut own = service("rr", &["10.0.0.3", "10.0.0.4"]);
    own.extend(["--persistence", "600"]);
    let _leat = Leat::start_in(&net, TAP, &own);
    let mut chosen = Vec::new();
    for client in [Role::Client(1), Role::Client(2), Role::Client(1)] {
        let counts = tally(answers(&net, client, 10).iter().map(String::as_str));
        assert_eq!(counts.len(), 1, "{client}: {counts:?}");
        chosen.extend(counts.into_keys());
    }
    assert_ne!(chosen[0], chosen[1], "rr gave the second client the other backend");
    assert_eq!(chosen[0], chosen[2]);
}

#[test]
fn persistence_ends_after_its_time() {
    let net = Net::up("persistence_ends");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let mut own = service("rr", &["10.0.0.2", "10.0.0.3"]);
    own.extend(["--persistence", "1"]);
    let _leat = Leat::start_in(&net, TAP, &own);
    let first = answers(&net, CLIENT, 1);
    // Asking too early prolongs it; each wait is longer than the one before.
    let mut pause = std::time::Duration::from_millis(2500);
    wait_for("the other backend's turn", LIMIT, || {
        std::thread::sleep(pause);
        pause *= 2;
        (answers(&net, CLIENT, 1) != first).then_some(())
    });
}
