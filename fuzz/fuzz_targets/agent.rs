//! Tunnel packets as leat-agent takes them: what passes is a packet to the VIP with a right header, and no other byte than its congestion
//! mark and checksum was changed.

#![no_main]

use std::net::Ipv4Addr;

use etherparse::Ipv4Header;
use leat::agent::inner::{Outer, Policy};
use leat::agent::{gue, offload};
use leat_fuzz::header_checksum_is_right;
use libfuzzer_sys::fuzz_target;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);

fuzz_target!(|input: (u8, bool, bool, Vec<u8>)| {
    let (traffic_class, is_gue, is_mended, mut payload) = input;
    let start = match is_gue {
        true => gue::inner_offset(&payload),
        false => Ok(0),
    };
    let Ok(start) = start else { return };
    assert!(start <= payload.len());
    let policy = Policy::new(&[VIP], &[], 6080);
    let outer = Outer { source: [10, 0, 0, 254].into(), destination: Some([10, 0, 0, 2].into()), traffic_class };
    policy.admit(outer).expect("from leat to a backend");
    let packet = &mut payload[start..];
    if is_mended && packet.len() >= 20 {
        // Most of what comes is to get past the first checks.
        packet[0] = 0x40 | packet[0] & 0x0f;
        packet[16..20].copy_from_slice(&VIP.octets());
        let end = (usize::from(packet[0] & 15) * 4).min(packet.len());
        packet[10..12].fill(0);
        let sum = leat::wire::checksum::of(&packet[..end]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let before = packet.to_vec();
    let Ok(len) = policy.inspect(packet, traffic_class) else { return };
    let inner = &mut packet[..len];
    let (header, _) = Ipv4Header::from_slice(inner).expect("what passes is IPv4");
    assert!(header_checksum_is_right(inner));
    assert_eq!((header.destination, usize::from(header.total_len)), (VIP.octets(), len));
    assert_ne!(header.source, VIP.octets());
    for at in (0..len).filter(|at| ![1, 10, 11].contains(at)) {
        assert_eq!(inner[at], before[at]);
    }
    assert_eq!(inner[1] >> 2, before[1] >> 2, "DSCP is the inner packet's");
    offload::finish_checksum(inner);
});
