//! How many connections a backend may have, with real ones, in both versions of IP.
#![cfg(feature = "dpdk")]

mod support;

use std::fs;

use support::{
    LIMIT, TempDir,
    connections::Connections,
    leat::{Leat, TAP},
    net::{B1, B2, CLIENT, Net, Shape},
    servers::Nginx,
    wait_for,
};

#[test]
fn a_full_backend_gets_its_next_connection_when_one_has_ended() {
    for (label, vip, url, servers) in [
        ("limits", "10.0.0.10", "http://10.0.0.10:8080/", ["10.0.0.2", "10.0.0.3"]),
        ("v6_limits", "2001:db8::10", "http://[2001:db8::10]:8080/", ["2001:db8::2", "2001:db8::3"]),
    ] {
        let ipv6 = vip.contains(':');
        let net = Net::up_as(label, Shape { ipv6, ..Shape::default() });
        let _servers = [B1, B2].map(|role| match ipv6 {
            true => Nginx::start_v6(&net, role, 8080, 0),
            false => Nginx::start(&net, role, 8080),
        });
        let directory = TempDir::new(label);
        let file = directory.join("leat.toml");
        let backends = servers.map(|server| format!("{{ address = \"{server}\", max_connections = 2 }}")).join(", ");
        let text = format!("[[service]]\nvip = \"{vip}\"\nport = 8080\nscheduler = \"rr\"\nbackend = [{backends}]\n");
        fs::write(&file, text).expect("a temporary directory can be written");
        let leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a path is text")]);

        let mut connections = Connections::new(&net, CLIENT, vip, 8080);
        connections.open(4);
        let mut who = |number: usize| connections.who(number)[0].clone();
        assert_eq!([0, 1, 2, 3].map(&mut who), [servers[0], servers[1], servers[0], servers[1]]);
        // curl's 28: nobody has answered in time.
        net.exec(CLIENT, &["curl", "-sS", "--max-time", "2", url]).code_is(28);
        assert!(leat.dropped("backends_full") >= 1, "{vip}");
        let open = || leat.backends().iter().map(|(_, open, _)| *open).collect::<Vec<_>>();
        assert_eq!(open(), [2, 2], "{vip}");

        connections.close(1);
        wait_for("the connection to be over", LIMIT, || (open() == [2, 1]).then_some(()));
        connections.open(1);
        assert_eq!(connections.who(4)[0], servers[1], "whosever turn it is, only one has room");
        leat.stop().success();
    }
}
