//! Tunnel packets as leat-agent takes them, of either version of IP: what passes is a packet to the VIP with right headers, and no other
//! byte than its congestion mark and checksum was changed.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{Ipv4Header, Ipv6Header};
use leat::agent::inner::{Outer, Policy};
use leat::agent::{Version, gue, offload};
use leat_fuzz::header_checksum_is_right;
use libfuzzer_sys::fuzz_target;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
const VIP_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const BACKEND_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// How a packet comes: by an `ipip` tunnel whose protocol says IPv4 or IPv6, or by GUE.
#[derive(arbitrary::Arbitrary, Debug)]
enum Kind {
    Ipip4,
    Ipip6,
    Gue,
}

fuzz_target!(|input: (Kind, u8, bool, bool, Vec<u8>)| {
    let (kind, traffic_class, is_mended, is_over_v6, mut payload) = input;
    let found = match kind {
        Kind::Ipip4 => Ok(gue::Inner { offset: 0, version: Version::V4 }),
        Kind::Ipip6 => Ok(gue::Inner { offset: 0, version: Version::V6 }),
        Kind::Gue => gue::inner(&payload),
    };
    let Ok(gue::Inner { offset, version }) = found else { return };
    assert!(offset <= payload.len());
    let mut policy = Policy::new(&[VIP.into(), VIP_6.into()], &[], 6080);
    policy.set_own([IpAddr::from(BACKEND), IpAddr::from(BACKEND_6)].into());
    let (source, destination) = match is_over_v6 {
        false => ([10, 0, 0, 254].into(), BACKEND.into()),
        true => (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfe).into(), BACKEND_6.into()),
    };
    let outer = Outer { source, destination: Some(destination), traffic_class };
    policy.admit(outer).expect("from leat to a backend");
    let packet = &mut payload[offset..];
    if is_mended {
        // Most of what comes is to get past the first checks.
        mend(packet, version);
    }
    let before = packet.to_vec();
    let Ok(len) = policy.inspect(packet, version, traffic_class) else {
        assert_eq!(packet, before, "what is dropped is left alone");
        return;
    };
    let inner = &mut packet[..len];
    let may_change: &[usize] = match version {
        Version::V4 => {
            let (header, _) = Ipv4Header::from_slice(inner).expect("what passes is IPv4");
            assert!(header_checksum_is_right(inner));
            assert_eq!((header.destination, usize::from(header.total_len)), (VIP.octets(), len));
            assert!(![VIP, BACKEND].map(|address| address.octets()).contains(&header.source));
            assert_eq!(inner[1] >> 2, before[1] >> 2, "DSCP is the inner packet's");
            &[1, 10, 11]
        }
        Version::V6 => {
            let (header, _) = Ipv6Header::from_slice(inner).expect("what passes is IPv6");
            assert_eq!((header.destination_addr(), 40 + usize::from(header.payload_length)), (VIP_6, len));
            let source = header.source_addr();
            assert!(![VIP_6, BACKEND_6].contains(&source) && source.to_ipv4_mapped().is_none());
            assert!(!source.is_loopback() && !source.is_multicast() && !source.is_unspecified());
            assert_eq!(inner[1] & !0x30, before[1] & !0x30, "DSCP and flow label are the inner packet's");
            &[1]
        }
    };
    for at in (0..len).filter(|at| !may_change.contains(at)) {
        assert_eq!(inner[at], before[at]);
    }
    offload::finish_checksum(inner);
});

fn mend(packet: &mut [u8], version: Version) {
    match version {
        Version::V4 if packet.len() >= 20 => {
            packet[0] = 0x40 | packet[0] & 0x0f;
            packet[16..20].copy_from_slice(&VIP.octets());
            let end = (usize::from(packet[0] & 15) * 4).min(packet.len());
            packet[10..12].fill(0);
            let sum = leat::wire::checksum::of(&packet[..end]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        Version::V6 if packet.len() >= 40 => {
            packet[0] = 0x60 | packet[0] & 0x0f;
            packet[24..40].copy_from_slice(&VIP_6.octets());
            let rest = packet.len() - 40;
            packet[4..6].copy_from_slice(&(rest as u16).to_be_bytes());
        }
        _ => {}
    }
}
