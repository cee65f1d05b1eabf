//! Datagrams that are scheduled one by one.

use super::*;
use crate::wire::ip::Octets as _;

fn toml(mode: &str) -> String {
    let more = format!("protocol = \"udp\"\nmode = \"{mode}\"\nscheduler = \"rr\"\none_packet = true\n");
    // A one-way backend has the service's port.
    service(2, &more).replace("port = 8080", if mode == "fullnat" { "port = 8080" } else { "port = 80" })
}

fn udp(mac: [u8; 6], from: ([u8; 4], u16), to: ([u8; 4], u16), data: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(mac, LEAT.0).ipv4(from.0, to.0, 64).udp(from.1, to.1);
    builder.write(&mut frame, data).unwrap();
    frame
}

fn question() -> Vec<u8> {
    udp(CLIENT_MAC, ([10, 0, 0, 1], 5353), (VIP, 80), b"who is there?")
}

fn answer_to(got: Seen) -> Vec<u8> {
    let key = got.key.reversed();
    udp(got.destination.0, (key.src.octets(), key.src_port), (key.dst.octets(), key.dst_port), b"I am")
}

#[test]
fn questions_from_one_port_go_to_all_backends_and_each_answer_finds_its_way() {
    let mut leat = Balancer::new(1, &toml("fullnat"));
    let there: Vec<_> = (0..6).map(|_| seen(&leat.one(question()).unwrap())).collect();
    let macs: Vec<_> = there.iter().map(|seen| seen.destination.0[5]).collect();
    assert_eq!(macs, [2, 3, 2, 3, 2, 3]);
    let sources: HashSet<_> = there.iter().map(|seen| (seen.key.dst, seen.key.src_port)).collect();
    assert_eq!(sources.len(), 6, "each has a source port of its own");
    assert_eq!(leat.open(), [3, 3]);
    for got in there.iter().rev() {
        let back = seen(&leat.one(answer_to(*got)).unwrap());
        assert_eq!(back.key.to_string(), "udp 10.0.0.10:80 > 10.0.0.1:5353");
    }
    assert_eq!(leat.open(), [0, 0]);
    // A second answer comes through for a while, and then the question is forgotten.
    assert!(leat.one(answer_to(there[0])).is_some());
    leat.wait(Duration::from_secs(6));
    assert!(leat.one(answer_to(there[0])).is_none());
    assert_eq!(leat.workers[0].conntrack.len(), 0);
}

#[test]
fn more_questions_than_there_are_ports_are_answered_when_they_come_one_after_the_other() {
    let mut leat = Balancer::with_connections(1, 70_000, &toml("fullnat").replace("10.0.0.3", "10.0.0.4"));
    for _ in 0..150_000 {
        let there = seen(&leat.one(question()).unwrap());
        assert!(leat.one(answer_to(there)).is_some());
    }
    assert_eq!(leat.dropped(DropReason::PortsExhausted) + leat.dropped(DropReason::TableFull), 0);
}

#[test]
fn where_answers_go_past_leat_nothing_is_remembered() {
    let mut leat = Balancer::new(1, &toml("dr"));
    let macs: Vec<_> = (0..4).map(|_| leat.one(question()).unwrap()[5]).collect();
    assert_eq!(macs, [2, 3, 2, 3]);
    assert_eq!((leat.workers[0].conntrack.len(), leat.open()), (0, vec![0, 0]));
    assert_eq!(leat.snapshot.backends().map(|(_, backend)| backend.counters[0].opened.value()).sum::<u64>(), 4);
}

#[test]
fn fragments_of_one_question_stay_together() {
    for mode in ["fullnat", "dr"] {
        let mut leat = Balancer::new(1, &toml(mode));
        for round in 0..4 {
            let whole = udp(CLIENT_MAC, ([10, 0, 0, 1], 5353), (VIP, 80), &[7; 2000]);
            let mut pieces = Vec::new();
            let mut cuttable = whole.clone();
            cuttable[20] &= !0x40;
            cuttable[19] = round;
            let mut ip = crate::wire::ipv4::HeaderMut::new(&mut cuttable[14..]).unwrap();
            let identification = ip.as_header().identification();
            ip.set_identification(identification);
            let sum = {
                cuttable[24..26].fill(0);
                crate::wire::checksum::of(&cuttable[14..34])
            };
            cuttable[24..26].copy_from_slice(&sum.to_be_bytes());
            crate::forward::fragment(&cuttable, 1500, 0, |piece| pieces.push(piece.to_vec()));
            let sent = leat.take(0, pieces, 8);
            assert_eq!(sent.len(), 2, "{mode}");
            assert_eq!(sent[0][5], sent[1][5], "{mode}: both go to the same backend");
            assert_eq!(sent[0][5], 2 + round % 2, "{mode}");
        }
    }
}
