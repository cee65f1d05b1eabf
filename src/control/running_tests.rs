use super::*;
use crate::control::Mailbox;
use crate::id::PortId;
use crate::service::{Parts, Port};
use crate::wire::MacAddr;
use crate::wire::ip::Octets as _;

const INTERFACE: &str = "[[interface]]\nport = \"one\"\naddresses = [\"10.0.0.254/24\"]\n";

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn config(toml: &str) -> Config {
    config::file::load("leat.toml", toml.as_bytes()).unwrap_or_else(|error| panic!("{error}")).config
}

/// A service over the backends with these last bytes.
fn service(vip: u8, keys: &str, backends: &[u8]) -> String {
    let backends: Vec<_> = backends.iter().map(|last| format!("{{ address = \"10.0.0.{last}\" }}")).collect();
    format!("[[service]]\nvip = \"10.0.0.{vip}\"\nport = 80\n{keys}\nbackend = [{}]\n", backends.join(", "))
}

/// What runs, and a worker that takes over what comes.
struct Leat {
    running: Running,
    mailbox: Mailbox<Snapshot>,
    held: Arc<Snapshot>,
}

impl Leat {
    fn start(toml: &str) -> Self {
        let config = config(toml);
        let port = |id, name: &str| Port {
            id: PortId(id),
            name: name.to_owned(),
            mac: MacAddr([2; 6]),
            mtu: 1500,
            vlan: None,
        };
        let ports = wanted_ports(&config, vec![port(0, "one"), port(1, "two")]).unwrap();
        let mut publisher = Publisher::new(ports, 1);
        let nothing = Snapshot::from(Parts::default());
        let held = Arc::new(publisher.publish(&config, &nothing, at(0)).unwrap());
        let (delivery, mut mailboxes) = Delivery::new(Arc::clone(&held), 1);
        let running = Running::new(config, publisher, delivery, Arc::default(), at(0));
        Self { running, mailbox: mailboxes.remove(0), held }
    }

    fn apply(&mut self, toml: &str) -> Result<String, String> {
        let applied = self.running.apply(config(toml), at(1));
        applied.map(|difference| difference.to_string()).map_err(|error| error.to_string())
    }

    fn work(&mut self) {
        self.mailbox.exchange(&mut self.held, |_, _| {});
    }

    /// The last bytes of all backends' addresses, in the snapshot that runs.
    fn backends(&self) -> Vec<(u8, bool)> {
        let snapshot = self.running.current().load();
        snapshot.backends().map(|(_, backend)| (backend.address.octets()[3], backend.is_draining)).collect()
    }
}

#[test]
fn what_differs_is_counted_and_what_does_not_is_not_touched() {
    let first = INTERFACE.to_owned() + &service(10, "", &[2, 3]) + &service(11, "", &[2]);
    let rows = [
        (format!("# Only the lines have moved.\n\n{first}"), "nothing has changed"),
        (
            INTERFACE.to_owned() + &service(10, "scheduler = \"rr\"", &[3, 4]) + &service(12, "", &[2, 5]),
            "services: 1 added, 1 removed, 1 changed; backends: 3 added, 2 removed, 0 changed",
        ),
        (
            format!("[timeouts]\nudp = \"1m\"\n{first}"),
            "services: 0 added, 0 removed, 0 changed; backends: 0 added, 0 removed, 0 changed; other settings have changed",
        ),
        (
            INTERFACE.to_owned() + &service(11, "", &[2]) + &service(10, "", &[2, 3]),
            "services: 0 added, 0 removed, 0 changed; backends: 0 added, 0 removed, 0 changed; other settings have changed",
        ),
        (
            first.replace("\"10.0.0.3\"", "\"10.0.0.3\", weight = 5"),
            "services: 0 added, 0 removed, 1 changed; backends: 0 added, 0 removed, 1 changed",
        ),
    ];
    for (next, expected) in rows {
        let mut leat = Leat::start(&first);
        let before = leat.running.current().load();
        assert_eq!(leat.apply(&next).as_deref(), Ok(expected), "{next}");
        let is_same = Arc::ptr_eq(&before, &leat.running.current().load());
        assert_eq!(is_same, expected == "nothing has changed");
        assert_eq!(leat.apply(&next).as_deref(), Ok("nothing has changed"), "it is what runs now");
    }
}

#[test]
fn what_cannot_change_at_run_time_is_named_and_then_nothing_changes() {
    let first = INTERFACE.to_owned() + &service(10, "", &[2]);
    let rows = [
        (
            "mac = \"02:00:00:00:00:07\"\n".to_owned() + &first,
            "mac: auto runs, and the new configuration says 02:00:00:00:00:07",
        ),
        ("connections = 77\n".to_owned() + &first, "connections: 1048576 runs, and the new configuration says 77"),
        (
            "api = \"unix:/tmp/x\"\n".to_owned() + &first,
            "api: unix:/run/leat/leat.sock runs, and the new configuration says unix:/tmp/x",
        ),
        (first.replace("\"one\"", "\"two\""), "[[interface]] port: one (0) runs, and the new configuration says two"),
        (
            first.clone() + "[[interface]]\nport = \"two\"\n",
            "[[interface]] port: one (0) runs, and the new configuration says one, two",
        ),
    ];
    for (next, expected) in rows {
        let mut leat = Leat::start(&first);
        let before = leat.running.current().load();
        assert_eq!(leat.apply(&next), Err(format!("{expected}; this needs a restart")));
        assert!(Arc::ptr_eq(&before, &leat.running.current().load()));
    }
    let mut leat = Leat::start(&first);
    assert!(leat.apply(&first.replace("\"one\"", "0")).is_ok(), "it is the same port by its number");
}

#[test]
fn what_drains_is_gone_when_every_worker_knows_and_nobody_has_a_connection() {
    let mut leat = Leat::start(&service(10, "", &[2, 3]));
    // A connection of backend 3.
    let backend = leat.held.backends().find(|(_, backend)| backend.address.octets()[3] == 3).unwrap().1.clone();
    backend.counters[0].connections.add(1);
    leat.apply(&service(10, "", &[])).unwrap();
    assert_eq!(leat.backends(), [(2, true), (3, true)]);
    leat.running.tend(at(10));
    assert_eq!(leat.backends(), [(2, true), (3, true)], "the worker may still open a connection");
    leat.work();
    leat.running.tend(at(20));
    assert_eq!(leat.backends(), [(3, true)]);
    leat.work();
    leat.running.tend(at(30));
    assert_eq!(leat.backends(), [(3, true)]);
    backend.counters[0].connections.subtract(1);
    leat.running.tend(at(40));
    assert_eq!(leat.backends(), []);
    leat.work();
    leat.running.tend(at(50));
    assert!(leat.running.is_idle());
}

#[test]
fn a_probed_backend_stays_down_over_a_reload_and_is_up_when_it_is_probed_no_more() {
    let probed = |backends| service(10, "health = { type = \"arp\" }\nscheduler = \"rr\"", backends);
    let mut leat = Leat::start(&probed(&[2, 3]));
    let health = leat.running.report().of(BackendId(0)).unwrap();
    leat.running.report().set(BackendId(0), crate::health::BackendHealth { is_up: false, ..health });
    leat.running.follow_health();
    leat.apply(&probed(&[2, 3, 4])).unwrap();
    let up = |leat: &Leat| -> Vec<bool> {
        leat.running.current().load().backends().map(|(_, backend)| backend.up).collect()
    };
    assert_eq!(up(&leat), [false, true, true]);
    leat.apply(&service(10, "scheduler = \"rr\"", &[2, 3, 4])).unwrap();
    assert_eq!(up(&leat), [true, true, true]);
    assert!(leat.running.report().of(BackendId(0)).is_none());
}

#[test]
fn a_backend_that_is_back_gets_its_share_by_and_by_with_slow_start() {
    for scheduler in ["wrr", "maglev"] {
        let keys = format!("scheduler = \"{scheduler}\"\nslow_start = \"100s\"\nhealth = {{ type = \"arp\" }}");
        let mut leat = Leat::start(&format!("{INTERFACE}{}", service(10, &keys, &[2, 3])));
        // Of 1100 new connections, how many the first backend gets.
        let share = |leat: &Leat| {
            let snapshot = leat.running.current().load();
            let (_, service) = snapshot.services().next().unwrap();
            let mut turn = crate::scheduler::Turn::default();
            let chosen = (0..1100).filter(|port| {
                let flow = crate::flow::FlowKey {
                    src: [192, 0, 2, 1].into(),
                    dst: service.vip,
                    src_port: 1024 + port,
                    dst_port: 80,
                    protocol: crate::flow::Protocol::Tcp,
                };
                service.schedule.choose(&flow, &mut turn, |_| 0).unwrap().backend == service.backends[0]
            });
            chosen.count() as i32
        };
        let is_about = |found: i32, expected: i32| (found - expected).abs() < 60;
        assert!(is_about(share(&leat), 550));
        let reason = crate::health::Reason::Unproven;
        leat.running.ramp(vec![Change { backend: BackendId(0), is_up: true, reason }], at(0));
        assert!(is_about(share(&leat), 100), "{scheduler}: a tenth of a weight of 1 to 1: {}", share(&leat));
        leat.running.ramp(Vec::new(), at(49));
        assert!(is_about(share(&leat), 367), "{scheduler}: half of it: {}", share(&leat));
        // A reload in between neither forgets it…
        let file = |keys: &str, last: u8| format!("{INTERFACE}{}", service(10, keys, &[2, last]));
        leat.apply(&format!("{}{}", file(&keys, 3), service(11, "", &[2]))).unwrap();
        leat.running.ramp(Vec::new(), at(49));
        assert!(is_about(share(&leat), 367), "{scheduler}: still half of it: {}", share(&leat));
        leat.running.ramp(Vec::new(), at(101));
        assert!(is_about(share(&leat), 550), "{scheduler}: all of it: {}", share(&leat));
        assert!(leat.running.ramps.is_empty());
        // … nor goes on with it when the service wants none any more.
        let reason = crate::health::Reason::Unproven;
        leat.running.ramp(vec![Change { backend: BackendId(0), is_up: true, reason }], at(200));
        assert!(is_about(share(&leat), 100));
        leat.apply(&file(&keys.replace("slow_start = \"100s\"\n", ""), 3)).unwrap();
        leat.running.ramp(Vec::new(), at(200));
        assert!(is_about(share(&leat), 550), "{scheduler}: all of it: {}", share(&leat));
    }
}

#[test]
fn what_another_station_has_is_in_no_use_until_it_was_out_of_the_configuration() {
    let interface = "[[interface]]\nport = \"one\"\naddresses = [\"2001:db8::fe/64\"]\n";
    let toml = |local: &str, vip| {
        format!(
            "{interface}[[service]]\nvip = \"2001:db8::{vip}\"\nport = 80\nlocal_addresses = [{local}]\n\
             [[service.backend]]\naddress = \"2001:db8::2\"\n"
        )
    };
    let both = toml("\"2001:db8::11\", \"2001:db8::13\"", 10);
    let mut leat = Leat::start(&both);
    let local = |leat: &Leat| -> Vec<String> {
        let snapshot = leat.running.current().load();
        snapshot.services().next().unwrap().1.local_addresses.iter().map(ToString::to_string).collect()
    };
    assert_eq!(local(&leat), ["2001:db8::11", "2001:db8::13"]);
    let snapshot = leat.running.current().load();
    let hop = crate::neighbor::Hop { mac: MacAddr([2, 0, 0, 0, 0, 9]), port: PortId(0) };
    for address in ["2001:db8::11", "2001:db8::fe", "2001:db8::10"] {
        snapshot.announced_at(address.parse().unwrap()).unwrap().claimed_by(hop);
    }
    leat.running.tend(at(2));
    let snapshot = leat.running.current().load();
    assert_eq!(local(&leat), ["2001:db8::13"]);
    let owns = |snapshot: &Snapshot, address: &str| snapshot.owns_anywhere(address.parse().unwrap());
    assert!(!owns(&snapshot, "2001:db8::11") && !owns(&snapshot, "2001:db8::fe"));
    assert!(owns(&snapshot, "2001:db8::10"), "a VIP stays");
    assert_eq!(snapshot.given_up().len(), 2);
    assert_eq!(snapshot.own_address(PortId(0), true), None);

    let after = toml("\"2001:db8::11\", \"2001:db8::13\", \"2001:db8::14\"", 10);
    leat.apply(&after).unwrap();
    assert_eq!(local(&leat), ["2001:db8::13", "2001:db8::14"]);
    leat.apply(&toml("\"2001:db8::13\", \"2001:db8::14\"", 10)).unwrap();
    leat.apply(&after).unwrap();
    let snapshot = leat.running.current().load();
    assert!(owns(&snapshot, "2001:db8::11") && !owns(&snapshot, "2001:db8::fe"));
}

#[test]
fn local_addresses_of_one_of_a_pair_are_kept_as_vips_are_and_own_addresses_are_not() {
    for (keys, kept) in [("", false), ("standby = true\n", true)] {
        let leat = Leat::start(&format!(
            "{keys}[[interface]]\nport = \"one\"\naddresses = [\"2001:db8::fe/64\"]\n[[service]]\nvip = \"2001:db8::10\"\n\
             port = 80\nlocal_addresses = [\"2001:db8::11\"]\n[[service.backend]]\naddress = \"2001:db8::2\"\n"
        ));
        let mut parts = leat.running.current().load().parts().clone();
        // As when the VIP is announced.
        parts.silent.clear();
        let snapshot = Snapshot::from(parts);
        let gives_way =
            |address: &str| snapshot.announced_at(address.parse().unwrap()).unwrap().announcement().gives_way;
        assert_eq!(["2001:db8::fe", "2001:db8::11", "2001:db8::10"].map(gives_way), [true, !kept, false]);
    }
}
