//! ARP (RFC 826) and neighbour discovery (RFC 4861) for addresses that are only played: asks for the next hop, answers for
//! clients and backends.

use std::net::{IpAddr, Ipv6Addr};

use arrayvec::ArrayVec;

use super::flows::Flows;
use crate::wire::arp::{self, Message, Operation};
use crate::wire::ethernet::{self, EtherType};
use crate::wire::{MacAddr, ipv6, ndp};

/// A frame that asks, answers or announces.
pub type Frame = ArrayVec<u8, LONGEST>;

/// Bytes of the longest one.
const LONGEST: usize = if arp::FRAME_LEN > ndp::FRAME_LEN { arp::FRAME_LEN } else { ndp::FRAME_LEN };

/// Which addresses are played, and who is asked for.
#[derive(Clone, Debug)]
pub struct Neighbors {
    /// The clients.
    pub clients: Option<Flows>,
    /// The backends.
    pub backends: Vec<IpAddr>,
    /// Whose Ethernet address is wanted.
    pub next_hop: Option<IpAddr>,
}

/// What a message was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A question for an address that is played, to be answered by this.
    Question(Frame),
    /// The next hop's address.
    NextHop(MacAddr),
    /// Nothing of interest.
    Nothing,
}

impl Neighbors {
    /// Reads the message in `frame`, of ARP or of neighbour discovery, which came in on a port that sends as `mac`.
    pub fn hear(&self, frame: &[u8], mac: MacAddr) -> Heard {
        let (Some(header), Some(packet)) = (ethernet::Header::new(frame), frame.get(ethernet::HEADER_LEN..)) else {
            return Heard::Nothing;
        };
        match header.ether_type() {
            EtherType::ARP => self.hear_arp(packet, mac),
            _ => self.hear_ndp(packet, header.source(), mac),
        }
    }

    fn hear_arp(&self, packet: &[u8], mac: MacAddr) -> Heard {
        let Some(message) = Message::parse(packet) else { return Heard::Nothing };
        let is_question = message.operation == Operation::Request && !message.is_gratuitous();
        match message.sender_mac {
            asker if !asker.is_unicast() => Heard::Nothing,
            asker if is_question && self.plays(message.target.into()) => {
                Heard::Question(arp_frame(&message.answered_by(mac), asker))
            }
            told if self.next_hop == Some(message.sender.into()) => Heard::NextHop(told),
            _ => Heard::Nothing,
        }
    }

    /// The message is believed if it has passed no router: its hop limit is 255 still, which is looked at with all else.
    fn hear_ndp(&self, packet: &[u8], from: MacAddr, mac: MacAddr) -> Heard {
        let Some(message) = ndp::Message::parse(packet, ipv6::HEADER_LEN) else { return Heard::Nothing };
        // Who asks whether an address is free does not say its Ethernet address.
        let told = message.link.unwrap_or(from);
        let is_next_hop = |address: Ipv6Addr| self.next_hop == Some(address.into());
        match message.kind {
            _ if !told.is_unicast() => Heard::Nothing,
            ndp::Kind::Solicitation if self.plays(message.target.into()) => {
                Heard::Question(ndp_frame(&message.answered_by(mac), mac, told))
            }
            ndp::Kind::Solicitation if is_next_hop(message.source) => Heard::NextHop(told),
            ndp::Kind::Advertisement { .. } if is_next_hop(message.target) => Heard::NextHop(told),
            _ => Heard::Nothing,
        }
    }

    /// The frame that asks for the next hop, from `mac` as the first client.
    pub fn question(&self, mac: MacAddr) -> Option<Frame> {
        let clients = self.clients?;
        match (clients.address(clients.client(0)), self.next_hop?) {
            (IpAddr::V4(sender), IpAddr::V4(target)) => {
                let operation = Operation::Request;
                let message = Message { operation, sender_mac: mac, sender, target_mac: MacAddr::default(), target };
                Some(arp_frame(&message, MacAddr::BROADCAST))
            }
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                let message = ndp::Message::solicitation(target, source, mac, false);
                Some(ndp_frame(&message, mac, ndp::group(message.destination)))
            }
            _ => None,
        }
    }

    /// The frame that tells everybody that the backend `address` is at `mac` (RFC 5227 §3, RFC 4861 §7.2.6): another one may
    /// have played it before.
    pub fn announcement(address: IpAddr, mac: MacAddr) -> Frame {
        match address {
            IpAddr::V4(address) => {
                let (operation, target_mac) = (Operation::Request, MacAddr::default());
                let message = Message { operation, sender_mac: mac, sender: address, target_mac, target: address };
                arp_frame(&message, MacAddr::BROADCAST)
            }
            IpAddr::V6(address) => {
                let message = ndp::Message::announcement(address, mac);
                ndp_frame(&message, mac, ndp::group(message.destination))
            }
        }
    }

    fn plays(&self, address: IpAddr) -> bool {
        self.backends.contains(&address) || self.clients.is_some_and(|clients| clients.contains(address))
    }
}

fn arp_frame(message: &Message, to: MacAddr) -> Frame {
    let mut bytes = [0; arp::FRAME_LEN];
    message.write(&mut bytes, to);
    bytes.into_iter().collect()
}

fn ndp_frame(message: &ndp::Message, from: MacAddr, to: MacAddr) -> Frame {
    let mut bytes = [0; ndp::FRAME_LEN];
    let len = message.write(&mut bytes, from, to);
    bytes.into_iter().take(len).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket};

    const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Clients, a backend, and a next hop of each version.
    const PLAYED: [(&str, &str, &str); 2] =
        [("198.18.0.0/24", "10.0.0.2", "10.0.0.10"), ("2001:db8:1::/64", "2001:db8::2", "2001:db8::10")];

    fn neighbors((clients, backend, next_hop): (&str, &str, &str)) -> Neighbors {
        Neighbors {
            clients: Some(Flows::new(clients.parse().unwrap(), 1024, 2047, 10).unwrap()),
            backends: vec![address(backend)],
            next_hop: Some(address(next_hop)),
        }
    }

    /// A question that comes from `OTHER`.
    fn question(sender: &str, target: &str) -> Frame {
        match (address(sender), address(target)) {
            (IpAddr::V4(sender), IpAddr::V4(target)) => {
                let (operation, target_mac) = (Operation::Request, MacAddr::default());
                arp_frame(&Message { operation, sender_mac: OTHER, sender, target_mac, target }, MacAddr::BROADCAST)
            }
            (IpAddr::V6(sender), IpAddr::V6(target)) => {
                let message = ndp::Message::solicitation(target, sender, OTHER, false);
                ndp_frame(&message, OTHER, ndp::group(message.destination))
            }
            _ => panic!("{sender} and {target} are of two versions"),
        }
    }

    #[test]
    fn it_answers_for_clients_and_backends_and_for_nobody_else() {
        let rows = [
            (0, "10.0.0.99", "198.18.0.77", true),
            (0, "10.0.0.99", "10.0.0.2", true),
            (0, "10.0.0.99", "10.0.0.3", false),
            (0, "10.0.0.99", "10.0.0.10", false),
            (1, "2001:db8::99", "2001:db8:1::77", true),
            (1, "2001:db8::99", "2001:db8:1:0:f00::77", true),
            (1, "2001:db8::99", "2001:db8::2", true),
            (1, "2001:db8::99", "2001:db8::3", false),
            (1, "2001:db8::99", "2001:db8::10", false),
            (1, "::", "2001:db8::2", true),
        ];
        for (at, sender, target, is_played) in rows {
            let heard = neighbors(PLAYED[at]).hear(&question(sender, target), OWN);
            let Heard::Question(answer) = heard else {
                assert!(!is_played && heard == Heard::Nothing, "{target}: {heard:?}");
                continue;
            };
            assert!(is_played, "{target}");
            // Who has no address yet is told together with everybody.
            assert_eq!(answer[..6], if sender == "::" { [0x33, 0x33, 0, 0, 0, 1] } else { OTHER.0 }, "{target}");
            match SlicedPacket::from_ethernet(&answer).unwrap().net.unwrap() {
                NetSlice::Arp(arp) => {
                    assert_eq!(arp.sender_hw_addr(), OWN.0);
                    assert_eq!(arp.sender_protocol_addr(), target.parse::<std::net::Ipv4Addr>().unwrap().octets());
                }
                _ => {
                    let told = ndp::Message::parse(&answer[14..], 40).unwrap();
                    assert_eq!((told.target, told.link), (target.parse().unwrap(), Some(OWN)));
                    let is_solicited = sender != "::";
                    assert_eq!(told.kind, ndp::Kind::Advertisement { is_router: false, is_solicited, overrides: true });
                }
            }
        }
    }

    #[test]
    fn an_announcement_of_another_is_not_answered() {
        for played in PLAYED {
            let announcement = Neighbors::announcement(address(played.1), OTHER);
            assert_eq!(neighbors(played).hear(&announcement, OWN), Heard::Nothing);
        }
        assert_eq!(Neighbors::announcement(address("10.0.0.2"), OTHER), question("10.0.0.2", "10.0.0.2"));
    }

    #[test]
    fn the_next_hop_is_learnt_from_its_answer_and_from_its_questions() {
        for played in PLAYED {
            let question_sent = neighbors(played).question(OWN).unwrap();
            let next_hop = Neighbors { clients: None, backends: vec![address(played.2)], next_hop: None };
            let Heard::Question(answer) = next_hop.hear(&question_sent, OTHER) else { panic!("{played:?}") };
            assert_eq!(neighbors(played).hear(&answer, OWN), Heard::NextHop(OTHER));
            let from_group = next_hop.hear(&question_sent, MacAddr::BROADCAST);
            let Heard::Question(answer) = from_group else { panic!("{played:?}") };
            assert_eq!(neighbors(played).hear(&answer, OWN), Heard::Nothing);
            let strangers = if played.2.contains(':') { "2001:db8::77" } else { "10.0.0.77" };
            assert_eq!(neighbors(played).hear(&question(played.2, strangers), OWN), Heard::NextHop(OTHER));
        }
        let asked = question("198.18.0.1", "10.0.0.10");
        assert_eq!(neighbors(PLAYED[0]).question(OTHER).unwrap(), asked);
    }

    #[test]
    fn what_has_passed_a_router_is_not_believed() {
        let question = neighbors(PLAYED[1]).question(OWN).unwrap();
        let next_hop = Neighbors { clients: None, backends: vec![address(PLAYED[1].2)], next_hop: None };
        let Heard::Question(mut answer) = next_hop.hear(&question, OTHER) else { panic!("it is played") };
        for (frame, neighbors) in [(&mut question.clone(), next_hop), (&mut answer, neighbors(PLAYED[1]))] {
            assert_ne!(neighbors.hear(frame, OTHER), Heard::Nothing);
            // No checksum covers the hop limit.
            frame[14 + 7] = 254;
            assert_eq!(neighbors.hear(frame, OTHER), Heard::Nothing);
        }
    }
}
