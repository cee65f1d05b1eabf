//! Connections whose segments are changed by more than addresses and ports: numbers of leat's own, and backends that are told
//! who their client is.

use etherparse::TcpOptionElement::{self, SelectiveAcknowledgement, Timestamp};

use super::*;
use crate::wire::tcp_options::{Options, of};

const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 40_000);

/// What a segment says; its checksums are right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) flags: u8,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) window: u16,
    pub(super) options: Vec<TcpOptionElement>,
    pub(super) data: Vec<u8>,
}

pub(super) fn said(frame: &[u8]) -> Said {
    forward::judge::see(frame, |ip, tcp| {
        let bits = [(tcp.fin(), FIN), (tcp.syn(), SYN), (tcp.rst(), RST), (tcp.ack(), ACK)];
        Said {
            from: format!("{}:{}", IpAddr::from(ip.source), tcp.source_port()),
            to: format!("{}:{}", IpAddr::from(ip.destination), tcp.destination_port()),
            flags: bits.into_iter().filter(|(is_set, _)| *is_set).map(|(_, bit)| bit).sum(),
            seq: tcp.sequence_number(),
            ack: tcp.acknowledgment_number(),
            window: tcp.window_size(),
            // An option of an unknown kind ends the reading.
            options: tcp
                .options_iterator()
                .map_while(Result::ok)
                .filter(|option| *option != TcpOptionElement::Noop)
                .collect(),
            data: tcp.payload().to_vec(),
        }
    })
}

/// The options of the segment in a frame without IPv4 options.
pub(super) fn options(frame: &[u8]) -> Options {
    of(&frame[34..])
}

/// A segment with options.
#[expect(clippy::too_many_arguments, reason = "all that a segment says")]
pub(super) fn segment(
    mac: [u8; 6],
    from: ([u8; 4], u16),
    to: ([u8; 4], u16),
    flags: u8,
    (seq, ack): (u32, u32),
    window: u16,
    options: &[TcpOptionElement],
    data: &[u8],
) -> Vec<u8> {
    let mut builder = PacketBuilder::ethernet2(mac, LEAT.0).ipv4(from.0, to.0, 64).tcp(from.1, to.1, seq, window);
    builder = if flags & SYN != 0 { builder.syn() } else { builder };
    builder = if flags & ACK != 0 { builder.ack(ack) } else { builder };
    builder = if flags & FIN != 0 { builder.fin() } else { builder };
    builder = if flags & RST != 0 { builder.rst() } else { builder };
    let mut frame = Vec::new();
    builder.options(options).unwrap().write(&mut frame, data).unwrap();
    frame
}

/// A segment of the client's.
pub(super) fn from_client(flags: u8, numbers: (u32, u32), options: &[TcpOptionElement], data: &[u8]) -> Vec<u8> {
    segment(CLIENT_MAC, CLIENT, (VIP, 80), flags, numbers, 1000, options, data)
}

/// A segment of the backend that knows the client by this port of the VIP.
pub(super) fn from_backend(
    port: u16,
    flags: u8,
    numbers: (u32, u32),
    options: &[TcpOptionElement],
    data: &[u8],
) -> Vec<u8> {
    segment([2, 0, 0, 0, 0, 2], ([10, 0, 0, 2], 8080), (VIP, port), flags, numbers, 2000, options, data)
}

#[test]
fn with_own_sequence_numbers_both_sides_keep_a_whole_view_of_their_own() {
    let mut leat = Balancer::new(1, &service(1, "sequence_numbers = \"own\""));
    let syn = leat.one(from_client(SYN, (u32::MAX - 5, 0), &[Timestamp(7, 0)], b"")).unwrap();
    let syn = said(&syn);
    let difference = syn.seq.wrapping_sub(u32::MAX - 5);
    assert_ne!(difference, 0);
    assert_eq!(syn.options, [Timestamp(7, 0)], "nothing rests on the port");
    let theirs = |client: u32| client.wrapping_add(difference);
    // The same SYN again is the same SYN again.
    assert_eq!(said(&leat.one(from_client(SYN, (u32::MAX - 5, 0), &[Timestamp(8, 0)], b"")).unwrap()).seq, syn.seq);
    let answer = from_backend(CLIENT.1, SYN | ACK, (500, theirs(u32::MAX - 4)), &[Timestamp(90, 8)], b"");
    let answer = said(&leat.one(answer).unwrap());
    assert_eq!((answer.seq, answer.ack), (500, u32::MAX - 4));
    assert_eq!(answer.options, [Timestamp(90, 8)]);
    // Data over the end of the numbers, acknowledged with a hole.
    let data = leat.one(from_client(ACK, (u32::MAX - 4, 501), &[], b"hello, world")).unwrap();
    assert_eq!((said(&data).seq, said(&data).ack), (theirs(u32::MAX - 4), 501));
    assert_eq!(said(&data).data, b"hello, world");
    let sack = [SelectiveAcknowledgement((theirs(2), theirs(7)), [None; 3])];
    let hole = said(&leat.one(from_backend(CLIENT.1, ACK, (501, theirs(0)), &sack, b"")).unwrap());
    assert_eq!((hole.ack, hole.options), (0, vec![SelectiveAcknowledgement((2, 7), [None; 3])]));
    // A stranger's RST with the client's own number means nothing to conntrack's view; the client's own ends it.
    assert_eq!(leat.open(), [1]);
    let reset = said(&leat.one(from_client(RST, (7, 0), &[], b"")).unwrap());
    assert_eq!(reset.seq, theirs(7));
    assert_eq!(leat.open(), [0]);
}

#[test]
fn an_icmp_error_about_renumbered_data_quotes_what_the_client_sent() {
    let mut leat = Balancer::new(1, &service(1, "sequence_numbers = \"own\""));
    let syn = leat.one(from_client(SYN, (100, 0), &[], b"")).unwrap();
    let difference = said(&syn).seq.wrapping_sub(100);
    leat.one(from_backend(CLIENT.1, SYN | ACK, (500, 101_u32.wrapping_add(difference)), &[], b"")).unwrap();
    let sent = leat.one(from_client(ACK, (101, 501), &[], b"data")).unwrap();
    let mut error = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], LEAT.0)
        .ipv4([10, 0, 0, 99], VIP, 64)
        .icmpv4_raw(3, 4, [0, 0, 5, 0])
        .write(&mut error, &sent[14..])
        .unwrap();
    let told = leat.one(error).unwrap();
    assert_eq!(told[42 + 20 + 4..][..4], 101_u32.to_be_bytes(), "the sequence number in the quote");
    assert_eq!(crate::wire::checksum::of(&told[34..]), 0);
}

/// Opens a connection through a service with `more`, and returns the frames that the client's ACK brings about.
fn shake_hands(leat: &mut Balancer) -> Vec<Vec<u8>> {
    let syn = said(&leat.one(from_client(SYN, (100, 0), &[TcpOptionElement::MaximumSegmentSize(1460)], b"")).unwrap());
    let mss = [TcpOptionElement::MaximumSegmentSize(1460)];
    let answer = leat.one(from_backend(CLIENT.1, SYN | ACK, (500, syn.seq.wrapping_add(1)), &mss, b"")).unwrap();
    assert_eq!((said(&answer).seq, said(&answer).ack), (500, 101));
    leat.take(0, vec![from_client(ACK, (101, 501), &[], b"")], 1)
}

#[test]
fn a_backend_reads_the_proxy_protocol_before_the_clients_first_byte() {
    let text = b"PROXY TCP4 10.0.0.1 10.0.0.10 40000 80\r\n";
    let binary = [
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x0a".as_slice(),
        &40_000_u16.to_be_bytes(),
        &80_u16.to_be_bytes(),
    ]
    .concat();
    for (version, header) in [("v1", text.as_slice()), ("v2", binary.as_slice())] {
        let mut leat = Balancer::new(1, &service(1, &format!("client_address = \"proxy_{version}\"")));
        let len = header.len() as u32;
        let sent: Vec<_> = shake_hands(&mut leat).iter().map(|frame| said(frame)).collect();
        assert_eq!((sent[0].seq, sent[0].ack, &sent[0].data[..]), (101, 501, header));
        assert_eq!((sent[1].seq, sent[1].data.len()), (101 + len, 0));
        // Data before the header is acknowledged.
        let data = said(&leat.one(from_client(ACK, (101, 501), &[], b"GET /")).unwrap());
        assert_eq!((data.seq, &data.data[..]), (101 + len, &b"GET /"[..]));
        // The header was lost: the backend has a hole, and the client is told so without hearing of the header.
        let sack = [SelectiveAcknowledgement((101 + len, 106 + len), [None; 3])];
        let hole = said(&leat.one(from_backend(CLIENT.1, ACK, (501, 101), &sack, b"")).unwrap());
        assert_eq!((hole.ack, hole.options), (101, vec![]));
        // The client sends its first bytes again after a while, and gets the header sent again.
        leat.wait(Duration::from_millis(300));
        let again = leat.take(0, vec![from_client(ACK, (101, 501), &[], b"GET /")], 1);
        let again: Vec<_> = again.iter().map(|frame| said(frame)).collect();
        assert_eq!((again[0].seq, &again[0].data[..], again[1].seq), (101, header, 101 + len));
        // Half of it, all of it, all of it and the data.
        for (acknowledged, client) in [(101 + len / 2, 101), (101 + len, 101), (106 + len, 106)] {
            let frame = from_backend(CLIENT.1, ACK, (501, acknowledged), &[], b"");
            assert_eq!(said(&leat.one(frame).unwrap()).ack, client);
        }
        let more = said(&leat.one(from_client(ACK | FIN, (106, 501), &[], b"")).unwrap());
        assert_eq!((more.seq, more.flags), (106 + len, ACK | FIN));
        let last = said(&leat.one(from_backend(CLIENT.1, ACK | FIN, (501, 107 + len), &[], b"")).unwrap());
        assert_eq!((last.ack, leat.open()), (107, vec![0]));
    }
}

#[test]
fn a_lost_proxy_header_is_sent_again_though_the_client_is_silent() {
    let mut leat = Balancer::new(1, &service(1, "client_address = \"proxy_v2\""));
    shake_hands(&mut leat);
    let mut seconds = Vec::new();
    for second in 1..=10 {
        let sent = leat.wait_and_see(Duration::from_secs(1));
        assert!(sent.iter().all(|frame| said(frame).seq == 101 && said(frame).data.len() == 28));
        seconds.extend(sent.iter().map(|_| second));
    }
    assert_eq!(seconds.len(), 3, "after 1, 2 and 4 seconds more: {seconds:?}");
    leat.one(from_backend(CLIENT.1, ACK, (501, 129), &[], b"")).unwrap();
    assert!(leat.wait_and_see(Duration::from_secs(20)).is_empty());
}

#[test]
fn a_backend_finds_its_client_in_an_option_until_it_has_data() {
    let toa = [200, 8, 0x9c, 0x40, 10, 0, 0, 1];
    let mut leat = Balancer::new(1, &service(1, "client_address = \"toa\"\ntoa_kind = 200"));
    let mss = [TcpOptionElement::MaximumSegmentSize(1460)];
    let syn = leat.one(from_client(SYN, (100, 0), &mss, b"")).unwrap();
    assert_eq!(syn.len(), 58);
    let answer = leat.one(from_backend(CLIENT.1, SYN | ACK, (500, 101), &mss, b"")).unwrap();
    assert_eq!(options(&answer).mss, Some(1452), "the client leaves room for it");
    for data in [&b""[..], b"GET /", b"GET /"] {
        let frame = leat.one(from_client(ACK, (101, 501), &[], data)).unwrap();
        assert_eq!(said(&frame).data, data);
        assert_eq!(frame[54..62], toa);
    }
    assert_eq!(leat.one(from_client(ACK, (106, 501), &[], b"more")).unwrap().len(), 58, "not the first");
    leat.one(from_backend(CLIENT.1, ACK, (501, 106), &[], b"")).unwrap();
    assert_eq!(leat.one(from_client(ACK, (101, 501), &[], b"GET /")).unwrap().len(), 59, "it was read");
    // A first segment that has no room for it goes without.
    let mut leat = Balancer::new(1, &service(1, "client_address = \"toa\""));
    shake_hands(&mut leat);
    assert_eq!(leat.one(from_client(ACK, (101, 501), &[], &[7; 1460])).unwrap().len(), 1514);
}

#[test]
fn a_client_that_comes_back_keeps_its_source_port_and_the_backend_gets_a_number_beyond() {
    // Such a port had been taken for one that nobody had used, by the next client that wanted it.
    let mut leat = Balancer::new(1, &service(1, "sequence_numbers = \"own\""));
    let mut end = None;
    for round in 0..20_u32 {
        // Sometimes beyond the client's own last number, sometimes not.
        let seq = if round % 3 == 0 { 5_000_000 } else { 1_000 * round };
        let syn = said(&leat.one(from_client(SYN, (seq, 0), &[], b"")).unwrap());
        assert_eq!(syn.from, "10.0.0.10:40000");
        assert!(end.is_none_or(|end| syn.seq.wrapping_sub(end).cast_signed() > 0), "{} after {end:?}", syn.seq);
        leat.one(from_backend(CLIENT.1, SYN | ACK, (500, syn.seq.wrapping_add(1)), &[], b"")).unwrap();
        leat.one(from_client(ACK, (seq + 1, 501), &[], b"hello")).unwrap();
        let sent = syn.seq.wrapping_add(6);
        leat.one(from_backend(CLIENT.1, ACK | FIN, (501, sent), &[], b"")).unwrap();
        leat.one(from_client(ACK | FIN, (seq + 6, 502), &[], b"")).unwrap();
        assert_eq!(leat.open(), [0]);
        end = Some(sent.wrapping_add(1));
    }
}

#[test]
fn a_half_open_connection_whose_port_is_needed_is_ended_at_its_backend_too() {
    // Every port towards the one backend is taken by a connection whose client never answers.
    let mut leat = Balancer::with_connections(1, 100_000, &service(1, ""));
    let mut opened = std::collections::HashMap::new();
    for n in 0..64_511_u32 {
        let [_, a, b, c] = n.to_be_bytes();
        let syn = tcp(CLIENT_MAC, ([11, a, b, c], 40_000), (VIP, 80), SYN, n, 0, b"");
        opened.insert(said(&leat.one(syn).unwrap()).from, n);
    }
    let last = leat.open_connection([12, 0, 0, 1], 40_000);
    assert!(last.is_some() || opened.len() < 64_511, "the last that there is");
    leat.wait(Duration::from_secs(1));
    let syn = tcp(CLIENT_MAC, ([12, 0, 0, 2], 40_000), (VIP, 80), SYN, 5, 0, b"");
    let sent: Vec<_> = leat.take(0, vec![syn], 1).iter().map(|frame| said(frame)).collect();
    assert_eq!((sent[0].flags, sent[1].flags, &sent[0].from), (RST, SYN, &sent[1].from));
    let before = opened.get(&sent[0].from).copied();
    assert!(before.is_none_or(|before| sent[0].seq == before + 1), "the number that its backend expects");
    assert!(sent[1].seq.wrapping_sub(sent[0].seq).cast_signed() > 0, "a number beyond");
    assert_eq!(leat.counters[0].half_open_evicted.value(), 1);
}

#[test]
fn an_icmp_error_about_a_syn_or_data_around_a_proxy_header_quotes_the_clients_own_number() {
    // Once all quotes were taken for what follows the header, and a client saw an error about a SYN that it had not sent.
    let mut leat = Balancer::new(1, &service(1, "client_address = \"proxy_v2\""));
    let quoted_to_client = |leat: &mut Balancer, sent: &[u8]| {
        let mut error = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], LEAT.0)
            .ipv4([10, 0, 0, 99], VIP, 64)
            .icmpv4_raw(3, 1, [0; 4])
            .write(&mut error, &sent[14..])
            .unwrap();
        let told = leat.one(error).unwrap();
        assert_eq!(crate::wire::checksum::of(&told[34..]), 0);
        u32::from_be_bytes(told[42 + 20 + 4..][..4].try_into().unwrap())
    };
    let syn = leat.one(from_client(SYN, (100, 0), &[], b"")).unwrap();
    assert_eq!(quoted_to_client(&mut leat, &syn), 100);
    leat.one(from_backend(CLIENT.1, SYN | ACK, (500, 101), &[], b"")).unwrap();
    let sent = leat.take(0, vec![from_client(ACK, (101, 501), &[], b"")], 1);
    assert_eq!(quoted_to_client(&mut leat, &sent[0]), 101, "the header, which stands before the client's first byte");
    let data = leat.one(from_client(ACK, (106, 501), &[], b"more")).unwrap();
    assert_eq!(quoted_to_client(&mut leat, &data), 106);
    leat.one(from_backend(CLIENT.1, ACK, (501, 129), &[], b"")).unwrap();
    assert_eq!(quoted_to_client(&mut leat, &data), 106, "the header is acknowledged");
}

#[test]
fn the_trace_names_every_number_that_was_changed_and_what_leat_said_itself() {
    let more = "sequence_numbers = \"own\"\nclient_address = \"proxy_v2\"";
    let mut leat = Balancer::new(1, &service(1, more));
    let syn = said(&leat.one(from_client(SYN, (100, 0), &[], b"")).unwrap());
    leat.one(from_backend(CLIENT.1, SYN | ACK, (500, syn.seq.wrapping_add(1)), &[], b"")).unwrap();
    leat.take(0, vec![from_client(ACK, (101, 501), &[], b"")], 1);
    let told = String::from_utf8(leat.narration).unwrap();
    for line in [
        format!("tcp sequence number: 100 → {}", syn.seq),
        format!("tcp acknowledgment number: {} → 101", syn.seq.wrapping_add(1)),
        format!(
            "leat itself sends tcp 10.0.0.10:40000 > 10.0.0.2:8080 [P.] seq {}, 28 bytes of data",
            syn.seq.wrapping_add(1)
        ),
    ] {
        assert!(told.contains(&line), "{line}\n{told}");
    }
}
