//! How neighbours are asked for, and own addresses announced: by ARP (RFC 826, RFC 5227) or neighbour discovery (RFC 4861).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Announcement, Outgoing};
use crate::wire::arp::{self, Operation};
use crate::wire::{MacAddr, ndp};

/// The longest frame that [`Outgoing::write`] writes.
pub const LONGEST_QUESTION: usize = ndp::FRAME_LEN;

impl Outgoing {
    /// Writes the frame that leaves a port with the Ethernet address `mac`, and returns its length.
    pub fn write(&self, mac: MacAddr, frame: &mut [u8; LONGEST_QUESTION]) -> usize {
        let (target, sender, known) = match *self {
            Self::Announce(Announcement { address: IpAddr::V6(address), .. }) => {
                return ndp::Message::announcement(address, mac).write(frame, mac, MacAddr::BROADCAST);
            }
            Self::Announce(Announcement { address, .. }) => (address, address, None),
            Self::Probe(Announcement { address, .. }) => (address, Ipv6Addr::UNSPECIFIED.into(), None),
            Self::Request { target, sender, known, .. } => (target, sender, known.map(|hop| hop.mac)),
        };
        match target {
            IpAddr::V4(target) => {
                let IpAddr::V4(sender) = sender else { return Self::in_no_name(target.into(), known, mac, frame) };
                let request = arp::Message {
                    operation: Operation::Request,
                    sender_mac: mac,
                    sender,
                    target_mac: MacAddr::default(),
                    target,
                };
                if let Some(frame) = frame.first_chunk_mut() {
                    request.write(frame, known.unwrap_or(MacAddr::BROADCAST));
                }
                arp::FRAME_LEN
            }
            IpAddr::V6(target) => {
                let IpAddr::V6(sender) = sender else { return Self::in_no_name(target.into(), known, mac, frame) };
                // Whether anybody has an address at all, everybody is asked.
                let known = known.filter(|_| !sender.is_unspecified());
                let question = ndp::Message::solicitation(target, sender, mac, known.is_some());
                question.write(frame, mac, known.unwrap_or(MacAddr::BROADCAST))
            }
        }
    }

    /// The question for `target`, where leat has no address of its family to ask in the name of.
    fn in_no_name(target: IpAddr, known: Option<MacAddr>, mac: MacAddr, frame: &mut [u8; LONGEST_QUESTION]) -> usize {
        let sender = match target {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let known = known.map(|mac| super::Hop { mac, port: crate::id::PortId(0) });
        Self::Request { target, sender, known, port: None }.write(mac, frame)
    }
}
