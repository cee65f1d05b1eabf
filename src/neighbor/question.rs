//! How neighbours are asked for, and own addresses announced: by ARP (RFC 826, RFC 5227) or neighbour discovery (RFC 4861).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Announcement, Outgoing};
use crate::wire::arp::{self, Operation};
use crate::wire::{MacAddr, ipv6, mld, ndp};

/// The longest frame that [`Outgoing::write`] writes.
pub const LONGEST_QUESTION: usize = mld::FRAME_LEN;

impl Outgoing {
    /// Writes the frame that leaves a port with the Ethernet address `mac`, and returns its length.
    pub fn write(&self, mac: MacAddr, frame: &mut [u8; LONGEST_QUESTION]) -> usize {
        let (target, sender, known) = match *self {
            Self::Report(address, _, occasion) => return mld::write_report(address, occasion, mac, frame),
            Self::Announce(Announcement { address: IpAddr::V6(address), .. }) => {
                return write(&ndp::Message::announcement(address, mac), mac, MacAddr::BROADCAST, frame);
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
                let question = ndp::Message::solicitation(target, sender, mac, known.is_some());
                write(&question, mac, known.unwrap_or(MacAddr::BROADCAST), frame)
            }
        }
    }

    /// The question for `target`, where leat has no address of its family to ask in the name of.
    ///
    /// In IPv6 it never comes from ::, for such a question means that its sender is about to take the address: a host that has
    /// just been given it would give it up (RFC 4862 §5.4.3). It comes from the port itself, whose link-local address that is.
    fn in_no_name(target: IpAddr, known: Option<MacAddr>, mac: MacAddr, frame: &mut [u8; LONGEST_QUESTION]) -> usize {
        let sender = match target {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => ipv6::link_local(mac).into(),
        };
        let known = known.map(|mac| super::Hop { mac, port: crate::id::PortId(0) });
        Self::Request { target, sender, known, port: None }.write(mac, frame)
    }
}

fn write(message: &ndp::Message, from: MacAddr, to: MacAddr, frame: &mut [u8; LONGEST_QUESTION]) -> usize {
    frame.first_chunk_mut().map_or(0, |frame| message.write(frame, from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0xfe]);

    /// A backend that starts while it is asked for in nobody's name would believe that somebody is about to take its address.
    #[test]
    fn who_is_asked_for_in_nobodys_name_in_ipv6_does_not_think_that_its_address_is_taken() {
        let target: Ipv6Addr = "2001:db8::2".parse().unwrap();
        let mut frame = [0; LONGEST_QUESTION];
        for (sender, known) in [("0.0.0.0", None), ("10.0.0.10", None), ("0.0.0.0", Some(MacAddr([2, 0, 0, 0, 0, 2])))]
        {
            let known = known.map(|mac| super::super::Hop { mac, port: crate::id::PortId(0) });
            let (target, sender) = (target.into(), sender.parse().unwrap());
            let len = Outgoing::Request { target, sender, known, port: None }.write(MAC, &mut frame);
            let message = ndp::Message::parse(&frame[14..len], 40).unwrap();
            assert_eq!((message.source, message.link), ("fe80::ff:fe00:fe".parse().unwrap(), Some(MAC)));
        }
        let probe = Outgoing::Probe(Announcement { address: target.into(), port: None, gives_way: true });
        let len = probe.write(MAC, &mut frame);
        assert!(
            ndp::Message::parse(&frame[14..len], 40).unwrap().source.is_unspecified(),
            "leat's own is asked for so"
        );
    }
}
