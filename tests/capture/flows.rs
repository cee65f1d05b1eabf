//! Packets of connections, services and addresses: what is balanced, what leat answers itself, what it drops and under
//! which name.

use crate::support::{
    frames::{
        B2, B3, BROADCAST, C1, C4, Host, LEAT, Segment, VIP, echo_reply, echo_request, syn, udp, with, with_ip,
        with_ip_options,
    },
    verdict::{Row, check},
};

const TCP: &str = "--vip 10.0.0.10:8080 --backend 10.0.0.2,mac=02:00:00:00:00:02";
const UDP: &str = "--vip udp:10.0.0.10:53 --backend 10.0.0.2,mac=02:00:00:00:00:02";
const ANY: &str = "--vip any:10.0.0.10 --local-address 10.0.0.11 --backend 10.0.0.2,mac=02:00:00:00:00:02";
const LOCAL: [u8; 4] = [10, 0, 0, 11];

/// The SYN that every table compares with.
const SYN_OUT: &str = "02:00:00:00:00:fe > 02:00:00:00:00:02, ethertype IPv4 (0x0800), length 54: \
    10.0.0.10.34952 > 10.0.0.2.8080: Flags [S], seq 1000, win 64240, length 0";

fn client(flags: &str) -> Segment<'_> {
    Segment::new(C1, VIP, (34952, 8080), flags)
}

fn backend(flags: &str) -> Segment<'_> {
    Segment::new(B2, VIP, (8080, 34952), flags)
}

#[test]
fn probe() {
    check(&[
        Row { what: "x", own: TCP, frames: vec![syn(C1, (34952, 8080))], out: &[], drops: &[] },
        Row { what: "udp", own: UDP, frames: vec![udp(C1, VIP, (34952, 53), b"hello")], out: &[], drops: &[] },
        Row { what: "icmp", own: ANY, frames: vec![echo_request(C1, VIP, 5000), echo_request(C4, VIP, 5000), echo_reply(B2, LOCAL, 5000)], out: &[], drops: &[] },
        Row { what: "vip icmp", own: TCP, frames: vec![echo_request(C1, VIP, 77)], out: &[], drops: &[] },
    ]);
}
