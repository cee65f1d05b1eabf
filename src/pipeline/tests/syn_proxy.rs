//! SYNs that leat answers in place of backends.

use etherparse::TcpOptionElement::{
    self, MaximumSegmentSize, SelectiveAcknowledgementPermitted, Timestamp, WindowScale,
};

use super::adjusted::{from_backend, from_client, said, segment};
use super::*;

const PORT: u16 = 40_000;
/// What Linux offers.
const OFFER: [TcpOptionElement; 4] =
    [MaximumSegmentSize(1460), SelectiveAcknowledgementPermitted, Timestamp(7000, 0), WindowScale(9)];

/// Sends the client's SYN and returns the cookie that answers it, and leat's clock in it.
fn ask(leat: &mut Balancer) -> (u32, u32) {
    let answer = said(&leat.one(from_client(SYN, (100, 0), &OFFER, b"")).unwrap());
    assert_eq!((&answer.from[..], &answer.to[..]), ("10.0.0.10:80", "10.0.0.1:40000"));
    assert_eq!((answer.flags, answer.ack, answer.window), (SYN | ACK, 101, 0));
    let [MaximumSegmentSize(1460), SelectiveAcknowledgementPermitted, Timestamp(clock, 7000), WindowScale(7)] =
        answer.options[..]
    else {
        panic!("{answer:?}")
    };
    (answer.seq, clock)
}

#[test]
fn two_halves_of_a_connection_become_one() {
    for workers in [1, 3] {
        two_halves_become_one(&mut Balancer::new(workers, &service(1, "syn_proxy = \"always\"")));
    }
}

fn two_halves_become_one(leat: &mut Balancer) {
    let (cookie, clock) = ask(leat);
    assert_eq!(leat.open(), [0], "nothing is kept");
    leat.wait(Duration::from_secs(40));

    // The client is there, so the backend is asked, in its words.
    let syn = said(&leat.one(from_client(ACK, (101, cookie + 1), &[Timestamp(7100, clock)], b"")).unwrap());
    assert_eq!(&syn.to[..], "10.0.0.2:8080");
    assert_eq!((syn.flags, syn.seq, syn.ack), (SYN, 100, 0));
    let expected = [MaximumSegmentSize(1460), SelectiveAcknowledgementPermitted, Timestamp(7100, 0), WindowScale(9)];
    assert_eq!(syn.options, expected);
    assert_eq!((syn.window, leat.open()), (65_535, vec![1]), "1000 with a scale of 9");
    let port = syn.from.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap();

    // The backend answers with a scale of 5, and both hear of each other.
    let offer = [MaximumSegmentSize(1400), SelectiveAcknowledgementPermitted, Timestamp(90_000, 7100), WindowScale(5)];
    let sent = leat.take(0, vec![from_backend(port, SYN | ACK, (5_000, 101), &offer, b"")], 1);
    let [to_backend, to_client] = [said(&sent[0]), said(&sent[1])];
    assert_eq!((to_backend.flags, to_backend.seq, to_backend.ack, to_backend.window), (ACK, 101, 5_001, 1000));
    assert_eq!(to_backend.options, [Timestamp(7100, 90_000)]);
    assert_eq!((to_client.flags, to_client.seq, to_client.ack), (ACK, cookie + 1, 101));
    assert_eq!((to_client.window, to_client.options), (2000 >> 7, vec![Timestamp(clock, 7100)]));

    // Data both ways: only numbers and windows change.
    let request = said(&leat.one(from_client(ACK, (101, cookie + 1), &[Timestamp(7200, clock)], b"GET /")).unwrap());
    assert_eq!((request.seq, request.ack, request.window, &request.data[..]), (101, 5_001, 1000, &b"GET /"[..]));
    assert_eq!(request.options, [Timestamp(7200, 90_000)]);
    let page = from_backend(port, ACK, (5_001, 106), &[Timestamp(90_050, 7200)], b"200 OK");
    let page = said(&leat.one(page).unwrap());
    assert_eq!((page.seq, page.ack, page.window, &page.data[..]), (cookie + 1, 106, 2000 >> 2, &b"200 OK"[..]));
    assert_eq!(page.options, [Timestamp(clock + 50, 7200)]);
    leat.one(from_client(ACK | FIN, (106, cookie + 7), &[], b"")).unwrap();
    let last = said(&leat.one(from_backend(port, ACK | FIN, (5_007, 107), &[], b"")).unwrap());
    assert_eq!((last.seq, last.ack, leat.open()), (cookie + 7, 107, vec![0]));
    assert_eq!(leat.counters.iter().map(|counters| counters.cookies_redeemed.value()).sum::<u64>(), 1);
}

#[test]
fn a_segment_that_no_cookie_vouches_for_opens_nothing() {
    let mut leat = Balancer::new(1, &service(1, "syn_proxy = \"always\""));
    let (cookie, _) = ask(&mut leat);
    for (flags, numbers) in [
        (ACK, (101, cookie)),
        (ACK, (101, cookie + 2)),
        (ACK, (200, cookie + 1)),
        (ACK | FIN, (101, cookie + 1)),
        (RST, (101, cookie + 1)),
        (SYN | ACK, (100, cookie + 1)),
    ] {
        assert_eq!(leat.one(from_client(flags, numbers, &[], b"")), None, "{flags:x} {numbers:?}");
    }
    leat.wait(Duration::from_secs(64));
    assert_eq!(leat.one(from_client(ACK, (101, cookie + 1), &[], b"")), None, "too old");
    assert_eq!((leat.open(), leat.counters[0].cookies_redeemed.value()), (vec![0], 0));
}

#[test]
fn a_client_whose_ack_is_lost_gets_in_by_its_first_probe() {
    // Linux probes a closed window from before its first byte, others with that byte.
    for (seq, data) in [(100, &b""[..]), (101, b"G")] {
        let mut leat = Balancer::new(1, &service(1, "syn_proxy = \"always\""));
        let (cookie, clock) = ask(&mut leat);
        let syn = said(&leat.one(from_client(ACK, (seq, cookie + 1), &[Timestamp(7100, clock)], data)).unwrap());
        assert_eq!((syn.flags, syn.seq), (SYN, 100));
    }
}

#[test]
fn a_backend_that_is_slow_is_asked_again_and_one_that_refuses_has_the_client_told() {
    let mut leat = Balancer::new(1, &service(1, "syn_proxy = \"always\""));
    let (cookie, clock) = ask(&mut leat);
    let completed = from_client(ACK, (101, cookie + 1), &[Timestamp(7100, clock)], b"");
    let syn = said(&leat.one(completed.clone()).unwrap());
    assert_eq!(leat.one(completed), None, "what the client says meanwhile goes nowhere");
    let again: Vec<_> = leat.wait_and_see(Duration::from_secs(4)).iter().map(|frame| said(frame)).collect();
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|again| *again == syn));
    // It refuses.
    let told = said(&leat.one(from_backend(PORT, RST | ACK, (0, 101), &[], b"")).unwrap());
    assert_eq!((told.flags, told.seq, &told.to[..]), (RST | ACK, cookie + 1, "10.0.0.1:40000"));
    assert_eq!(leat.open(), [0]);
    assert!(leat.wait_and_see(Duration::from_secs(60)).is_empty());

    // One that never answers is as good as that.
    let (cookie, clock) = ask(&mut leat);
    leat.one(from_client(ACK, (101, cookie + 1), &[Timestamp(7100, clock)], b"")).unwrap();
    let sent: Vec<_> = leat.wait_and_see(Duration::from_secs(60)).iter().map(|frame| said(frame)).collect();
    assert_eq!(sent.iter().filter(|sent| sent.flags == SYN).count(), 4);
    assert_eq!((sent[4].flags, sent[4].seq, sent.len()), (RST | ACK, cookie + 1, 5));
    assert_eq!(leat.open(), [0]);
}

#[test]
fn a_backend_without_scaled_windows_is_understood() {
    let mut leat = Balancer::new(1, &service(1, "syn_proxy = \"always\""));
    let (cookie, clock) = ask(&mut leat);
    leat.one(from_client(ACK, (101, cookie + 1), &[Timestamp(7100, clock)], b"")).unwrap();
    let offer = [MaximumSegmentSize(1460), Timestamp(90_000, 7100)];
    let sent = leat.take(0, vec![from_backend(PORT, SYN | ACK, (5_000, 101), &offer, b"")], 1);
    assert_eq!(said(&sent[0]).window, 65_535, "1000 with a scale of 9, as far as it goes");
    let small = segment(CLIENT_MAC, ([10, 0, 0, 1], PORT), (VIP, 80), ACK, (101, cookie + 1), 3, &[], b"");
    assert_eq!(said(&leat.one(small).unwrap()).window, 3 << 9);
    assert_eq!(said(&leat.one(from_backend(PORT, ACK, (5_001, 101), &[], b"")).unwrap()).window, 2000 >> 7);
}

#[test]
fn with_proxy_protocol_and_own_numbers_all_comes_together() {
    let more = "syn_proxy = \"always\"\nclient_address = \"proxy_v2\"\nsequence_numbers = \"own\"";
    let mut leat = Balancer::new(1, &service(1, more));
    let (cookie, clock) = ask(&mut leat);
    let syn = said(&leat.one(from_client(ACK, (101, cookie + 1), &[Timestamp(7100, clock)], b"")).unwrap());
    let first = syn.seq.wrapping_add(1);
    assert_ne!(first, 101);
    let offer = [MaximumSegmentSize(1400), Timestamp(90_000, 7100), WindowScale(7)];
    let sent = leat.take(0, vec![from_backend(PORT, SYN | ACK, (5_000, first), &offer, b"")], 1);
    let sent: Vec<_> = sent.iter().map(|frame| said(frame)).collect();
    assert_eq!((sent[0].seq, sent[1].seq, sent[1].data.len(), sent[2].ack), (first, first, 28, 101));
    let request = said(&leat.one(from_client(ACK, (101, cookie + 1), &[], b"GET /")).unwrap());
    assert_eq!((request.seq, request.ack), (first.wrapping_add(28), 5_001));
    let page = from_backend(PORT, ACK, (5_001, first.wrapping_add(33)), &[], b"200");
    assert_eq!((said(&leat.one(page.clone()).unwrap()).ack, said(&leat.one(page).unwrap()).seq), (106, cookie + 1));
}

#[test]
fn auto_answers_itself_only_while_too_many_are_half_open() {
    let mut leat = Balancer::with_connections(1, 800, &service(1, "syn_proxy = \"auto\""));
    let syn = |n: u16| tcp(CLIENT_MAC, ([10, 7, (n >> 8) as u8, n as u8], 5000), (VIP, 80), SYN, 9, 0, b"");
    // A good client opens, and stays.
    let there = leat.open_connection([10, 0, 0, 1], PORT).unwrap();
    leat.one(answer(there, SYN | ACK, 500, 101)).unwrap();
    leat.one(from_client(ACK, (101, 501), &[], b"")).unwrap();
    // A hundred that do not, and then a flood.
    for n in 0..100 {
        assert_eq!(said(&leat.one(syn(n)).unwrap()).to, "10.0.0.2:8080");
    }
    for n in 100..5000 {
        assert_eq!(said(&leat.one(syn(n)).unwrap()).flags, SYN | ACK);
    }
    assert_eq!((leat.open(), leat.counters[0].cookies_sent.value()), (vec![101], 4900));
    // In the midst of it others open connections.
    for n in 0..50 {
        let client = ([10, 8, 0, n], 6000);
        let cookie = said(&leat.one(tcp(CLIENT_MAC, client, (VIP, 80), SYN, 77, 0, b"")).unwrap()).seq;
        let to_backend = leat.one(tcp(CLIENT_MAC, client, (VIP, 80), ACK, 78, cookie.wrapping_add(1), b"")).unwrap();
        assert_eq!(leat.take(0, vec![answer(seen(&to_backend), SYN | ACK, 900, 78)], 1).len(), 2);
    }
    assert_eq!(leat.open(), [151]);
    // Four minutes later the half-open ones are gone, and all is as before.
    leat.wait(Duration::from_secs(260));
    assert_eq!(leat.open(), [51]);
    assert_eq!(said(&leat.one(syn(7000)).unwrap()).to, "10.0.0.2:8080");
}

#[test]
fn what_leat_has_no_memory_to_say_it_says_when_it_has() {
    let mut leat = Balancer::new(1, &service(1, "syn_proxy = \"always\"\nclient_address = \"proxy_v2\""));
    // A cookie is written into the SYN's own packet.
    leat.has_no_memory = true;
    let (cookie, clock) = ask(&mut leat);
    assert_eq!(leat.one(from_client(ACK, (101, cookie + 1), &[Timestamp(7100, clock)], b"")), None);
    assert_eq!((leat.open(), leat.dropped(DropReason::NoBuffer)), (vec![1], 1));
    assert!(leat.wait_and_see(Duration::from_secs(1)).is_empty());
    leat.has_no_memory = false;
    let syn = leat.wait_and_see(Duration::from_secs(4));
    assert_eq!((said(&syn[0]).flags, syn.len()), (SYN, 1));
    // The introduction, too.
    leat.has_no_memory = true;
    let offer = [MaximumSegmentSize(1460), Timestamp(90_000, 7100), WindowScale(7)];
    assert!(leat.take(0, vec![from_backend(PORT, SYN | ACK, (5_000, 101), &offer, b"")], 1).is_empty());
    leat.has_no_memory = false;
    let sent: Vec<_> = leat.wait_and_see(Duration::from_secs(2)).iter().map(|frame| said(frame)).collect();
    assert_eq!((sent[0].seq, sent[0].data.len()), (101, 28));
    // The client's window was not opened: its probe is answered by the backend, and that opens it.
    let probe = said(&leat.one(from_client(ACK, (100, cookie + 1), &[Timestamp(7200, clock)], b"")).unwrap());
    assert_eq!((probe.seq, probe.ack), (100, 5_001));
}

#[test]
fn with_the_clients_address_in_an_option_the_ack_that_opens_has_it() {
    let mut leat = Balancer::new(1, &service(1, "syn_proxy = \"always\"\nclient_address = \"toa\""));
    let answer = said(&leat.one(from_client(SYN, (100, 0), &[MaximumSegmentSize(1460)], b"")).unwrap());
    assert_eq!(answer.options, [MaximumSegmentSize(1452)]);
    leat.one(from_client(ACK, (101, answer.seq.wrapping_add(1)), &[], b"")).unwrap();
    let offer = [MaximumSegmentSize(1460)];
    let sent = leat.take(0, vec![from_backend(PORT, SYN | ACK, (5_000, 101), &offer, b"")], 1);
    assert_eq!((said(&sent[0]).flags, &sent[0][54..62]), (ACK, &[254, 8, 0x9c, 0x40, 10, 0, 0, 1][..]));
    assert_eq!(sent[1].len(), 54, "the client has no use for it");
}
