//! What a packet that came back is: one's own and right, damaged, or somebody else's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::flows::{Client, Flows};
use super::frame;
use super::plan::Protocol;
use super::stamp::{Key, Reading, SentAt};
use crate::wire::checksum::{self, Sum};
use crate::wire::{ipv4, ipv6, tcp, udp};

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From a client to the service, as it reaches a backend that answers past the balancer.
    ToService,
    /// From the service to a client.
    ToClient,
}

impl Way {
    /// The client and the service of a packet's source and destination.
    #[inline(always)]
    fn order<A>(self, source: A, destination: A) -> (A, A) {
        match self {
            Self::ToService => (source, destination),
            Self::ToClient => (destination, source),
        }
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Sent here, whole, and with its flow's addresses and ports.
    Right {
        /// The flow.
        flow: u32,
        /// When it was sent.
        sent: SentAt,
        /// Its number among its sender's packets; the short stamp has none.
        number: Option<u32>,
    },
    /// Sent here and whole, but with addresses or ports that are not its flow's.
    Misdirected,
    /// A wrong checksum, a wrong length, or a payload that was not sent so.
    Corrupt,
    /// Nothing that was sent here.
    Other,
}

/// Knows what was sent.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    /// The clients.
    pub flows: Flows,
    /// The service's address, of the clients' version.
    pub address: IpAddr,
    /// The service's port.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// What the stamps are made with.
    pub key: Key,
}

/// What a packet's IP header says, as far as it matters here.
struct Network<'a> {
    /// Of the one that is the client, in the way that the packet went, the last bits of its address, if the others are those
    /// of all clients.
    host: Option<u32>,
    /// Whether the other one has the service's address.
    is_service: bool,
    /// What the header carries.
    transport: &'a [u8],
    /// Over the pseudo-header.
    pseudo_header: Sum,
}

impl Judge {
    /// Judges a packet of the clients' version of IP: `packet` begins with its header, and may end with Ethernet's padding.
    #[inline]
    pub fn judge(&self, packet: &[u8], way: Way) -> Verdict {
        // Each version has its own way to the end: nothing is asked twice.
        match self.address {
            IpAddr::V4(service) => self.judge_network(self.read_v4(packet, way, service), way),
            IpAddr::V6(service) => self.judge_network(self.read_v6(packet, way, service), way),
        }
    }

    #[inline(always)]
    fn judge_network(&self, network: Result<Network<'_>, Verdict>, way: Way) -> Verdict {
        let network = match network {
            Ok(network) => network,
            Err(verdict) => return verdict,
        };
        let Some(transport) = Transport::read(self.protocol, network.transport) else { return Verdict::Corrupt };
        if !transport.checksum_is_right(network.pseudo_header) {
            return Verdict::Corrupt;
        }
        let (client_port, service_port) = way.order(transport.source_port, transport.destination_port);
        let is_service = network.is_service && service_port == self.port;
        let named = network.host.and_then(|host| self.flows.number(Client { host, port: client_port }));
        self.identify(named, network.host, is_service, transport.payload)
    }

    #[inline(always)]
    fn read_v4<'a>(&self, packet: &'a [u8], way: Way, service: Ipv4Addr) -> Result<Network<'a>, Verdict> {
        let ip = ipv4::Header::new(packet).ok_or(Verdict::Other)?;
        let (header_len, total_len) = (ip.header_len(), usize::from(ip.total_len()));
        let is_whole = match header_len {
            ipv4::HEADER_LEN => ip.checksum_is_right(),
            _ => has_right_options(packet, header_len),
        };
        if ip.version() != 4 || !is_whole {
            return Err(Verdict::Corrupt);
        }
        let transport = packet.get(header_len..total_len).ok_or(Verdict::Corrupt)?;
        if ip.protocol() != self.protocol.number() || ip.is_fragment() {
            return Err(Verdict::Other);
        }
        let (source, destination) = (ip.source(), ip.destination());
        let (client, other) = way.order(source, destination);
        Ok(Network {
            host: Some(client.to_bits()),
            is_service: other == service,
            transport,
            pseudo_header: checksum::pseudo_header(source, destination, ip.protocol(), transport.len() as u16),
        })
    }

    /// What its extension headers are does not matter. There is no checksum over an IPv6 header: when its protocol has changed,
    /// it is something else.
    #[inline(always)]
    fn read_v6<'a>(&self, packet: &'a [u8], way: Way, service: Ipv6Addr) -> Result<Network<'a>, Verdict> {
        let ip = ipv6::Header::new(packet).ok_or(Verdict::Other)?;
        if ip.version() != 6 {
            return Err(Verdict::Corrupt);
        }
        let whole = packet.get(..ipv6::HEADER_LEN + usize::from(ip.payload_len())).ok_or(Verdict::Corrupt)?;
        let upper = ipv6::upper(whole).map_err(|_| Verdict::Other)?;
        if upper.protocol != self.protocol.number() || upper.is_fragment() {
            return Err(Verdict::Other);
        }
        let transport = whole.get(upper.at..).ok_or(Verdict::Corrupt)?;
        let (client, other) = way.order(ip.source(), ip.destination());
        Ok(Network {
            host: self.flows.host_v6(client),
            is_service: other == service,
            transport,
            pseudo_header: checksum::pseudo_header_v6(ip.addresses(), upper.protocol, transport.len() as u32),
        })
    }

    /// `named` is the flow that the addresses name, if they name one.
    #[inline(always)]
    fn identify(&self, named: Option<u32>, host: Option<u32>, is_service: bool, payload: &[u8]) -> Verdict {
        let (flow, sent, number) = match self.key.read(payload, named) {
            Reading::Long(stamp) => (stamp.flow, stamp.sent, Some(stamp.number)),
            Reading::Short(sent) => match named {
                Some(flow) => (flow, sent, None),
                None => return Verdict::Other,
            },
            Reading::None => return Verdict::Other,
            Reading::Wrong => return self.suspect(named.is_some(), is_service, host, payload),
        };
        if !frame::filler_is_whole(payload) {
            Verdict::Corrupt
        } else if named == Some(flow) && is_service {
            Verdict::Right { flow, sent, number }
        } else {
            Verdict::Misdirected
        }
    }

    /// A stamp that is wrong although the checksums are right. Between the service and one of the flows it is damage. The
    /// short stamp does not name its flow, so that there another flow's packet is as wrong as a damaged one, and the more
    /// likely of the two.
    #[cold]
    fn suspect(&self, is_flow: bool, is_service: bool, host: Option<u32>, payload: &[u8]) -> Verdict {
        let is_short = payload.len() < super::stamp::LONG;
        let is_client = || host.is_some_and(|host| self.flows.contains(self.flows.address(Client { host, port: 0 })));
        match (is_flow, is_service, is_short) {
            (true, true, false) => Verdict::Corrupt,
            (_, true, true) if is_client() => Verdict::Misdirected,
            _ => Verdict::Other,
        }
    }
}

/// Whether an IPv4 header with options, of `len` bytes with them, is there and has a right checksum.
#[cold]
fn has_right_options(packet: &[u8], len: usize) -> bool {
    len > ipv4::HEADER_LEN && packet.get(..len).is_some_and(ipv4::checksum_is_right)
}

/// A segment or a datagram, its header's lengths checked.
struct Transport<'a> {
    protocol: Protocol,
    source_port: u16,
    destination_port: u16,
    whole: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Transport<'a> {
    #[inline(always)]
    fn read(protocol: Protocol, whole: &'a [u8]) -> Option<Self> {
        let (source_port, destination_port, header_len) = match protocol {
            Protocol::Udp => {
                let header = udp::Header::new(whole)?;
                if usize::from(header.length()) != whole.len() {
                    return None;
                }
                (header.source_port(), header.destination_port(), udp::HEADER_LEN)
            }
            Protocol::Tcp => {
                let header = tcp::Header::new(whole)?;
                if header.header_len() < tcp::HEADER_LEN {
                    return None;
                }
                (header.source_port(), header.destination_port(), header.header_len())
            }
        };
        Some(Self { protocol, source_port, destination_port, whole, payload: whole.get(header_len..)? })
    }

    /// Every packet is sent with a checksum, so a UDP checksum of 0 is wrong.
    #[inline(always)]
    fn checksum_is_right(&self, pseudo_header: Sum) -> bool {
        if self.protocol == Protocol::Udp && self.whole[6..8] == [0, 0] {
            return false;
        }
        pseudo_header.and_bytes(self.whole).complement() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::FlowKey;
    use crate::forward::translate;
    use crate::generate::frame::tests::{BOTH, Ip, KEY, destination, frame};
    use crate::wire::ethernet;
    use crate::wire::tcp::Flags;

    fn judge((ip, protocol, _): Kind) -> Judge {
        let to = destination(ip, protocol);
        Judge { flows: ip.flows(1000), address: to.address, port: to.port, protocol, key: KEY }
    }

    /// Frames of each version and protocol, with a long stamp and a short one where there is one.
    type Kind = (Ip, Protocol, u16);

    const KINDS: [Kind; 8] = [
        (Ip::V4, Protocol::Tcp, 60),
        (Ip::V4, Protocol::Tcp, 590),
        (Ip::V4, Protocol::Udp, 60),
        (Ip::V4, Protocol::Udp, 1514),
        (Ip::V6, Protocol::Tcp, 80),
        (Ip::V6, Protocol::Tcp, 590),
        (Ip::V6, Protocol::Udp, 80),
        (Ip::V6, Protocol::Udp, 1513),
    ];

    fn is_short((ip, protocol, len): Kind) -> bool {
        protocol == Protocol::Tcp && len == ip.shortest()
    }

    fn sent((ip, protocol, len): Kind, flow: u32) -> Vec<u8> {
        frame(ip, protocol, len, flow, Flags::PSH.or(Flags::ACK))
    }

    fn verdict(kind: Kind, frame: &[u8]) -> Verdict {
        judge(kind).judge(&frame[ethernet::HEADER_LEN..], Way::ToService)
    }

    /// Gives a packet other addresses and ports, with every checksum right, as a balancer does.
    fn rewritten(kind: Kind, client: (IpAddr, u16), service: (IpAddr, u16)) -> Vec<u8> {
        let (mut frame, (ip, protocol, _)) = (sent(kind, 7), kind);
        let to = FlowKey {
            src: client.0,
            dst: service.0,
            src_port: client.1,
            dst_port: service.1,
            protocol: protocol.into(),
        };
        translate(&mut frame, ip.transport(), &to.pack());
        frame
    }

    #[test]
    fn what_was_sent_is_right() {
        for kind in KINDS {
            let verdict = verdict(kind, &sent(kind, 7));
            let Verdict::Right { flow: 7, sent: SentAt(100), number } = verdict else {
                panic!("{kind:?}: {verdict:?}")
            };
            assert_eq!(number, if is_short(kind) { None } else { Some(5) });
        }
    }

    #[test]
    fn no_byte_can_change_unnoticed() {
        for kind in KINDS {
            for at in ethernet::HEADER_LEN..usize::from(kind.2) {
                let mut frame = sent(kind, 7);
                frame[at] ^= 0x10;
                let expected = match (kind.0, at - ethernet::HEADER_LEN) {
                    // No checksum covers these, and routers change some.
                    (Ip::V6, 1..=3 | 7) => Verdict::Right { flow: 7, sent: SentAt(100), number: Some(5) },
                    // It is another protocol's packet then.
                    (Ip::V6, 6) => Verdict::Other,
                    _ => Verdict::Corrupt,
                };
                let is_right = |verdict| matches!(verdict, Verdict::Right { flow: 7, .. });
                let verdict = verdict(kind, &frame);
                assert!(
                    verdict == expected || is_right(verdict) && is_right(expected),
                    "{kind:?}, byte {at}: {verdict:?}"
                );
            }
        }
    }

    #[test]
    fn a_payload_that_was_changed_together_with_its_checksum_is_noticed() {
        for kind @ (ip, protocol, len) in KINDS {
            let start = frame::headers_len(ip.vip(), protocol);
            for at in (start..usize::from(len) - 1).step_by(2) {
                let mut frame = sent(kind, 7);
                // What one word gains the checksum loses.
                let field = ip.transport() + if protocol == Protocol::Tcp { 16 } else { 6 };
                let word = u16::from_be_bytes([frame[at], frame[at + 1]]);
                let sum = u16::from_be_bytes([frame[field], frame[field + 1]]);
                let fixed = checksum::Delta::NONE.replace(word, !word).apply(sum);
                frame[at..at + 2].copy_from_slice(&(!word).to_be_bytes());
                frame[field..field + 2].copy_from_slice(&fixed.to_be_bytes());
                let expected = if is_short(kind) { Verdict::Misdirected } else { Verdict::Corrupt };
                assert_eq!(verdict(kind, &frame), expected, "{kind:?}, byte {at}");
            }
        }
    }

    #[test]
    fn a_packet_of_another_flow_or_service_is_misdirected() {
        for kind in KINDS {
            let judge = judge(kind);
            let service = (judge.address, judge.port);
            let client = |number| {
                let client = judge.flows.client(number);
                (judge.flows.address(client), client.port)
            };
            let own = client(7);
            let whole = verdict(kind, &rewritten(kind, own, service));
            assert!(matches!(whole, Verdict::Right { flow: 7, .. }), "{whole:?}");
            for other in [client(8), (own.0, 60_000)] {
                assert_eq!(verdict(kind, &rewritten(kind, other, service)), Verdict::Misdirected, "{other:?}");
            }
            for elsewhere in [(service.0, 8081), (kind.0.backend(), service.1)] {
                assert_eq!(verdict(kind, &rewritten(kind, own, elsewhere)), Verdict::Misdirected);
            }
        }
    }

    #[test]
    fn an_address_that_ends_like_a_clients_is_not_a_clients() {
        let kind = (Ip::V6, Protocol::Udp, 80);
        let judge = judge(kind);
        let own = judge.flows.client(7);
        let IpAddr::V6(address) = judge.flows.address(own) else { panic!("it is of IPv6") };
        for bit in 32..128 {
            let other = Ipv6Addr::from_bits(address.to_bits() ^ 1 << bit);
            let frame = rewritten(kind, (other.into(), own.port), (judge.address, judge.port));
            assert_eq!(verdict(kind, &frame), Verdict::Misdirected, "{other}");
        }
    }

    #[test]
    fn options_and_extension_headers_make_no_difference() {
        for kind in KINDS {
            let mut frame = sent(kind, 7);
            if kind.0 == Ip::V4 {
                let len = u16::from_be_bytes([frame[16], frame[17]]) + 4;
                frame[14] += 1;
                frame[16..18].copy_from_slice(&len.to_be_bytes());
                frame.splice(34..34, [1, 1, 1, 0]);
                frame[24..26].fill(0);
                let sum = checksum::of(&frame[14..38]);
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            } else {
                let len = u16::from_be_bytes([frame[18], frame[19]]) + 8;
                frame[18..20].copy_from_slice(&len.to_be_bytes());
                let protocol = std::mem::replace(&mut frame[20], 60);
                frame.splice(54..54, [protocol, 0, 1, 4, 0, 0, 0, 0]);
            }
            let verdict = |frame: &[u8]| judge(kind).judge(&frame[ethernet::HEADER_LEN..], Way::ToService);
            let found = verdict(&frame);
            assert!(matches!(found, Verdict::Right { flow: 7, .. }), "{kind:?}: {found:?}");
            if kind.0 == Ip::V4 {
                frame[36] = 0;
                assert_eq!(verdict(&frame), Verdict::Corrupt, "the checksum covers the options");
            }
        }
    }

    #[test]
    fn strangers_packets_are_neither_right_nor_wrong() {
        for ip in BOTH {
            let udp = (ip, Protocol::Udp, ip.shortest());
            let other_run = Judge { key: Key(1), ..judge(udp) };
            let stranger = (ip.stranger(), 53);
            let frame = rewritten(udp, stranger, stranger);
            assert_eq!(other_run.judge(&frame[14..], Way::ToClient), Verdict::Other);
            // A real server's RST has no payload.
            let tcp = (ip, Protocol::Tcp, ip.shortest());
            let mut reset = sent(tcp, 7);
            reset.truncate(ip.transport() + 20);
            crate::generate::converse::tests::fix(ip, &mut reset);
            assert_eq!(verdict(tcp, &reset), Verdict::Other);
            assert_eq!(verdict(udp, &sent(tcp, 7)), Verdict::Other);
            assert_eq!(verdict(udp, &[0; 20]), Verdict::Other);
        }
    }

    #[test]
    fn a_packet_that_was_cut_short_is_corrupt() {
        for kind in KINDS {
            let frame = sent(kind, 7);
            assert_eq!(verdict(kind, &frame[..frame.len() - 1]), Verdict::Corrupt);
        }
    }
}
