//! What clients see when backends die and return: who moves, who stays, and who is remembered.

use super::*;
use crate::id::BackendId;
use crate::wire::ip::Octets as _;

impl Balancer {
    /// Takes over a snapshot in which only these backends are up, by the last byte of their addresses.
    fn live(&mut self, up: &[u8]) {
        let is_up =
            |id: BackendId| self.snapshot.backend(id).is_some_and(|backend| up.contains(&backend.address.octets()[3]));
        self.snapshot = self.snapshot.with_liveness(is_up);
    }

    /// A segment of `client` in a connection that is open, and where it went.
    fn data(&mut self, client: Client) -> Option<u8> {
        self.one(tcp(CLIENT_MAC, client, (VIP, 80), ACK, 101, 501, b"data")).map(|frame| last_byte(seen(&frame)))
    }

    /// Opens a connection, answers it, and returns its backend.
    fn connect(&mut self, client: Client) -> Option<u8> {
        let there = self.open_connection(client.0, client.1)?;
        self.one(answer(there, SYN | ACK, 500, 101)).unwrap();
        Some(last_byte(there))
    }
}

type Client = ([u8; 4], u16);

const NAT: &str = "mode = \"nat\"\nscheduler = \"rr\"\nproxy_arp = [\"10.0.0.0/16\"]";
const NAT_MOVE: &str =
    "mode = \"nat\"\nscheduler = \"rr\"\nproxy_arp = [\"10.0.0.0/16\"]\non_failure = \"move\"\nflow_memory = \"5m\"";

/// The last byte of the backend's address.
fn last_byte(seen: Seen) -> u8 {
    seen.key.dst.octets()[3]
}

fn client(number: u16) -> Client {
    ([10, 0, 1, number as u8], 4000 + number)
}

#[test]
fn a_dead_backend_gets_no_new_connection_by_any_scheduler_and_returns_when_it_is_up() {
    for scheduler in ["maglev", "rr", "wrr", "lc", "wlc", "sh"] {
        let mut leat = Balancer::new(1, &service(3, &format!("scheduler = \"{scheduler}\"")));
        let used = |leat: &mut Balancer, range: std::ops::Range<u16>| -> HashSet<u8> {
            range.filter_map(|number| leat.connect(client(number))).collect()
        };
        leat.live(&[2, 4]);
        assert_eq!(used(&mut leat, 0..60), HashSet::from([2, 4]), "{scheduler}");
        leat.live(&[2, 3, 4]);
        assert_eq!(used(&mut leat, 60..160), HashSet::from([2, 3, 4]), "{scheduler}");
    }
}

#[test]
fn with_keep_the_connections_of_a_dead_backend_stay_with_it() {
    for settings in ["scheduler = \"rr\"", NAT] {
        let mut leat = Balancer::new(1, &service(2, settings));
        let chosen: Vec<_> = (0..4).map(|number| leat.connect(client(number)).unwrap()).collect();
        assert_eq!(chosen, [2, 3, 2, 3]);
        leat.live(&[3]);
        let after: Vec<_> = (0..4).map(|number| leat.data(client(number)).unwrap()).collect();
        assert_eq!(after, chosen);
        assert_eq!(leat.open(), [2, 2]);
    }
}

#[test]
fn with_move_the_next_packet_of_a_dead_backends_connection_goes_to_another_and_the_counts_follow() {
    let mut leat = Balancer::new(1, &service(2, NAT_MOVE));
    for number in 0..4 {
        leat.connect(client(number)).unwrap();
    }
    leat.live(&[3]);
    assert_eq!(leat.open(), [2, 2], "nothing moves by itself");
    let after: Vec<_> = (0..4).map(|number| leat.data(client(number)).unwrap()).collect();
    assert_eq!(after, [3; 4]);
    assert_eq!(leat.open(), [0, 4]);
    leat.live(&[2, 3]);
    let back: Vec<_> = (0..4).map(|number| leat.data(client(number)).unwrap()).collect();
    assert_eq!(back, [3; 4], "a server that returns takes nothing away from others");
    assert_eq!(leat.open(), [0, 4]);
    // Ends and resets are counted once, where the connection is.
    leat.one(tcp(CLIENT_MAC, client(0), (VIP, 80), RST, 105, 0, b"")).unwrap();
    assert_eq!(leat.open(), [0, 3]);
}

#[test]
fn with_nobody_up_packets_are_dropped_and_a_connection_goes_on_when_somebody_returns() {
    for (returns, expected) in [(&[2][..], 2), (&[3][..], 3)] {
        let mut leat = Balancer::new(1, &service(2, NAT_MOVE));
        assert_eq!(leat.connect(client(0)), Some(2));
        leat.live(&[]);
        assert_eq!(leat.data(client(0)), None);
        assert_eq!(leat.data(client(0)), None);
        assert_eq!(leat.open_connection([10, 0, 1, 9], 4000), None);
        assert_eq!(leat.dropped(DropReason::NoBackend), 3);
        leat.live(returns);
        assert_eq!(leat.data(client(0)), Some(expected));
        assert_eq!(leat.open().iter().sum::<u64>(), 1);
    }
}

#[test]
fn a_flow_that_returns_within_its_memory_finds_its_old_server_if_that_is_up() {
    let mut leat = Balancer::new(1, &service(3, NAT_MOVE));
    let end = |leat: &mut Balancer, client: Client, there: Seen| {
        leat.one(answer(there, SYN | ACK, 500, 101)).unwrap();
        leat.one(tcp(CLIENT_MAC, client, (VIP, 80), ACK | FIN, 101, 501, b"")).unwrap();
        leat.one(answer(there, ACK | FIN, 501, 102)).unwrap();
        leat.wait(Duration::from_secs(62));
    };
    let flow = client(0);
    let there = leat.open_connection(flow.0, flow.1).unwrap();
    assert_eq!(last_byte(there), 2);
    end(&mut leat, flow, there);
    // It is the other two's turn, and yet the flow returns to where it was; the same client's other flow does not.
    assert_eq!(leat.connect((flow.0, 9)), Some(3));
    let there = leat.open_connection(flow.0, flow.1).unwrap();
    assert_eq!(last_byte(there), 2);
    end(&mut leat, flow, there);
    leat.live(&[3, 4]);
    let there = leat.open_connection(flow.0, flow.1).unwrap();
    assert_eq!(last_byte(there), 4, "its old server is down: the next in turn");
    end(&mut leat, flow, there);
    leat.live(&[2, 3, 4]);
    let there = leat.open_connection(flow.0, flow.1).unwrap();
    assert_eq!(last_byte(there), 4, "the last server counts");
    end(&mut leat, flow, there);
    leat.wait(Duration::from_secs(301));
    assert_eq!(leat.connect(flow), Some(2), "after five minutes it is a flow like any other");
}

#[test]
fn a_client_that_persists_goes_to_another_server_when_its_own_is_down_and_stays_there() {
    let mut leat = Balancer::new(1, &service(3, "scheduler = \"rr\"\npersistence = \"300s\""));
    let mut next = 0;
    let mut connect = |leat: &mut Balancer| {
        next += 1;
        leat.connect(([10, 0, 1, 1], 4000 + next))
    };
    assert_eq!(connect(&mut leat), Some(2));
    leat.live(&[3, 4]);
    assert_eq!([connect(&mut leat), connect(&mut leat)], [Some(3); 2]);
    leat.live(&[2, 3, 4]);
    assert_eq!(connect(&mut leat), Some(3));
}

#[test]
fn when_a_backend_dies_no_connection_of_another_backend_moves_whatever_lcore_has_it() {
    let settings = NAT_MOVE.replace("\"rr\"", "\"maglev\"");
    let mut leat = Balancer::new(4, &service(5, &settings));
    let flows: Vec<Client> = (0..400u16).map(|n| ([10, 0, 1, n as u8], 4000 + n)).collect();
    let send = |leat: &mut Balancer, flow: Client, frame: Vec<u8>| -> u8 {
        let sent = leat.take(usize::from(flow.1) % 4, vec![frame], 1);
        last_byte(seen(&sent[0]))
    };
    let mut at: HashMap<Client, u8> = HashMap::new();
    for &flow in &flows {
        let syn = tcp(CLIENT_MAC, flow, (VIP, 80), SYN, 100, 0, b"");
        at.insert(flow, send(&mut leat, flow, syn));
    }
    let first = at.clone();
    // Die and return, in several orders, also two at a time.
    for up in [&[2, 3, 4, 5][..], &[2, 4, 5], &[2, 3, 4, 5], &[3, 4, 6], &[2, 3, 4, 5, 6], &[6], &[2, 3, 4, 5, 6]] {
        leat.live(up);
        for &flow in &flows {
            let before = at[&flow];
            let now = send(&mut leat, flow, tcp(CLIENT_MAC, flow, (VIP, 80), ACK, 101, 501, b""));
            assert!(up.contains(&now));
            assert!(now == before || !up.contains(&before), "{flow:?} moved from {before}, which is up, to {now}");
            at.insert(flow, now);
        }
    }
    let open: u64 = leat.open().iter().sum();
    assert_eq!(open, 400, "each connection is counted once");
    // New flows of the same tuples are chosen as if nothing had ever died.
    let mut fresh = Balancer::new(4, &service(5, &settings));
    fresh.live(&[6]);
    fresh.live(&[2, 3, 4, 5, 6]);
    for &flow in &flows {
        let syn = tcp(CLIENT_MAC, flow, (VIP, 80), SYN, 100, 0, b"");
        assert_eq!(send(&mut fresh, flow, syn), first[&flow]);
    }
}
