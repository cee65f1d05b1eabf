//! The schedulers' hash: SipHash-2-4 (Aumasson and Bernstein, 2012) with a key that comes from the configuration.
//!
//! It differs from the connection table's, which is keyed at random in each process: here all instances of one
//! configuration must agree, on any machine and in any mode, for years. So the layout below is frozen. To change one
//! byte of it moves every flow of every user; the test vectors say so first.
//!
//! The 16 bytes of the key are the seed, 8 bytes, least significant first, then 8 ASCII letters that say what is
//! hashed, so that two hashes of the same bytes for two purposes have nothing to do with each other. What is hashed,
//! numbers in network byte order:
//!
//! | letters | bytes | of what |
//! |---|---|---|
//! | `leatflow` | source address, destination address, source port 2, destination port 2, protocol 1 | a flow, as the client sent it |
//! | `leatclnt` | address | a client |
//! | `leatoffs` | address, port 2 | a member: where its order of slots starts |
//! | `leatskip` | address, port 2 | a member: how far apart they are |
//! | `leatclas` | slot 4 | a slot: which stride it has, the lowest byte of the result |
//! | `leatstrd` | number 1 | a stride |
//!
//! An address has 4 bytes in IPv4 and 16 in IPv6. The protocol is the IPv4 header's number, for an ICMPv6 echo that of ICMP.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use siphasher::sip::SipHasher24;

use crate::flow::FlowKey;

const FLOW: &[u8; 8] = b"leatflow";
const CLIENT: &[u8; 8] = b"leatclnt";
const OFFSET: &[u8; 8] = b"leatoffs";
const SKIP: &[u8; 8] = b"leatskip";
const STRIDE_OF_SLOT: &[u8; 8] = b"leatclas";
const STRIDE: &[u8; 8] = b"leatstrd";

/// The hash with its seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct SchedulerHash {
    seed: u64,
}

impl SchedulerHash {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Of a flow, in the client's direction.
    #[inline]
    pub(super) fn flow(self, flow: &FlowKey) -> u64 {
        let mut bytes = Bytes::new();
        push(&mut bytes, flow.src);
        push(&mut bytes, flow.dst);
        bytes.extend(flow.src_port.to_be_bytes());
        bytes.extend(flow.dst_port.to_be_bytes());
        bytes.push(flow.protocol.number());
        self.hash(FLOW, &bytes)
    }

    /// Of a client, whatever its port and whichever service it asks for.
    #[inline]
    pub(super) fn client(self, address: IpAddr) -> u64 {
        let mut bytes = Bytes::new();
        push(&mut bytes, address);
        self.hash(CLIENT, &bytes)
    }

    /// Of a member: its first slot in Maglev's order, before the modulo.
    pub(super) fn offset(self, address: IpAddr, port: u16) -> u64 {
        self.hash(OFFSET, &endpoint(address, port))
    }

    /// Of a member: the distance of its slots in Maglev's order, before the modulo.
    pub(super) fn skip(self, address: IpAddr, port: u16) -> u64 {
        self.hash(SKIP, &endpoint(address, port))
    }

    /// Which of the 256 strides a slot has.
    pub(super) fn stride_of_slot(self, slot: u32) -> u8 {
        self.hash(STRIDE_OF_SLOT, &slot.to_be_bytes()) as u8
    }

    /// The length of a stride, before the modulo.
    pub(super) fn stride(self, number: u8) -> u64 {
        self.hash(STRIDE, &[number])
    }

    #[inline]
    fn hash(self, purpose: &[u8; 8], bytes: &[u8]) -> u64 {
        SipHasher24::new_with_keys(self.seed, u64::from_le_bytes(*purpose)).hash(bytes)
    }
}

/// What is hashed: two addresses of IPv6, two ports and a protocol at the most.
type Bytes = ArrayVec<u8, 37>;

fn push(bytes: &mut Bytes, address: IpAddr) {
    match address {
        IpAddr::V4(address) => bytes.extend(address.octets()),
        IpAddr::V6(address) => bytes.extend(address.octets()),
    }
}

fn endpoint(address: IpAddr, port: u16) -> Bytes {
    let mut bytes = Bytes::new();
    push(&mut bytes, address);
    bytes.extend(port.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Protocol;

    const SEED: u64 = 0x0123_4567_89ab_cdef;

    fn flow(protocol: Protocol, src: ([u8; 4], u16), dst: ([u8; 4], u16)) -> FlowKey {
        FlowKey { src: src.0.into(), dst: dst.0.into(), src_port: src.1, dst_port: dst.1, protocol }
    }

    /// Never to be adapted to the code. The numbers come from an implementation of the module's text in another
    /// language, which in turn was checked against the SipHash paper's own vector.
    #[test]
    fn the_hash_is_frozen() {
        let tcp = flow(Protocol::Tcp, ([10, 0, 0, 1], 34_952), ([10, 0, 0, 10], 8_080));
        let udp = flow(Protocol::Udp, ([192, 0, 2, 1], 53), ([198, 51, 100, 7], 65_535));
        let icmp = flow(Protocol::Icmp, ([10, 0, 0, 1], 7), ([10, 0, 0, 10], 0));
        let [client, member] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);

        let zero = SchedulerHash::new(0);
        assert_eq!(zero.flow(&tcp), 0x6720_8285_f64a_121a);
        assert_eq!(zero.flow(&udp), 0x641d_6a5f_c7d0_11f5);
        assert_eq!(zero.flow(&icmp), 0x9a89_9a15_9a8f_9c30);
        assert_eq!(zero.client(client), 0xd8c9_9d62_252a_1800);
        assert_eq!(zero.offset(member, 8_080), 0x9cce_4ff8_f73e_d9cf);
        assert_eq!(zero.skip(member, 8_080), 0x781f_4947_dd41_d4ad);
        assert_eq!(zero.stride_of_slot(48_122), 26);
        assert_eq!(zero.stride(200), 0x5d48_57b3_142d_0eb4);

        let seeded = SchedulerHash::new(SEED);
        assert_eq!(seeded.flow(&tcp), 0x7bf0_92ca_ba01_f69d);
        assert_eq!(seeded.flow(&udp), 0xafaf_d5a1_18bb_48af);
        assert_eq!(seeded.flow(&icmp), 0xfba5_2b26_ce0b_0d4a);
        assert_eq!(seeded.client(client), 0x7cf1_3535_1c98_1180);
        assert_eq!(seeded.offset(member, 8_080), 0xeaa8_f0ec_9af4_cfc4);
        assert_eq!(seeded.skip(member, 8_080), 0x53b7_d3dd_c695_f306);
        assert_eq!(seeded.stride_of_slot(48_122), 45);
        assert_eq!(seeded.stride(200), 0x75f2_33fe_96e8_a417);
    }

    /// The same for IPv6, whose numbers come from that other implementation as well.
    #[test]
    fn the_hash_is_frozen_in_ipv6() {
        let [client, vip, member] =
            ["2001:db8::1", "2001:db8::10", "2001:db8::2"].map(|address| address.parse::<IpAddr>().unwrap());
        let flow = |protocol, src, src_port, dst_port| FlowKey { src, dst: vip, src_port, dst_port, protocol };
        let tcp = flow(Protocol::Tcp, client, 34_952, 8_080);
        let udp = flow(Protocol::Udp, "2001:db8:1::7".parse().unwrap(), 53, 65_535);
        let icmp = flow(Protocol::Icmp, client, 7, 0);

        let zero = SchedulerHash::new(0);
        assert_eq!(zero.flow(&tcp), 0xd5cc_7798_0c6a_e791);
        assert_eq!(zero.flow(&udp), 0x10f6_6978_edad_e33e);
        assert_eq!(zero.flow(&icmp), 0x2cbb_94ee_6d15_0e57);
        assert_eq!(zero.client(client), 0x5a29_e3c3_e77d_c833);
        assert_eq!(zero.offset(member, 8_080), 0x52f9_bb5c_bc71_d508);
        assert_eq!(zero.skip(member, 8_080), 0x8e1d_a0e0_9a51_1711);

        let seeded = SchedulerHash::new(SEED);
        assert_eq!(seeded.flow(&tcp), 0x3ee6_6554_3eb3_f313);
        assert_eq!(seeded.flow(&udp), 0x85c0_7f4b_f2aa_a333);
        assert_eq!(seeded.flow(&icmp), 0x0a7b_3a32_f363_ea5e);
        assert_eq!(seeded.client(client), 0xd07e_089a_4f0c_9eb9);
        assert_eq!(seeded.offset(member, 8_080), 0xa86e_4f98_bd77_e547);
        assert_eq!(seeded.skip(member, 8_080), 0x2bad_61fe_ee24_9697);
    }
}
