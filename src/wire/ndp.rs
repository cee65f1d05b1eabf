//! Neighbour discovery (RFC 4861): solicitations and advertisements.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |     type      |       0       |           checksum            |
//! +-+-+-+---------+---------------+-------------------------------+
//! |R|S|O|                  reserved (in a solicitation all)       |
//! +-+-+-+---------------------------------------------------------+
//! |                   target address (16 bytes)                   |
//! +---------------------------------------------------------------+
//! |  options: type, length in units of 8 bytes, content …         |
//! ```

use std::net::Ipv6Addr;

use super::ethernet::{self, EtherType};
use super::{MacAddr, icmpv6, ipv6};

/// Types of the messages.
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// Flags of an advertisement.
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Options that hold an Ethernet address: the sender's of a solicitation, the target's of an advertisement.
const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;

/// Bytes of a message without options.
const FIXED_LEN: usize = 24;
/// Bytes of a message with an Ethernet address.
const MESSAGE_LEN: usize = FIXED_LEN + 8;

/// Bytes of a frame with such a message.
pub const FRAME_LEN: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + MESSAGE_LEN;

/// The hop limit of every message: that of one that has passed no router (RFC 4861 §11.2).
const HOP_LIMIT: u8 = 255;

/// Everybody on the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Who sends it: the source of its packet.
    pub source: Ipv6Addr,
    /// Where it goes: the destination of its packet.
    pub destination: Ipv6Addr,
    /// The address that it is about.
    pub target: Ipv6Addr,
    /// The Ethernet address that it tells: of its sender, or in an advertisement of the target.
    pub link: Option<MacAddr>,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who has the target?
    Solicitation,
    /// The target is here.
    Advertisement {
        /// Whether its sender is a router.
        is_router: bool,
        /// Whether it answers a solicitation.
        is_solicited: bool,
        /// Whether it replaces what was known before.
        overrides: bool,
    },
}

/// Whether messages of type `kind` are those that are read here, and not about routers.
pub const fn is_about_neighbors(kind: u8) -> bool {
    matches!(kind, SOLICITATION | ADVERTISEMENT)
}

impl Message {
    /// The message in `packet`, an IPv6 packet from its first byte on, of which ICMPv6 starts at `at`. None if it is malformed
    /// as RFC 4861 §7.1 has it: all of its checks are made; or behind a fragment header (RFC 6980 §5). Messages of other types
    /// are malformed, too.
    pub fn parse(packet: &[u8], at: usize) -> Option<Self> {
        let header = ipv6::Header::new(packet)?;
        let message = packet.get(at..ipv6::HEADER_LEN + usize::from(header.payload_len()))?;
        if header.hop_limit() != HOP_LIMIT || message.len() < FIXED_LEN || message[1] != 0 {
            return None;
        }
        if ipv6::has_fragment_header(packet, at) {
            return None;
        }
        if icmpv6::checksum(header, message) != 0 {
            return None;
        }
        let (source, destination) = (header.source(), header.destination());
        let target: [u8; 16] = *message[8..].first_chunk()?;
        let target = Ipv6Addr::from(target);
        let (kind, option) = match message[0] {
            SOLICITATION => (Kind::Solicitation, SOURCE_LINK),
            ADVERTISEMENT => {
                let flag = |flag: u8| message[4] & flag != 0;
                let (is_router, is_solicited, overrides) = (flag(ROUTER), flag(SOLICITED), flag(OVERRIDE));
                (Kind::Advertisement { is_router, is_solicited, overrides }, TARGET_LINK)
            }
            _ => return None,
        };
        let link = link(&message[FIXED_LEN..], option)?;
        let is_probe = kind == Kind::Solicitation && source.is_unspecified();
        let is_wrong = target.is_multicast()
            || source.is_multicast()
            || (is_probe && (link.is_some() || destination != ipv6::solicited_node(target)))
            || (kind != Kind::Solicitation && source.is_unspecified())
            || matches!(kind, Kind::Advertisement { is_solicited: true, .. } if destination.is_multicast());
        (!is_wrong).then_some(Self { kind, source, destination, target, link })
    }

    /// The solicitation in which `source` asks everybody, or the one station at `known`, for `target`. If `source` is
    /// unspecified, it asks whether anybody has it (RFC 4862 §5.4.2).
    pub const fn solicitation(target: Ipv6Addr, source: Ipv6Addr, mac: MacAddr, is_known: bool) -> Self {
        Self {
            kind: Kind::Solicitation,
            source,
            destination: if is_known { target } else { ipv6::solicited_node(target) },
            target,
            link: if source.is_unspecified() { None } else { Some(mac) },
        }
    }

    /// The advertisement to everybody that `target` is at `mac`.
    pub const fn announcement(target: Ipv6Addr, mac: MacAddr) -> Self {
        Self {
            kind: Kind::Advertisement { is_router: false, is_solicited: false, overrides: true },
            source: target,
            destination: ALL_NODES,
            target,
            link: Some(mac),
        }
    }

    /// The answer to this solicitation from who has the target, at `mac`. One from nobody is answered to everybody (RFC 4861
    /// §7.2.4).
    #[must_use]
    pub const fn answered_by(&self, mac: MacAddr) -> Self {
        self.answer(mac, true)
    }

    /// The answer of who speaks for the target, or is not sure to have it: what is known of another is not replaced (RFC 4861
    /// §7.2.8, RFC 4429 §3.3).
    #[must_use]
    pub const fn answered_modestly_by(&self, mac: MacAddr) -> Self {
        self.answer(mac, false)
    }

    const fn answer(&self, mac: MacAddr, overrides: bool) -> Self {
        let is_solicited = !self.source.is_unspecified();
        Self {
            kind: Kind::Advertisement { is_router: false, is_solicited, overrides },
            source: self.target,
            destination: if is_solicited { self.source } else { ALL_NODES },
            target: self.target,
            link: Some(mac),
        }
    }

    /// Writes the frame from `from` that holds the message, to `to` or, if it goes to a group, to that group. Returns its
    /// length.
    pub fn write(&self, frame: &mut [u8; FRAME_LEN], from: MacAddr, to: MacAddr) -> usize {
        let to = if self.destination.is_multicast() { group(self.destination) } else { to };
        let message_len = if self.link.is_some() { MESSAGE_LEN } else { FIXED_LEN };
        let (head, rest) = frame.split_at_mut(ethernet::HEADER_LEN);
        if let Some(mut header) = ethernet::HeaderMut::new(head) {
            header.set_addresses(to, from);
            header.set_ether_type(EtherType::IPV6);
        }
        let (head, message) = rest.split_at_mut(ipv6::HEADER_LEN);
        let fields = ipv6::Fields {
            traffic_class: 0,
            flow_label: 0,
            payload_len: message_len as u16,
            next_header: icmpv6::PROTOCOL,
            hop_limit: HOP_LIMIT,
            source: self.source,
            destination: self.destination,
        };
        if let Some(header) = head.first_chunk_mut() {
            fields.write(header);
        }
        let (kind, flags, option) = match self.kind {
            Kind::Solicitation => (SOLICITATION, 0, SOURCE_LINK),
            Kind::Advertisement { is_router, is_solicited, overrides } => {
                let flags = [(is_router, ROUTER), (is_solicited, SOLICITED), (overrides, OVERRIDE)];
                let flags = flags.iter().fold(0, |all, (is_set, flag)| if *is_set { all | flag } else { all });
                (ADVERTISEMENT, flags, TARGET_LINK)
            }
        };
        message.fill(0);
        message[0] = kind;
        message[4] = flags;
        message[8..24].copy_from_slice(&self.target.octets());
        if let Some(link) = self.link {
            message[24..26].copy_from_slice(&[option, 1]);
            message[26..].copy_from_slice(&link.0);
        }
        if let Some(header) = ipv6::Header::new(head) {
            let checksum = icmpv6::checksum(header, &message[..message_len]);
            message[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        ethernet::HEADER_LEN + ipv6::HEADER_LEN + message_len
    }
}

/// The Ethernet address of a group (RFC 2464 §7).
pub const fn group(address: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = address.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// The Ethernet address in the option of type `wanted`, if there is one; `None` if an option is malformed.
fn link(mut options: &[u8], wanted: u8) -> Option<Option<MacAddr>> {
    let mut found = None;
    while let [kind, len, ..] = *options {
        let (option, rest) = options.split_at_checked(8 * usize::from(len)).filter(|_| len != 0)?;
        if kind == wanted && found.is_none() {
            found = option[2..].first_chunk().map(|mac| MacAddr(*mac));
        }
        options = rest;
    }
    options.is_empty().then_some(found)
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv6Slice, NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn frame(message: &Message) -> Vec<u8> {
        let mut frame = [0xff; FRAME_LEN];
        let len = message.write(&mut frame, MAC, OTHER);
        frame[..len].to_vec()
    }

    fn messages() -> [Message; 5] {
        let (target, source) = (address("2001:db8::10"), address("2001:db8::fe"));
        let question = Message::solicitation(target, source, MAC, false);
        let probe = Message::solicitation(target, Ipv6Addr::UNSPECIFIED, MAC, false);
        [
            question,
            Message::solicitation(target, source, MAC, true),
            probe,
            Message::announcement(target, MAC),
            question.answered_by(MAC),
        ]
    }

    #[test]
    fn what_is_written_is_read_again_and_etherparse_finds_its_checksum_right() {
        let router = Kind::Advertisement { is_router: true, is_solicited: true, overrides: false };
        let more = [
            messages()[2].answered_by(MAC),
            messages()[0].answered_modestly_by(MAC),
            Message { kind: router, ..messages()[4] },
        ];
        for message in messages().into_iter().chain(more) {
            let frame = frame(&message);
            assert_eq!(Message::parse(&frame[14..], 40), Some(message));
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) = (&packet.net, &packet.transport)
            else {
                panic!("{packet:?}")
            };
            let header = ip.header();
            assert_eq!(header.hop_limit(), 255);
            assert!(Icmpv6Slice::is_checksum_valid(icmp, header.source(), header.destination()), "{message:?}");
        }
    }

    /// RFC 4861 §4.4, §7.2.4, §7.2.6; RFC 4862 §5.4.
    #[test]
    fn what_is_said_has_the_flags_that_it_should() {
        let [question, _, probe, announcement, _] = messages();
        let rows = [
            (question.answered_by(MAC), SOLICITED | OVERRIDE),
            (probe.answered_by(MAC), OVERRIDE),
            (question.answered_modestly_by(MAC), SOLICITED),
            (announcement, OVERRIDE),
            (question, 0),
        ];
        for (message, flags) in rows {
            assert_eq!(frame(&message)[14 + 40 + 4..][..4], [flags, 0, 0, 0], "{message:?}");
        }
    }

    #[test]
    fn groups_have_ethernet_addresses_of_their_own() {
        let [question, known, probe, announcement, answer] = messages().map(|message| frame(&message)[..6].to_vec());
        assert_eq!(question, [0x33, 0x33, 0xff, 0, 0, 0x10]);
        assert_eq!(probe, question);
        assert_eq!(announcement, [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!([known, answer], [OTHER.0, OTHER.0].map(|mac| mac.to_vec()));
    }

    #[test]
    fn a_message_that_was_routed_damaged_or_cut_is_not_believed() {
        for message in messages() {
            let whole = frame(&message)[14..].to_vec();
            for at in [7, 41, 42, 60, whole.len() - 1] {
                let mut damaged = whole.clone();
                damaged[at] ^= 1;
                assert_eq!(Message::parse(&damaged, 40), None, "byte {at} of {message:?}");
            }
            for len in 0..whole.len() {
                assert_eq!(Message::parse(&whole[..len], 40), None, "{len} bytes of {message:?}");
            }
        }
    }
}
