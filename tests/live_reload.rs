//! The configuration changes under connections that are in use: what the clients, the log and the status say of it.
#![cfg(feature = "dpdk")]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use support::{
    LIMIT, LONG, TempDir,
    connections::Connections,
    leat::{Leat, TAP},
    net::{B1, B2, CLIENT, Net, Role, Shape},
    servers::Nginx,
    tunnel::in_namespace,
    verdict::drops,
    wait_for,
};

/// Four lcores on two CPUs, on the tap of a [`Net`].
const FOUR_LCORES: &[&str] = &["--lcores", "0@0,1@0,2@1,3@1", "--no-pci", "--vdev=net_tap0,iface=tapdpdk"];

const VIP: &str = "10.0.0.10";

/// leat with a configuration file that changes, over some servers.
struct Lab {
    leat: Leat,
    file: PathBuf,
    reloads: usize,
    _servers: Vec<Nginx>,
    _directory: TempDir,
    net: Net,
}

impl Lab {
    fn new(label: &str, eal: &[&str], backends: u8, toml: &str) -> Self {
        Self::of_shape(label, eal, Shape { backends, ..Shape::default() }, toml)
    }

    /// Over a network of this shape; the servers speak IPv6 where it does.
    fn of_shape(label: &str, eal: &[&str], shape: Shape, toml: &str) -> Self {
        let net = Net::up_as(label, shape);
        let start = |number| match shape.ipv6 {
            true => Nginx::start_v6(&net, Role::Backend(number), 8080, 0),
            false => Nginx::start(&net, Role::Backend(number), 8080),
        };
        let servers = (1..=shape.backends).map(start).collect();
        let directory = TempDir::new(label);
        let file = directory.join("leat.toml");
        fs::write(&file, toml).expect("a temporary directory can be written");
        let leat = Leat::start_in(&net, eal, &["--config", &file.display().to_string()]);
        Self { leat, file, reloads: 0, _servers: servers, _directory: directory, net }
    }

    /// Writes the file and has it read; returns what the log says of that, without time and level.
    #[track_caller]
    fn reload(&mut self, toml: &str) -> String {
        fs::write(&self.file, toml).expect("a temporary directory can be written");
        self.leat.signal("HUP");
        let lines = wait_for("the log to speak of the reload", LIMIT, || {
            let lines = said(&self.leat, "reloaded");
            (lines.len() > self.reloads).then_some(lines)
        });
        self.reloads = lines.len();
        lines.last().expect("there is one").replace(&self.file.display().to_string(), "FILE")
    }

    /// Writes a file that is wrong and has it read; the log must say so.
    #[track_caller]
    fn refuse(&mut self, toml: &str) {
        let line = self.reload(toml);
        assert!(line.starts_with("not reloaded: "), "{line}");
    }

    fn service(&self, number: usize) -> Value {
        self.leat.status()["services"][number].clone()
    }
}

/// The lines of leat's log with this word, without time and level.
fn said(leat: &Leat, word: &str) -> Vec<String> {
    let stderr = leat.stderr();
    let lines = stderr.lines().filter_map(|line| Some(line.split_once("] ")?.1)).filter(|line| line.contains(word));
    lines.map(str::to_owned).collect()
}

/// A service on `VIP`:8080 with these keys and backends, each an inline table.
fn service(vip: &str, keys: &str, backends: &[String]) -> String {
    format!(
        "[[service]]\nname = \"web{vip}\"\nvip = \"{vip}\"\nport = 8080\n{keys}\nbackend = [{}]\n",
        backends.join(", ")
    )
}

/// Connections that are in use all the time, each with one request after the other, from the client's namespace.
struct Streams {
    stop: Arc<AtomicBool>,
    /// How often each connection had its turn.
    laps: Arc<AtomicU64>,
    thread: thread::JoinHandle<Result<(), String>>,
}

impl Streams {
    /// Opens `count` connections to `vip`. All must succeed.
    #[track_caller]
    fn open(net: &Net, vip: &'static str, count: usize) -> Self {
        // The usual limit is 1024 files.
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
        setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("a process may have as much as its limit");
        let mut streams = in_namespace(net, CLIENT, || (0..count).map(|_| Stream::open(vip)).collect::<Vec<_>>());
        let (stop, laps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = thread::spawn({
            let (stop, laps) = (Arc::clone(&stop), Arc::clone(&laps));
            move || {
                while !stop.load(SeqCst) {
                    streams.iter_mut().try_for_each(Stream::ask)?;
                    laps.fetch_add(1, SeqCst);
                }
                Ok(())
            }
        });
        let streams = Self { stop, laps, thread };
        streams.wait_for_laps(1);
        streams
    }

    /// Waits until each connection has answered so often again.
    #[track_caller]
    fn wait_for_laps(&self, more: u64) {
        let goal = self.laps.load(SeqCst) + more;
        wait_for("each connection to be used", LONG, || {
            (self.laps.load(SeqCst) >= goal || self.thread.is_finished()).then_some(())
        });
    }

    /// Ends all, none of which may have failed.
    #[track_caller]
    fn close(self) {
        self.stop.store(true, SeqCst);
        self.thread.join().expect("the thread has not panicked").unwrap_or_else(|error| panic!("{error}"));
    }
}

/// One connection, and who is at its other end: nginx's address, and nginx's number for the connection.
struct Stream {
    answers: BufReader<TcpStream>,
    other_end: Option<String>,
}

impl Stream {
    fn open(vip: &str) -> Self {
        let stream = TcpStream::connect((vip, 8080)).expect("leat answers");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit that is not 0");
        Self { answers: BufReader::new(stream), other_end: None }
    }

    /// Asks who is there, which must be who was there before.
    fn ask(&mut self) -> Result<(), String> {
        let request = b"GET /who HTTP/1.1\r\nHost: leat\r\n\r\n";
        self.answers.get_mut().write_all(request).map_err(|error| format!("{:?}: {error}", self.other_end))?;
        let mut line = String::new();
        while line != "\r\n" {
            self.read(&mut line)?;
        }
        self.read(&mut line)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let [server, _, connection, _] = words[..] else { return Err(format!("no answer: {line}")) };
        let other_end = format!("{server} {connection}");
        let before = self.other_end.get_or_insert_with(|| other_end.clone());
        if *before == other_end { Ok(()) } else { Err(format!("from {before} to {other_end}")) }
    }

    fn read(&mut self, line: &mut String) -> Result<(), String> {
        line.clear();
        match self.answers.read_line(line) {
            Ok(1..) => Ok(()),
            other => Err(format!("{:?}: {other:?} instead of an answer", self.other_end)),
        }
    }
}

/// A generator of xorshift type.
struct Random(u64);

impl Random {
    const fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

#[test]
fn two_thousand_connections_in_use_outlive_two_hundred_reloads_and_new_ones_follow() {
    const BACKENDS: usize = 4;
    const SCHEDULERS: [&str; 5] = ["maglev", "rr", "wrr", "lc", "wlc"];
    let address = |number: usize| format!("10.0.0.{}", 2 + number);
    let all: Vec<String> = (0..BACKENDS).map(|number| format!("{{ address = \"{}\" }}", address(number))).collect();
    let keys = "local_addresses = [\"10.0.0.11\"]";
    let mut lab = Lab::new("reload", FOUR_LCORES, BACKENDS as u8, &service(VIP, keys, &all));
    let streams = Streams::open(&lab.net, VIP, 2000);

    let mut random = Random(0x5eed);
    for reload in 0..200 {
        if random.below(10) == 0 {
            let wrong = ["[[service]]\nport = 80\n", "connections = 5\n", "weird", "[[service]]\nvip = \"10.0.0.2\"\n"];
            lab.refuse(wrong[random.below(wrong.len())]);
            continue;
        }
        // At least one member stays; the others, the weights, the scheduler, the local addresses, and whether there is
        // another service, are drawn anew.
        let first = random.below(BACKENDS);
        let members: Vec<usize> = (0..BACKENDS).filter(|number| *number == first || random.below(2) == 0).collect();
        let weigh = |number: &usize, weight| format!("{{ address = \"{}\", weight = {weight} }}", address(*number));
        let backends: Vec<_> = members.iter().map(|number| weigh(number, 1 + random.below(9))).collect();
        let locals = ["[\"10.0.0.11\"]", "[\"10.0.0.11\", \"10.0.0.12\"]", "[\"10.0.0.13\"]"][random.below(3)];
        let scheduler = SCHEDULERS[random.below(SCHEDULERS.len())];
        let mut toml = format!("# Number {reload}.\n");
        if random.below(2) == 0 {
            toml += &service("10.0.0.14", "scheduler = \"rr\"", &all);
        }
        toml += &service(VIP, &format!("scheduler = \"{scheduler}\"\nlocal_addresses = {locals}"), &backends);
        let line = lab.reload(&toml);
        assert!(line.starts_with("reloaded FILE: "), "{line}");

        let expected: BTreeSet<String> = members.iter().map(|number| address(*number)).collect();
        // To look each time would take minutes.
        if reload % 20 != 19 {
            continue;
        }
        for _ in 0..4 {
            let url = format!("http://{VIP}:8080/");
            let answer = lab.net.exec(CLIENT, &["curl", "-sS", "--fail", "--max-time", "20", &url]).success().stdout;
            let server = answer.trim().strip_prefix("backend ").expect("nginx answers").to_owned();
            assert!(expected.contains(&server), "reload {reload}: {server} is none of {expected:?}");
        }
        streams.wait_for_laps(1);
    }
    streams.wait_for_laps(2);
    let status = lab.leat.status();
    streams.close();
    let ours = ["stray_reply", "no_connection", "no_service", "no_backend", "neighbor_unresolved", "ports_exhausted"];
    let lost: Vec<_> = drops(&status).into_iter().filter(|(reason, _)| ours.contains(&reason.as_str())).collect();
    assert_eq!(lost, []);
    for worker in status["workers"].as_array().expect("a list of workers") {
        assert!(worker["longest_pause_ns"].as_u64() > Some(0), "{worker}");
    }
    lab.leat.stop().success();
}

#[test]
fn connections_of_ipv6_in_use_outlive_reloads_and_new_ones_follow() {
    const VIP: &str = "2001:db8::10";
    let shape = Shape { backends: 3, ipv6: true, ..Shape::default() };
    let backend = |number: usize, weight: usize| format!("{{ address = \"2001:db8::{number}\", weight = {weight} }}");
    let all: Vec<String> = (2..5).map(|number| backend(number, 1)).collect();
    let mut lab = Lab::of_shape("v6_load", FOUR_LCORES, shape, &service(VIP, "", &all));
    let streams = Streams::open(&lab.net, VIP, 300);
    for reload in 0..30 {
        // Each is the only one in turn, between times when all are there.
        let (keys, last) = (["scheduler = \"maglev\"", "scheduler = \"wlc\""][reload % 2], 2 + reload % 3);
        let backends = if reload % 2 == 0 { all.clone() } else { vec![backend(last, 1 + reload)] };
        let line = lab.reload(&(format!("# Number {reload}.\n") + &service(VIP, keys, &backends)));
        assert!(line.starts_with("reloaded FILE: "), "{line}");
        if reload % 10 == 9 {
            let url = format!("http://[{VIP}]:8080/");
            let answer = lab.net.exec(CLIENT, &["curl", "-6", "-sS", "--fail", "--max-time", "20", &url]).success();
            assert_eq!(answer.stdout, format!("backend 2001:db8::{last}\n"), "reload {reload}");
            streams.wait_for_laps(1);
        }
    }
    let status = lab.leat.status();
    streams.close();
    let ours = ["stray_reply", "no_connection", "no_service", "no_backend", "neighbor_unresolved", "ports_exhausted"];
    let lost: Vec<_> = drops(&status).into_iter().filter(|(reason, _)| ours.contains(&reason.as_str())).collect();
    assert_eq!(lost, []);
    lab.leat.stop().success();
}

#[test]
fn a_removed_backend_gets_no_new_connection_and_is_gone_after_its_last_one() {
    let [one, two] = ["{ address = \"10.0.0.2\" }", "{ address = \"10.0.0.3\" }"].map(str::to_owned);
    let keys = "scheduler = \"rr\"";
    let short = "[timeouts]\ntcp_time_wait = \"1s\"\n";
    let first = short.to_owned() + &service(VIP, keys, &[one.clone(), two.clone()]);
    let mut lab = Lab::new("drain", TAP, 2, &first);
    let mut connections = Connections::new(&lab.net, CLIENT, VIP, 8080);
    connections.open(4);
    let before: Vec<String> = (0..4).map(|number| connections.who(number)[0].clone()).collect();
    assert_eq!(before, ["10.0.0.2", "10.0.0.3", "10.0.0.2", "10.0.0.3"]);

    let line = lab.reload(&(short.to_owned() + &service(VIP, keys, &[two])));
    assert_eq!(line, "reloaded FILE: services: 0 added, 0 removed, 1 changed; backends: 0 added, 1 removed, 0 changed");
    connections.open(4);
    let after: Vec<String> = (0..8).map(|number| connections.who(number)[0].clone()).collect();
    assert_eq!(after[..4], before[..], "those that are open go on");
    assert!(after[4..].iter().all(|server| server == "10.0.0.3"), "{after:?}");
    let backends = lab.service(0)["backends"].clone();
    let seen =
        |at: usize| (backends[at]["address"].clone(), backends[at]["draining"].clone(), backends[at]["open"].clone());
    assert_eq!(seen(0), ("10.0.0.3".into(), false.into(), 6.into()));
    assert_eq!(seen(1), ("10.0.0.2".into(), true.into(), 2.into()));
    let statistics = lab.leat.dump_stats("end of statistics");
    assert!(statistics.contains("draining"), "{statistics}");

    connections.close(0);
    connections.close(2);
    wait_for("the removed backend to be gone", LIMIT, || {
        (lab.service(0)["backends"].as_array().map(Vec::len) == Some(1)).then_some(())
    });
    assert_eq!(
        said(&lab.leat, "drained"),
        [format!("drained: service web{VIP}, backend 10.0.0.2:8080 has no connection left and is gone")]
    );
    assert_eq!(connections.who(1)[0], "10.0.0.3");

    // A service without a place in the file takes nothing in, and what it has goes on.
    lab.reload(short);
    assert_eq!(lab.service(0)["removed"], true);
    assert_eq!([1, 3, 7].map(|number| connections.who(number)[0].clone()), ["10.0.0.3"; 3].map(str::to_owned));
    lab.net.exec(CLIENT, &["curl", "-sS", "--max-time", "2", &format!("http://{VIP}:8080/")]).code_is(28);
    assert!(lab.leat.dropped("no_service") >= 1);
    for number in [1, 3, 4, 5, 6, 7] {
        connections.close(number);
    }
    wait_for("the removed service to be gone", LIMIT, || lab.service(0).is_null().then_some(()));
    lab.leat.stop().success();
}

#[test]
fn a_file_that_is_wrong_or_asks_for_too_much_changes_nothing_and_the_log_says_where() {
    let backends = [B1, B2].map(|role| format!("{{ address = \"10.0.0.{}\" }}", if role == B1 { 2 } else { 3 }));
    let first = service(VIP, "scheduler = \"rr\"", &backends);
    let mut lab = Lab::new("wrong", TAP, 2, &first);
    let settled = |lab: &Lab| {
        let mut service = lab.service(0);
        service.as_object_mut().expect("a service").remove("total");
        service["backends"].as_array().expect("backends").iter().map(|it| it["weight"].clone()).collect::<Vec<_>>()
    };
    let before = settled(&lab);
    let line = lab.reload(&first.replace("\"rr\"", "\"rrr\""));
    assert!(line.starts_with("not reloaded: FILE:5:13: service \"web10.0.0.10\": scheduler \"rrr\""), "{line}");
    assert!(lab.reload("not TOML").starts_with("not reloaded: FILE:1:"));
    let line = lab.reload(&format!("connections = 5\n{first}"));
    let expected =
        "not reloaded: FILE: connections: 1048576 runs, and the new configuration says 5; this needs a restart";
    assert_eq!(line, expected);
    assert_eq!((lab.service(0)["scheduler"].clone(), settled(&lab)), ("rr".into(), before));
    assert_eq!(lab.reload(&format!("\n# Moved.\n{first}")), "reloaded FILE: nothing has changed");
    fs::remove_file(&lab.file).expect("it is there");
    lab.leat.signal("HUP");
    wait_for("the log to miss the file", LIMIT, || (said(&lab.leat, "cannot be read").len() == 1).then_some(()));
    let url = format!("http://{VIP}:8080/");
    lab.net.exec(CLIENT, &["curl", "-sS", "--fail", "--max-time", "20", &url]).success();
    lab.leat.stop().success();
}

#[test]
fn without_a_file_a_hangup_is_answered_in_the_log_and_ends_nothing() {
    let mut leat = Leat::start(
        &["-l", "0", "--no-pci", "--vdev=net_null0"],
        &["--vip", "10.0.0.10:80", "--backend", "10.0.0.2,mac=02:00:00:00:00:02"],
    );
    leat.signal("HUP");
    wait_for("the log", LIMIT, || (said(&leat, "SIGHUP").len() == 1).then_some(()));
    assert_eq!(said(&leat, "SIGHUP"), ["SIGHUP: leat was started without --config, so there is nothing to reload"]);
    thread::sleep(Duration::from_millis(100));
    leat.stop().success();
}

#[test]
fn a_hundred_thousand_denied_prefixes_are_loaded_and_cut_off_whom_they_name() {
    let net = Net::up("deny");
    let _server = Nginx::start(&net, B1, 8080);
    let directory = TempDir::new("deny");
    let file = directory.join("leat.toml");
    let service =
        "[[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 8080\nbackend = [{ address = \"10.0.0.2\" }]\n";
    fs::write(&file, service).expect("a temporary directory can be written");
    let mut leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a path is text")]);
    let fetch = || net.exec(CLIENT, &["curl", "-sS", "--max-time", "2", "http://10.0.0.10:8080/"]);
    fetch().success();
    let prefixes: Vec<String> =
        (0..100_000).map(|n| format!("\"{}.{}.{}.0/24\"", 20 + (n >> 16), n >> 8 & 255, n & 255)).collect();
    let deny =
        |more: &str| format!("[clients]\ndeny = [\n{},\n\"10.0.0.0/29\"\n]\n{more}{service}", prefixes.join(",\n"));
    fs::write(&file, deny("")).expect("a temporary directory can be written");
    leat.signal("HUP");
    wait_for("the reload", LIMIT, || leat.stderr().contains("reloaded /").then_some(()));
    let finished = fetch();
    assert_eq!(finished.status.code(), Some(28), "{finished}");
    assert!(leat.dropped("client_denied") > 0);
    // The longest prefix decides, and a backend in a denied one is no client.
    fs::write(&file, deny("allow = [\"10.0.0.1/32\"]\n")).expect("a temporary directory can be written");
    leat.signal("HUP");
    wait_for("the second reload", LIMIT, || (leat.stderr().matches("reloaded /").count() == 2).then_some(()));
    fetch().success();
}
