//! leat's figures on DPDK's telemetry socket, held against the API's.
#![cfg(feature = "dpdk")]

mod support;

use std::{
    fmt::Write as _,
    fs,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, setsockopt, socket,
    sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};
use serde_json::{Value, json};
use support::{
    LIMIT, TempDir,
    frames::{C1, VIP, echo_request, syn, udp},
    leat::{Leat, received},
    pcap, wait_for,
};

/// What `dpdk-telemetry.py` does.
struct Telemetry(OwnedFd);

impl Telemetry {
    #[track_caller]
    fn of(leat: &Leat) -> Self {
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        let limit = TimeVal::milliseconds(i64::try_from(LIMIT.as_millis()).expect("a limit is short"));
        setsockopt(&socket, ReceiveTimeout, &limit).expect("a limit can be set");
        let path = leat.runtime().join("dpdk_telemetry.v2");
        let address = UnixAddr::new(&path).expect("the path is short");
        connect(socket.as_raw_fd(), &address).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let telemetry = Self(socket);
        assert!(telemetry.message()["version"].as_str().is_some_and(|version| version.starts_with("DPDK ")));
        telemetry
    }

    fn message(&self) -> Value {
        let mut buffer = [0; 32768];
        let len = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("DPDK answers");
        let text = String::from_utf8_lossy(&buffer[..len]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// What is answered to a command, with its parameters.
    fn ask(&self, question: &str) -> Value {
        send(self.0.as_raw_fd(), question.as_bytes(), MsgFlags::empty()).expect("DPDK listens");
        let command = question.split(',').next().expect("there is a first part");
        self.message()[command].take()
    }
}

/// `object` with only those of its members that `like` has, too, and yes and no as 1 and 0.
fn part(object: &Value, like: &Value) -> Value {
    let wanted = like.as_object().unwrap_or_else(|| panic!("{like} is an object"));
    let member = |name: &String| match &object[name] {
        Value::Bool(truth) => json!(u64::from(*truth)),
        other => other.clone(),
    };
    wanted.keys().map(|name| (name.clone(), member(name))).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn dpdks_telemetry_tells_what_the_api_tells() {
    let directory = TempDir::new("telemetry");
    let (input, output) = (directory.join("in.pcap"), directory.join("out.pcap"));
    let frames: Vec<_> = (0..5)
        .map(|port| syn(C1, (40000 + port, 8080)))
        .chain([udp(C1, VIP, (5, 6), b"to no service"), echo_request(C1, VIP, 7)])
        .collect();
    pcap::write(&input, &frames);
    let device = format!("--vdev=net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let service = ["--mac", "02:00:00:00:00:fe", "--vip", "10.0.0.10:8080"];
    let backends =
        ["--backend", "10.0.0.2,mac=02:00:00:00:00:02", "--backend", "10.0.0.3,weight=7,mac=02:00:00:00:00:03"];
    let leat = Leat::start(&["-l", "0", "--no-pci", &device], &[&service[..], &backends].concat());
    wait_for("all frames", LIMIT, || (received(&leat.status()) == frames.len() as u64).then_some(()));
    let telemetry = Telemetry::of(&leat);

    // Polls and ARP go on; so ask between two equal statuses.
    let still = |status: &Value| {
        let worker = &status["workers"][0];
        ["received", "transmitted", "originated"].map(|figure| worker[figure].clone())
    };
    let (status, overview, lcores, drops, services, backends) = wait_for("a quiet moment", LIMIT, || {
        let before = leat.status();
        let asked = ["/leat/status", "/leat/lcores", "/leat/drops", "/leat/services", "/leat/backends,0"]
            .map(|command| telemetry.ask(command));
        let [overview, lcores, drops, services, backends] = asked;
        (still(&before) == still(&leat.status())).then_some((before, overview, lcores, drops, services, backends))
    });

    let worker = &status["workers"][0];
    for (figure, value) in [
        ("version", &status["version"]),
        ("dpdk", &status["dpdk"]),
        ("received", &worker["received"]),
        ("received_bytes", &worker["received_bytes"]),
        ("transmitted", &worker["transmitted"]),
        ("connections", &worker["connections"]),
        ("services", &json!(1)),
        ("lcores", &json!(1)),
        ("ports", &json!(1)),
    ] {
        assert_eq!(&overview[figure], value, "{figure}: {overview}");
    }
    assert_eq!(drops, worker["drops"]);
    assert_eq!(drops["no_service"], 1, "{drops}");
    assert_eq!(overview["dropped"], lcores["lcores"]["0"]["dropped"]);
    let mut lcore = lcores["lcores"]["0"].clone();
    for goes_on in ["polls", "busy_polls", "busy_cycles", "dropped"] {
        let removed = lcore.as_object_mut().expect("an lcore's figures").remove(goes_on);
        assert!(removed.is_some_and(|value| value.is_u64()), "{goes_on}: {lcores}");
    }
    assert_eq!(lcore, part(worker, &lcore));

    let mut service = services["services"]["0"].clone();
    let figures = service.as_object_mut().expect("a service's figures");
    assert_eq!(figures.remove("backends"), Some(json!(2)), "{services}");
    assert_eq!(figures["opened"], 5, "{services}");
    let mut flat = status["services"][0].clone();
    let total = flat["total"].take();
    flat.as_object_mut().expect("a service").extend(total.as_object().expect("its traffic").clone());
    assert_eq!(service, part(&flat, &service));
    for (at, backend) in status["services"][0]["backends"].as_array().expect("backends").iter().enumerate() {
        let mut shown = backends["backends"][at.to_string()].clone();
        assert_eq!(shown.as_object_mut().expect("figures").remove("health"), Some(json!("not probed")), "{backends}");
        assert_eq!(shown, part(backend, &shown));
    }

    // What cannot be answered is null, in DPDK's manner.
    for wrong in ["/leat/backends", "/leat/backends,1", "/leat/services,1", "/leat/lcores,x", "/leat/services,-1"] {
        assert_eq!(telemetry.ask(wrong), Value::Null, "{wrong}");
    }
    assert!(telemetry.ask("/").as_array().is_some_and(|commands| commands.contains(&json!("/leat/status"))));
    assert!(telemetry.ask("/help,/leat/drops").to_string().contains("Dropped packets by reason"));
    leat.stop().success();
}

/// DPDK cuts an answer off at 16 KiB.
#[test]
fn many_services_and_backends_come_in_pages_none_of_which_is_cut() {
    const MANY: usize = 40;
    let directory = TempDir::new("telemetry");
    let file = directory.join("leat.toml");
    let mut text = String::new();
    for service in 0..MANY {
        let name = format!("{service:03}-{}", "x".repeat(56));
        write!(text, "[[service]]\nname = \"{name}\"\nvip = \"10.0.0.10\"\nport = {}\n", 1000 + service).expect("text");
    }
    for backend in 0..MANY {
        writeln!(text, "[[service.backend]]\naddress = \"10.0.1.{}\"", backend + 1).expect("text");
    }
    fs::write(&file, text).expect("it can be written");
    let quiet = ["-l", "0", "--no-pci", "--vdev=net_null0,no-rx=1"];
    let leat = Leat::start(&quiet, &["-c", file.to_str().expect("text")]);
    let telemetry = Telemetry::of(&leat);
    let status = leat.status();

    let last = MANY - 1;
    let backends = &status["services"][last]["backends"];
    for (question, list, member, wanted) in [
        ("/leat/services,".to_owned(), "services", "name", &status["services"]),
        (format!("/leat/backends,{last},"), "backends", "address", backends),
    ] {
        let mut found = Vec::new();
        let mut next = Some(0);
        while let Some(first) = next {
            let page = telemetry.ask(&format!("{question}{first}"));
            assert_eq!(page["total"], MANY, "{page}");
            let entries = page[list].as_object().unwrap_or_else(|| panic!("{page}"));
            found.extend((first..).map_while(|at| entries.get(&at.to_string())).map(|entry| entry[member].clone()));
            next = page["next"].as_u64();
        }
        let wanted: Vec<_> = wanted.as_array().expect("a list").iter().map(|entry| entry[member].clone()).collect();
        assert_eq!(found, wanted);
    }
}
