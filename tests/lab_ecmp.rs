//! The lab "VIP with IP-in-IP and direct server return behind ECMP", as clients, servers and the cables between see it:
//! docs/labs/ecmp.md.
#![cfg(feature = "dpdk")]

mod support;

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use support::{
    LIMIT, LONG, TempDir, agent,
    capture::Capture,
    lab::{Lab, Version},
    leat::Leat,
    process::{Process, command, run},
    servers::Nginx,
    tally, wait_for,
};

const LAB: &str = "ecmp";
const BALANCERS: [&str; 2] = ["h1", "h2"];
const SERVERS: [(&str, &str); 2] = [("h3", "10.1.3.2"), ("h4", "10.1.4.2")];
const VIP: &str = "20.0.0.1";
const URL: &str = "http://20.0.0.1/";

/// All that runs in the lab. The network goes last.
struct Running {
    leats: [Option<Leat>; 2],
    servers: [Nginx; 2],
    _agents: [Agent; 2],
    lab: Lab,
}

/// A leat-agent, which is given the time to tidy up: what it notes of a host outlives its namespace.
struct Agent(Process);

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.signal("TERM");
        let deadline = Instant::now() + LIMIT;
        while self.0.is_running() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Two agents, two servers and two leats, which know their router.
fn start(big: usize) -> Running {
    start_in(Version::V4, big)
}

fn start_in(version: Version, big: usize) -> Running {
    let lab = Lab::up_in(LAB, version);
    let [vip, h1, h2] = [VIP, "10.1.1.2", "10.1.2.2"].map(|address| version.at(address));
    let agents = SERVERS.map(|(host, _)| {
        let words = ["--vip", &vip, "--ipip", "--from", &h1, "--from", &h2];
        let mut agent = Process::spawn(lab.command(host, agent::binary()).args(words));
        agent.wait_for_output("agent", LIMIT, |stdout, _| stdout.lines().any(|line| line == "leat-agent: ready"));
        Agent(agent)
    });
    let servers = SERVERS.map(|(host, address)| lab.nginx(host, &version.at(address), 80, big));
    let file = |host| format!("ecmp-{host}{}.toml", version.either("", "-ipv6"));
    let leats = BALANCERS.map(|host| Some(lab.leat(host, &file(host), &[])));
    for leat in leats.iter().flatten() {
        wait_for("the router's address", LIMIT, || leat.status()["neighbors"][0]["mac"].is_string().then_some(()));
    }
    Running { leats, servers, _agents: agents, lab }
}

#[test]
fn every_client_is_served_by_both_leats_and_no_answer_passes_them() {
    clients_are_served_by_both_leats(Version::V4);
}

#[test]
fn every_client_is_served_by_both_leats_and_no_answer_passes_them_in_ipv6() {
    clients_are_served_by_both_leats(Version::V6);
}

#[track_caller]
fn clients_are_served_by_both_leats(version: Version) {
    let running = start_in(version, 0);
    let lab = &running.lab;
    let cables = BALANCERS.map(|host| lab.capture(host, "eth0"));
    let client = lab.capture("c1", "eth0");
    let vip = version.at(VIP);

    let mut answers = String::new();
    for host in ["c1", "c2"] {
        answers += &lab.curl(host, &format!("{}/who?[1-30]", version.url(VIP)), &[]);
    }
    let words: Vec<Vec<&str>> = answers.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(words.len(), 60, "{answers}");
    let servers = tally(words.iter().map(|words| words[0]));
    let both = SERVERS.map(|(_, address)| version.at(address));
    assert_eq!(servers.keys().collect::<Vec<_>>(), both.each_ref(), "both servers serve");
    let clients = tally(words.iter().map(|words| words[1].rsplit_once(':').expect("an address and a port").0));
    let [c1, c2] = ["10.0.1.2", "10.0.2.2"].map(|address| version.at(address));
    assert_eq!((clients[&*c1], clients[&*c2]), (30, 30), "servers see the clients' own addresses");

    let mut connections = Vec::new();
    let (flags, shown) = (version.tcp_flags(), version.shown());
    for (host, cable) in BALANCERS.into_iter().zip(cables) {
        let cable = cable.stop();
        let syns = cable.render(&[&format!("{flags} & tcp-syn != 0 and dst host {vip}")]).len();
        assert!(syns > 0, "{host} carries as well");
        connections.push(syns);
        // leat announces the VIP to all nodes, as it does by ARP.
        let answers = format!("{} and src host {vip} and not multicast", version.either("ip", "ip6"));
        assert_eq!(cable.render(&[&answers]), [""; 0], "no answer passes {host}");
        let strangers = format!("tcp and not dst host {vip}");
        assert_eq!(cable.render(&[&strangers]), [""; 0], "what comes in is for the VIP");
        let outer = format!("{shown} {} > ", version.at(&format!("10.1.{}.2", &host[1..])));
        let tunnels = cable.render(&["-t", version.either("ip proto 4", "ip6 proto 41")]);
        assert!(tunnels.iter().all(|tunnel| tunnel.starts_with(&outer)), "{tunnels:?}");
        let requests = cable.render(&[&format!("tcp and dst host {vip}")]);
        assert_eq!(tunnels.len(), requests.len(), "each packet goes on, once");
    }
    assert_eq!(connections.iter().sum::<usize>(), 60, "{connections:?}");

    let client = client.stop();
    // 0x12: SYN and ACK.
    assert_eq!(client.render(&[&format!("{flags} == 0x12 and src host {vip}")]).len(), 30);
    assert_eq!(client.render(&[&format!("tcp and not host {vip}")]), [""; 0], "a client knows the VIP alone");
    for leat in running.leats.into_iter().flatten() {
        assert!(leat.backends().iter().any(|(_, _, opened)| *opened > 0));
        leat.stop().success();
    }
}

#[test]
fn both_leats_choose_the_same_server_for_the_same_flow() {
    let running = start(0);
    let lab = &running.lab;
    let mut choices = Vec::new();
    for (host, other) in [("h1", "h2"), ("h2", "h1")] {
        lab.act(&["announce", host]).success();
        lab.act(&["withdraw", other]).success();
        let cable = lab.capture(host, "eth0");
        let servers: Vec<String> = (0..12)
            .map(|number| {
                let port = format!("{}", 40_000 + number);
                lab.curl("c1", &format!("{URL}who"), &["--local-port", &port])
            })
            .map(|answer| answer.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
            .collect();
        let carried = cable.stop().render(&["tcp[tcpflags] & tcp-syn != 0 and dst host 20.0.0.1"]).len();
        assert!(carried >= 12, "all of it went through {host}");
        choices.push(servers);
    }
    assert_eq!(choices[0], choices[1]);
    let servers = tally(choices[0].iter().map(|choice| &choice[..8]));
    assert_eq!(servers.len(), 2, "{choices:?}");
}

#[test]
fn a_large_upload_arrives_because_the_client_is_told_what_fits_into_the_tunnel() {
    let (told, route) = upload(Version::V4, "icmp[0] == 3 and icmp[1] == 4");
    assert!(told.starts_with("IP 20.0.0.1 > 10.0.2.2: ICMP"), "{told}");
    assert!(told.contains("need to frag (mtu 1480)"), "{told}");
    assert!(route.contains("mtu 1480"), "{route}");
}

#[test]
fn a_large_upload_arrives_in_ipv6_because_the_client_is_told_that_its_packets_are_too_big() {
    let (told, route) = upload(Version::V6, "icmp6[0] == 2");
    assert!(told.starts_with("IP6 2001:db8:20::1 > 2001:db8:0:2::2: ICMP6, packet too big, mtu 1460"), "{told}");
    assert!(route.contains("mtu 1460"), "{route}");
}

/// Has c2 send much; returns the first error of ICMP that it got, and its route to the VIP afterwards.
#[track_caller]
fn upload(version: Version, errors: &str) -> (String, String) {
    let running = start_in(version, 0);
    let lab = &running.lab;
    let before = lab.capture("c2", "eth0");
    let folder = TempDir::new("upload");
    let file = folder.join("sent");
    fs::write(&file, (0..5_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>())
        .expect("a temporary directory can be written");
    let url = format!("{}/upload/sent", version.url(VIP));
    lab.curl("c2", &url, &["-T", file.to_str().expect("UTF-8")]);
    let arrived = running.servers.iter().find_map(|server| server.uploaded("sent")).expect("one server has it");
    assert!(fs::read(arrived).expect("it can be read") == fs::read(&file).expect("it can be read"));

    let told = before.stop().render(&["-t", errors]).swap_remove(0);
    (told, lab.exec("c2", &["ip", "route", "get", &version.at(VIP)]).success().stdout)
}

#[test]
fn a_download_goes_on_through_the_other_leat_when_its_own_is_killed_and_withdrawn() {
    const SIZE: usize = 100_000_000;
    let mut running = start(SIZE);
    let lab = &running.lab;
    let cables = BALANCERS.map(|host| lab.capture(host, "eth0"));
    let folder = TempDir::new("download");
    let file = folder.join("got");
    let path = file.to_str().expect("UTF-8");
    let have = || fs::metadata(&file).map_or(0, |file| file.len());

    let url = format!("{URL}big");
    let words = ["curl", "-sS", "--fail", "--local-port", "41000", "--limit-rate", "15M", "-o", path, &url];
    let mut client = lab.spawn("c1", &words);
    wait_for("the first bytes", LONG, || (have() > 5_000_000).then_some(()));
    let carriers = cables.each_ref().map(carried);
    let carrier = carriers.iter().position(|carried| *carried > 0).expect("one of them carries it");
    assert_eq!(carriers[1 - carrier], 0, "one flow has one way: {carriers:?}");
    running.leats[carrier].take().expect("it runs").kill();
    // It waits meanwhile: however slow this machine is, there is something left to be fetched.
    client.signal("STOP");
    assert!(have() < SIZE as u64);
    lab.act(&["withdraw", BALANCERS[carrier]]).success();
    client.signal("CONT");

    client.wait(LONG).success();
    assert!(carried(&cables[1 - carrier]) > 0, "the rest came through the other");
    let sums = [&file, &running.servers[0].big_file()]
        .map(|file| run(command("sha256sum").arg("-z").arg(file), LONG).success().stdout[..64].to_owned());
    assert_eq!(have(), SIZE as u64);
    assert_eq!(sums[0], sums[1]);
}

/// Packets of the download that have come to a leat.
fn carried(cable: &Capture) -> usize {
    cable.wait_for(0, "dst host 20.0.0.1 and src port 41000", &[]).len()
}

#[test]
fn the_demonstration_shows_all_of_it_and_leaves_nothing() {
    demonstration_shows_all_of_it(Version::V4, 1480);
}

#[test]
fn the_demonstration_shows_all_of_it_in_ipv6() {
    demonstration_shows_all_of_it(Version::V6, 1460);
}

#[track_caller]
fn demonstration_shows_all_of_it(version: Version, mtu: u16) {
    let shown = Lab::down(LAB).demonstrate(version);
    let none = format!("packets with the source {} on its link: 0", version.at(VIP));
    assert_eq!(shown.matches(&none).count(), 2, "{shown}");
    assert!(shown.contains("all 100000000 bytes came, with the right SHA-256"), "{shown}");
    assert!(shown.contains(&format!("mtu {mtu}")), "{shown}");
}
