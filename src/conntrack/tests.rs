mod renumber;
mod room;
mod workers;

use super::*;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::flow::Protocol;
use crate::id::{BackendId, WorkerId};
use crate::steering::Steering;
use crate::wire::MacAddr;

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10));
const OTHER_LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11));
const BACKEND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const START: Tick = Tick(u32::MAX - 100); // The clock wraps within the tests.
const LINK: ClientLink = ClientLink::new(MacAddr([2, 0, 0, 0, 0, 1]), 0);

fn after(duration: Duration) -> Tick {
    Tick(START.0.wrapping_add(Tick::count(duration)))
}

fn share(worker: u16, workers: u16) -> PortShare {
    PortShare::new(&Steering::Modulo { workers }, WorkerId(worker)).unwrap()
}

fn worker(worker: u16, workers: u16, connections: usize) -> Conntrack {
    let mut conntrack = Conntrack::new(&Settings {
        connections,
        ipv6: false,
        hasher: FlowHasher::with_key((5, 6)),
        timeouts: Timeouts::default(),
        share: share(worker, workers),
    });
    let reserved = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp].map(|protocol| (VIP, protocol, 8080..=8080));
    conntrack.adopt(&Arc::new(ReservedPorts::new(reserved)), &Timeouts::default());
    conntrack
}

fn pool(protocol: Protocol) -> PoolKey {
    let backend_port = if protocol == Protocol::Icmp { 0 } else { 80 };
    PoolKey { local: VIP, protocol, backend: BACKEND, backend_port }
}

/// The key of client number `client`'s packets from `port`.
fn key(protocol: Protocol, client: u32, port: u16) -> FlowKey {
    let dst_port = if protocol == Protocol::Icmp { 0 } else { 8080 };
    FlowKey { src: (0x0b00_0000 + client).to_be_bytes().into(), dst: VIP, src_port: port, dst_port, protocol }
}

fn opening<'a>(conntrack: &Conntrack, original: FlowKey, segment: Option<&'a Segment>) -> Opening<'a> {
    Opening {
        original,
        hash: conntrack.hash(&original),
        backend: BackendId(1),
        backend_address: BACKEND,
        backend_port: 80,
        source: Source::Local { addresses: &[VIP], preferred_port: Some(original.src_port) },
        link: LINK,
        segment,
        is_one_packet: false,
        numbers: None,
        adjustment: None,
        now: START,
    }
}

/// Opens a UDP flow, and has it answered: one that is not would make room for others.
fn open_udp(conntrack: &mut Conntrack, client: u32, port: u16) -> Result<Opened, OpenError> {
    let opened = open_unanswered(conntrack, client, port)?;
    conntrack.track(opened.index, Direction::Reply, None, START);
    Ok(opened)
}

fn open_unanswered(conntrack: &mut Conntrack, client: u32, port: u16) -> Result<Opened, OpenError> {
    let opening = opening(conntrack, key(Protocol::Udp, client, port), None);
    conntrack.open(&opening)
}

const fn segment(flags: u8, seq: u32, ack: u32) -> Segment {
    Segment { flags, seq, ack, window: 1000, payload_len: 0, window_scale: None }
}

const SYN: Segment = segment(Segment::SYN, 1000, 0);

fn open_tcp(conntrack: &mut Conntrack, client: u32, port: u16) -> Opened {
    let opening = opening(conntrack, key(Protocol::Tcp, client, port), Some(&SYN));
    conntrack.open(&opening).unwrap()
}

/// Lets the backend refuse the connection, so that it rests.
fn refuse(conntrack: &mut Conntrack, index: ConnectionIndex) {
    let refusal = segment(Segment::RST | Segment::ACK, 0, 1001);
    let tracked = conntrack.track(index, Direction::Reply, Some(&refusal), START);
    assert_eq!(tracked.change, Some(Change::Closed));
}

fn establish(conntrack: &mut Conntrack, index: ConnectionIndex) {
    conntrack.track(index, Direction::Reply, Some(&segment(Segment::SYN | Segment::ACK, 5000, 1001)), START);
    conntrack.track(index, Direction::Original, Some(&segment(Segment::ACK, 1001, 5001)), START);
    assert_eq!(conntrack.connection(index).state(), State::Established);
}

fn local_port(conntrack: &Conntrack, index: ConnectionIndex) -> u16 {
    conntrack.connection(index).reply_key().dst_port
}

fn find(conntrack: &Conntrack, key: &FlowKey) -> Option<(ConnectionIndex, Direction)> {
    conntrack.find(&key.pack(), conntrack.hash(key))
}

#[test]
fn a_connection_is_found_by_the_packets_of_both_directions() {
    let mut conntrack = worker(0, 1, 100);
    let opened = open_tcp(&mut conntrack, 1, 34952);
    let original = key(Protocol::Tcp, 1, 34952);
    let reply = FlowKey { src: BACKEND, dst: VIP, src_port: 80, dst_port: 34952, protocol: Protocol::Tcp };
    assert_eq!(find(&conntrack, &original), Some((opened.index, Direction::Original)));
    assert_eq!(find(&conntrack, &reply), Some((opened.index, Direction::Reply)));
    assert_eq!(find(&conntrack, &reply.reversed()), None);
    let connection = conntrack.connection(opened.index);
    assert_eq!((connection.original_key(), connection.reply_key()), (original, reply));
    assert_eq!((connection.backend(), connection.link()), (BackendId(1), LINK));
}

#[test]
fn a_client_keeps_its_own_port_unless_another_has_it() {
    let mut conntrack = worker(0, 1, 100);
    let first = open_tcp(&mut conntrack, 1, 34952);
    let second = open_tcp(&mut conntrack, 2, 34952);
    assert_eq!(local_port(&conntrack, first.index), 34952);
    assert_ne!(local_port(&conntrack, second.index), 34952);
    // Neither a service's own port nor one below 1024 is ever chosen.
    for port in [8080, 1023, 22] {
        let opened = open_tcp(&mut conntrack, 3, port);
        assert_ne!(local_port(&conntrack, opened.index), port);
    }
}

#[test]
fn a_port_that_rests_after_another_client_is_not_a_clients_own() {
    let mut conntrack = worker(0, 1, 100);
    let first = open_tcp(&mut conntrack, 1, 34952);
    refuse(&mut conntrack, first.index);
    let second = open_tcp(&mut conntrack, 2, 34952);
    assert_ne!(local_port(&conntrack, second.index), 34952);
    assert!(second.ended.is_none());
}

#[test]
fn a_client_that_returns_in_time_wait_may_keep_its_port() {
    let mut conntrack = worker(0, 1, 100);
    let first = open_tcp(&mut conntrack, 1, 34952);
    refuse(&mut conntrack, first.index);
    let again = Segment { seq: 500_000, ..SYN };
    let tracked = conntrack.track(first.index, Direction::Original, Some(&again), START);
    assert_eq!(tracked.change, Some(Change::Reopen { keep_port: true }));
    assert!(!conntrack.end(first.index).is_open());
    let second = open_tcp(&mut conntrack, 1, 34952);
    assert_eq!(local_port(&conntrack, second.index), 34952);
}

#[test]
fn a_ping_gets_an_identifier_of_its_own_and_its_answer_is_found() {
    let mut conntrack = worker(0, 1, 100);
    let ids: Vec<u16> = (1..=2)
        .map(|client| {
            let mut opening = opening(&conntrack, key(Protocol::Icmp, client, 7000), None);
            opening.backend_port = 0;
            let index = conntrack.open(&opening).unwrap().index;
            local_port(&conntrack, index)
        })
        .collect();
    assert_eq!(ids[0], 7000);
    assert_ne!(ids[1], 7000);
    let reply = FlowKey { src: BACKEND, dst: VIP, src_port: 0, dst_port: ids[1], protocol: Protocol::Icmp };
    let (index, direction) = find(&conntrack, &reply).unwrap();
    assert_eq!(direction, Direction::Reply);
    assert_eq!(conntrack.connection(index).original_key(), key(Protocol::Icmp, 2, 7000));
    assert_eq!(conntrack.connection(index).state(), State::Echo);
}

#[test]
fn a_service_of_any_port_and_one_of_a_single_port_never_meet_at_the_backend() {
    let mut conntrack = worker(0, 1, 1000);
    let any = PoolKey { backend_port: 0, ..pool(Protocol::Udp) };
    let mut tuples = HashSet::new();
    for client in 0..400 {
        let mut to_any = opening(&conntrack, FlowKey { dst_port: 80, ..key(Protocol::Udp, client, 5000) }, None);
        to_any.backend_port = 0;
        let mut to_one = opening(&conntrack, key(Protocol::Udp, client, 5000), None);
        to_one.source = Source::Local { addresses: &[VIP], preferred_port: None };
        for opening in [to_any, to_one] {
            let index = conntrack.open(&opening).unwrap().index;
            let reply = conntrack.connection(index).reply_key();
            assert_eq!(reply.src_port, 80);
            assert!(tuples.insert(reply), "{reply} twice");
        }
    }
    // Each port goes back where it came from.
    for reply in tuples {
        let (index, _) = find(&conntrack, &reply).unwrap();
        conntrack.end(index);
    }
    assert_eq!((conntrack.ports_free(&any), conntrack.ports_free(&pool(Protocol::Udp))), (Some(64_511), Some(64_511)));
}

#[test]
fn a_port_in_use_through_another_pool_is_passed_over() {
    let mut conntrack = worker(5000, 16_384, 100);
    let mut tuples = HashSet::new();
    for client in 0..2 {
        let mut to_any = opening(&conntrack, FlowKey { dst_port: 80, ..key(Protocol::Udp, client, 5000) }, None);
        to_any.backend_port = 0;
        let index = conntrack.open(&to_any).unwrap().index;
        tuples.insert(conntrack.connection(index).reply_key());
    }
    // Of four ports two are left, wherever the queue begins; and not even a client's own port is the other's.
    let theirs = tuples.iter().next().unwrap().dst_port;
    for (client, port) in [(10, theirs), (11, 5000)] {
        let index = open_udp(&mut conntrack, client, port).unwrap().index;
        assert!(tuples.insert(conntrack.connection(index).reply_key()));
    }
    assert_eq!(open_udp(&mut conntrack, 12, 5000).unwrap_err(), OpenError::PortsExhausted);
    assert_eq!(conntrack.ports_free(&pool(Protocol::Udp)), Some(2), "the ports that were passed over still wait");
}

#[test]
fn each_backend_has_64511_ports_over_all_workers_and_then_says_so() {
    let mut workers: Vec<Conntrack> = (0..4).map(|number| worker(number, 4, 20_000)).collect();
    let mut tuples = HashSet::new();
    for conntrack in &mut workers {
        for client in 0.. {
            match open_udp(conntrack, client, 40_000) {
                Ok(opened) => assert!(tuples.insert(conntrack.connection(opened.index).reply_key())),
                Err(error) => {
                    assert_eq!(error, OpenError::PortsExhausted);
                    break;
                }
            }
        }
        // Those that exist are not hurt.
        assert_eq!(conntrack.ports_free(&pool(Protocol::Udp)), Some(0));
        let (index, direction) = find(conntrack, &key(Protocol::Udp, 7, 40_000)).unwrap();
        assert!(conntrack.track(index, direction, None, START).in_window);
        // Another protocol has ports of its own.
        open_tcp(conntrack, 1, 40_000);
    }
    assert_eq!(tuples.len(), 64_511);
    assert!(tuples.iter().all(|reply| reply.dst_port >= 1024 && reply.dst_port != 8080));
}

#[test]
fn a_second_local_address_takes_over_when_the_first_has_no_port() {
    // One worker of 30,000 has three ports at most in each pool.
    let mut conntrack = worker(5000, 30_000, 100);
    let mut used = HashSet::new();
    let mut count = 0;
    for client in 0.. {
        let mut opening = opening(&conntrack, key(Protocol::Udp, client, 40_000), None);
        opening.source = Source::Local { addresses: &[VIP, OTHER_LOCAL], preferred_port: None };
        let Ok(opened) = conntrack.open(&opening) else { break };
        conntrack.track(opened.index, Direction::Reply, None, START);
        used.insert(conntrack.connection(opened.index).reply_key().dst);
        count += 1;
    }
    assert_eq!(count, 2 * share(5000, 30_000).len());
    assert_eq!(used, HashSet::from([VIP, OTHER_LOCAL]));
}

#[test]
fn connections_spread_over_the_local_addresses() {
    let mut conntrack = worker(0, 1, 2000);
    let mut at_vip = 0;
    for client in 0..1000 {
        let mut opening = opening(&conntrack, key(Protocol::Udp, client, 40_000), None);
        opening.source = Source::Local { addresses: &[VIP, OTHER_LOCAL], preferred_port: None };
        let index = conntrack.open(&opening).unwrap().index;
        at_vip += usize::from(conntrack.connection(index).reply_key().dst == VIP);
    }
    assert!((400..600).contains(&at_vip), "{at_vip} of 1000");
}

#[test]
fn a_full_table_refuses_and_keeps_what_it_has() {
    let mut conntrack = worker(0, 1, 50);
    for client in 0..50 {
        open_udp(&mut conntrack, client, 40_000).unwrap();
    }
    let free = conntrack.ports_free(&pool(Protocol::Udp));
    assert_eq!(open_udp(&mut conntrack, 50, 40_000).unwrap_err(), OpenError::TableFull);
    assert_eq!(conntrack.ports_free(&pool(Protocol::Udp)), free, "no port is lost");
    assert!((0..50).all(|client| find(&conntrack, &key(Protocol::Udp, client, 40_000)).is_some()));
    let (index, _) = find(&conntrack, &key(Protocol::Udp, 3, 40_000)).unwrap();
    conntrack.end(index);
    open_udp(&mut conntrack, 50, 40_000).unwrap();
}

#[test]
fn a_full_table_makes_room_where_a_connection_is_over() {
    let mut conntrack = worker(0, 1, 50);
    let all: Vec<_> = (0..50).map(|client| open_tcp(&mut conntrack, client, 40_000).index).collect();
    all.iter().filter(|index| index.0 != 30).for_each(|index| establish(&mut conntrack, *index));
    refuse(&mut conntrack, all[30]);
    let opened = open_tcp(&mut conntrack, 50, 40_000);
    assert_eq!(opened.ended.unwrap().original_key(), key(Protocol::Tcp, 30, 40_000));
    establish(&mut conntrack, opened.index);

    let full = opening(&conntrack, key(Protocol::Tcp, 51, 40_000), Some(&SYN));
    assert_eq!(conntrack.open(&full).unwrap_err(), OpenError::TableFull);
    assert_eq!(conntrack.len(), 50);

    let late = Opening { now: after(Duration::from_secs(7441)), ..full };
    assert!(conntrack.open(&late).unwrap().ended.unwrap().is_open(), "silent for too long, and not yet swept");
    assert_eq!(conntrack.ports_free(&pool(Protocol::Tcp)), Some(64_511 - 50));
}

#[test]
fn a_full_table_makes_room_behind_a_crowd_of_young_connections() {
    let mut conntrack = worker(0, 1, 2000);
    let all: Vec<_> = (0..2000).map(|client| open_tcp(&mut conntrack, client, 40_000).index).collect();
    all[1000..1999].iter().for_each(|index| establish(&mut conntrack, *index));
    // The first thousand are over; each that is opened takes the place of one, and the search goes on behind it.
    for index in &all[..1000] {
        refuse(&mut conntrack, *index);
    }
    for client in 2000..3000 {
        let index = open_tcp(&mut conntrack, client, 40_000).index;
        establish(&mut conntrack, index);
    }
    // Now a thousand young ones lie between the last that was found and the next that is over.
    refuse(&mut conntrack, all[1999]);
    assert_eq!(open_tcp(&mut conntrack, 3000, 40_000).ended.unwrap().original_key(), key(Protocol::Tcp, 1999, 40_000));
}

#[test]
fn without_a_local_address_there_is_no_port() {
    let mut conntrack = worker(0, 1, 50);
    let mut opening = opening(&conntrack, key(Protocol::Udp, 1, 40_000), None);
    opening.source = Source::Local { addresses: &[], preferred_port: None };
    assert_eq!(conntrack.open(&opening).unwrap_err(), OpenError::PortsExhausted);
}

#[test]
fn a_pool_is_made_for_its_first_connection_and_goes_when_nobody_wants_it_and_no_connection_has_its_ports() {
    let mut conntrack = worker(0, 1, 50);
    let reserved = Arc::new(ReservedPorts::default());
    assert_eq!(conntrack.ports_free(&pool(Protocol::Tcp)), None);
    let index = open_tcp(&mut conntrack, 1, 40_000).index;
    assert_eq!(conntrack.ports_free(&pool(Protocol::Tcp)), Some(64_510), "8080 is a service's");
    let tidy = |conntrack: &mut Conntrack| {
        conntrack.adopt(&reserved, &Timeouts::default());
        (0..1000).for_each(|_| conntrack.tidy(|_| false));
    };
    tidy(&mut conntrack);
    assert_eq!(conntrack.ports_free(&pool(Protocol::Tcp)), Some(64_510));
    conntrack.end(index);
    tidy(&mut conntrack);
    assert_eq!(conntrack.ports_free(&pool(Protocol::Tcp)), None);
    open_tcp(&mut conntrack, 1, 40_000);
    assert_eq!(conntrack.ports_free(&pool(Protocol::Tcp)), Some(64_511), "nothing is reserved any more");
}

#[test]
fn timeouts_change_for_connections_that_exist() {
    let mut conntrack = worker(0, 1, 50);
    let index = open_unanswered(&mut conntrack, 1, 40_000).unwrap().index;
    let later = after(Duration::from_secs(30));
    assert!(!conntrack.is_over(conntrack.record(index), later));
    let timeouts = Timeouts { udp_unreplied: Duration::from_secs(20), ..Timeouts::default() };
    conntrack.adopt(&Arc::new(ReservedPorts::default()), &timeouts);
    assert!(conntrack.is_over(conntrack.record(index), later));
}

#[test]
fn the_longest_resting_port_is_reused_first_and_its_connection_ends() {
    let mut conntrack = worker(5000, 16_384, 100);
    let ports = share(5000, 16_384).len() as u32;
    assert_eq!(ports, 4);
    let all: Vec<_> = (0..ports).map(|client| open_tcp(&mut conntrack, client, 40_000).index).collect();
    for client in [2, 0] {
        refuse(&mut conntrack, all[client]);
    }
    for client in [1, 3] {
        establish(&mut conntrack, all[client]);
    }
    for client in [2, 0] {
        let port = local_port(&conntrack, all[client]);
        let opened = open_tcp(&mut conntrack, 10 + client as u32, 40_000);
        let ended = opened.ended.expect("the resting connection");
        assert_eq!(ended.original_key(), key(Protocol::Tcp, client as u32, 40_000));
        assert!(!ended.is_open());
        assert_eq!(local_port(&conntrack, opened.index), port);
        establish(&mut conntrack, opened.index);
        assert!(find(&conntrack, &ended.original_key()).is_none());
    }
    assert_eq!(conntrack.len(), 4);
    let opening = opening(&conntrack, key(Protocol::Tcp, 20, 40_000), Some(&SYN));
    assert_eq!(conntrack.open(&opening).unwrap_err(), OpenError::PortsExhausted);
}

#[test]
fn a_connection_that_survives_a_forged_rst_has_its_port_to_itself_again() {
    let mut conntrack = worker(0, 1, 100);
    let index = open_tcp(&mut conntrack, 1, 34952).index;
    establish(&mut conntrack, index);
    let free = conntrack.ports_free(&pool(Protocol::Tcp)).unwrap();
    let forged = segment(Segment::RST, 1200, 0);
    assert_eq!(conntrack.track(index, Direction::Original, Some(&forged), START).change, Some(Change::Closed));
    assert_eq!(conntrack.ports_free(&pool(Protocol::Tcp)), Some(free + 1));
    let data = Segment { payload_len: 10, ..segment(Segment::ACK, 1001, 5001) };
    assert_eq!(conntrack.track(index, Direction::Original, Some(&data), START).change, Some(Change::Restored));
    assert_eq!(conntrack.ports_free(&pool(Protocol::Tcp)), Some(free));
    assert_eq!(conntrack.sweep(after(Duration::from_secs(600)), 100, |_| ()), 0, "it has its long timeout again");
    assert!(conntrack.end(index).is_open());
    assert_eq!(conntrack.ports_free(&pool(Protocol::Tcp)), Some(64_511));
}

#[test]
fn a_strangers_segment_does_not_prolong_a_connection() {
    let mut conntrack = worker(0, 1, 100);
    let index = open_tcp(&mut conntrack, 1, 34952).index;
    establish(&mut conntrack, index);
    let later = after(Duration::from_secs(100));
    let stray = conntrack.track(index, Direction::Original, Some(&segment(Segment::ACK, 900_000, 5001)), later);
    assert_eq!(stray, Tracked { in_window: false, change: None, first_in_tick: false });
    assert_eq!(conntrack.connection(index).last_seen(), START);

    let real = segment(Segment::ACK, 1001, 5001);
    let first = conntrack.track(index, Direction::Original, Some(&real), later);
    assert_eq!(first, Tracked { in_window: true, change: None, first_in_tick: true });
    assert_eq!(conntrack.connection(index).last_seen(), later);
    assert!(!conntrack.track(index, Direction::Original, Some(&real), later).first_in_tick);
}

#[test]
fn the_way_back_follows_the_client_to_another_router() {
    let mut conntrack = worker(0, 1, 100);
    let index = open_tcp(&mut conntrack, 1, 34952).index;
    let moved = ClientLink::new(MacAddr([2, 0, 0, 0, 0, 9]), 1);
    conntrack.set_link(index, moved);
    assert_eq!(conntrack.connection(index).link(), moved);
}

#[test]
fn silent_connections_end_by_the_timeout_of_their_state() {
    type Prepare = fn(&mut Conntrack) -> ConnectionIndex;
    let close: Prepare = |conntrack| {
        let index = open_tcp(conntrack, 1, 5000).index;
        establish(conntrack, index);
        conntrack.track(index, Direction::Original, Some(&segment(Segment::FIN | Segment::ACK, 1001, 5001)), START);
        index
    };
    let rows: [(State, u64, Prepare); 9] = [
        (State::SynSent, 240, |conntrack| open_tcp(conntrack, 1, 5000).index),
        (State::SynReceived, 240, |conntrack| {
            let index = open_tcp(conntrack, 1, 5000).index;
            let answer = segment(Segment::SYN | Segment::ACK, 5000, 1001);
            conntrack.track(index, Direction::Reply, Some(&answer), START);
            index
        }),
        (State::Established, 7440, |conntrack| {
            let index = open_tcp(conntrack, 1, 5000).index;
            establish(conntrack, index);
            index
        }),
        (State::Closing, 240, close),
        (State::TimeWait, 60, |conntrack| {
            let index = open_tcp(conntrack, 1, 5000).index;
            establish(conntrack, index);
            let fin = segment(Segment::FIN | Segment::ACK, 1001, 5001);
            conntrack.track(index, Direction::Original, Some(&fin), START);
            conntrack.track(index, Direction::Reply, Some(&segment(fin.flags, 5001, 1002)), START);
            // The last acknowledgement comes late, and does not prolong it.
            let last = segment(Segment::ACK, 1002, 5002);
            assert!(conntrack.track(index, Direction::Original, Some(&last), after(Duration::from_secs(50))).in_window);
            index
        }),
        (State::Reset, 10, |conntrack| {
            let index = open_tcp(conntrack, 1, 5000).index;
            refuse(conntrack, index);
            index
        }),
        (State::Unreplied, 120, |conntrack| open_unanswered(conntrack, 1, 5000).unwrap().index),
        (State::Replied, 300, |conntrack| {
            let index = open_udp(conntrack, 1, 5000).unwrap().index;
            conntrack.track(index, Direction::Reply, None, START);
            index
        }),
        (State::Echo, 60, |conntrack| {
            let opening = opening(conntrack, key(Protocol::Icmp, 1, 5000), None);
            conntrack.open(&opening).unwrap().index
        }),
    ];
    for (state, seconds, prepare) in rows {
        let mut conntrack = worker(0, 1, 10);
        let index = prepare(&mut conntrack);
        assert_eq!(conntrack.connection(index).state(), state);
        let last = after(Duration::from_secs(seconds));
        assert!(!conntrack.is_over(conntrack.record(index), last), "{state:?}");
        assert_eq!(conntrack.sweep(last, 10, |_| panic!("{state:?} too early")), 0);
        let over = Tick(last.0.wrapping_add(1));
        assert!(conntrack.is_over(conntrack.record(index), over));
        let mut ended = None;
        assert_eq!(conntrack.sweep(over, 10, |connection| ended = Some(*connection)), 1);
        assert_eq!(ended.unwrap().state(), state);
        assert_eq!(ended.unwrap().is_open(), !matches!(state, State::TimeWait | State::Reset));
        assert!(conntrack.is_empty());
        assert_eq!(conntrack.connection(index).state(), State::Vacant);
        let free = |protocol| conntrack.ports_free(&pool(protocol));
        let of_its_pool = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp].into_iter().find_map(free);
        assert_eq!(of_its_pool, Some(64_511), "{state:?}");
    }
}

#[test]
fn a_sweep_in_slices_reaches_every_connection() {
    let mut conntrack = worker(0, 1, 1000);
    for client in 0..1000 {
        open_udp(&mut conntrack, client, 5000).unwrap();
    }
    let now = after(Duration::from_secs(1000));
    let mut ended = HashSet::new();
    for _ in 0..10 {
        let count = conntrack.sweep(now, 100, |connection| assert!(ended.insert(connection.original_key())));
        assert_eq!(count, 100, "no more than asked for");
    }
    assert_eq!(ended.len(), 1000);
    assert_eq!(conntrack.sweep(now, 100, |_| ()), 0);
    assert_eq!(conntrack.ports_free(&pool(Protocol::Udp)), Some(64_511));
}

#[test]
fn exhausted_ports_are_there_again_once_connections_expire() {
    let mut conntrack = worker(5000, 16_384, 100);
    let opened = (0..10).filter(|&client| open_udp(&mut conntrack, client, 5000).is_ok()).count();
    assert_eq!(opened, 4);
    conntrack.sweep(after(Duration::from_secs(1000)), 100, |_| ());
    for client in 100..104 {
        assert!(open_udp(&mut conntrack, client, 5000).unwrap().ended.is_none());
    }
}
