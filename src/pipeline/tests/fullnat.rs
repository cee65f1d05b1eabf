//! What holds in `fullnat`, and in every mode.

use super::*;
use crate::wire::ip::Octets as _;

#[test]
fn the_conversation_of_one_connection() {
    let mut leat = Balancer::new(1, &service(1, ""));
    let client = ([10, 0, 0, 1], 34952);
    let there = leat.open_connection(client.0, client.1).unwrap();
    assert_eq!(there.key.to_string(), "tcp 10.0.0.10:34952 > 10.0.0.2:8080");
    assert_eq!(there.destination, MacAddr([2, 0, 0, 0, 0, 2]));
    let back = seen(&leat.one(answer(there, SYN | ACK, 500, 101)).unwrap());
    assert_eq!(back.key.to_string(), "tcp 10.0.0.10:80 > 10.0.0.1:34952");
    assert_eq!(back.destination, MacAddr(CLIENT_MAC));
    let data = leat.one(tcp(CLIENT_MAC, client, (VIP, 80), ACK, 101, 501, b"hello")).unwrap();
    assert_eq!(seen(&data), there);
    assert!(data.ends_with(b"hello"));
}

#[test]
fn packets_of_one_burst_leave_as_if_they_had_come_one_by_one() {
    // Every connection's SYN, its retransmission, the backend's answer, data, an end and a new start, side by side, from
    // clients that share source ports, with garbage in between.
    let mut frames = Vec::new();
    for n in 0..40u8 {
        let client = ([10, 0, 1, n], 4000 + u16::from(n % 4));
        let there = Seen {
            destination: MacAddr([2, 0, 0, 0, 0, 2]),
            key: crate::flow::FlowKey {
                src: VIP.into(),
                dst: [10, 0, 0, 2].into(),
                src_port: client.1,
                dst_port: 8080,
                protocol: crate::flow::Protocol::Tcp,
            },
        };
        let syn = tcp(CLIENT_MAC, client, (VIP, 80), SYN, 100, 0, b"");
        frames.extend([
            syn.clone(),
            syn,
            answer(there, SYN | ACK, 500, 101),
            vec![0; usize::from(n)],
            tcp(CLIENT_MAC, client, (VIP, 80), ACK, 101, 501, b"data"),
            tcp(CLIENT_MAC, client, (VIP, 80), RST, 105, 0, b""),
            answer(there, ACK, 501, 105),
            tcp(CLIENT_MAC, client, (VIP, 80), SYN, 9_000, 0, b""),
        ]);
    }
    let mut outputs =
        [1, 3, 64].map(|size| Balancer::new(1, &service(1, "")).take(0, frames.clone(), size)).into_iter();
    let one_by_one = outputs.next().unwrap();
    assert!(one_by_one.len() > 200, "{} frames left", one_by_one.len());
    assert!(outputs.all(|output| output == one_by_one));
}

#[test]
fn clients_with_the_same_source_port_never_meet_at_the_backend_whatever_lcore_they_arrive_on() {
    let mut leat = Balancer::new(4, &service(1, ""));
    let mut tuples = HashMap::new();
    for n in 0..1000u16 {
        let client = [10, 1, (n >> 8) as u8, n as u8];
        let syn = tcp(CLIENT_MAC, (client, 5555), (VIP, 80), SYN, 100, 0, b"");
        let sent = leat.take(usize::from(n) % 4, vec![syn], 1);
        let there = seen(&sent[0]);
        assert_eq!(tuples.insert(there.key, client), None, "{} is used twice", there.key);
        // The answer finds its client whatever lcore it arrives on.
        let back = leat.take(usize::from(n / 4) % 4, vec![answer(there, SYN | ACK, 1, 101)], 1);
        assert_eq!(seen(&back[0]).key.dst, IpAddr::from(client));
    }
    assert!(leat.counters.iter().all(|counters| counters.handed_over.value() > 0));
    assert_eq!(leat.dropped(DropReason::StrayReply), 0);
}

#[test]
fn a_service_beside_an_any_on_its_vip_gets_its_answers_whatever_lcore_they_arrive_on() {
    let any = "[[service]]\nvip = \"10.0.0.10\"\nprotocol = \"any\"\nlocal_addresses = [\"10.0.0.11\"]\n\
               [[service.backend]]\naddress = \"10.0.0.2\"\nmac = \"02:00:00:00:00:02\"\n";
    let mut leat = Balancer::new(2, &(service(1, "") + any));
    for n in 0..64 {
        for (vip_port, local) in [(80, VIP), (443, [10, 0, 0, 11])] {
            let client = ([10, 0, 1, n], 4000);
            let syn = tcp(CLIENT_MAC, client, (VIP, vip_port), SYN, 100, 0, b"");
            let there = seen(&leat.take(0, vec![syn], 1)[0]);
            assert_eq!(there.key.src, IpAddr::from(local));
            for worker in 0..2 {
                let back = leat.take(worker, vec![answer(there, SYN | ACK, 500, 101)], 1);
                assert_eq!(back.len(), 1, "{} is answered on lcore {worker}", there.key);
                assert_eq!(seen(&back[0]).key.dst, IpAddr::from(client.0));
            }
        }
    }
    // What belongs to no connection and looks like an answer ends as one, and is not balanced.
    let stray = tcp([2, 0, 0, 0, 0, 2], ([10, 0, 0, 2], 8080), (VIP, 5000), SYN, 1, 0, b"");
    assert_eq!(leat.take(0, vec![stray.clone()], 1).len() + leat.take(1, vec![stray], 1).len(), 0);
    assert_eq!(leat.dropped(DropReason::StrayReply), 2);
}

#[test]
fn a_ping_that_claims_to_come_from_all_stations_is_not_answered_to_all() {
    let mut leat = Balancer::new(1, &service(1, ""));
    let ping = |mac| {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2(mac, LEAT.0).ipv4([10, 0, 0, 1], VIP, 64);
        builder.icmpv4_echo_request(7, 1).write(&mut frame, b"hello").unwrap();
        frame
    };
    assert!(leat.one(ping(CLIENT_MAC)).is_some());
    assert_eq!(leat.one(ping([0xff; 6])), None);
    assert_eq!(leat.one(ping([1, 0, 0x5e, 0, 0, 1])), None);
    assert_eq!(leat.dropped(DropReason::EthernetSource), 2);
}

#[test]
fn rr_hands_out_backends_in_turn() {
    let mut leat = Balancer::new(1, &service(3, "scheduler = \"rr\""));
    let chosen: Vec<_> =
        (0..7).map(|n| leat.open_connection([10, 0, 1, n], 4000).unwrap().key.dst.octets()[3]).collect();
    assert_eq!(chosen, [2, 3, 4, 2, 3, 4, 2]);
}

#[test]
fn lc_returns_to_a_backend_whose_connections_were_closed() {
    let mut leat = Balancer::new(1, &service(2, "scheduler = \"lc\""));
    let mut of_first = Vec::new();
    for n in 0..200u16 {
        let there = leat.open_connection([10, 0, 1, n as u8], 4000 + n).unwrap();
        leat.one(answer(there, SYN | ACK, 500, 101)).unwrap();
        if there.key.dst.octets()[3] == 2 {
            of_first.push((n, there));
        }
    }
    assert_eq!(leat.open(), [100, 100]);
    for (n, there) in of_first {
        let client = ([10, 0, 1, n as u8], 4000 + n);
        leat.one(tcp(CLIENT_MAC, client, (VIP, 80), ACK | FIN, 101, 501, b"")).unwrap();
        leat.one(answer(there, ACK | FIN, 501, 102)).unwrap();
    }
    assert_eq!(leat.open(), [0, 100]);
    for n in 0..50 {
        assert_eq!(leat.open_connection([10, 0, 2, n], 4000).unwrap().key.dst.octets()[3], 2);
    }
    assert_eq!(leat.open(), [50, 100]);
}

#[test]
fn a_client_keeps_its_backend_for_as_long_as_it_persists_on_any_lcore() {
    let mut leat = Balancer::new(4, &service(8, "scheduler = \"rr\"\npersistence = \"10s\""));
    let backend_of = |leat: &mut Balancer, client: u8, port: u16| {
        let syn = tcp(CLIENT_MAC, ([10, 0, 1, client], port), (VIP, 80), SYN, 100, 0, b"");
        seen(&leat.take(usize::from(port) % 4, vec![syn], 1)[0]).key.dst
    };
    for client in 0..8 {
        let first = backend_of(&mut leat, client, 4000);
        for port in 4001..4009 {
            assert_eq!(backend_of(&mut leat, client, port), first);
        }
    }
    leat.wait(Duration::from_secs(9));
    let kept = backend_of(&mut leat, 0, 5000);
    leat.wait(Duration::from_secs(9));
    assert_eq!(backend_of(&mut leat, 0, 5001), kept, "the last packet counts, not the first");
    leat.wait(Duration::from_secs(11));
    let after: HashSet<_> = (0..8).map(|client| backend_of(&mut leat, client, 6000)).collect();
    assert!(after.len() > 1);
    assert!((0..8).any(|client| backend_of(&mut leat, client, 6001) != kept));
}

#[test]
fn the_reply_follows_a_client_that_moves_and_no_stranger_can_pull_it_away() {
    let mut leat = Balancer::new(1, &service(1, ""));
    let client = ([10, 0, 0, 1], 34952);
    let there = leat.open_connection(client.0, client.1).unwrap();
    leat.one(answer(there, SYN | ACK, 500, 101)).unwrap();
    let moved = [2, 0, 0, 0, 1, 2];
    let stranger = [2, 0, 0, 0, 9, 9];
    leat.one(tcp(stranger, client, (VIP, 80), ACK, 900_000, 501, b"out of the window")).unwrap();
    assert_eq!(seen(&leat.one(answer(there, ACK, 501, 101)).unwrap()).destination, MacAddr(CLIENT_MAC));
    leat.one(tcp(moved, client, (VIP, 80), ACK, 101, 501, b"in the window")).unwrap();
    assert_eq!(seen(&leat.one(answer(there, ACK, 501, 114)).unwrap()).destination, MacAddr(moved));
}

#[test]
fn a_strangers_reset_ends_nothing_and_the_clients_own_does() {
    let mut leat = Balancer::new(1, &service(1, ""));
    let client = ([10, 0, 0, 1], 34952);
    let there = leat.open_connection(client.0, client.1).unwrap();
    leat.one(answer(there, SYN | ACK, 500, 101)).unwrap();
    leat.one(tcp(CLIENT_MAC, client, (VIP, 80), ACK, 101, 501, b"")).unwrap();
    leat.one(tcp(CLIENT_MAC, client, (VIP, 80), RST, 900_000, 0, b""));
    assert_eq!(leat.open(), [1]);
    leat.wait(Duration::from_secs(60));
    assert!(leat.one(answer(there, ACK, 501, 101)).is_some(), "the connection lives");
    leat.one(tcp(CLIENT_MAC, client, (VIP, 80), RST, 101, 0, b"")).unwrap();
    assert_eq!(leat.open(), [0]);
    leat.wait(Duration::from_secs(12));
    assert_eq!(leat.one(answer(there, ACK, 501, 101)), None);
    assert_eq!(leat.dropped(DropReason::StrayReply), 1);
}

#[test]
fn a_full_table_refuses_new_connections_and_hurts_none_that_is_there() {
    let mut leat = Balancer::with_connections(1, 100, &service(1, "\n"));
    let there: Vec<_> = (0..100).map(|n| leat.open_connection([10, 0, 1, n], 4000).unwrap()).collect();
    for (n, there) in (0..).zip(&there) {
        leat.one(answer(*there, SYN | ACK, 500, 101)).unwrap();
        leat.one(tcp(CLIENT_MAC, ([10, 0, 1, n], 4000), (VIP, 80), ACK, 101, 501, b"")).unwrap();
    }
    assert_eq!(leat.open_connection([10, 0, 2, 1], 4000), None);
    assert_eq!(leat.dropped(DropReason::TableFull), 1);
    for there in there {
        assert!(leat.one(answer(there, ACK, 501, 101)).is_some());
    }
    leat.wait(Duration::from_secs(7442));
    assert!(leat.open_connection([10, 0, 2, 1], 4000).is_some(), "expired connections make room");
}

#[test]
fn source_ports_end_at_64511_and_come_back_with_time() {
    let mut leat = Balancer::with_connections(2, 50_000, &service(1, "").replace("port = 80\n", "port = 8080\n"));
    let client = |n: u32| ([10, 1 + (n >> 16) as u8, (n >> 8) as u8, n as u8], 5555);
    let syn = |n: u32| tcp(CLIENT_MAC, client(n), (VIP, 8080), SYN, 100, 0, b"");
    let mut tuples = HashSet::new();
    // Clients land on either worker by their hash; more of them than ports fill both parts.
    for n in 0..70_000 {
        for frame in leat.take(0, vec![syn(n)], 1) {
            let there = seen(&frame);
            assert!(tuples.insert(there.key.src_port));
            // A half-open one would give its port up for another.
            leat.take(0, vec![answer(there, SYN | ACK, 500, 101)], 1);
            let ack = tcp(CLIENT_MAC, client(n), (VIP, 8080), ACK, 101, 501, b"");
            leat.take(0, vec![ack], 1);
        }
    }
    assert_eq!(tuples.len(), 64_511);
    assert!(!tuples.contains(&8080), "the service's own port is nobody's source");
    assert_eq!(leat.dropped(DropReason::PortsExhausted), 70_000 - 64_511);
    leat.wait(Duration::from_secs(7442));
    assert_eq!(leat.take(0, vec![syn(80_000)], 1).len(), 1);
}

#[test]
fn the_narration_of_a_packet_tells_what_was_decided_and_why() {
    let mut leat = Balancer::new(1, &service(2, ""));
    let there = leat.open_connection([10, 0, 0, 1], 34952).unwrap();
    leat.one(answer(there, SYN | ACK, 500, 101)).unwrap();
    leat.one(tcp(CLIENT_MAC, ([10, 0, 0, 9], 1), (VIP, 80), ACK, 1, 1, b""));
    let text = String::from_utf8(leat.narration.clone()).unwrap();
    for expected in [
        "port 0, lcore 0: tcp 10.0.0.1:34952 > 10.0.0.10:80 [S] seq 100",
        "service web (tcp 10.0.0.10:80, fullnat, maglev)",
        "new connection: hash 0x",
        " of 65537 → backend 10.0.0.",
        "source towards the backend: 10.0.0.10:34952, the client's own port",
        "ip source: 10.0.0.1 → 10.0.0.10",
        "ip ttl: 64 → 63",
        "tcp destination port: 80 → 8080",
        "known connection, reply direction",
        "sent on port 0 to 02:00:00:00:01:01",
        "dropped: a client's TCP segment without SYN that belongs to no connection (no_connection)",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
    }
}
