//! The first pass: what is this frame, and is it whole?
//!
//! Everything that can be told from the headers alone is decided here, once. What comes out as a [`Class::Flow`] has
//! complete headers at the places that [`Headers`] names, and lengths that do not lie.

use arrayvec::ArrayVec;

use super::careful::{Other, parse, parse_v6};
use crate::counters::DropReason;
use crate::flow::{FlowKey, PackedKey, PackedKey4, PackedKey6, Protocol};
use crate::io::Packet;
use crate::wire::ethernet::{self, EtherType};
use crate::wire::{MacAddr, ipv4, ipv6, tcp, udp};

/// Where IP starts in a frame.
pub(super) const NETWORK: usize = ethernet::HEADER_LEN;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A packet of a flow.
    Flow(Headers),
    /// An ARP message, not yet parsed.
    Arp,
    /// A message of IPv6's neighbour discovery, or multicast listener discovery, not yet parsed.
    Ndp {
        /// Where it starts in the frame.
        message: u8,
    },
    /// An ICMP or ICMPv6 error, not yet parsed.
    IcmpError {
        /// Where it starts in the frame.
        message: u8,
    },
    /// A fragment, whose IP header, and in IPv6 its fragment header, is whole.
    Fragment,
    /// Nothing that can be worked with.
    Drop(DropReason),
}

/// What the headers of a packet of a flow say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Its 5-tuple.
    pub packed: PackedKey,
    /// Where the transport header starts in the frame: from 34 on, in IPv6 from 54 on.
    pub transport: u8,
    /// Its time to live, or hop limit.
    pub ttl: u8,
    /// What its transport is doing.
    pub kind: Kind,
    /// Whether it is a TCP segment with SYN.
    pub is_syn: bool,
    /// Whether it asks for nothing but to be passed on: its headers are where they are without options, it has a hop left,
    /// and if it is a TCP segment, it has ACK and neither SYN, FIN nor RST.
    pub is_plain: bool,
    /// Bytes of the packet from the transport header to its end, without Ethernet's padding.
    pub transport_len: u16,
}

impl Headers {
    /// Its 5-tuple, to think with.
    #[inline]
    pub const fn key(&self) -> FlowKey {
        self.packed.unpack()
    }

    /// Bytes of the IP packet.
    #[inline(always)]
    pub fn packet_len(&self) -> usize {
        usize::from(self.transport) - NETWORK + usize::from(self.transport_len)
    }
}

/// What a packet's transport is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TCP segment.
    Tcp,
    /// A UDP datagram.
    Udp,
    /// An ICMP echo request.
    EchoRequest,
    /// An ICMP echo reply.
    EchoReply,
}

impl Kind {
    /// Whose it is.
    pub(super) const fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::Tcp,
            Self::Udp => Protocol::Udp,
            Self::EchoRequest | Self::EchoReply => Protocol::Icmp,
        }
    }
}

/// What the packets of a burst of `N` at most are, in their order.
#[derive(Debug, Default)]
pub struct Classes<const N: usize> {
    classes: ArrayVec<Class, N>,
    /// Bit *i* says whether packet *i* is of a flow of IPv6.
    wide: u64,
}

impl<const N: usize> Classes<N> {
    /// What each is.
    #[inline(always)]
    pub const fn each(&self) -> &ArrayVec<Class, N> {
        &self.classes
    }

    /// The same, to change.
    #[inline(always)]
    pub fn each_mut(&mut self) -> &mut [Class] {
        &mut self.classes
    }

    /// Bit *i* says whether packet *i* is of a flow of IPv6.
    #[inline(always)]
    pub const fn wide(&self) -> u64 {
        self.wide
    }

    /// Tells what the next `packet` is, for a port whose Ethernet address is `mac`.
    ///
    /// A class is put there where it is found: one that came back as a value would be written twice, and read in wider pieces
    /// than it was written in, for which the processor waits until the writing is done.
    #[inline(always)]
    pub fn classify<P: Packet>(&mut self, packet: &P, mac: MacAddr) {
        let (data, frame_len) = (packet.data(), packet.frame_len());
        if let Some(head) = data.first_chunk()
            && let Some(ethernet) = ethernet::Header::new(head)
            && ethernet.destination() == mac
        {
            if let Some(headers) = ordinary(head, data.len(), frame_len) {
                return self.classes.push(Class::Flow(headers));
            }
            if ethernet.ether_type() == EtherType::IPV6 {
                return self.classify_v6(data, frame_len, mac);
            }
        }
        self.classify_with_care(data, frame_len, mac);
    }

    /// The same for a frame of `frame_len` bytes that begins with `data`, and says that it carries IPv6 to the port.
    #[inline(never)]
    fn classify_v6(&mut self, data: &[u8], frame_len: usize, mac: MacAddr) {
        let Some(headers) = ordinary_v6(data, frame_len) else { return self.classify_with_care(data, frame_len, mac) };
        self.next_is_wide();
        self.classes.push(Class::Flow(headers));
    }

    /// The same for a frame that may be anything.
    #[cold]
    #[inline(never)]
    fn classify_with_care(&mut self, data: &[u8], frame_len: usize, mac: MacAddr) {
        let class = with_care(data, frame_len, mac);
        if let Class::Flow(Headers { packed: PackedKey::V6(_), .. }) = class {
            self.next_is_wide();
        }
        self.classes.push(class);
    }

    /// The packet whose class comes next is of a flow of IPv6.
    #[inline(always)]
    const fn next_is_wide(&mut self) {
        const { assert!(N <= u64::BITS as usize, "a bit for each packet") };
        self.wide |= 1 << (self.classes.len() as u32 % u64::BITS);
    }
}

/// What such a frame is.
fn with_care(data: &[u8], frame_len: usize, mac: MacAddr) -> Class {
    let Some(ethernet) = ethernet::Header::new(data) else { return Class::Drop(DropReason::FrameTruncated) };
    let parsed = match ethernet.ether_type() {
        EtherType::IPV4 => parse(data, frame_len, false),
        EtherType::IPV6 => parse_v6(data, frame_len, false),
        other => return classify_other(other, ethernet.destination(), mac),
    };
    let destination = ethernet.destination();
    if destination != mac {
        let group = destination.0[0] & 1 != 0;
        // Neighbours are asked for in groups; and nat must know who speaks past it.
        return match parsed {
            Err(Other::Ndp { message }) => Class::Ndp { message },
            _ if group => Class::Drop(DropReason::Broadcast),
            _ => Class::Drop(DropReason::NotForUs),
        };
    }
    match parsed {
        Ok(headers) => Class::Flow(headers),
        Err(Other::Ndp { message }) => Class::Ndp { message },
        Err(Other::IcmpError { message }) => Class::IcmpError { message },
        Err(Other::Fragment) => Class::Fragment,
        Err(Other::Wrong(reason)) => Class::Drop(reason),
    }
}

/// A frame that is no IP.
fn classify_other(ether_type: EtherType, destination: MacAddr, mac: MacAddr) -> Class {
    Class::Drop(match ether_type {
        // Also what others say to each other: nat must know who speaks past it.
        EtherType::ARP => return Class::Arp,
        _ if destination.0[0] & 1 == 0 && destination != mac => DropReason::NotForUs,
        EtherType::VLAN | EtherType::SERVICE_VLAN => DropReason::Vlan,
        _ => DropReason::EtherType,
    })
}

/// The bytes of the headers of an ordinary frame, and of a UDP datagram's first 12 bytes of payload or padding.
const ORDINARY: usize = NETWORK + ipv4::HEADER_LEN + tcp::HEADER_LEN;

/// The headers of an ordinary packet: TCP or UDP over IPv4 without options, whole, and with nothing wrong about it. All that it
/// looks at stands where it nearly always stands, so one check of the length is enough for all. What it does not take is for
/// [`with_care`] to judge; what it takes, that would read alike.
///
/// The frame of `frame_len` bytes has `present` of them in its first piece, which begins with `head`.
#[inline(always)]
fn ordinary(head: &[u8; ORDINARY], present: usize, frame_len: usize) -> Option<Headers> {
    // Version 4, and a header of five words.
    if head[NETWORK - 2..NETWORK] != [0x08, 0x00] || head[NETWORK] != 0x45 {
        return None;
    }
    let ip = ipv4::Header::new(&head[NETWORK..])?;
    let total_len = usize::from(ip.total_len());
    if NETWORK + total_len > frame_len || ip.is_fragment() || !ip.checksum_is_right() {
        return None;
    }
    // A length that is too short for its own header is negative, and so too short for any transport.
    let len = total_len.cast_signed() - ipv4::HEADER_LEN.cast_signed();
    let transport = Place { at: NETWORK + ipv4::HEADER_LEN, len, present };
    ordinary_transport(head, transport, ip.protocol(), ip.ttl(), |ports, protocol| {
        PackedKey::V4(PackedKey4::from_memory(ip.addresses(), ports, protocol))
    })
}

/// The headers of an ordinary IPv6 packet: what [`ordinary`] is for IPv4.
#[inline(always)]
fn ordinary_v6(data: &[u8], frame_len: usize) -> Option<Headers> {
    let head: &[u8; NETWORK + ipv6::HEADER_LEN + udp::HEADER_LEN] = data.first_chunk()?;
    let ip = ipv6::Header::new(&head[NETWORK..])?;
    let transport = Place { at: NETWORK + ipv6::HEADER_LEN, present: data.len(), len: ip.payload_len() as isize };
    if ip.version() != 6 || transport.at + usize::from(ip.payload_len()) > frame_len {
        return None;
    }
    ordinary_transport(data, transport, ip.next_header(), ip.hop_limit(), |ports, protocol| {
        PackedKey::V6(PackedKey6::from_memory(ip.addresses(), ports, protocol))
    })
}

/// Where in a frame a segment or datagram is.
struct Place {
    /// Where it starts.
    at: usize,
    /// Bytes of it.
    len: isize,
    /// How far the frame's first piece goes, from the frame's start.
    present: usize,
}

/// The headers of a packet whose transport is of the protocol with this `number`, if its header is an ordinary one. `pack` makes the
/// key of ports and protocol.
#[inline(always)]
fn ordinary_transport(
    head: &[u8],
    Place { at, len, present }: Place,
    number: u8,
    ttl: u8,
    pack: impl FnOnce(u32, Protocol) -> PackedKey,
) -> Option<Headers> {
    let message = &head[at..];
    let (protocol, kind, is_syn, is_plain);
    match number {
        6 => {
            let tcp = tcp::Header::new(message)?;
            let (header_len, flags) = (tcp.header_len(), tcp.flags());
            let is_whole = header_len.cast_signed() <= len && at + header_len <= present;
            (is_plain, is_syn) = (flags.only_acknowledges(), flags.contains(tcp::Flags::SYN));
            if header_len < tcp::HEADER_LEN || !is_whole || !is_plain && flags.is_nonsense() {
                return None;
            }
            (protocol, kind) = (Protocol::Tcp, Kind::Tcp);
        }
        17 => {
            let length = usize::from(udp::Header::new(message)?.length());
            if length < udp::HEADER_LEN || length.cast_signed() > len {
                return None;
            }
            (protocol, kind) = (Protocol::Udp, Kind::Udp);
            (is_syn, is_plain) = (false, true);
        }
        _ => return None,
    }
    // Both have their ports first.
    let ports = udp::Header::new(message)?;
    if ports.has_zero() {
        return None;
    }
    Some(Headers {
        packed: pack(ports.ports(), protocol),
        transport: at as u8,
        ttl,
        kind,
        is_syn,
        is_plain: is_plain & (ttl > 1),
        transport_len: len as u16,
    })
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::id::PortId;
    use crate::io::memory::Frame;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);

    fn of(bytes: &[u8]) -> Class {
        let mut classes = Classes::<1>::default();
        classes.classify(&Frame::new(bytes.to_vec(), PortId(0)), MAC);
        classes.each()[0]
    }

    fn tcp() -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], MAC.0)
            .ipv4([10, 0, 0, 1], [10, 0, 0, 10], 64)
            .tcp(34952, 8080, 1, 1000)
            .syn()
            .write(&mut frame, b"hello")
            .unwrap();
        frame
    }

    fn udp() -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], MAC.0)
            .ipv4([10, 0, 0, 1], [10, 0, 0, 10], 64)
            .udp(34952, 53)
            .write(&mut frame, b"hello")
            .unwrap();
        frame
    }

    /// The addresses of the client and the VIP.
    const ADDRESSES6: [[u8; 16]; 2] = [
        [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
    ];

    fn tcp6() -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], MAC.0)
            .ipv6(ADDRESSES6[0], ADDRESSES6[1], 64)
            .tcp(34952, 8080, 1, 1000)
            .ack(1)
            .write(&mut frame, b"hello")
            .unwrap();
        frame
    }

    fn udp6() -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], MAC.0)
            .ipv6(ADDRESSES6[0], ADDRESSES6[1], 64)
            .udp(34952, 53)
            .write(&mut frame, b"hello")
            .unwrap();
        frame
    }

    fn echo() -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], MAC.0)
            .ipv4([10, 0, 0, 1], [10, 0, 0, 10], 64)
            .icmpv4_echo_request(77, 1)
            .write(&mut frame, b"hello")
            .unwrap();
        frame
    }

    /// `frame` with `bytes` put in at `at`, and the IPv4 checksum made right again.
    fn with(frame: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut frame = frame.to_vec();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        let header_end = (14 + usize::from(frame[14] & 15) * 4).min(frame.len());
        frame[24..26].fill(0);
        let sum = crate::wire::checksum::of(&frame[14..header_end]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    #[test]
    fn a_whole_packet_of_each_protocol_gives_its_flow() {
        let key = |src_port, dst_port, protocol| FlowKey {
            src: [10, 0, 0, 1].into(),
            dst: [10, 0, 0, 10].into(),
            src_port,
            dst_port,
            protocol,
        };
        let rows = [
            (tcp(), key(34952, 8080, Protocol::Tcp), Kind::Tcp, 25),
            (udp(), key(34952, 53, Protocol::Udp), Kind::Udp, 13),
            (echo(), key(77, 0, Protocol::Icmp), Kind::EchoRequest, 13),
        ];
        for (frame, key, kind, transport_len) in rows {
            assert_eq!(
                of(&frame),
                Class::Flow(Headers {
                    packed: key.pack(),
                    transport: 34,
                    ttl: 64,
                    kind,
                    is_syn: kind == Kind::Tcp,
                    is_plain: kind == Kind::Udp,
                    transport_len
                })
            );
            let padded = [&frame[..], &[0; 20]].concat();
            assert_eq!(of(&padded), of(&frame), "Ethernet's padding does not count");
        }
    }

    #[test]
    fn each_fault_has_its_own_reason() {
        use DropReason as D;
        let rows = [
            ("another station", with(&tcp(), 0, &[2, 0, 0, 0, 0, 9]), D::NotForUs),
            ("broadcast", with(&tcp(), 0, &[0xff; 6]), D::Broadcast),
            ("multicast", with(&tcp(), 0, &[1, 0, 0x5e, 0, 0, 1]), D::Broadcast),
            ("VLAN", with(&tcp(), 12, &[0x81, 0]), D::Vlan),
            ("IPv6", with(&tcp(), 12, &[0x86, 0xdd]), D::Ipv6Version),
            ("LLDP", with(&tcp(), 12, &[0x88, 0xcc]), D::EtherType),
            ("version", with(&tcp(), 14, &[0x65]), D::Ipv4Version),
            ("header of 16 bytes", with(&tcp(), 14, &[0x44]), D::Ipv4HeaderLength),
            ("header beyond the frame", with(&tcp()[..50], 14, &[0x4f]), D::Ipv4HeaderLength),
            ("header beyond the packet", with(&[tcp(), vec![0; 40]].concat(), 14, &[0x4f]), D::Ipv4TotalLength),
            ("total length beyond the frame", with(&tcp(), 16, &[0x10, 0]), D::Ipv4TotalLength),
            ("total length within the header", with(&tcp(), 16, &[0, 19]), D::Ipv4TotalLength),
            ("IP in IP", with(&tcp(), 23, &[4]), D::Tunnel),
            ("GRE", with(&tcp(), 23, &[47]), D::Protocol),
            ("total length within TCP", with(&tcp(), 16, &[0, 39]), D::TcpTruncated),
            ("TCP header of 16 bytes", with(&tcp(), 46, &[0x40]), D::TcpHeaderLength),
            ("TCP header beyond the packet", with(&tcp(), 46, &[0xf0]), D::TcpHeaderLength),
            ("SYN and FIN", with(&tcp(), 47, &[0x03]), D::TcpFlags),
            ("no flags", with(&tcp(), 47, &[0]), D::TcpFlags),
            ("source port 0", with(&tcp(), 34, &[0, 0]), D::PortZero),
            ("destination port 0", with(&udp(), 36, &[0, 0]), D::PortZero),
            ("total length within UDP", with(&udp(), 16, &[0, 27]), D::UdpTruncated),
            ("UDP length of 7", with(&udp(), 38, &[0, 7]), D::UdpLength),
            ("UDP length beyond the packet", with(&udp(), 38, &[0, 14]), D::UdpLength),
            ("total length within ICMP", with(&echo(), 16, &[0, 27]), D::IcmpTruncated),
            ("timestamp", with(&echo(), 34, &[13, 0]), D::IcmpType),
            ("echo with a code", with(&echo(), 34, &[8, 1]), D::IcmpType),
        ];
        for (name, frame, reason) in rows {
            assert_eq!(of(&frame), Class::Drop(reason), "{name}");
        }
        assert_eq!(of(&with(&echo(), 34, &[3, 3])), Class::IcmpError { message: 34 });
        assert_eq!(of(&with(&tcp(), 20, &[0x20, 0])), Class::Fragment, "the first");
        assert_eq!(of(&with(&tcp(), 20, &[0, 9])), Class::Fragment, "the last");
        let mut damaged = tcp();
        damaged[24] ^= 1;
        assert_eq!(of(&damaged), Class::Drop(D::Ipv4Checksum));
    }

    #[test]
    fn a_frame_cut_at_any_length_is_told_apart() {
        use DropReason as D;
        for len in 0..tcp().len() {
            let expected = match len {
                0..14 => D::FrameTruncated,
                14..34 => D::Ipv4Truncated,
                _ => D::Ipv4TotalLength,
            };
            assert_eq!(of(&tcp()[..len]), Class::Drop(expected), "{len} bytes");
        }
    }

    #[test]
    fn options_are_carried_and_source_routes_are_not() {
        let with_options = |options: [u8; 8]| {
            let mut frame = tcp();
            frame.splice(34..34, options);
            frame[14] = 0x47;
            frame[17] += 8;
            with(&frame, 0, &MAC.0)
        };
        let Class::Flow(headers) = of(&with_options([7, 7, 4, 0, 0, 0, 0, 0])) else {
            panic!("record route is carried")
        };
        assert_eq!((headers.transport, headers.key().dst_port), (42, 8080));
        assert_eq!(of(&with_options([131, 7, 4, 10, 0, 0, 3, 0])), Class::Drop(DropReason::Ipv4SourceRoute));
    }

    proptest! {
        #[test]
        fn no_frame_makes_it_panic_and_what_it_finds_lies_in_the_frame(
            template in prop_oneof![Just(tcp()), Just(udp()), Just(echo())],
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            len in 0usize..90,
        ) {
            let mut frame = template;
            frame.resize(len.max(26), 0);
            for (index, value) in changes {
                let at = index.index(frame.len());
                frame[at] = value;
            }
            let mut frame = with(&frame, 0, &[]);
            frame.truncate(len);
            if let Class::Flow(headers) = of(&frame) {
                prop_assert!(usize::from(headers.transport) + usize::from(headers.transport_len) <= frame.len());
            }
        }

        #[test]
        fn ordinary_packets_read_as_they_do_with_care(
            template in prop_oneof![Just(tcp()), Just(udp()), Just(echo())],
            changes in prop::collection::vec((14..54_usize, any::<u8>()), 0..3),
            len in 30usize..90,
        ) {
            let mut frame = template;
            frame.resize(len.max(54), 0);
            for (at, value) in changes {
                frame[at] = value;
            }
            // Mends the checksum, without which nearly no changed frame would be looked at closely.
            let mut frame = with(&frame, 0, &[]);
            frame.truncate(len);
            if let Some(headers) = ordinary_of(&frame) {
                prop_assert_eq!(with_care(&frame, frame.len(), MAC), Class::Flow(headers));
            }
        }

        #[test]
        fn ordinary_packets_of_ipv6_read_as_they_do_with_care(
            template in prop_oneof![Just(tcp6()), Just(udp6())],
            changes in prop::collection::vec((14..74_usize, any::<u8>()), 0..3),
            len in 50usize..110,
        ) {
            let mut frame = template;
            frame.resize(len.max(74), 0);
            for (at, value) in changes {
                frame[at] = value;
            }
            frame.truncate(len);
            if let Some(headers) = ordinary_v6(&frame, frame.len()) {
                prop_assert_eq!(with_care(&frame, frame.len(), MAC), Class::Flow(headers));
            }
        }
    }

    fn ordinary_of(frame: &[u8]) -> Option<Headers> {
        ordinary(frame.first_chunk()?, frame.len(), frame.len())
    }

    #[test]
    fn segments_and_datagrams_of_every_day_are_ordinary() {
        for frame in [tcp(), [&udp()[..], &[0; 20]].concat()] {
            let headers = ordinary_of(&frame).unwrap();
            assert_eq!(with_care(&frame, frame.len(), MAC), Class::Flow(headers));
        }
        for frame in [tcp6(), udp6()] {
            let headers = ordinary_v6(&frame, frame.len()).unwrap();
            assert_eq!(with_care(&frame, frame.len(), MAC), Class::Flow(headers));
        }
    }
}
