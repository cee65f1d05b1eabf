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
    lab::Lab,
    leat::Leat,
    process::{Process, command, run},
    servers::Nginx,
    tally, wait_for,
};

const LAB: &str = "ecmp";
const BALANCERS: [&str; 2] = ["h1", "h2"];
const SERVERS: [(&str, &str); 2] = [("h3", "10.1.3.2"), ("h4", "10.1.4.2")];
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
    let lab = Lab::up(LAB);
    let agents = SERVERS.map(|(host, _)| {
        let words = ["--vip", "20.0.0.1", "--ipip", "--from", "10.1.1.2", "--from", "10.1.2.2"];
        let mut agent = Process::spawn(lab.command(host, agent::binary()).args(words));
        agent.wait_for_output("agent", LIMIT, |stdout, _| stdout.lines().any(|line| line == "leat-agent: ready"));
        Agent(agent)
    });
    let servers = SERVERS.map(|(host, address)| lab.nginx(host, address, 80, big));
    let leats = BALANCERS.map(|host| Some(lab.leat(host, &format!("ecmp-{host}.toml"), &[])));
    for leat in leats.iter().flatten() {
        wait_for("the router's address", LIMIT, || leat.status()["neighbors"][0]["mac"].is_string().then_some(()));
    }
    Running { leats, servers, _agents: agents, lab }
}

#[test]
fn every_client_is_served_by_both_leats_and_no_answer_passes_them() {
    let running = start(0);
    let lab = &running.lab;
    let cables = BALANCERS.map(|host| lab.capture(host, "eth0"));
    let client = lab.capture("c1", "eth0");

    let mut answers = String::new();
    for host in ["c1", "c2"] {
        answers += &lab.curl(host, &format!("{URL}who?[1-30]"), &[]);
    }
    let words: Vec<Vec<&str>> = answers.lines().map(|line| line.split([' ', ':']).collect()).collect();
    assert_eq!(words.len(), 60, "{answers}");
    let servers = tally(words.iter().map(|words| words[0]));
    assert_eq!(servers.keys().collect::<Vec<_>>(), ["10.1.3.2", "10.1.4.2"], "both servers serve");
    let clients = tally(words.iter().map(|words| words[1]));
    assert_eq!((clients["10.0.1.2"], clients["10.0.2.2"]), (30, 30), "servers see the clients' own addresses");

    let mut connections = Vec::new();
    for (host, cable) in BALANCERS.into_iter().zip(cables) {
        let cable = cable.stop();
        let syns = cable.render(&["tcp[tcpflags] & tcp-syn != 0 and dst host 20.0.0.1"]).len();
        assert!(syns > 0, "{host} carries as well");
        connections.push(syns);
        assert_eq!(cable.render(&["ip and src host 20.0.0.1"]), [""; 0], "no answer passes {host}");
        assert_eq!(cable.render(&["tcp and not dst host 20.0.0.1"]), [""; 0], "what comes in is for the VIP");
        let outer = format!("10.1.{}.2 > ", &host[1..]);
        let tunnels = cable.render(&["-t", "ip proto 4"]);
        assert!(tunnels.iter().all(|tunnel| tunnel.starts_with(&format!("IP {outer}"))), "{tunnels:?}");
        assert_eq!(tunnels.len(), cable.render(&["tcp and dst host 20.0.0.1"]).len(), "each packet goes on, once");
    }
    assert_eq!(connections.iter().sum::<usize>(), 60, "{connections:?}");

    let client = client.stop();
    assert_eq!(client.render(&["tcp[tcpflags] == tcp-syn|tcp-ack and src host 20.0.0.1"]).len(), 30);
    assert_eq!(client.render(&["tcp and not host 20.0.0.1"]), [""; 0], "a client knows the VIP alone");
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
    let running = start(0);
    let lab = &running.lab;
    let before = lab.capture("c2", "eth0");
    let folder = TempDir::new("upload");
    let file = folder.join("sent");
    fs::write(&file, (0..5_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>())
        .expect("a temporary directory can be written");
    lab.curl("c2", &format!("{URL}upload/sent"), &["-T", file.to_str().expect("UTF-8")]);
    let arrived = running.servers.iter().find_map(|server| server.uploaded("sent")).expect("one server has it");
    assert!(fs::read(arrived).expect("it can be read") == fs::read(&file).expect("it can be read"));

    let told = before.stop().render(&["-t", "icmp[0] == 3 and icmp[1] == 4"]);
    assert!(told[0].starts_with("IP 20.0.0.1 > 10.0.2.2: ICMP"), "{told:?}");
    assert!(told[0].contains("need to frag (mtu 1480)"), "{told:?}");
    let route = lab.exec("c2", &["ip", "route", "get", "20.0.0.1"]).success().stdout;
    assert!(route.contains("mtu 1480"), "{route}");
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
    let shown = Lab::down(LAB).demonstrate();
    assert_eq!(shown.matches("packets with the source 20.0.0.1 on its link: 0").count(), 2, "{shown}");
    assert!(shown.contains("all 100000000 bytes came, with the right SHA-256"), "{shown}");
    assert!(shown.contains("mtu 1480"), "{shown}");
}
