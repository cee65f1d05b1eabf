//! A server whose link goes down, and comes up again: what curl, the log and the status say.
#![cfg(feature = "dpdk")]

mod support;

use std::collections::BTreeSet;
use std::fs;

use support::{
    LIMIT, TempDir,
    capture::Capture,
    leat::{Leat, TAP},
    net::{B1, B2, CLIENT, Net, Role, Shape},
    servers::Nginx,
    wait_for,
};

/// Four lcores on two CPUs, on the tap of a [`Net`].
const FOUR_LCORES: &[&str] = &["--lcores", "0@0,1@0,2@1,3@1", "--no-pci", "--vdev=net_tap0,iface=tapdpdk"];

/// A network with a server on each backend, and leat.
struct Lab {
    leat: Leat,
    _servers: [Nginx; 2],
    _directory: TempDir,
    net: Net,
}

impl Lab {
    /// A service at 10.0.0.10:8080 over both backends, with these keys, probed every second.
    fn new(label: &str, eal: &[&str], shape: Shape, keys: &str) -> Self {
        let net = Net::up_as(label, shape);
        let servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
        let directory = TempDir::new(label);
        let file = directory.join("leat.toml");
        let [b1, b2] = [B1, B2].map(|role| net.address(role));
        let text = format!(
            "[[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 8080\n{keys}\n\
             health = {{ type = \"arp\", interval = \"1s\", timeout = \"1s\" }}\n\
             backend = [{{ address = \"{b1}\" }}, {{ address = \"{b2}\" }}]\n"
        );
        fs::write(&file, text).expect("a temporary directory can be written");
        let leat = Leat::start_in(&net, eal, &["--config", &file.display().to_string()]);
        Self { leat, _servers: servers, _directory: directory, net }
    }

    /// The backend that answers a request on a new connection. It must.
    #[track_caller]
    fn ask(&self, from: Role) -> String {
        let answer = self.net.exec(from, &["curl", "-sS", "--fail", "--max-time", "20", "http://10.0.0.10:8080/"]);
        let stdout = answer.success().stdout;
        stdout.trim().strip_prefix("backend ").unwrap_or_else(|| panic!("{stdout}")).to_owned()
    }

    fn ask_all(&self, clients: u8) -> Vec<String> {
        (1..=clients).map(|number| self.ask(Role::Client(number))).collect()
    }

    fn set_link(&self, role: Role, state: &str) {
        self.net.exec(role, &["ip", "link", "set", "eth0", state]).success();
    }

    /// Waits until the status says this of a backend, by its place in the file.
    fn wait_for_state(&self, backend: usize, state: &str) {
        wait_for(&format!("backend {backend} to be {state}"), LIMIT, || (self.state(backend) == state).then_some(()));
    }

    fn state(&self, backend: usize) -> String {
        let health = &self.leat.status()["services"][0]["backends"][backend]["health"];
        health["state"].as_str().unwrap_or_else(|| panic!("{health}")).to_owned()
    }

    /// The lines of the log about servers, without time and level.
    fn log(&self) -> Vec<String> {
        let stderr = self.leat.stderr();
        let lines = stderr.lines().filter_map(|line| Some(line.split_once("] ")?.1));
        lines.filter(|line| line.contains("server ")).map(str::to_owned).collect()
    }
}

#[test]
fn http_in_turn_goes_round_a_server_whose_link_is_down_and_says_so_once() {
    let shape = Shape { clients: 4, isolated: true, ..Shape::default() };
    let mut lab = Lab::new(
        "liveness",
        TAP,
        shape,
        "mode = \"nat\"\nscheduler = \"rr\"\non_failure = \"move\"\nflow_memory = \"5m\"",
    );
    let [b1, b2] = [B1, B2].map(|role| lab.net.address(role).to_string());
    let (one, two) = (b1.as_str(), b2.as_str());
    assert_eq!(lab.ask_all(4), [one, two, one, two]);
    assert_eq!([lab.state(0), lab.state(1)], ["up", "up"]);

    lab.set_link(B1, "down");
    lab.wait_for_state(0, "down");
    let health = lab.leat.status()["services"][0]["backends"][0]["health"].clone();
    assert_eq!((&health["reason"], &health["changes"]), (&"no answer to ARP for 1s".into(), &1.into()), "{health}");
    assert_eq!([lab.ask_all(4), lab.ask_all(4)].concat(), [two; 8], "nothing fails after detection");

    lab.set_link(B1, "up");
    lab.wait_for_state(0, "up");
    let answers: BTreeSet<_> = lab.ask_all(4).into_iter().collect();
    assert_eq!(answers, BTreeSet::from([b1.clone(), b2.clone()]), "both serve");

    let (down, up) = (
        |address: &str| format!("server down: service web, backend {address}:8080: no answer to ARP for 1s"),
        |address: &str| format!("server up: service web, backend {address}:8080: answers ARP"),
    );
    assert_eq!(lab.log(), [down(one), up(one)], "one line for each change");

    lab.set_link(B1, "down");
    lab.wait_for_state(0, "down");
    lab.set_link(B2, "down");
    lab.wait_for_state(1, "down");
    // curl's 28: nobody has answered in time.
    lab.net.exec(CLIENT, &["curl", "-sS", "--max-time", "2", "http://10.0.0.10:8080/"]).code_is(28);
    let drops = lab.leat.status()["workers"][0]["drops"]["no_backend"].clone();
    assert!(drops.as_u64() >= Some(1), "{drops}");
    let nobody = "service web: no server is up; packets of new connections are dropped".to_owned();
    assert_eq!(lab.log(), [down(one), up(one), down(one), down(two), nobody]);

    let statistics = lab.leat.dump_stats("end of statistics");
    assert!(statistics.contains("(no answer to ARP for 1s, 3 changes)"), "{statistics}");
    lab.leat.stop().success();
}

#[test]
fn every_lcore_learns_that_a_server_is_down_and_that_it_is_back() {
    let lab = Lab::new("liveness4", FOUR_LCORES, Shape::default(), "mode = \"fullnat\"\nscheduler = \"maglev\"");
    let [b1, b2] = [B1, B2].map(|role| lab.net.address(role).to_string());
    let ask_often = |lab: &Lab| -> BTreeSet<String> { (0..20).map(|_| lab.ask(CLIENT)).collect() };
    assert_eq!(ask_often(&lab), BTreeSet::from([b1.clone(), b2.clone()]));
    lab.set_link(B1, "down");
    lab.wait_for_state(0, "down");
    assert_eq!(ask_often(&lab), BTreeSet::from([b2.clone()]));
    lab.set_link(B1, "up");
    lab.wait_for_state(0, "up");
    assert_eq!(ask_often(&lab), BTreeSet::from([b1, b2]));
    lab.leat.stop().success();
}

#[test]
fn probes_are_broadcast_questions_to_each_backend_that_go_on_while_it_is_silent() {
    let lab = Lab::new("probes", TAP, Shape::default(), "mode = \"fullnat\"");
    let capture = Capture::start(&lab.net, CLIENT, "eth0");
    for role in [B1, B2] {
        let target = u32::from(lab.net.address(role));
        let question = format!("arp[6:2] == 1 and arp[24:4] == {target:#x} and ether dst ff:ff:ff:ff:ff:ff");
        for line in capture.wait_for(3, &question, &["-t"]) {
            assert!(line.contains("tell 10.0.0.10"), "{line}");
        }
        lab.set_link(role, "down");
        let before = capture.wait_for(3, &question, &["-t"]).len();
        capture.wait_for(before + 3, &question, &["-t"]);
    }
}
