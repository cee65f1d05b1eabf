//! What goes wrong around leat goes right again afterwards: packets are forwarded as before, and every buffer is back.
#![cfg(feature = "dpdk")]

mod support;

use std::{
    fs,
    io::Write,
    os::unix::net::UnixStream,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread,
    time::Duration,
};

use serde_json::Value;
use support::{
    LIMIT, LONG, TempDir,
    generator::{self, Memif, assert_whole, generate},
    leat::{Leat, TAP, sum},
    net::{B1, B2, CLIENT, Net},
    servers::Nginx,
    wait_for,
};

const WEB: &[&str] = &["--vip", "10.0.0.10:8080", "--backend", "10.0.0.2", "--backend", "10.0.0.3"];

/// Two lcores on two CPUs, on the tap of a [`Net`].
const TWO_LCORES: &[&str] = &["-l", "0-1", "--no-pci", "--vdev=net_tap0,iface=tapdpdk"];

fn in_use(status: &Value) -> u64 {
    status["buffers"]["in_use"].as_u64().expect("a number")
}

/// Insists that no more buffers are in use than when nothing had happened yet, once all has come to rest.
///
/// How many a port's empty queues hold depends on how often they were filled up: there may be fewer, but never more than the descriptors.
#[track_caller]
fn assert_buffers_are_back(leat: &Leat, idle: u64) {
    wait_for("the buffers to come back", LIMIT, || (in_use(&leat.status()) <= idle + 64).then_some(()));
}

/// Insists that this many requests of many are answered right now.
#[track_caller]
fn assert_forwards(net: &Net) {
    let url = "http://10.0.0.10:8080/?[1-100]";
    let curl = ["curl", "-sS", "--fail", "--max-time", "20", "-H", "Connection: close", url];
    let said = net.exec_within(CLIENT, &curl, LONG).success().stdout;
    assert_eq!(said.lines().count(), 100);
}

/// Stops one thread of a process, and lets it go on when its input ends.
const HOLD: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def ptrace(request, thread):
    if libc.ptrace(request, thread, 0, 0) != 0: raise OSError(ctypes.get_errno(), 'ptrace')
thread = int(sys.argv[1])
ptrace(0x4206, thread)  # PTRACE_SEIZE
ptrace(0x4207, thread)  # PTRACE_INTERRUPT
os.waitpid(thread, 0x40000000)  # __WALL
print('held', flush=True)
sys.stdin.read()
ptrace(17, thread)  # PTRACE_DETACH
";

/// The threads of leat that are workers, by number: EAL calls the main one by the program's name, and others lcore-worker.
fn worker_threads(leat: &Leat) -> Vec<u32> {
    let folder = format!("/proc/{}/task", leat.id());
    let mut threads: Vec<u32> = fs::read_dir(&folder)
        .expect("leat runs")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|thread: &u32| {
            let name = fs::read_to_string(Path::new(&folder).join(thread.to_string()).join("comm")).unwrap_or_default();
            *thread == leat.id() || name.contains("worker")
        })
        .collect();
    threads.sort_unstable();
    threads
}

#[test]
fn a_worker_that_stands_still_for_a_while_goes_on_and_nothing_stays_behind() {
    let net = Net::up("stalled");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let leat = Leat::start_in(&net, TWO_LCORES, WEB);
    let idle = in_use(&leat.status());
    assert_forwards(&net);
    let threads = worker_threads(&leat);
    assert_eq!(threads.len(), 2, "{threads:?}");
    for thread in threads {
        let mut holder = net.spawn_with_input(support::net::Role::Lb, &["python3", "-c", HOLD, &thread.to_string()]);
        holder.wait_for_output("held", LIMIT, |stdout, _| stdout.contains("held"));
        // Half of what is handed over comes to one that does not take it. More than the ring between them holds.
        let flood = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                     for n in range(40000):\n    if n % 100 == 0: s.close(); s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n    \
                     s.sendto(b'x', ('10.0.0.10', 8080))\nprint('sent')";
        net.exec_within(CLIENT, &["python3", "-c", flood], LONG).success();
        // Not all of many requests are answered while it does.
        let url = "http://10.0.0.10:8080/?[1-40]";
        let curl = ["curl", "-s", "--max-time", "2", "-Z", "--parallel-immediate", "--parallel-max", "40", url];
        let answered = net.exec_within(CLIENT, &curl, LONG).stdout.lines().count();
        assert!(answered < 40, "it does stand still");
        holder.close_input();
        holder.wait(LIMIT).success();
        assert_forwards(&net);
        assert_buffers_are_back(&leat, idle);
    }
    leat.stop().success();
}

#[test]
fn a_port_that_takes_no_packets_for_a_while_costs_those_packets_and_no_more() {
    let (clients, backends) = (Memif::new(), Memif::new());
    let eal = |devices: &[&str], lcore| {
        ["-l", lcore, "--no-pci"].into_iter().chain(devices.iter().copied()).map(str::to_owned).collect::<Vec<_>>()
    };
    let service = ["--vip", "udp:10.0.0.10:53"];
    let own = [&service[..], &["--backend", "10.0.0.2", "--backend", "10.0.0.3"]].concat();
    let devices = [clients.server("net_memif0"), backends.server("net_memif1")];
    let text = |words: &[String]| words.to_vec();
    let leat_eal = text(&eal(&[&devices[0], &devices[1]], "0"));
    let leat = Leat::start(&leat_eal.iter().map(String::as_str).collect::<Vec<_>>(), &own);
    let idle = in_use(&leat.status());
    let backend_eal = text(&eal(&[&backends.client("net_memif0")], "1"));
    let backend_eal: Vec<_> = backend_eal.iter().map(String::as_str).collect();
    let mut reflector =
        generator::start(&backend_eal, &["--reflect", "--backend", "10.0.0.2", "--backend", "10.0.0.3"]);
    let client_eal = text(&eal(&[&clients.client("net_memif0")], "1"));
    let client_eal: Vec<_> = client_eal.iter().map(String::as_str).collect();
    let ask = |count: &str| generate(&client_eal, &[&service[..], &["--rate", "20k", "--count", count]].concat());
    assert_whole(&ask("2000"), 2000);

    reflector.signal("STOP");
    let report = ask("20000");
    assert!(generator::count(&report, "lost") > 10_000, "{report:#}");
    assert!(leat.dropped("transmit_full") > 1_000, "{}", leat.status()["workers"][0]["drops"]);
    reflector.signal("CONT");
    wait_for("what was left in the ring", LIMIT, || {
        let before = sum(&leat.status(), "received");
        thread::sleep(Duration::from_millis(300));
        (sum(&leat.status(), "received") == before).then_some(())
    });
    assert_whole(&ask("2000"), 2000);
    assert_buffers_are_back(&leat, idle);
    leat.stop().success();
}

/// Opens connections to the API for as long as it is wanted, and says something on each that no client should.
fn pester(socket: &Path, is_over: &AtomicBool) {
    let says: [&[u8]; 4] = [
        b"",
        b"GET",
        b"\xff\xfe\x00\x01garbage\r\n\r\n",
        b"POST /config HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\nx",
    ];
    let mut open = Vec::new();
    for round in 0.. {
        if is_over.load(SeqCst) {
            return;
        }
        if let Ok(mut stream) = UnixStream::connect(socket) {
            let _ = stream.write_all(says[round % says.len()]);
            open.push(stream);
        }
        // Most stay, and never read.
        if open.len() > 400 {
            open.drain(..200);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn neither_a_flood_on_the_control_socket_nor_reloads_nor_both_cost_a_client_anything() {
    let net = Net::up("pestered");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let directory = TempDir::new("pestered");
    let file = directory.join("leat.toml");
    let toml = |weight: u8| {
        format!(
            "[[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 8080\n[[service.backend]]\naddress = \"10.0.0.2\"\n\
             weight = {weight}\n[[service.backend]]\naddress = \"10.0.0.3\"\n"
        )
    };
    fs::write(&file, toml(1)).expect("a temporary directory can be written");
    let mut leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a path is text")]);
    let idle = in_use(&leat.status());
    let api = leat.api().to_owned();
    let (is_over, reloads) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| pester(&api, &is_over));
        }
        let traffic = scope.spawn(|| {
            for _ in 0..5 {
                assert_forwards(&net);
            }
            is_over.store(true, SeqCst);
        });
        while !traffic.is_finished() {
            let number = reloads.fetch_add(1, SeqCst);
            // Whole or not at all: leat may be reading it for the last signal.
            let next = directory.join("next.toml");
            fs::write(&next, toml((number % 7) as u8)).expect("a temporary directory can be written");
            fs::rename(&next, &file).expect("a temporary directory can be written");
            leat.signal("HUP");
            thread::sleep(Duration::from_millis(20));
        }
        // A client that was thrown out makes its thread panic.
        is_over.store(true, SeqCst);
    });
    assert!(reloads.load(SeqCst) > 5);
    wait_for("the API to answer", LIMIT, || {
        UnixStream::connect(&api).is_ok().then(|| leat.status()["services"].as_array().map(Vec::len)).flatten()
    });
    for reason in ["no_connection", "stray_reply", "no_service", "no_backend"] {
        assert_eq!(leat.dropped(reason), 0, "{reason}");
    }
    assert_forwards(&net);
    assert_buffers_are_back(&leat, idle);
    leat.stop().success();
}

#[test]
fn clients_that_wait_for_a_backend_that_is_not_there_hold_no_buffer_for_ever() {
    let net = Net::up("nobody");
    let _server = Nginx::start(&net, B1, 8080);
    let own = ["--vip", "10.0.0.10:8080", "--backend", "10.0.0.2", "--backend", "10.0.0.77", "--scheduler", "rr"];
    let leat = Leat::start_in(&net, TAP, &own);
    let idle = in_use(&leat.status());
    let url = "http://10.0.0.10:8080/?[1-60]";
    let curl = [
        "curl",
        "-s",
        "--max-time",
        "3",
        "-H",
        "Connection: close",
        "-Z",
        "--parallel-immediate",
        "--parallel-max",
        "60",
        url,
    ];
    let answered = net.exec_within(CLIENT, &curl, LONG).stdout.lines().count();
    assert!((25..60).contains(&answered), "every other one has nobody: {answered}");
    assert!(leat.dropped("neighbor_unresolved") + leat.dropped("neighbor_queue_full") > 0);
    assert_buffers_are_back(&leat, idle);
    // It is there at last.
    net.exec(B2, &["ip", "address", "add", "10.0.0.77/24", "dev", "eth0"]).success();
    let _other = Nginx::start(&net, B2, 8080);
    wait_for("the backend to be found", LIMIT, || {
        let url = "http://10.0.0.10:8080/?[1-20]";
        let finished = net.exec_within(CLIENT, &["curl", "-sS", "--fail", "--max-time", "5", url], LONG);
        (finished.stdout.lines().count() == 20).then_some(())
    });
    leat.stop().success();
}
