//! What clients see when the configuration changes under them: connections stay, new ones follow the new configuration, and
//! what was removed goes with its last connection.

use super::*;
use crate::control::PublishError;
use crate::id::{BackendId, ServiceId};
use crate::wire::ip::Octets as _;

impl Balancer {
    /// Takes over another configuration.
    pub(super) fn reload(&mut self, toml: &str) {
        self.try_reload(toml).unwrap();
    }

    fn try_reload(&mut self, toml: &str) -> Result<(), PublishError> {
        let config = config::file::load("test.toml", toml.as_bytes()).unwrap_or_else(|error| panic!("{error}")).config;
        let next = self.publisher.publish(&config, &self.snapshot, self.now)?;
        self.take_over(next);
        Ok(())
    }

    fn take_over(&mut self, snapshot: Snapshot) {
        self.snapshot = snapshot;
        for worker in &mut self.workers {
            worker.adopt(&self.snapshot);
        }
    }

    /// Lets everything go that drained and is empty.
    fn let_go(&mut self) {
        let is_empty =
            |(_, backend): &(BackendId, &crate::service::Backend)| backend.is_draining && backend.connections() == 0;
        let drained: Vec<_> = self.snapshot.backends().filter(is_empty).map(|(id, _)| id).collect();
        let next = self.publisher.without(&self.snapshot, &drained, self.now);
        self.take_over(next);
    }

    /// The last byte of the address of the backend that gets a new connection of this client.
    fn connect_to(&mut self, vip: [u8; 4], client: Client) -> Option<u8> {
        let sent = self.take(
            usize::from(client.1) % self.workers.len(),
            vec![tcp(CLIENT_MAC, client, (vip, 80), SYN, 100, 0, b"")],
            1,
        );
        let there = seen(sent.first()?);
        self.take(0, vec![answer(there, SYN | ACK, 500, 101)], 1);
        Some(there.key.dst.octets()[3])
    }

    fn connect_from(&mut self, client: Client) -> Option<u8> {
        self.connect_to(VIP, client)
    }

    /// Where a segment of the client's open connection goes.
    fn send_from(&mut self, client: Client) -> Option<u8> {
        self.send_to(VIP, client)
    }

    fn send_to(&mut self, vip: [u8; 4], client: Client) -> Option<u8> {
        let segment = tcp(CLIENT_MAC, client, (vip, 80), ACK, 101, 501, b"data");
        let sent = self.take(usize::from(client.1) % self.workers.len(), vec![segment], 1);
        sent.first().map(|frame| seen(frame).key.dst.octets()[3])
    }

    fn reset(&mut self, client: Client) {
        let reset = tcp(CLIENT_MAC, client, (VIP, 80), RST, 105, 0, b"");
        self.take(usize::from(client.1) % self.workers.len(), vec![reset], 1);
    }

    /// The number of the backend with this last byte.
    fn number(&self, last: u8) -> Option<BackendId> {
        self.snapshot.backends().find(|(_, backend)| backend.address.octets()[3] == last).map(|(id, _)| id)
    }
}

type Client = ([u8; 4], u16);

fn client(number: u16) -> Client {
    ([10, 0, 1, (number % 250) as u8], 4000 + number)
}

/// A service over the backends with these last bytes, each with a static Ethernet address.
fn over(vip: u8, keys: &str, backends: &[u8]) -> String {
    let mut toml = format!("[[service]]\nvip = \"10.0.0.{vip}\"\nport = 80\n{keys}\n");
    for last in backends {
        toml += &format!(
            "[[service.backend]]\naddress = \"10.0.0.{last}\"\nport = 8080\nmac = \"02:00:00:00:00:{last:02x}\"\n"
        );
    }
    toml
}

const MODES: [&str; 3] = [
    "scheduler = \"rr\"",
    "scheduler = \"rr\"\nlocal_addresses = [\"10.0.0.11\", \"10.0.0.12\"]",
    "mode = \"nat\"\nscheduler = \"rr\"\nproxy_arp = [\"10.0.0.0/16\"]",
];

#[test]
fn connections_keep_their_backend_whatever_happens_to_members_weights_and_scheduler() {
    for keys in MODES {
        let mut leat = Balancer::new(2, &over(10, keys, &[2, 3, 4]));
        let before: Vec<_> = (0..60).map(|n| leat.connect_from(client(n)).unwrap()).collect();
        assert_eq!(before.iter().collect::<HashSet<_>>().len(), 3);
        let weighted = over(10, keys, &[3, 9, 2]).replace("02:00:00:00:00:09\"\n", "02:00:00:00:00:09\"\nweight = 7\n");
        let others = [
            weighted.replace("\"rr\"", "\"wlc\""),
            over(10, &keys.replace("\"rr\"", "\"maglev\""), &[20, 21]),
            over(10, keys, &[]),
            over(15, keys, &[2]) + &over(10, keys, &[3, 2, 4]),
        ];
        for toml in others {
            leat.reload(&toml);
            let after: Vec<_> = (0..60).map(|n| leat.send_from(client(n)).unwrap()).collect();
            assert_eq!(after, before, "{keys}: {toml}");
        }
        assert_eq!(leat.open().iter().sum::<u64>(), 60);
    }
}

#[test]
fn a_removed_backend_gets_no_new_connection_and_goes_with_its_last_one() {
    for keys in MODES {
        let mut leat = Balancer::new(1, &over(10, keys, &[2, 3]));
        assert_eq!([leat.connect_from(client(0)), leat.connect_from(client(1))], [Some(2), Some(3)]);
        leat.reload(&over(10, keys, &[3]));
        assert!((2..20).all(|n| leat.connect_from(client(n)) == Some(3)));
        assert_eq!(leat.send_from(client(0)), Some(2));
        leat.let_go();
        assert_eq!(leat.send_from(client(0)), Some(2), "it is not empty yet");
        leat.reset(client(0));
        leat.let_go();
        assert!(leat.number(2).is_some(), "the record still rests, and its backend may still send");
        leat.wait(Duration::from_secs(15));
        leat.let_go();
        assert_eq!(leat.number(2), None);
        assert_eq!(leat.send_from(client(1)), Some(3));
    }
}

#[test]
fn a_backend_that_returns_while_it_drains_has_its_counters_and_gets_new_connections() {
    let keys = MODES[0];
    let mut leat = Balancer::new(1, &over(10, keys, &[2, 3]));
    leat.connect_from(client(0));
    let before = leat.number(2);
    leat.reload(&over(10, keys, &[3]));
    leat.reload(&over(10, keys, &[3, 2]));
    assert_eq!(leat.number(2), before);
    assert_eq!(leat.open(), [1, 0]);
    let chosen: HashSet<_> = (1..9).map(|n| leat.connect_from(client(n)).unwrap()).collect();
    assert_eq!(chosen, HashSet::from([2, 3]));
}

#[test]
fn a_removed_service_opens_nothing_and_its_connections_go_on_until_they_end() {
    for keys in MODES {
        let mut leat = Balancer::new(2, &(over(10, keys, &[2]) + &over(15, keys, &[3])));
        let flows: Vec<_> = (0..20).map(client).collect();
        assert!(flows.iter().all(|flow| leat.connect_from(*flow) == Some(2)));
        assert!(flows.iter().all(|flow| leat.connect_to([10, 0, 0, 15], *flow) == Some(3)));
        leat.reload(&over(15, keys, &[3]));
        assert_eq!(leat.connect_from(client(30)), None);
        assert_eq!(leat.dropped(DropReason::NoService), 1);
        assert!(flows.iter().all(|flow| leat.send_from(*flow) == Some(2)));
        assert!(leat.snapshot.owns_anywhere(VIP.into()), "its address is still answered for");
        flows.iter().for_each(|flow| leat.reset(*flow));
        leat.wait(Duration::from_secs(15));
        leat.let_go();
        assert!(!leat.snapshot.owns_anywhere(VIP.into()));
        assert_eq!(leat.snapshot.services().count(), 1);
        assert!(flows.iter().all(|flow| leat.send_to([10, 0, 0, 15], *flow) == Some(3)));
    }
}

#[test]
fn a_number_is_not_given_again_while_persistence_or_a_connection_remembers_it() {
    let keys = "scheduler = \"rr\"\npersistence = \"300s\"";
    let mut leat = Balancer::new(1, &over(10, keys, &[2, 3]));
    let persistent = |port| ([10, 0, 1, 1], port);
    assert_eq!(leat.connect_from(persistent(1)), Some(2));
    let old = leat.number(2).unwrap();
    leat.reset(persistent(1));
    leat.reload(&over(10, keys, &[3]));
    leat.wait(Duration::from_secs(15));
    leat.let_go();
    assert_eq!(leat.number(2), None);
    // The client is remembered with a number that nobody has, and then nobody else gets it.
    leat.reload(&over(10, keys, &[3, 4]));
    assert_ne!(leat.number(4).unwrap(), old);
    assert_eq!(leat.connect_from(persistent(2)), Some(3));
    leat.wait(Duration::from_secs(320));
    leat.reload(&over(10, keys, &[3, 4, 5]));
    assert_eq!(leat.number(5), Some(old), "nobody can remember it now");
}

#[test]
fn what_stays_has_its_numbers_counters_neighbors_and_schedule() {
    let maglev = |vip| over(vip, "", &[2, 3, 4]).replace("mac = ", "# ");
    let mut leat = Balancer::new(1, &(maglev(10) + &maglev(15)));
    let backend = |leat: &Balancer, id| leat.snapshot.backend(id).unwrap().clone();
    let first = |leat: &Balancer| leat.snapshot.service(ServiceId(1)).unwrap().backends[0];
    let before = backend(&leat, first(&leat));
    let announced = leat.snapshot.announced().to_vec();
    let reserved = Arc::clone(leat.snapshot.reserved_ports());
    leat.reload(&(over(10, "scheduler = \"rr\"", &[2]) + &maglev(15)));
    let after = backend(&leat, first(&leat));
    assert!(Arc::ptr_eq(&before.counters, &after.counters) && Arc::ptr_eq(&before.neighbor, &after.neighbor));
    assert!(Arc::ptr_eq(&reserved, leat.snapshot.reserved_ports()));
    assert!(announced.iter().zip(leat.snapshot.announced()).all(|(before, after)| Arc::ptr_eq(before, after)));
    assert_eq!(leat.snapshot.neighbors().len(), 4, "10.0.0.2 is configured with and without an Ethernet address");
}

#[test]
fn another_mode_or_fewer_local_addresses_are_for_new_connections_only() {
    let two = "local_addresses = [\"10.0.0.11\", \"10.0.0.12\"]";
    let mut leat = Balancer::new(1, &over(10, two, &[2]));
    let flows: Vec<_> = (0..20).map(client).collect();
    flows.iter().for_each(|flow| assert_eq!(leat.connect_from(*flow), Some(2)));
    let source = |leat: &mut Balancer, flow: Client| {
        let segment = tcp(CLIENT_MAC, flow, (VIP, 80), ACK, 101, 501, b"data");
        seen(&leat.one(segment).unwrap()).key.src.octets()
    };
    let before: Vec<_> = flows.iter().map(|flow| source(&mut leat, *flow)).collect();
    assert_eq!(before.iter().collect::<HashSet<_>>().len(), 2);
    for keys in ["local_addresses = [\"10.0.0.12\"]", "mode = \"nat\"\nproxy_arp = [\"10.0.0.0/16\"]", "mode = \"dr\""]
    {
        let keys = keys.to_owned();
        let toml = over(10, &keys, &[2]);
        leat.reload(&if keys.contains("dr") { toml.replace("port = 8080\n", "") } else { toml });
        let after: Vec<_> = flows.iter().map(|flow| source(&mut leat, *flow)).collect();
        assert_eq!(after, before, "{keys}");
        assert!(leat.snapshot.owns_anywhere([10, 0, 0, 11].into()), "its connections still come from there");
    }
    let fresh = leat.open_connection([10, 0, 1, 99], 99).unwrap();
    assert_eq!(fresh.key.dst.octets(), VIP, "dr changes nothing");
    flows.iter().for_each(|flow| leat.reset(*flow));
    leat.wait(Duration::from_secs(15));
    leat.let_go();
    assert!(!leat.snapshot.owns_anywhere([10, 0, 0, 11].into()));
}

#[test]
fn on_several_workers_a_service_cannot_begin_to_tell_connections_by_their_client() {
    let persistent = "scheduler = \"rr\"\npersistence = \"300s\"";
    let toml = |keys| over(10, keys, &[2, 3]);
    let mut leat = Balancer::new(2, &toml("scheduler = \"rr\""));
    let error = leat.try_reload(&toml(persistent)).unwrap_err();
    assert_eq!(error, PublishError::Ownership { service: "tcp:10.0.0.10:80".to_owned() });
    assert!(!leat.snapshot.services().any(|(_, service)| service.persistence.is_some()));
    // With one worker there is nothing to tell; and to stop doing so is always possible.
    Balancer::new(1, &toml("scheduler = \"rr\"")).reload(&toml(persistent));
    let mut leat = Balancer::new(2, &toml(persistent));
    let before: Vec<_> = (0..40).map(|n| leat.connect_from(client(n)).unwrap()).collect();
    leat.reload(&toml("scheduler = \"rr\""));
    let after: Vec<_> = (0..40).map(|n| leat.send_from(client(n)).unwrap()).collect();
    assert_eq!(after, before, "each is found by the worker that has it");
    leat.reload(&toml(persistent));
}

#[test]
fn when_one_port_is_taken_out_of_a_whole_address_and_given_back_its_connections_stay() {
    let any = "[[service]]\nvip = \"10.0.0.10\"\nprotocol = \"any\"\nscheduler = \"rr\"\nlocal_addresses = [\"10.0.0.11\"]\n\
               [[service.backend]]\naddress = \"10.0.0.9\"\nmac = \"02:00:00:00:00:09\"\n";
    let exact = over(10, "scheduler = \"rr\"\nlocal_addresses = [\"10.0.0.11\"]", &[2]);
    let mut leat = Balancer::new(2, any);
    assert_eq!(leat.connect_from(client(0)), Some(9));
    leat.reload(&(any.to_owned() + &exact));
    assert_eq!([leat.connect_from(client(1)), leat.send_from(client(0))], [Some(2), Some(9)]);
    leat.reload(any);
    let sent = [leat.connect_from(client(2)), leat.send_from(client(1)), leat.send_from(client(0))];
    assert_eq!(sent, [Some(9), Some(2), Some(9)]);
}
