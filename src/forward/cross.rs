//! From one version of IP to the other (RFC 7915): a packet whose client speaks the one and whose backend the other.
//!
//! The header is written anew, and the transport's checksum adjusted for it: the payload is neither read nor changed, but of a
//! datagram of IPv4 without a checksum, which must have one in IPv6. Extension headers and options do not go along (§4.1, §5.1).

use std::net::IpAddr;

use super::{quote, translate_transport};
use crate::flow::{PackedKey, Protocol};
use crate::io::Packet;
use crate::wire::checksum::Delta;
use crate::wire::ip::Fragment;
use crate::wire::ipv6::Addresses6;
use crate::wire::{checksum, ethernet, icmp, icmpv6, ip, ipv4, ipv6};

/// Where IP starts in a frame.
const NETWORK: usize = ethernet::HEADER_LEN;

/// The longest packet of IPv4 that may be cut on its way, which one of IPv6 could not (RFC 7915 §5.1).
const MOST_CUTTABLE: u16 = 1260;

/// Why a packet cannot go on in the other version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCrossing {
    /// There is no room for a longer header.
    NoRoom,
    /// It is a fragment of what has no checksum, or one over more than is there.
    Fragment,
    /// It has no checksum and is in more than one piece, or a header is not where it should be.
    Split,
    /// It is a datagram of IPv6 without a checksum, which nobody could tell from a right one in IPv4.
    NoChecksum,
}

/// How long the frame of a packet with `transport_len` bytes behind its headers, which may be a fragment, is in the version of
/// `to`.
pub const fn crossed_len(to: &PackedKey, transport_len: u16, is_fragment: bool) -> usize {
    let header = match to {
        PackedKey::V4(_) => ipv4::HEADER_LEN,
        PackedKey::V6(_) if is_fragment => ipv6::HEADER_LEN + ipv6::FRAGMENT_LEN,
        PackedKey::V6(_) => ipv6::HEADER_LEN,
    };
    NETWORK + header + transport_len as usize
}

/// Which piece of a larger packet the one in `frame` is.
fn fragment_of(frame: &[u8]) -> Option<Fragment> {
    ip::Upper::of(frame.get(NETWORK..)?)?.fragment
}

/// Whether the packet in `frame` is a fragment.
pub fn is_fragment(frame: &[u8]) -> bool {
    fragment_of(frame).is_some()
}

/// Whether the fragments of a packet can go on in the other version, whose first is in `frame`, its message of `protocol` at
/// `transport`: those of ICMP and of UDP without a checksum cannot, for theirs would be over all of it (RFC 7915 §4.2, §4.5, §5.2).
pub fn crosses_in_fragments(frame: &[u8], transport: usize, protocol: Protocol) -> bool {
    match protocol {
        Protocol::Icmp => false,
        Protocol::Udp => frame.get(transport + 6..transport + 8).is_some_and(|checksum| checksum != [0; 2]),
        Protocol::Tcp => true,
    }
}

/// Whether the packet in `frame`, which is `len` bytes long in the version of `to`, may be cut there by who translates it: one of
/// IPv4 says so itself (RFC 7915 §4); in IPv4 it is one that no router of IPv6 would have reported as too big, or a fragment (§5.1).
pub fn may_be_cut(frame: &[u8], to: &PackedKey, len: usize) -> bool {
    match (to, frame.get(NETWORK..).and_then(ip::Header::new)) {
        (PackedKey::V6(_), Some(ip::Header::V4(header))) => !header.dont_fragment(),
        (PackedKey::V4(_), Some(ip::Header::V6(_))) => len <= MOST_CUTTABLE.into() || is_fragment(frame),
        _ => false,
    }
}

/// How many bytes the packet in `frame` has from its transport header on, which is at `transport`.
pub fn carried_len(frame: &[u8], transport: usize) -> Option<u16> {
    let header = frame.get(NETWORK..).and_then(ip::Header::new)?;
    (NETWORK + header.packet_len()).checked_sub(transport)?.try_into().ok()
}

/// Makes the packet, whose transport header is at `transport`, one of the version of `to`, with its addresses and ports and one hop less to live. A fragment stays one, with its identification, of which IPv4
/// has the lower half. Ethernet's padding is cut off; the Ethernet addresses are still to be written. `identification` is for
/// a whole packet of IPv4.
///
/// # Errors
///
/// As [`NoCrossing`] says; nothing has changed then.
#[cold]
pub fn cross<P: Packet>(
    packet: &mut P,
    transport: usize,
    to: &PackedKey,
    identification: u16,
) -> Result<(), NoCrossing> {
    let transport_len = carried_len(packet.data(), transport).ok_or(NoCrossing::Split)?;
    let header = packet.data().get(NETWORK..).and_then(ip::Header::new).ok_or(NoCrossing::Split)?;
    let fragment = fragment_of(packet.data());
    let is_beginning = fragment.is_none_or(|fragment| fragment.offset == 0);
    if fragment.is_some() && is_beginning && !crosses_in_fragments(packet.data(), transport, to.protocol()) {
        return Err(NoCrossing::Fragment);
    }
    let (old, traffic_class, hops) = match header {
        ip::Header::V4(header) => (Old::V4(header.addresses()), header.type_of_service(), header.ttl()),
        ip::Header::V6(header) => (Old::V6(header.addresses()), header.traffic_class(), header.hop_limit()),
    };
    let whole = packet.data().get(transport..transport + usize::from(transport_len));
    // The sum of a datagram that has none.
    let sum_of_all = match (to, to.protocol()) {
        (_, Protocol::Udp) if !is_beginning || packet.data().get(transport + 6..transport + 8) != Some(&[0; 2]) => None,
        // Its receiver would have to discard it (RFC 8200 §8.1), and could not.
        (PackedKey::V4(_), Protocol::Udp) => return Err(NoCrossing::NoChecksum),
        (PackedKey::V6(_), Protocol::Udp) => {
            // What lies behind the datagram itself is not covered (RFC 9868).
            let whole = whole.ok_or(NoCrossing::Split)?;
            let len = whole.get(4..6).map_or(0, |len| usize::from(u16::from_be_bytes([len[0], len[1]])));
            let datagram = whole.get(..len).ok_or(NoCrossing::Split)?;
            Some((checksum::Sum::ZERO.and_bytes(datagram), len as u32))
        }
        _ => None,
    };
    let key = to.unpack();
    let header_len = crossed_len(to, 0, fragment.is_some());
    make_room(packet, transport, header_len)?;
    packet.truncate(header_len + usize::from(transport_len));
    let (head, message) = packet.data_mut().split_at_mut_checked(header_len).ok_or(NoCrossing::Split)?;
    let (ethernet, network) = head.split_at_mut(NETWORK);
    if let Some(mut header) = ethernet::HeaderMut::new(ethernet) {
        header.set_ether_type(ethernet::EtherType::of(key.src));
    }
    let hops = hops.wrapping_sub(1);
    write_header(network, (key.src, key.dst), key.protocol, traffic_class, hops, transport_len, identification);
    if let Some(fragment) = fragment {
        make_fragment(network, key.src.is_ipv6(), &fragment);
    }
    if !is_beginning {
        return Ok(());
    }
    let mut delta = old.replaced_by(to);
    if key.protocol == Protocol::Icmp {
        delta = delta.and(cross_echo(message, to, transport_len));
    }
    if let Some((sum, len)) = sum_of_all {
        // Over the old ports, which the next step adjusts it for.
        let pseudo = checksum::pseudo_header_v6(to.wide_addresses(), Protocol::Udp.number(), len);
        let sum = pseudo.and(sum).finish();
        if let Some(place) = message.get_mut(6..8) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
        delta = Delta::NONE;
    }
    translate_transport(message, key.protocol, to.ports(), delta);
    Ok(())
}

/// Moves the Ethernet header to where `header_len` bytes end at the transport header, which is at `transport`.
fn make_room<P: Packet>(packet: &mut P, transport: usize, header_len: usize) -> Result<(), NoCrossing> {
    if let Some(grown) = header_len.checked_sub(transport) {
        return packet.prepend(grown).then_some(()).ok_or(NoCrossing::NoRoom);
    }
    packet.trim_front(transport - header_len).then_some(()).ok_or(NoCrossing::Split)
}

/// Writes the header of a packet with these addresses.
fn write_header(
    network: &mut [u8],
    (source, destination): (IpAddr, IpAddr),
    protocol: Protocol,
    traffic_class: u8,
    hops: u8,
    payload_len: u16,
    identification: u16,
) {
    let is_v6 = source.is_ipv6();
    let protocol = if is_v6 { protocol.next_header() } else { protocol.number() };
    let fields = ip::Fields { traffic_class, payload_len, protocol, hops, source, destination };
    fields.write(network);
    if !is_v6
        && ipv4::HEADER_LEN as u16 + payload_len <= MOST_CUTTABLE
        && let Some(mut header) = ipv4::HeaderMut::new(network)
    {
        header.allow_fragments(identification);
    }
}

/// Makes the header in `network`, of a whole packet, that of this fragment.
fn make_fragment(network: &mut [u8], is_v6: bool, fragment: &Fragment) {
    if is_v6 {
        ipv6::insert_fragment(network, fragment);
    } else if let Some(mut header) = ipv4::HeaderMut::new(network) {
        let total_len = header.as_header().total_len();
        header.set_fragment(total_len, (fragment.offset / 8) as u16, fragment.more);
        header.set_identification(fragment.identification as u16);
    }
}

/// The addresses that a packet had.
#[derive(Clone, Copy)]
enum Old {
    V4(u64),
    V6(Addresses6),
}

impl Old {
    /// What it does to a checksum with a pseudo-header that the addresses are those of `to` now. In IPv4 that of ICMP is without
    /// one.
    fn replaced_by(self, to: &PackedKey) -> Delta {
        let has_pseudo_header = to.protocol() != Protocol::Icmp;
        let mut delta = match self {
            Self::V4(old) if has_pseudo_header => Delta::NONE.replace_in_memory(old, 0),
            Self::V4(_) => Delta::NONE,
            Self::V6(old) => old.into_iter().fold(Delta::NONE, |delta, word| delta.replace_in_memory(word, 0)),
        };
        match to {
            PackedKey::V4(to) if has_pseudo_header => delta = delta.replace_in_memory(0, to.addresses()),
            PackedKey::V4(_) => {}
            PackedKey::V6(to) => {
                for word in to.addresses() {
                    delta = delta.replace_in_memory(0, word);
                }
            }
        }
        delta
    }
}

/// Gives an echo the type that it has in the version of `to`. Returns what that does to its checksum, and what else of a
/// pseudo-header than the addresses comes in or goes.
fn cross_echo(message: &mut [u8], to: &PackedKey, len: u16) -> Delta {
    let Some(kind) = message.first_mut() else { return Delta::NONE };
    let is_v6 = matches!(to, PackedKey::V6(_));
    let new = match *kind {
        icmp::ECHO_REQUEST | icmpv6::ECHO_REQUEST if is_v6 => icmpv6::ECHO_REQUEST,
        _ if is_v6 => icmpv6::ECHO_REPLY,
        icmpv6::ECHO_REQUEST => icmp::ECHO_REQUEST,
        _ => icmp::ECHO_REPLY,
    };
    let old = std::mem::replace(kind, new);
    let delta = Delta::NONE.replace(u16::from(old) << 8, u16::from(new) << 8);
    let fixed = u32::from(icmpv6::PROTOCOL) + u32::from(len);
    match to {
        PackedKey::V6(_) => delta.replace_pair(0, fixed),
        PackedKey::V4(_) => delta.replace_pair(fixed, 0),
    }
}

/// Writes into `into` the frame of the ICMP error in `frame`, whose message starts at `message`, as the other version has it: from
/// `source`, about the packet with the 5-tuple `about` as its sender knows it. A sequence number in the quote becomes what
/// `recount` makes of it. Returns the length; nothing where the other version has no such error, or the quote says too little (RFC
/// 7915 §4.2, §4.3, §5.2, §5.3).
#[cold]
pub fn cross_error(
    frame: &[u8],
    message: usize,
    source: IpAddr,
    about: &PackedKey,
    recount: impl Fn(u32) -> u32,
    into: &mut [u8; super::LONGEST_COMPLAINT],
) -> Option<usize> {
    let key = about.unpack();
    let outer = frame.get(NETWORK..).and_then(ip::Header::new)?;
    let end = NETWORK + outer.packet_len();
    let message = frame.get(message..end.min(frame.len()))?;
    let is_v6 = key.src.is_ipv6();
    let quoted = quote::Quote::of(message)?;
    let head = if is_v6 { to_v6(message, quoted.ip.packet_len())? } else { to_v4(message)? };
    let packet = message.get(icmp::HEADER_LEN..)?;
    let (transport_len, rest) = (quoted.transport_len(), packet.get(quoted.at..)?);
    // Of IPv4 there is no longer packet; whoever says so has made it up.
    if !is_v6 && transport_len > u16::MAX - ipv4::HEADER_LEN as u16 {
        return None;
    }
    let mut fields = ip::Fields {
        traffic_class: 0xc0,
        payload_len: 0,
        protocol: if is_v6 { icmpv6::PROTOCOL } else { icmp::PROTOCOL },
        hops: outer.hops_left().wrapping_sub(1),
        source,
        destination: key.src,
    };
    let header_len = fields.header_len();
    let most = if is_v6 { ipv6::LEAST_MTU.into() } else { 576 };
    let rest = &rest[..rest.len().min(most - 2 * header_len - icmp::HEADER_LEN)];
    fields.payload_len = (icmp::HEADER_LEN + header_len + rest.len()) as u16;

    let (ethernet, network) = into.split_at_mut(NETWORK);
    if let Some(mut header) = ethernet::HeaderMut::new(ethernet) {
        header.set_ether_type(ethernet::EtherType::of(source));
    }
    fields.write(network);
    let error = network.get_mut(header_len..header_len + usize::from(fields.payload_len))?;
    error[..icmp::HEADER_LEN].copy_from_slice(&head);
    let (network, transport) = error[icmp::HEADER_LEN..].split_at_mut(header_len);
    let hops = quoted.ip.hops_left();
    write_header(network, (key.src, key.dst), key.protocol, quoted.traffic_class(), hops, transport_len, 0);
    transport.copy_from_slice(rest);
    let mut delta = match quoted.ip {
        ip::Header::V4(header) => Old::V4(header.addresses()),
        ip::Header::V6(header) => Old::V6(header.addresses()),
    }
    .replaced_by(about);
    if key.protocol == Protocol::Icmp {
        delta = delta.and(cross_echo(transport, about, transport_len));
    }
    quote::rewrite(transport, &key, delta, recount)?;
    let sum = if is_v6 { fields.pseudo_header().and_bytes(error).complement() } else { checksum::of(error) };
    error[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(NETWORK + header_len + usize::from(fields.payload_len))
}

/// The header of the ICMPv6 error that says what the ICMP error `message` does about a packet of `len` bytes, without its checksum.
fn to_v6(message: &[u8], len: usize) -> Option<[u8; icmp::HEADER_LEN]> {
    let header = icmp::Header::new(message)?;
    let simple = |kind, code| Some([kind, code, 0, 0, 0, 0, 0, 0]);
    match (header.kind(), header.code()) {
        // The protocol is not known there: the field that says so is at byte 6.
        (3, 2) => Some([4, 1, 0, 0, 0, 0, 0, 6]),
        (3, 3) => simple(icmpv6::UNREACHABLE, 4),
        (3, 4) => {
            let told = Some(header.next_hop_mtu()).filter(|mtu| *mtu != 0);
            let mtu =
                told.unwrap_or_else(|| likely_mtu(len)).saturating_add((ipv6::HEADER_LEN - ipv4::HEADER_LEN) as u16);
            let [high, low] = mtu.max(ipv6::LEAST_MTU).to_be_bytes();
            Some([icmpv6::TOO_BIG, 0, 0, 0, 0, 0, high, low])
        }
        (3, 9 | 10 | 13 | 15) => simple(icmpv6::UNREACHABLE, 1),
        (3, 0 | 1 | 5..=8 | 11 | 12) => simple(icmpv6::UNREACHABLE, 0),
        (11, code) => simple(icmpv6::TIME_EXCEEDED, code),
        // A field is wrong, or a length; that an option is missing (code 1) cannot be said.
        (PARAMETER_PROBLEM, 0 | 2) => Some([PARAMETER_PROBLEM_V6, 0, 0, 0, 0, 0, 0, pointer_to_v6(message[4])?]),
        _ => None,
    }
}

/// The MTU that a router is taken to mean which does not tell it, about a packet of `len` bytes: the sizes of RFC 1191 §7.1 (RFC 7915
/// §4.2).
fn likely_mtu(len: usize) -> u16 {
    let plateaus = [32_000, 17_914, 8166, 4352, 2002, 1492];
    plateaus.into_iter().find(|plateau| usize::from(*plateau) < len).unwrap_or(MOST_CUTTABLE)
}

/// Types of the errors that say which field of a header is wrong.
const PARAMETER_PROBLEM: u8 = 12;
const PARAMETER_PROBLEM_V6: u8 = 4;

/// The field of an IPv6 header that is what is at this byte of one of IPv4, if there is one (RFC 7915 §4.2, figure 3).
const fn pointer_to_v6(pointer: u8) -> Option<u8> {
    match pointer {
        // Version; type of service.
        0 | 1 => Some(pointer),
        // Length; time to live; protocol.
        2 | 3 => Some(4),
        8 => Some(7),
        9 => Some(6),
        // The addresses.
        12..=15 => Some(8),
        16..=19 => Some(24),
        _ => None,
    }
}

/// The same, the other way round (RFC 7915 §5.2, figure 6).
const fn pointer_to_v4(pointer: u32) -> Option<u8> {
    match pointer {
        0 | 1 => Some(pointer as u8),
        4 | 5 => Some(2),
        6 => Some(9),
        7 => Some(8),
        8..=23 => Some(12),
        24..=39 => Some(16),
        _ => None,
    }
}

/// The header of the ICMP error that says what the ICMPv6 error `message` does, without its checksum.
fn to_v4(message: &[u8]) -> Option<[u8; icmp::HEADER_LEN]> {
    let header = icmp::Header::new(message)?;
    let simple = |kind, code| Some([kind, code, 0, 0, 0, 0, 0, 0]);
    match (header.kind(), header.code()) {
        (icmpv6::UNREACHABLE, 1) => simple(3, 10),
        (icmpv6::UNREACHABLE, 4) => simple(3, 3),
        (icmpv6::UNREACHABLE, 0 | 2 | 3) => simple(3, 1),
        (icmpv6::TOO_BIG, _) => {
            let mtu = header.next_hop_mtu_v6().saturating_sub((ipv6::HEADER_LEN - ipv4::HEADER_LEN) as u16);
            let [high, low] = mtu.to_be_bytes();
            Some([3, 4, 0, 0, 0, 0, high, low])
        }
        (icmpv6::TIME_EXCEEDED, code) => simple(11, code),
        (PARAMETER_PROBLEM_V6, 0) => {
            let [.., a, b, c, d] = *message.first_chunk::<{ icmp::HEADER_LEN }>()?;
            Some([PARAMETER_PROBLEM, 0, 0, 0, pointer_to_v4(u32::from_be_bytes([a, b, c, d]))?, 0, 0, 0])
        }
        (PARAMETER_PROBLEM_V6, 1) => simple(3, 2),
        _ => None,
    }
}

#[cfg(test)]
#[path = "cross_tests.rs"]
mod tests;
