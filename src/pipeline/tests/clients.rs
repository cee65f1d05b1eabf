//! Clients that are not served.

use super::*;

/// Everybody but 10.0.1.0/24 is denied: also the network of the backends, who are no clients.
const LISTS: &str = "[clients]\ndeny = [\"0.0.0.0/0\", \"10.0.1.128/25\"]\nallow = [\"10.0.1.0/24\"]\n";

#[test]
fn who_is_denied_is_not_heard_and_who_is_allowed_is_served_in_both_directions() {
    for (workers, mode) in [(1, "fullnat"), (4, "fullnat"), (1, "nat"), (4, "nat")] {
        let mut leat = Balancer::new(workers, &(LISTS.to_owned() + &service(2, &format!("mode = \"{mode}\""))));
        let syn = |client: [u8; 4]| tcp(CLIENT_MAC, (client, 4000), (VIP, 80), SYN, 100, 0, b"");
        for worker in 0..usize::from(workers) {
            assert!(leat.take(worker, vec![syn([10, 0, 1, 128])], 1).is_empty());
            assert!(leat.take(worker, vec![syn([192, 0, 2, 1])], 1).is_empty());
        }
        assert_eq!(leat.dropped(DropReason::ClientDenied), 2 * u64::from(workers));
        let there = leat.take(0, vec![syn([10, 0, 1, 127])], 1);
        let back = leat.take(0, vec![answer(seen(&there[0]), SYN | ACK, 500, 101)], 1);
        assert_eq!(seen(&back[0]).key.to_string(), "tcp 10.0.0.10:80 > 10.0.1.127:4000", "{mode}");
    }
}

#[test]
fn silent_or_traced_a_denied_client_stays_denied_in_the_middle_of_its_connection_and_with_whatever_it_sends() {
    for is_silent in [false, true] {
        let mut leat = Balancer::new(1, &service(1, "protocol = \"udp\""));
        leat.is_silent = is_silent;
        let datagram = |client: [u8; 4]| {
            let mut frame = Vec::new();
            let builder = PacketBuilder::ethernet2(CLIENT_MAC, LEAT.0).ipv4(client, VIP, 64);
            builder.udp(4000, 80).write(&mut frame, b"hello").unwrap();
            frame
        };
        let there = leat.one(datagram([192, 0, 2, 1])).unwrap();
        let toml = LISTS.to_owned() + &service(1, "protocol = \"udp\"");
        let config = config::file::load("test.toml", toml.as_bytes()).unwrap().config;
        leat.snapshot = leat.publisher.publish(&config, &leat.snapshot, leat.now).unwrap();
        leat.workers[0].adopt(&leat.snapshot);
        assert_eq!(leat.one(datagram([192, 0, 2, 1])), None);
        let mut fragment = datagram([192, 0, 2, 1]);
        fragment[20] = 0x20;
        fragment[24..26].fill(0);
        let sum = crate::wire::checksum::of(&fragment[14..34]);
        fragment[24..26].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(leat.one(fragment), None);
        let mut error = Vec::new();
        PacketBuilder::ethernet2(CLIENT_MAC, LEAT.0)
            .ipv4([192, 0, 2, 1], there[26..30].try_into().unwrap(), 64)
            .icmpv4_raw(3, 1, [0; 4])
            .write(&mut error, &there[14..42])
            .unwrap();
        assert_eq!(leat.one(error), None);
        assert_eq!(leat.dropped(DropReason::ClientDenied), 3);
    }
}
