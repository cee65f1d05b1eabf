//! Real programs through leat-agent: a client, a router that wraps what it forwards to the VIP, a backend that answers
//! the client directly.
#![cfg(feature = "dpdk")]

mod support;

use std::{fs, net::IpAddr};

use support::{
    LIMIT, TempDir,
    agent::Agent,
    capture::Capture,
    net::{B1, B2, CLIENT, Net, Shape, Transport},
    process::run,
    servers::Nginx,
    tunnel::{GUE, GUE_6, Router, Wrap},
};

const VIP: &str = "20.0.0.1";
const VIP_6: &str = "2001:db8::10";

/// A kind of tunnel: its name in reports, the VIP of what is inside, whether it is over IPv6, and how it is made.
type Kind = (&'static str, &'static str, bool, Wrap);

/// All but version 1 of GUE.
const KINDS: [Kind; 8] = [
    ("ipip-4in4", VIP, false, Wrap::Ipip),
    ("ipip-6in4", VIP_6, false, Wrap::Ipip6),
    ("ipip-4in6", VIP, true, Wrap::Ipip),
    ("ipip-6in6", VIP_6, true, Wrap::Ipip6),
    ("gue-ipv4", VIP, false, Wrap::Gue(GUE)),
    ("gue-ipv4", VIP_6, false, Wrap::Gue(GUE_6)),
    ("gue-ipv6", VIP, true, Wrap::Gue(GUE)),
    ("gue-ipv6", VIP_6, true, Wrap::Gue(GUE_6)),
];

/// A network in which the client's way to the VIPs leads over the second backend's host, the router.
fn up(label: &str) -> Net {
    let net = Net::up_as(label, Shape { ipv6: true, ..Shape::default() });
    net.exec(CLIENT, &["ip", "route", "replace", VIP, "via", &net.address(B2).to_string()]).success();
    net.exec(CLIENT, &["ip", "route", "replace", VIP_6, "via", &net.address_v6(B2).to_string()]).success();
    net
}

fn agent(net: &Net, more: &[&str]) -> Agent {
    Agent::start(net, B1, &[&["--vip", VIP, "--vip", VIP_6], more].concat())
}

/// The router; `mtu` is that of the way into the tunnel. In IPv6 no link has less than 1280.
fn router(net: &Net, (_, vip, is_over_6, wrap): Kind, mtu: u16) -> Router {
    let backend: IpAddr = if is_over_6 { net.address_v6(B1).into() } else { net.address(B1).into() };
    Router::start(net, B2, vip.parse::<IpAddr>().expect("an address"), backend, wrap, mtu)
}

/// Sends a file from the client to the VIP with `nc`; what the backend received.
fn upload(net: &Net, vip: &str, text: &str) -> String {
    let directory = TempDir::new("upload");
    let file = directory.join("file");
    fs::write(&file, text).unwrap();
    let version = if vip == VIP { "-4" } else { "-6" };
    let mut server = net.spawn(B1, &["nc", version, "-l", "9000"]);
    net.wait_until_listening(B1, Transport::Tcp, 9000);
    let mut client = net.command(CLIENT, "sh");
    client.arg("-c").arg(format!("nc -N {vip} 9000 < {}", file.display()));
    run(&mut client, LIMIT).success();
    server.wait(LIMIT).success().stdout
}

fn text(length: usize) -> String {
    (0..length / 8).map(|line| format!("{line:07}\n")).collect()
}

#[test]
fn curl_and_nc_work_by_every_tunnel_and_replies_go_straight_to_the_client() {
    let net = up("agent_http");
    // As strict as a host can be.
    net.exec(B1, &["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.eth0.rp_filter=1"]).success();
    let nginx = Nginx::start_with_big(&net, B1, 8080, 3_000_000);
    let nginx_6 = Nginx::start_v6(&net, B1, 8080, 3_000_000);
    let bare = [("gue-ipv4", VIP, false, Wrap::Bare), ("gue-ipv6", VIP_6, true, Wrap::Bare)];
    for kind in KINDS.into_iter().chain(bare) {
        let (name, vip, ..) = kind;
        let mut agent = agent(&net, &[]);
        let _router = router(&net, kind, 1400);
        let capture = Capture::start(&net, B2, "eth0");

        let (host, server, client, nginx) = match vip == VIP {
            true => (VIP.to_owned(), "10.0.0.2", "10.0.0.1", &nginx),
            false => (format!("[{VIP_6}]"), "2001:db8::2", "2001:db8::1", &nginx_6),
        };
        let curl = |path: &str| {
            net.exec(CLIENT, &["curl", "-sS", "--max-time", "20", &format!("http://{host}:8080{path}")])
                .success()
                .stdout
        };
        assert_eq!(curl("/"), format!("backend {server}\n"), "{kind:?}");
        for _ in 0..20 {
            assert!(curl("/who").starts_with(&format!("{server} {client}:")), "nginx sees the client itself");
        }
        let directory = TempDir::new("download");
        let copy = directory.join("big");
        let url = format!("http://{host}:8080/big");
        net.exec(CLIENT, &["curl", "-sS", "--max-time", "20", "-o", copy.to_str().unwrap(), &url]).success();
        assert!(fs::read(copy).unwrap() == fs::read(nginx.big_file()).unwrap(), "{kind:?}: the download differs");
        let text = text(3_000_000);
        assert!(upload(&net, vip, &text) == text, "{kind:?}: the upload differs");

        let past_router = capture.stop().render(&["src", "host", vip]);
        assert!(past_router.is_empty(), "{kind:?}: replies that went to the router: {past_router:?}");
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
    let net = up("agent_gro");
    net.exec(B1, &["ethtool", "-K", "eth0", "gro", "on"]).success();
    for kind in KINDS {
        let mut agent = agent(&net, &[]);
        let _router = router(&net, kind, 1400);
        let text = text(3_000_000);
        assert!(upload(&net, kind.1, &text) == text, "{kind:?}: the upload differs");
        assert!(agent.report().drops.is_empty());
        agent.stop().success();
    }
}

#[test]
fn with_mss_a_clients_segments_fit_into_the_tunnel() {
    let net = up("agent_mss");
    for kind in KINDS {
        let (_, vip, is_over_6, wrap) = kind;
        let mss = if matches!(wrap, Wrap::Gue(_)) { 1428 } else { 1440 } - if is_over_6 { 20 } else { 0 };
        let agent = agent(&net, &["--mss", &mss.to_string()]);
        // The way into the tunnel lets everything through: nobody tells the client of a smaller MTU.
        let router = router(&net, kind, 1500);
        let capture = Capture::start(&net, CLIENT, "eth0");
        let text = text(1_000_000);
        assert!(upload(&net, vip, &text) == text, "{kind:?}: the upload differs");
        let (filter, announced) = match vip == VIP {
            true => ("src host 20.0.0.1 and tcp[13] == 0x12", mss),
            false => ("src host 2001:db8::10 and ip6[53] == 0x12", mss - 20),
        };
        let accepted = capture.wait_for(1, filter, &[]);
        assert!(accepted[0].contains(&format!("mss {announced},")), "{kind:?}: {accepted:?}");
        assert_eq!(router.too_long(), 0, "{kind:?}");
        agent.stop().success();
    }
}

#[test]
fn without_mss_clients_send_what_no_longer_fits_and_fragments_are_put_together() {
    let net = up("agent_fragments");
    for kind in KINDS {
        let agent = agent(&net, &[]);
        let router = router(&net, kind, 1500);
        let text = text(1_000_000);
        assert!(upload(&net, kind.1, &text) == text, "{kind:?}: the upload differs");
        assert!(router.too_long() > 0);
        agent.stop().success();
    }
}
