//! Neighbour discovery: what leat answers, asks and believes.

use std::net::Ipv6Addr;

use super::ipv6::{BACKEND, CLIENT, VIP6, address, builder, service6, tcp6, told, udp6};
use super::*;
use crate::wire::{ethernet, ipv6, mld, ndp};

/// A message of neighbour discovery as a frame.
fn heard(message: &ndp::Message, from: [u8; 6]) -> Vec<u8> {
    let mut frame = [0; ndp::FRAME_LEN];
    let len = message.write(&mut frame, MacAddr(from), LEAT);
    frame[..len].to_vec()
}

#[test]
fn solicitations_for_own_addresses_are_answered_and_no_others() {
    let mut leat = Balancer::new(1, &service6("port = 80"));
    let asker = MacAddr(CLIENT_MAC);
    let question = ndp::Message::solicitation(address(VIP6), address(CLIENT), asker, false);
    let answer = leat.one(heard(&question, CLIENT_MAC)).unwrap();
    assert_eq!(answer[..12], [CLIENT_MAC, LEAT.0].concat());
    let told = ndp::Message::parse(&answer[ethernet::HEADER_LEN..], 40).unwrap();
    assert_eq!(told, question.answered_by(LEAT));
    // Who has no address yet asks whether anybody has this one.
    let probe = ndp::Message::solicitation(address(VIP6), Ipv6Addr::UNSPECIFIED, asker, false);
    let answer = leat.one(heard(&probe, CLIENT_MAC)).unwrap();
    assert_eq!(answer[..6], [0x33, 0x33, 0, 0, 0, 1]);
    let other = ndp::Message::solicitation(address("2001:db8::77"), address(CLIENT), asker, false);
    assert_eq!(leat.one(heard(&other, CLIENT_MAC)), None);
    assert_eq!(leat.dropped(DropReason::NdpNotForUs), 1);
    let mut routed = heard(&question, CLIENT_MAC);
    routed[21] = 254;
    assert_eq!(leat.one(routed), None);
    assert_eq!(leat.dropped(DropReason::NdpMalformed), 1);
    let claim = ndp::Message::announcement(address(VIP6), asker);
    assert_eq!(leat.one(heard(&claim, CLIENT_MAC)), None);
    assert_eq!(leat.dropped(DropReason::NdpConflict), 1);
}

#[test]
fn a_backend_is_asked_for_by_neighbour_discovery_and_what_waits_for_it_leaves_when_it_answers() {
    let toml = format!(
        "[[interface]]\nport = 0\naddresses = [\"2001:db8::fe/64\"]\n[[service]]\nvip = \"{VIP6}\"\nport = 53\nprotocol = \"udp\"\n\
         [[service.backend]]\naddress = \"{BACKEND}\"\n"
    );
    let mut leat = Balancer::new(1, &toml);
    assert_eq!(leat.one(udp6((CLIENT, 4000), (VIP6, 53), b"question")), None);
    let said = said(&mut leat);
    let question = ndp::Message::solicitation(address(BACKEND), address("2001:db8::fe"), LEAT, false);
    assert!(said.contains(&question), "{said:?}");
    let answer = question.answered_by(MacAddr([2, 0, 0, 0, 0, 2]));
    let sent = leat.take(0, vec![heard(&answer, [2, 0, 0, 0, 0, 2])], 1);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0][..6], [2, 0, 0, 0, 0, 2]);
    assert_eq!(told(&sent[0]).payload, b"question");
}

/// Without an own address, and with backends that hold the VIP, leat asks in the name of its port: a question from :: would have a
/// backend that has just started give up its address (RFC 4862 §5.4.3).
#[test]
fn a_backend_that_starts_while_it_is_asked_for_keeps_its_address_and_may_ask_back() {
    const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
    let toml = format!(
        "[[service]]\nvip = \"{VIP6}\"\nport = 80\nmode = \"dr\"\n[[service.backend]]\naddress = \"{BACKEND}\"\n"
    );
    let mut leat = Balancer::new(1, &toml);
    assert_eq!(leat.one(tcp6((CLIENT, 40000), (VIP6, 80), SYN, (100, 0), b"")), None);
    let questions: Vec<_> = said(&mut leat).into_iter().filter(|message| message.target == address(BACKEND)).collect();
    let question = ndp::Message::solicitation(address(BACKEND), ipv6::link_local(LEAT), LEAT, false);
    assert_eq!(questions, [question]);
    let back = ndp::Message::solicitation(question.source, address(BACKEND), MacAddr(BACKEND_MAC), true);
    let sent = leat.take(0, vec![heard(&question.answered_by(MacAddr(BACKEND_MAC)), BACKEND_MAC)], 1);
    assert_eq!(sent.len(), 1, "the client's SYN");
    let answer = leat.one(heard(&back, BACKEND_MAC)).unwrap();
    assert_eq!(ndp::Message::parse(&answer[14..], 40), Some(back.answered_by(LEAT)));
}

/// RFC 6980 §5: also where the header says that there is no other fragment.
#[test]
fn neighbour_discovery_behind_a_fragment_header_is_not_listened_to() {
    let mut leat = Balancer::new(1, &service6("port = 80"));
    let question = ndp::Message::solicitation(address(VIP6), address(CLIENT), MacAddr(CLIENT_MAC), false);
    let with_extension = |number: u8, extension: [u8; 8]| {
        let mut frame = heard(&question, CLIENT_MAC);
        frame.splice(54..54, extension);
        frame[18..21].copy_from_slice(&[0, 40, number]);
        frame
    };
    assert!(leat.one(with_extension(60, [58, 0, 1, 4, 0, 0, 0, 0])).is_some(), "destination options do no harm");
    assert_eq!(leat.one(with_extension(44, [58, 0, 0, 0, 0, 0, 0, 7])), None);
    assert_eq!(leat.dropped(DropReason::NdpMalformed), 1);
}

/// What leat has to say now to its neighbours.
fn said(leat: &mut Balancer) -> Vec<ndp::Message> {
    spoken(leat).into_iter().filter_map(|frame| ndp::Message::parse(&frame[14..], 40)).collect()
}

/// The frames that the first worker sends by itself now.
fn spoken(leat: &mut Balancer) -> Vec<Vec<u8>> {
    let mut output = Recorder::default();
    let mut context = Context { snapshot: &leat.snapshot, now: leat.now, output: &mut output, tracer: &mut Silent };
    leat.workers[0].upkeep(&mut context);
    output.transmitted.into_iter().map(|(_, frame)| frame.into_bytes()).collect()
}

#[test]
fn an_address_is_asked_for_before_it_is_announced() {
    let mut leat = Balancer::new(1, &service6("port = 80"));
    let probe = ndp::Message::solicitation(address(VIP6), Ipv6Addr::UNSPECIFIED, LEAT, false);
    let announcement = ndp::Message::announcement(address(VIP6), LEAT);
    let mut heard = Vec::new();
    for tenth in 0..100 {
        heard.extend(said(&mut leat).into_iter().map(|message| (tenth / 10, message)));
        leat.now = leat.now + Duration::from_millis(100);
    }
    assert_eq!(heard, [(0, probe), (1, announcement), (3, announcement)]);
}

/// A query for listeners, as a frame to everybody.
fn query(group: Ipv6Addr, len: usize) -> Vec<u8> {
    let mut frame = vec![0x33, 0x33, 0, 0, 0, 1];
    frame.extend([0x02, 0, 0, 0, 0, 0x99, 0x86, 0xdd]);
    frame.extend(mld::query(group, len, address("fe80::99"), 1, [58, 0, 5, 2, 0, 0, 1, 0]));
    frame
}

/// The types of the reports of listeners that `leat` sends in a tenth of a second, and the last bytes of their groups.
fn reports(leat: &mut Balancer) -> Vec<(u8, u8)> {
    let mut told = Vec::new();
    for _ in 0..10 {
        leat.now = leat.now + Duration::from_millis(10);
        let reports = spoken(leat).into_iter().filter(|frame| frame[12..14] == [0x86, 0xdd] && frame[20] == 0);
        told.extend(reports.map(|frame| (frame[62], *frame.last().unwrap())));
    }
    told
}

#[test]
fn switches_are_told_in_which_groups_leat_is_asked_for_and_again_when_they_ask() {
    const OTHER: &str = "2001:db8::13";
    let mut leat = Balancer::new(2, &service6(&format!("port = 80\nlocal_addresses = [\"{OTHER}\"]")));
    let (all, group) = (Ipv6Addr::UNSPECIFIED, ipv6::solicited_node(address(VIP6)));
    let (vip, other) = (*address(VIP6).octets().last().unwrap(), 0x13);
    let mut joined = reports(&mut leat);
    joined.sort_unstable();
    assert_eq!(joined, [(143, vip), (143, other)], "before anybody is asked for the addresses");
    leat.wait(Duration::from_secs(10));
    for (worker, question, expected) in [
        (0, query(all, 28), vec![(143, vip), (143, other)]),
        (1, query(all, 24), vec![(131, vip), (131, other)]),
        (0, query(group, 28), vec![(143, vip)]),
        (0, query(address("ff02::1:ff00:77"), 28), vec![]),
    ] {
        let consumed = leat.dropped(DropReason::NdpConsumed);
        leat.take(worker, vec![question; 5], 1);
        let mut told = reports(&mut leat);
        told.sort_unstable();
        assert_eq!(told, expected, "once, however often it is asked");
        assert_eq!(leat.dropped(DropReason::NdpConsumed), consumed + 5);
        leat.wait(Duration::from_secs(2));
    }
    let mut routed = query(all, 28);
    routed[21] = 64;
    assert_eq!(leat.one(routed), None);
    assert_eq!(leat.dropped(DropReason::NdpMalformed), 1);
}

#[test]
fn routers_are_not_believed() {
    let mut leat = Balancer::new(1, &service6("port = 80"));
    for kind in [133, 134, 137] {
        let mut frame = Vec::new();
        builder("fe80::1", VIP6).icmpv6_raw(kind, 0, [0; 4]).write(&mut frame, &[0; 40]).unwrap();
        assert_eq!(leat.one(frame), None);
    }
    assert_eq!(leat.dropped(DropReason::NdpConsumed), 3);
}

/// RFC 4862 §5.4: what another station says decides as long as the address is tentative. A VIP is kept in any case.
#[test]
fn an_own_address_that_another_station_has_is_given_up_and_a_vip_is_not() {
    const OWN: &str = "2001:db8::fe";
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 9];
    let toml = format!("[[interface]]\nport = 0\naddresses = [\"{OWN}/64\"]\n{}", service6("port = 80"));
    let question = |target| ndp::Message::solicitation(address(target), address(CLIENT), MacAddr(CLIENT_MAC), false);
    let flags = |frame: Vec<u8>| frame[14 + 40 + 4];
    let claim = |target| heard(&ndp::Message::announcement(address(target), MacAddr(OTHER)), OTHER);
    let rival = |target, from| {
        heard(&ndp::Message::solicitation(address(target), Ipv6Addr::UNSPECIFIED, MacAddr(from), false), from)
    };
    for frame in [claim(OWN), rival(OWN, OTHER)] {
        let mut leat = Balancer::new(1, &toml);
        said(&mut leat);
        // Its own question, as it comes back from some switches.
        assert_eq!(leat.one(rival(OWN, LEAT.0)), None);
        let answer = leat.one(heard(&question(OWN), CLIENT_MAC)).unwrap();
        assert_eq!(flags(answer), 0x40, "solicited, and no override before it is sure");
        assert_eq!(leat.one(frame), None);
        assert_eq!(leat.dropped(DropReason::NdpConflict), 1);
        assert_eq!(leat.one(heard(&question(OWN), CLIENT_MAC)), None);
        let holder = leat.snapshot.announced_at(IpAddr::V6(address(OWN))).unwrap().holder().unwrap();
        assert_eq!(holder.mac, MacAddr(OTHER));
        leat.now = leat.now + Duration::from_secs(5);
        assert!(said(&mut leat).iter().all(|message| message.target != address(OWN)));
    }

    let mut leat = Balancer::new(1, &toml);
    said(&mut leat);
    assert_eq!(leat.one(claim(VIP6)), None);
    assert_eq!(flags(leat.one(heard(&question(VIP6), CLIENT_MAC)).unwrap()), 0x60);
    assert_eq!(flags(leat.one(rival(VIP6, OTHER)).unwrap()), 0x20);
    leat.now = leat.now + Duration::from_secs(2);
    said(&mut leat);
    assert_eq!(leat.one(claim(OWN)), None);
    assert_eq!(flags(leat.one(heard(&question(OWN), CLIENT_MAC)).unwrap()), 0x60, "it is too late");
}

#[test]
fn nat_stands_in_for_clients_of_ipv6_when_backends_ask_and_for_nobody_else() {
    const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
    let ask = |source: &str, target: &str| {
        ndp::Message::solicitation(address(target), address(source), MacAddr(BACKEND_MAC), false)
    };
    let rows = [
        ("a client that leat knows", BACKEND, CLIENT, true),
        ("an address where clients are", BACKEND, "2001:db8:5::9", true),
        ("an address that nobody knows", BACKEND, "2001:db8::99", false),
        ("another backend", BACKEND, "2001:db8::3", false),
        ("a link-local address", BACKEND, "fe80::9", false),
        ("a host that is no backend asks", "2001:db8::77", CLIENT, false),
        ("a host's own probe", "::", CLIENT, false),
    ];
    for workers in [1, 4] {
        let mut leat = Balancer::new(
            workers,
            &service6("port = 80\nmode = \"nat\"\nproxy_arp = [\"2001:db8:5::/64\", \"fe00::/7\"]"),
        );
        leat.take(0, vec![tcp6((CLIENT, 40000), (VIP6, 80), SYN, (100, 0), b"")], 1);
        for (name, source, target, is_answered) in rows {
            let question = ask(source, target);
            let sent = leat.take(0, vec![heard(&question, BACKEND_MAC)], 1);
            let answers: Vec<_> = sent.iter().map(|frame| ndp::Message::parse(&frame[14..], 40).unwrap()).collect();
            let expected = question.answered_modestly_by(LEAT);
            assert_eq!(answers, if is_answered { vec![expected] } else { vec![] }, "{name}, {workers} workers");
            assert!(sent.iter().all(|frame| frame[..6] == BACKEND_MAC && frame[58] == 0x40), "{name}");
        }
        // What the client itself says to the backend goes past leat, and is noticed.
        let mut overheard = heard(&ask(BACKEND, CLIENT).answered_by(MacAddr(CLIENT_MAC)), CLIENT_MAC);
        overheard[..6].copy_from_slice(&BACKEND_MAC);
        assert!(leat.take(0, vec![overheard.clone()], 1).is_empty());
        assert_eq!(leat.dropped(DropReason::NdpPastLeat), 1);
        let mut between_others = heard(&ask("2001:db8::77", CLIENT).answered_by(MacAddr(CLIENT_MAC)), CLIENT_MAC);
        between_others[..6].copy_from_slice(&[2, 0, 0, 0, 7, 7]);
        assert!(leat.take(0, vec![between_others], 1).is_empty());
        assert_eq!(leat.dropped(DropReason::NotForUs), 1);
    }
}
