//! What a packet that came back is: one's own and right, damaged, or somebody else's.

use std::net::Ipv4Addr;

use super::flows::{Client, Flows};
use super::frame;
use super::plan::Protocol;
use super::stamp::{Key, Reading, SentAt};
use crate::wire::{checksum, ipv4, tcp, udp};

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From a client to the service, as it reaches a backend that answers past the balancer.
    ToService,
    /// From the service to a client.
    ToClient,
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
    /// The service's address.
    pub address: Ipv4Addr,
    /// The service's port.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// What the stamps are made with.
    pub key: Key,
}

impl Judge {
    /// Judges an IPv4 packet: `packet` begins with its header, and may end with Ethernet's padding.
    #[inline]
    pub fn judge(&self, packet: &[u8], way: Way) -> Verdict {
        let Some(ip) = ipv4::Header::new(packet) else { return Verdict::Other };
        let (header_len, total_len) = (ip.header_len(), usize::from(ip.total_len()));
        if ip.version() != 4 || header_len < ipv4::HEADER_LEN {
            return Verdict::Corrupt;
        }
        let (Some(header), Some(transport)) = (packet.get(..header_len), packet.get(header_len..total_len)) else {
            return Verdict::Corrupt;
        };
        if !ipv4::checksum_is_right(header) {
            return Verdict::Corrupt;
        }
        if ip.protocol() != self.protocol.number() || ip.is_fragment() {
            return Verdict::Other;
        }
        let Some(transport) = Transport::read(self.protocol, transport) else { return Verdict::Corrupt };
        if !transport.checksum_is_right(&ip) {
            return Verdict::Corrupt;
        }
        let (source, destination) = (
            Client { address: ip.source(), port: transport.source_port },
            Client { address: ip.destination(), port: transport.destination_port },
        );
        let (client, service) = match way {
            Way::ToService => (source, destination),
            Way::ToClient => (destination, source),
        };
        self.identify(client, service, transport.payload)
    }

    #[inline(always)]
    fn identify(&self, client: Client, service: Client, payload: &[u8]) -> Verdict {
        let is_service = service == Client { address: self.address, port: self.port };
        let named = self.flows.number(client);
        let (flow, sent, number) = match self.key.read(payload, named) {
            Reading::Long(stamp) => (stamp.flow, stamp.sent, Some(stamp.number)),
            Reading::Short(sent) => match named {
                Some(flow) => (flow, sent, None),
                None => return Verdict::Other,
            },
            Reading::None => return Verdict::Other,
            Reading::Wrong => return self.suspect(named.is_some(), is_service, client, payload),
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
    fn suspect(&self, is_flow: bool, is_service: bool, client: Client, payload: &[u8]) -> Verdict {
        let is_short = payload.len() < super::stamp::LONG;
        match (is_flow, is_service, is_short) {
            (true, true, false) => Verdict::Corrupt,
            (_, true, true) if self.flows.contains(client.address) => Verdict::Misdirected,
            _ => Verdict::Other,
        }
    }
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
    fn checksum_is_right(&self, ip: &ipv4::Header<'_>) -> bool {
        if self.protocol == Protocol::Udp && self.whole[6..8] == [0, 0] {
            return false;
        }
        let length = self.whole.len() as u16;
        checksum::pseudo_header(ip.source(), ip.destination(), self.protocol.number(), length)
            .and_bytes(self.whole)
            .complement()
            == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::FlowKey;
    use crate::forward::translate;
    use crate::generate::frame::tests::{KEY, destination, frame};
    use crate::wire::ethernet;
    use crate::wire::tcp::Flags;

    fn judge(protocol: Protocol) -> Judge {
        let to = destination(protocol);
        let flows = Flows::new("198.18.0.0/24".parse().unwrap(), 1024, 2047, 1000).unwrap();
        Judge { flows, address: to.address, port: to.port, protocol, key: KEY }
    }

    /// Frames of each protocol, with a long stamp and a short one where there is one.
    const KINDS: [(Protocol, u16); 4] =
        [(Protocol::Tcp, 60), (Protocol::Tcp, 590), (Protocol::Udp, 60), (Protocol::Udp, 1514)];

    fn sent(protocol: Protocol, len: u16, flow: u32) -> Vec<u8> {
        frame(protocol, len, judge(protocol).flows.client(flow), flow, Flags::PSH.or(Flags::ACK))
    }

    fn verdict(protocol: Protocol, frame: &[u8]) -> Verdict {
        judge(protocol).judge(&frame[ethernet::HEADER_LEN..], Way::ToService)
    }

    /// Gives a packet other addresses and ports, with every checksum right, as a balancer does.
    fn rewritten(protocol: Protocol, len: u16, client: Client, service: Client) -> Vec<u8> {
        let mut frame = sent(protocol, len, 7);
        let to = FlowKey {
            src: client.address.into(),
            dst: service.address.into(),
            src_port: client.port,
            dst_port: service.port,
            protocol: protocol.into(),
        };
        translate(&mut frame, ethernet::HEADER_LEN + ipv4::HEADER_LEN, &to.pack());
        frame
    }

    #[test]
    fn what_was_sent_is_right() {
        for (protocol, len) in KINDS {
            let verdict = verdict(protocol, &sent(protocol, len, 7));
            let Verdict::Right { flow: 7, sent: SentAt(100), number } = verdict else { panic!("{verdict:?}") };
            assert_eq!(number, if (protocol, len) == (Protocol::Tcp, 60) { None } else { Some(5) });
        }
    }

    #[test]
    fn no_byte_can_change_unnoticed() {
        for (protocol, len) in KINDS {
            for at in ethernet::HEADER_LEN..usize::from(len) {
                let mut frame = sent(protocol, len, 7);
                frame[at] ^= 0x10;
                let verdict = verdict(protocol, &frame);
                assert!(matches!(verdict, Verdict::Corrupt), "{protocol:?} {len}, byte {at}: {verdict:?}");
            }
        }
    }

    #[test]
    fn a_payload_that_was_changed_together_with_its_checksum_is_noticed() {
        for (protocol, len) in KINDS {
            let start = frame::headers_len(protocol);
            for at in (start..usize::from(len) - 1).step_by(2) {
                let mut frame = sent(protocol, len, 7);
                // What one word gains the checksum loses.
                let field = ethernet::HEADER_LEN + ipv4::HEADER_LEN + if protocol == Protocol::Tcp { 16 } else { 6 };
                let word = u16::from_be_bytes([frame[at], frame[at + 1]]);
                let sum = u16::from_be_bytes([frame[field], frame[field + 1]]);
                let fixed = checksum::Delta::NONE.replace(word, !word).apply(sum);
                frame[at..at + 2].copy_from_slice(&(!word).to_be_bytes());
                frame[field..field + 2].copy_from_slice(&fixed.to_be_bytes());
                let verdict = verdict(protocol, &frame);
                let expected =
                    if len == 60 && protocol == Protocol::Tcp { Verdict::Misdirected } else { Verdict::Corrupt };
                assert_eq!(verdict, expected, "{protocol:?} {len}, byte {at}");
            }
        }
    }

    #[test]
    fn a_packet_of_another_flow_or_service_is_misdirected() {
        for (protocol, len) in KINDS {
            let judge = judge(protocol);
            let service = Client { address: judge.address, port: judge.port };
            let own = judge.flows.client(7);
            let whole = verdict(protocol, &rewritten(protocol, len, own, service));
            assert!(matches!(whole, Verdict::Right { flow: 7, .. }), "{whole:?}");
            for other in [judge.flows.client(8), Client { port: 60_000, ..own }] {
                assert_eq!(
                    verdict(protocol, &rewritten(protocol, len, other, service)),
                    Verdict::Misdirected,
                    "{other:?}"
                );
            }
            let elsewhere = [Client { port: 8081, ..service }, Client { address: [10, 0, 0, 2].into(), ..service }];
            for elsewhere in elsewhere {
                assert_eq!(verdict(protocol, &rewritten(protocol, len, own, elsewhere)), Verdict::Misdirected);
            }
        }
    }

    #[test]
    fn strangers_packets_are_neither_right_nor_wrong() {
        let other_run = Judge { key: Key(1), ..judge(Protocol::Udp) };
        let stranger = Client { address: [192, 0, 2, 1].into(), port: 53 };
        let frame = rewritten(Protocol::Udp, 60, stranger, stranger);
        assert_eq!(other_run.judge(&frame[14..], Way::ToClient), Verdict::Other);
        // A real server's RST has no payload.
        let mut reset = sent(Protocol::Tcp, 60, 7);
        reset.truncate(54);
        crate::generate::converse::tests::fix(&mut reset);
        assert_eq!(verdict(Protocol::Tcp, &reset), Verdict::Other);
        assert_eq!(verdict(Protocol::Udp, &sent(Protocol::Tcp, 60, 7)), Verdict::Other);
        assert_eq!(verdict(Protocol::Udp, &[0; 20]), Verdict::Other);
    }

    #[test]
    fn a_packet_that_was_cut_short_is_corrupt() {
        for (protocol, len) in KINDS {
            let frame = sent(protocol, len, 7);
            assert_eq!(verdict(protocol, &frame[..frame.len() - 1]), Verdict::Corrupt);
        }
    }
}
