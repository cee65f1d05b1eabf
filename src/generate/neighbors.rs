//! ARP (RFC 826) for addresses that are only played: asks for the next hop, answers for clients and backends.

use std::net::Ipv4Addr;

use super::flows::Flows;
use crate::wire::arp::{self, Message, Operation};
use crate::wire::{MacAddr, ethernet};

/// Which addresses are played, and who is asked for.
#[derive(Clone, Debug)]
pub struct Neighbors {
    /// The clients.
    pub clients: Option<Flows>,
    /// The backends.
    pub backends: Vec<Ipv4Addr>,
    /// Whose Ethernet address is wanted.
    pub next_hop: Option<Ipv4Addr>,
}

/// What an ARP message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A question for an address that is played: the frame is now the answer, [`arp::FRAME_LEN`] bytes of it.
    Answered,
    /// The next hop's address.
    NextHop(MacAddr),
    /// Nothing of interest.
    Nothing,
}

impl Neighbors {
    /// Reads the ARP message in `frame`, which came in on a port that sends as `mac`.
    pub fn hear(&self, frame: &mut [u8], mac: MacAddr) -> Heard {
        let Some(message) = frame.get(ethernet::HEADER_LEN..).and_then(Message::parse) else { return Heard::Nothing };
        match message.operation {
            Operation::Request if self.plays(message.target) && !message.is_gratuitous() => {
                if !message.sender_mac.is_unicast() {
                    return Heard::Nothing;
                }
                let Some(frame) = frame.first_chunk_mut() else { return Heard::Nothing };
                message.answered_by(mac).write(frame, message.sender_mac);
                Heard::Answered
            }
            _ if self.next_hop == Some(message.sender) && message.sender_mac.is_unicast() => {
                Heard::NextHop(message.sender_mac)
            }
            _ => Heard::Nothing,
        }
    }

    /// The frame that asks for the next hop, from `mac` as the first client.
    pub fn question(&self, mac: MacAddr) -> Option<[u8; arp::FRAME_LEN]> {
        let message = Message {
            operation: Operation::Request,
            sender_mac: mac,
            sender: self.clients?.client(0).address,
            target_mac: MacAddr::default(),
            target: self.next_hop?,
        };
        let mut frame = [0; arp::FRAME_LEN];
        message.write(&mut frame, MacAddr::BROADCAST);
        Some(frame)
    }

    /// The frame that tells everybody that the backend `address` is at `mac` (RFC 5227 §3): another one may have played it
    /// before.
    pub fn announcement(address: Ipv4Addr, mac: MacAddr) -> [u8; arp::FRAME_LEN] {
        let message = Message {
            operation: Operation::Request,
            sender_mac: mac,
            sender: address,
            target_mac: MacAddr::default(),
            target: address,
        };
        let mut frame = [0; arp::FRAME_LEN];
        message.write(&mut frame, MacAddr::BROADCAST);
        frame
    }

    fn plays(&self, address: Ipv4Addr) -> bool {
        self.backends.contains(&address) || self.clients.is_some_and(|clients| clients.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);

    fn neighbors() -> Neighbors {
        Neighbors {
            clients: Some(Flows::new("198.18.0.0/24".parse().unwrap(), 1024, 2047, 10).unwrap()),
            backends: vec![[10, 0, 0, 2].into()],
            next_hop: Some([10, 0, 0, 10].into()),
        }
    }

    fn request(sender: [u8; 4], target: [u8; 4]) -> [u8; 60] {
        let message = Message {
            operation: Operation::Request,
            sender_mac: OTHER,
            sender: sender.into(),
            target_mac: MacAddr::default(),
            target: target.into(),
        };
        let mut frame = [0; 60];
        message.write(frame.first_chunk_mut().unwrap(), MacAddr::BROADCAST);
        frame
    }

    #[test]
    fn it_answers_for_clients_and_backends_and_for_nobody_else() {
        for (target, is_played) in
            [([198, 18, 0, 77], true), ([10, 0, 0, 2], true), ([10, 0, 0, 3], false), ([10, 0, 0, 10], false)]
        {
            let mut frame = request([10, 0, 0, 99], target);
            let heard = neighbors().hear(&mut frame, OWN);
            assert_eq!(heard, if is_played { Heard::Answered } else { Heard::Nothing }, "{target:?}");
            if is_played {
                let answer = Message::parse(&frame[14..]).unwrap();
                assert_eq!((answer.sender, answer.sender_mac), (target.into(), OWN));
                assert_eq!(frame[..6], OTHER.0);
            }
        }
        let mut announcement = Neighbors::announcement([10, 0, 0, 2].into(), OTHER);
        assert_eq!(announcement, request([10, 0, 0, 2], [10, 0, 0, 2])[..arp::FRAME_LEN]);
        assert_eq!(neighbors().hear(&mut announcement, OWN), Heard::Nothing);
    }

    #[test]
    fn the_next_hop_is_learnt_from_its_answer() {
        let question = neighbors().question(OWN).unwrap();
        let asked = Message::parse(&question[14..]).unwrap();
        assert_eq!((asked.sender, asked.target), ([198, 18, 0, 1].into(), [10, 0, 0, 10].into()));
        let mut answer = [0; arp::FRAME_LEN];
        asked.answered_by(OTHER).write(&mut answer, OWN);
        assert_eq!(neighbors().hear(&mut answer, OWN), Heard::NextHop(OTHER));
        let mut groups = [0; arp::FRAME_LEN];
        asked.answered_by(MacAddr::BROADCAST).write(&mut groups, OWN);
        assert_eq!(neighbors().hear(&mut groups, OWN), Heard::Nothing);
    }
}
