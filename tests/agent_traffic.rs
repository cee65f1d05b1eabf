//! Real programs through leat-agent: a client, a router that wraps what it forwards to the VIP, a backend that answers
//! the client directly.
#![cfg(feature = "dpdk")]

mod support;

use std::{fs, net::Ipv4Addr};

use support::{
    LIMIT, TempDir,
    agent::Agent,
    capture::Capture,
    net::{B1, B2, CLIENT, Net, Transport},
    process::run,
    servers::Nginx,
    tunnel::{GUE, Router, Wrap},
};

const VIP: &str = "20.0.0.1";
const VIP_ADDRESS: Ipv4Addr = Ipv4Addr::new(20, 0, 0, 1);

/// The client's way to the VIP leads over the second backend's host, the router.
fn lead_over_router(net: &Net) {
    net.exec(CLIENT, &["ip", "route", "replace", VIP, "via", &net.address(B2).to_string()]).success();
}

/// Sends a file from the client to the VIP with `nc`; what the backend received.
fn upload(net: &Net, text: &str) -> String {
    let directory = TempDir::new("upload");
    let file = directory.join("file");
    fs::write(&file, text).unwrap();
    let mut server = net.spawn(B1, &["nc", "-l", "9000"]);
    net.wait_until_listening(B1, Transport::Tcp, 9000);
    let mut client = net.command(CLIENT, "sh");
    client.arg("-c").arg(format!("nc -N {VIP} 9000 < {}", file.display()));
    run(&mut client, LIMIT).success();
    server.wait(LIMIT).success().stdout
}

fn text(length: usize) -> String {
    (0..length / 8).map(|line| format!("{line:07}\n")).collect()
}

#[test]
fn curl_and_nc_work_by_every_tunnel_and_replies_go_straight_to_the_client() {
    let net = Net::up("agent_http");
    // As strict as a host can be.
    net.exec(B1, &["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.eth0.rp_filter=1"]).success();
    lead_over_router(&net);
    let nginx = Nginx::start_with_big(&net, B1, 8080, 3_000_000);
    for (name, wrap) in [("ipip-4in4", Wrap::Ipip), ("gue-ipv4", Wrap::Gue(GUE)), ("gue-ipv4", Wrap::Bare)] {
        let mut agent = Agent::start(&net, B1, &["--vip", VIP]);
        let _router = Router::start(&net, B2, VIP_ADDRESS, net.address(B1), wrap, 1400);
        let capture = Capture::start(&net, B2, "eth0");

        let curl = |path: &str| {
            net.exec(CLIENT, &["curl", "-sS", "--max-time", "20", &format!("http://{VIP}:8080{path}")]).success().stdout
        };
        assert_eq!(curl("/"), "backend 10.0.0.2\n", "{wrap:?}");
        for _ in 0..20 {
            assert!(curl("/who").starts_with("10.0.0.2 10.0.0.1:"), "nginx sees the client itself");
        }
        let directory = TempDir::new("download");
        let copy = directory.join("big");
        net.exec(
            CLIENT,
            &["curl", "-sS", "--max-time", "20", "-o", copy.to_str().unwrap(), &format!("http://{VIP}:8080/big")],
        )
        .success();
        assert!(fs::read(copy).unwrap() == fs::read(nginx.big_file()).unwrap(), "{wrap:?}: the download differs");
        let text = text(3_000_000);
        assert!(upload(&net, &text) == text, "{wrap:?}: the upload differs");

        let past_router = capture.stop().render(&["src", "host", VIP]);
        assert!(past_router.is_empty(), "{wrap:?}: replies that went to the router: {past_router:?}");
        let report = agent.report();
        assert!(report.drops.is_empty(), "{report:?}");
        // Where the kernel joins segments, fewer come than were sent.
        let (received, delivered) = report.tunnels[name];
        assert!(received > 100 && received == delivered, "{report:?}");
        agent.stop().success();
    }
}

#[test]
fn uploads_survive_a_kernel_that_joins_arriving_segments() {
    let net = Net::up("agent_gro");
    net.exec(B1, &["ethtool", "-K", "eth0", "gro", "on"]).success();
    lead_over_router(&net);
    for wrap in [Wrap::Ipip, Wrap::Gue(GUE)] {
        let mut agent = Agent::start(&net, B1, &["--vip", VIP]);
        let _router = Router::start(&net, B2, VIP_ADDRESS, net.address(B1), wrap, 1400);
        let text = text(3_000_000);
        assert!(upload(&net, &text) == text, "{wrap:?}: the upload differs");
        assert!(agent.report().drops.is_empty());
        agent.stop().success();
    }
}

#[test]
fn with_mss_a_clients_segments_fit_into_the_tunnel() {
    let net = Net::up("agent_mss");
    lead_over_router(&net);
    for (mss, wrap) in [("1440", Wrap::Ipip), ("1428", Wrap::Gue(GUE))] {
        let agent = Agent::start(&net, B1, &["--vip", VIP, "--mss", mss]);
        // The way into the tunnel lets everything through: nobody tells the client of a smaller MTU.
        let router = Router::start(&net, B2, VIP_ADDRESS, net.address(B1), wrap, 1500);
        let capture = Capture::start(&net, CLIENT, "eth0");
        let text = text(1_000_000);
        assert!(upload(&net, &text) == text, "{wrap:?}: the upload differs");
        let accepted = capture.wait_for(1, "src host 20.0.0.1 and tcp[13] == 0x12", &[]);
        assert!(accepted[0].contains(&format!("mss {mss},")), "{accepted:?}");
        assert_eq!(router.too_long(), 0);
        agent.stop().success();
    }
}

#[test]
fn without_mss_clients_send_what_no_longer_fits_and_fragments_are_put_together() {
    let net = Net::up("agent_fragments");
    lead_over_router(&net);
    for wrap in [Wrap::Ipip, Wrap::Gue(GUE)] {
        let agent = Agent::start(&net, B1, &["--vip", VIP]);
        let router = Router::start(&net, B2, VIP_ADDRESS, net.address(B1), wrap, 1500);
        let text = text(1_000_000);
        assert!(upload(&net, &text) == text, "{wrap:?}: the upload differs");
        assert!(router.too_long() > 0);
        agent.stop().success();
    }
}
