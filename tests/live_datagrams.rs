//! UDP and ICMP through leat, and services of protocol `any`, with real programs: dig, dnsmasq, ping, nc, curl.
#![cfg(feature = "dpdk")]

mod support;

use std::fs;

use support::{
    LIMIT, TempDir,
    capture::Capture,
    leat::{Leat, TAP},
    net::{B1, B2, CLIENT, Net, Transport},
    servers::{self, Nginx},
    tally, wait_for,
};

const DNS: &[&str] = &["--vip", "udp:10.0.0.10:53", "--backend", "10.0.0.2", "--backend", "10.0.0.3"];

const ANY: &[&str] =
    &["--vip", "any:10.0.0.10", "--local-address", "10.0.0.11", "--backend", "10.0.0.2", "--backend", "10.0.0.3"];

/// A file with `count` questions for dig, each asked once, over a socket of its own.
fn questions(directory: &TempDir, count: usize) -> String {
    let file = directory.join("questions");
    let question = "@10.0.0.10 +notcp +short +tries=1 +timeout=10 TXT backend.leat.test\n";
    fs::write(&file, question.repeat(count)).expect("a temporary directory can be written");
    file.to_str().expect("a temporary path is text").to_owned()
}

#[test]
fn dns_over_udp_is_spread_and_none_is_lost() {
    let net = Net::up("dns");
    let directory = TempDir::new("dns");
    let _servers = [B1, B2].map(|role| servers::dnsmasq(&net, role));
    let leat = Leat::start_in(&net, TAP, DNS);
    let answers = net.exec(CLIENT, &["dig", "-f", &questions(&directory, 300)]).success().stdout;
    let backends = tally(answers.lines());
    assert_eq!(backends.values().sum::<usize>(), 300, "{answers}");
    // maglev by the 5-tuple: even within six standard deviations.
    for backend in ["\"10.0.0.2\"", "\"10.0.0.3\""] {
        assert!((98..=202).contains(&backends[backend]), "{backends:?}");
    }
    // Now and then dig takes a port again, which continues a flow.
    let flows: u64 = leat.backends().iter().map(|(_, _, opened)| opened).sum();
    assert!((250..=300).contains(&flows), "{flows}");
}

/// Two UDP services, of which only the first has an answer, and times to forget their flows.
fn two_services(directory: &TempDir, unreplied: &str, replied: &str) -> String {
    let file = directory.join(&format!("{replied}.toml"));
    let text = format!(
        r#"
        [timeouts]
        udp_unreplied = "{unreplied}"
        udp = "{replied}"
        [[service]]
        vip = "10.0.0.10"
        protocol = "udp"
        port = 53
        backend = [{{ address = "10.0.0.2" }}]
        [[service]]
        vip = "10.0.0.12"
        protocol = "udp"
        port = 9
        backend = [{{ address = "10.0.0.3" }}]
        "#
    );
    fs::write(&file, text).expect("a temporary directory can be written");
    file.to_str().expect("a temporary path is text").to_owned()
}

#[test]
fn udp_flows_are_forgotten_each_in_its_time() {
    let net = Net::up("udp_expiry");
    let directory = TempDir::new("udp_expiry");
    let _server = servers::dnsmasq(&net, B1);
    for (replied, left) in [("1h", 1), ("2s", 0)] {
        let leat = Leat::start_in(&net, TAP, &["-c", &two_services(&directory, "1s", replied)]);
        let total = |service: usize, figure: &str| leat.status()["services"][service]["total"][figure].as_u64();

        let answered = ["dig", "@10.0.0.10", "+notcp", "+short", "leat.test"];
        assert_eq!(net.exec(CLIENT, &answered).success().stdout, "192.0.2.53\n");
        // Nobody listens there: what comes back is an ICMP error, which is no reply.
        net.exec(CLIENT, &["bash", "-c", "exec 3<>/dev/udp/10.0.0.12/9; echo hello >&3"]).success();
        wait_for("the second flow to be opened", LIMIT, || (total(1, "opened") == Some(1)).then_some(()));
        wait_for("the second flow to be forgotten", LIMIT, || (total(1, "open") == Some(0)).then_some(()));
        wait_for("the first flow's end, if it has one", LIMIT, || (total(0, "open") == Some(left)).then_some(()));
        assert_eq!(total(0, "opened"), Some(1));
    }
}

#[test]
fn leat_answers_a_ping_to_a_vip_by_itself() {
    let net = Net::up("ping");
    let leat = Leat::start_in(&net, TAP, DNS);
    let captures = [B1, B2].map(|role| Capture::start(&net, role, "eth0"));
    let client = Capture::start(&net, CLIENT, "eth0");
    let report = net.exec(CLIENT, &["ping", "-c", "3", "-i", "0.2", "-s", "1400", "-W", "10", "10.0.0.10"]).success();
    assert_eq!(report.stdout.matches("1408 bytes from 10.0.0.10: ").count(), 3, "{report}");
    assert_eq!(report.stdout.matches(" ttl=64 ").count(), 3, "{report}");

    let replies = client.wait_for(3, "icmp[icmptype] == icmp-echoreply", &["-e", "-v"]);
    for reply in replies {
        let ends = format!("{} > {}", leat.mac(), net.mac(CLIENT));
        assert!(reply.contains(&ends) && !reply.contains("wrong icmp cksum"), "{reply}");
    }
    for capture in captures {
        let disturbed = capture.stop().render(&["icmp"]);
        assert!(disturbed.is_empty(), "no backend hears of it: {disturbed:?}");
    }
    net.exec(CLIENT, &["ping", "-c", "1", "-W", "1", "10.0.0.19"]).code_is(1);
}

#[test]
fn a_ping_to_an_any_service_is_answered_by_a_backend_as_the_vip() {
    let net = Net::up("any_ping");
    let leat = Leat::start_in(&net, TAP, ANY);
    let client = Capture::start(&net, CLIENT, "eth0");
    let backends = [B1, B2].map(|role| (role, Capture::start(&net, role, "eth0")));
    let report = net.exec(CLIENT, &["ping", "-c", "3", "-i", "0.2", "-W", "10", "10.0.0.10"]).success();
    assert_eq!(report.stdout.matches("64 bytes from 10.0.0.10: ").count(), 3, "{report}");
    // One hop less to live each way: the backend says 64.
    assert_eq!(report.stdout.matches(" ttl=63 ").count(), 3, "{report}");

    let replies = client.wait_for(3, "icmp and src host 10.0.0.10", &["-v"]);
    assert!(replies.iter().all(|reply| !reply.contains("wrong icmp cksum")), "{replies:?}");
    let balanced: Vec<_> = backends
        .into_iter()
        .map(|(role, capture)| {
            let address = net.address(role);
            let recording = capture.stop();
            let requests = recording.render(&["-v", &format!("icmp and src host 10.0.0.11 and dst host {address}")]);
            let replies = recording.render(&["-v", &format!("icmp and src host {address} and dst host 10.0.0.11")]);
            assert!(requests.iter().all(|request| !request.contains("wrong icmp cksum")), "{requests:?}");
            (requests.len(), replies.len())
        })
        .collect();
    assert!(balanced == [(3, 3), (0, 0)] || balanced == [(0, 0), (3, 3)], "{balanced:?}");
    assert_eq!(leat.backends().iter().map(|(_, _, opened)| opened).sum::<u64>(), 1);

    // Each run of ping is an exchange of its own.
    for _ in 0..20 {
        net.exec(CLIENT, &["ping", "-c", "1", "-W", "10", "10.0.0.10"]).success();
    }
    assert!(leat.backends().iter().all(|(_, _, opened)| *opened > 0), "{:?}", leat.backends());
}

#[test]
fn an_any_service_takes_tcp_and_udp_on_every_port() {
    let net = Net::up("any");
    let _servers = [B1, B2]
        .map(|role| (servers::dnsmasq(&net, role), Nginx::start(&net, role, 8080), Nginx::start(&net, role, 31_000)));
    let leat = Leat::start_in(&net, TAP, ANY);
    for port in [8080, 31_000] {
        let url = format!("http://10.0.0.10:{port}/who?[1-40]");
        let answers = net.exec(CLIENT, &["curl", "-sS", "--fail", "-H", "Connection: close", &url]).success().stdout;
        let backends = tally(answers.lines().filter_map(|line| line.split(' ').next()));
        assert_eq!((backends.len(), backends.values().sum::<usize>()), (2, 40), "{answers}");
        assert_eq!(answers.matches(" 10.0.0.11:").count(), 40, "a backend sees the local address: {answers}");
    }
    for transport in ["+notcp", "+tcp"] {
        let ask = ["dig", "@10.0.0.10", transport, "+short", "leat.test"];
        assert_eq!(net.exec(CLIENT, &ask).success().stdout, "192.0.2.53\n");
    }
    // A port on which no backend listens: its refusal comes back from the VIP.
    let refused = net.exec(CLIENT, &["nc", "-v", "-w", "10", "10.0.0.10", "4"]).code_is(1);
    assert!(refused.stderr.contains("Connection refused"), "{refused}");
    assert_eq!(leat.dropped("no_service"), 0);
}

/// Sends 60 datagrams of 20,000 bytes from one socket each and insists on each echo. All sockets stay open, since the
/// kernel may give the port of a closed one to the next, which would continue a flow.
const LARGE: &str = "
import os, socket
sockets = []
for n in range(60):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, 10, 0)
    s.settimeout(10)
    sent = os.urandom(20000)
    s.sendto(sent, ('10.0.0.10', 53))
    assert s.recv(65535) == sent, n
    sockets.append(s)
print('all echoed')
";

/// Sends every datagram back; fragments are the kernel's business.
const ECHO: &str = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 10, 0)
s.bind(('0.0.0.0', 53))
while True:
    data, peer = s.recvfrom(65535)
    s.sendto(data, peer)
";

#[test]
fn datagrams_longer_than_the_mtu_pass_in_fragments_on_one_lcore_and_on_two() {
    for eal in [TAP, &["-l", "0,1", "--no-pci", "--vdev=net_tap0,iface=tapdpdk"]] {
        let net = Net::up("fragments");
        let _servers = [B1, B2].map(|role| {
            let server = net.spawn(role, &["python3", "-c", ECHO]);
            net.wait_until_listening(role, Transport::Udp, 53);
            server
        });
        let leat = Leat::start_in(&net, eal, DNS);
        let finished = net.exec(CLIENT, &["python3", "-c", LARGE]).success();
        assert_eq!(finished.stdout, "all echoed\n");
        let opened: Vec<u64> = leat.backends().iter().map(|(_, _, opened)| *opened).collect();
        assert_eq!(opened.iter().sum::<u64>(), 60);
        assert!(opened.iter().all(|opened| *opened > 5), "{opened:?}");
        let drops: Vec<String> = leat.status()["workers"]
            .as_array()
            .expect("workers are a list")
            .iter()
            .flat_map(|worker| worker["drops"].as_object().expect("drops are a table").keys().cloned())
            .filter(|reason| reason.starts_with("fragment"))
            .collect();
        assert!(drops.is_empty(), "{drops:?}");
    }
}

#[test]
fn a_ping_of_8000_bytes_is_answered_by_the_backend_of_a_service_for_everything() {
    let net = Net::up("large_ping");
    let _leat = Leat::start_in(&net, TAP, ANY);
    let said = net.exec(CLIENT, &["ping", "-c", "5", "-i", "0.2", "-s", "8000", "-M", "dont", "10.0.0.10"]).success();
    assert!(said.stdout.contains("5 packets transmitted, 5 received"), "{said}");
}
