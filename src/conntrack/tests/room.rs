//! Who has to go when room is needed.

use std::collections::VecDeque;

use super::*;

/// Opens a UDP flow as the packet path does: where no port is free, a half-open connection gives up its own.
fn open_with_room(conntrack: &mut Conntrack, client: u32) -> Opened {
    let opening = opening(conntrack, key(Protocol::Udp, client, 5000), None);
    conntrack.open(&opening).unwrap_or_else(|error| {
        assert_eq!(error, OpenError::PortsExhausted);
        let (evicted, _) = conntrack.evict_for_port(&opening).expect("somebody is half-open");
        Opened { ended: Some(evicted), ..conntrack.open(&opening).unwrap() }
    })
}

#[test]
fn a_flood_of_syns_pushes_out_half_open_connections_and_never_an_established_one() {
    let mut conntrack = worker(0, 1, 1000);
    let mut established = Vec::new();
    for client in 0..400 {
        let index = open_tcp(&mut conntrack, client, 40_000).index;
        establish(&mut conntrack, index);
        established.push(index);
    }
    // Ten times what there is room for, and among it good clients, who answer within the time of a hundred SYNs.
    let mut good = VecDeque::new();
    let (mut succeeded, mut refused) = (0, 0);
    for client in 1000..11_000 {
        let now = after(Duration::from_millis(10 * u64::from(client)));
        let opening = Opening { now, ..opening(&conntrack, key(Protocol::Tcp, client, 40_000), Some(&SYN)) };
        let Ok(opened) = conntrack.open(&opening) else {
            refused += 1;
            continue;
        };
        let evicted = opened.ended.map(|ended| ended.state());
        assert!(evicted.is_none_or(State::is_half_open), "{evicted:?}");
        if client % 100 == 0 {
            good.push_back((client, opened.index));
        }
        if let Some(&(asked, index)) = good.front()
            && client >= asked + 100
        {
            good.pop_front();
            if conntrack.is(index, Direction::Original, &key(Protocol::Tcp, asked, 40_000).pack()) {
                establish(&mut conntrack, index);
                succeeded += 1;
            }
        }
    }
    // Before any search has saved up for it, a crowd of 400 established ones takes a few searches to pass.
    assert!(refused <= 7, "{refused}");
    assert!(succeeded >= 95, "of 99 good clients {succeeded} succeeded");
    for (client, index) in (0..).zip(established) {
        assert!(conntrack.is(index, Direction::Original, &key(Protocol::Tcp, client, 40_000).pack()));
    }
}

#[test]
fn a_source_port_that_is_needed_is_taken_from_a_half_open_connection_of_the_same_backend() {
    let mut conntrack = worker(0, 1024, 1000);
    let ports = usize::from(u16::MAX) / 1024;
    let mut answered = None;
    for client in 0.. {
        let opened = open_with_room(&mut conntrack, client);
        if opened.ended.is_some() {
            assert!(conntrack.len() < ports + 2);
            break;
        }
        if client == 3 {
            conntrack.track(opened.index, Direction::Reply, None, START);
            answered = Some((opened.index, key(Protocol::Udp, client, 5000)));
        }
    }
    for client in 1000..1200 {
        let opened = open_with_room(&mut conntrack, client);
        assert_eq!(opened.ended.unwrap().state(), State::Unreplied);
    }
    let (index, key) = answered.unwrap();
    assert!(conntrack.is(index, Direction::Original, &key.pack()), "one that was answered stays");
}
