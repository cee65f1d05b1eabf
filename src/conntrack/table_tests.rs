use super::*;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use proptest::prelude::*;

use crate::conntrack::connection::Standing;
use crate::conntrack::track::Track;
use crate::conntrack::{ClientLink, Path, Sight};
use crate::flow::{FlowHasher, FlowKey, Protocol};
use crate::id::BackendId;
use crate::time::Tick;
use crate::wire::MacAddr;

static HASHER: LazyLock<FlowHasher> = LazyLock::new(|| FlowHasher::with_key((3, 4)));

/// Connections of both versions, by turns.
fn connection(number: u32) -> Connection {
    let address = |v4: [u8; 4]| match number % 2 {
        0 => IpAddr::from(v4),
        _ => {
            let [a, b, c, d] = v4.map(u16::from);
            IpAddr::from([0x2001, 0xdb8, 0, 0, a, b, c, d])
        }
    };
    let original = FlowKey {
        src: address((0x0a00_0000 + number).to_be_bytes()),
        dst: address([10, 0, 0, 10]),
        src_port: number as u16,
        dst_port: 8080,
        protocol: Protocol::Udp,
    };
    let reply = FlowKey {
        src: address([10, 0, 0, 2]),
        dst: address((0x0b00_0000 + number).to_be_bytes()),
        src_port: 80,
        dst_port: number as u16,
        protocol: Protocol::Udp,
    };
    let standing = Standing {
        track: Track::datagram(Protocol::Udp, Sight::Both),
        last_seen: Tick(0),
        backend: BackendId(number),
        link: ClientLink::new(MacAddr([2, 0, 0, 0, 0, 1]), 0),
        path: Path::Local,
        is_one_packet: false,
    };
    Connection::new(&original, &reply, standing)
}

fn hashes(connection: &Connection) -> [u64; 2] {
    [HASHER.hash(&connection.original_key()), HASHER.hash(&connection.reply_key())]
}

fn remove(table: &mut Table, index: ConnectionIndex, number: u32) -> Connection {
    let [original, reply] = hashes(&connection(number));
    table.remove(index, original, Some(reply))
}

fn insert(table: &mut Table, number: u32) -> Result<ConnectionIndex, TableFull> {
    let connection = connection(number);
    let [original, reply] = hashes(&connection);
    table.insert(connection, original, Some(reply))
}

/// Where both directions of the connection are found, which must agree.
fn find(table: &Table, number: u32) -> Option<ConnectionIndex> {
    let connection = connection(number);
    let [original, reply] = [Direction::Original, Direction::Reply].map(|direction| {
        let key = connection.key(direction);
        let hash = HASHER.hash_packed(&key);
        let found = table.find(&key, hash);
        assert_eq!(table.verify(table.find_candidate(hash), &key, hash), found);
        found.map(|(index, found)| {
            assert_eq!(found, direction);
            index
        })
    });
    assert_eq!(original, reply);
    original
}

#[test]
fn as_many_connections_fit_as_were_asked_for() {
    let capacities = [1, 2, 3, 10, 63, 64, 65, 1000, 30_000];
    for (capacity, ipv6) in capacities.into_iter().flat_map(|capacity| [(capacity, false), (capacity, true)]) {
        let mut table = Table::new(capacity, ipv6);
        insert(&mut table, 0).unwrap();
        let first = std::ptr::from_ref(&table.records[0]);
        remove(&mut table, ConnectionIndex(0), 0);
        for number in 0..capacity as u32 {
            assert!(insert(&mut table, number).is_ok(), "{number} of {capacity}");
        }
        assert_eq!(insert(&mut table, u32::MAX >> 9), Err(TableFull));
        assert_eq!(table.len(), capacity);
        assert!((0..capacity as u32).all(|number| find(&table, number).is_some()));
        assert_eq!(std::ptr::from_ref(&table.records[0]), first, "allocated once");
    }
}

#[test]
fn a_full_table_stays_usable_through_any_churn() {
    let capacity = 2000;
    for mut table in [false, true].map(|ipv6| Table::new(capacity, ipv6)) {
        for number in 0..30_000_u32 {
            if number >= capacity as u32 {
                let oldest = number - capacity as u32;
                let index = find(&table, oldest).unwrap();
                assert_eq!(remove(&mut table, index, oldest).backend(), BackendId(oldest));
                assert_eq!(find(&table, oldest), None);
            }
            insert(&mut table, number).unwrap();
        }
        assert_eq!(table.used(), capacity);
    }
}

#[test]
fn an_answer_from_an_old_candidate_is_the_answer_of_now() {
    let mut table = Table::new(100, false);
    let key = connection(1).key(Direction::Original);
    let hash = HASHER.hash_packed(&key);
    let before = table.find_candidate(hash);

    let index = insert(&mut table, 1).unwrap();
    assert_eq!(table.verify(before, &key, hash), Some((index, Direction::Original)), "opened meanwhile");

    let candidate = table.find_candidate(hash);
    remove(&mut table, index, 1);
    assert_eq!(table.verify(candidate, &key, hash), None, "ended meanwhile");
    assert!(!table.is(index, Direction::Original, &key));

    assert_eq!(insert(&mut table, 2), Ok(index), "the record is used again");
    assert_eq!(table.verify(candidate, &key, hash), None);
    assert!(!table.is(index, Direction::Original, &key));
    assert!(table.is(index, Direction::Reply, &connection(2).key(Direction::Reply)));
}

#[test]
fn a_connection_with_both_directions_takes_at_most_80_bytes_in_ipv4_and_144_in_ipv6() {
    let capacity = 1_000_000;
    let index = crate::conntrack::index::buckets_for(2 * capacity) * 64;
    let source_ports = crate::conntrack::port_queue::words(capacity) * size_of::<u16>();
    for (record, most) in [(size_of::<Record>(), 80), (size_of::<Record>() + size_of::<Line>(), 144)] {
        let all = capacity * record + index + source_ports;
        assert!(all <= most * capacity, "{} bytes", all / capacity);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(u32),
    Remove(u32),
    Find(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 0..300_u32;
    prop_oneof![number().prop_map(Step::Insert), number().prop_map(Step::Remove), number().prop_map(Step::Find),]
}

proptest! {
    #[test]
    fn the_table_is_the_map_that_a_hash_map_would_be(steps in prop::collection::vec(step(), 1..400), ipv6: bool) {
        let mut table = Table::new(100, ipv6);
        let mut model: HashMap<u32, ConnectionIndex> = HashMap::new();
        for step in steps {
            match step {
                Step::Insert(number) if !model.contains_key(&number) => match insert(&mut table, number) {
                    Ok(index) => {
                        prop_assert!(!model.values().any(|&other| other == index));
                        model.insert(number, index);
                    }
                    Err(TableFull) => prop_assert_eq!(model.len(), 100),
                },
                Step::Remove(number) => {
                    if let Some(index) = model.remove(&number) {
                        prop_assert_eq!(remove(&mut table, index, number).backend(), BackendId(number));
                    }
                }
                Step::Insert(number) | Step::Find(number) => {
                    prop_assert_eq!(find(&table, number), model.get(&number).copied());
                }
            }
            prop_assert_eq!(table.len(), model.len());
        }
        for (number, index) in model {
            prop_assert_eq!(find(&table, number), Some(index));
            prop_assert_eq!(table.record(index).backend(), BackendId(number));
        }
    }
}
