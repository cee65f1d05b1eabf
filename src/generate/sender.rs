//! The clients' first word: which flow is next, how long its frame is, and what stands in it.

use super::converse::backend_sequence;
use super::flows::Flows;
use super::frame::{Destination, Numbers, Template};
use super::order::{Picker, Random};
use super::plan::{Clients, Traffic};
use super::sizes::Sizes;
use super::stamp::{Key, SentAt, Stamp};
use crate::wire::tcp::Flags;

/// Which part of all flows a sender has: of `of` senders, sender `index` has every flow whose number leaves that rest.
/// So no two send packets of one flow, and who has sent a packet follows from its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which one this is, from 0.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

impl Share {
    /// How many of `count` things are this one's.
    pub const fn part(self, count: u64) -> u64 {
        count / self.of as u64 + (count % self.of as u64 > self.index as u64) as u64
    }
}

/// Writes one frame after the other.
#[derive(Clone, Debug)]
pub struct Sender {
    share: Share,
    flows: Flows,
    picker: Picker,
    sizes: Sizes,
    templates: Vec<Template>,
    traffic: Traffic,
    random: Random,
    key: Key,
    sent: u64,
    opened: u32,
}

impl Sender {
    /// Sends what `clients` say to `to`; `None` when there are fewer flows than senders, and none is left for this one.
    pub fn new(clients: &Clients, to: &Destination, key: Key, share: Share) -> Option<Self> {
        let own = u32::try_from(share.part(clients.flows.count().into())).ok().filter(|own| *own > 0)?;
        // Different numbers for each sender, the same ones in each run.
        let mut random = Random(clients.seed.wrapping_add(u64::from(share.index)));
        Some(Self {
            share,
            flows: clients.flows,
            picker: Picker::new(clients.order, own, random.bits()),
            sizes: clients.sizes.clone(),
            templates: clients
                .sizes
                .distinct()
                .iter()
                .map(|&len| Template::new(to, clients.flows.network(), len))
                .collect(),
            traffic: clients.traffic,
            random,
            key,
            sent: 0,
            opened: 0,
        })
    }

    /// How many flows are this sender's.
    pub const fn flows(&self) -> u64 {
        self.share.part(self.flows.count() as u64)
    }

    /// Bytes of the next frame.
    #[inline(always)]
    pub fn next_len(&self) -> usize {
        self.templates[self.sizes.index(self.sent)].frame_len()
    }

    /// Writes the next frame of the measurement into `frame`, [`Self::next_len`] bytes long.
    #[inline(always)]
    pub fn write_next(&mut self, frame: &mut [u8], now: SentAt) {
        let local = self.picker.pick();
        let flow = local * self.share.of + self.share.index;
        let numbers = match self.traffic {
            // Numbers go with time, so that a flow's next connection is later than the one before (RFC 9293 §3.4.1).
            Traffic::Connections => syn(now.0),
            Traffic::Packets { syns, .. } if syns > 0 && (self.random.bits() >> 32) < syns => syn(first_sequence(flow)),
            Traffic::Packets { .. } => segment(first_sequence(flow)),
        };
        self.write(frame, flow, numbers, now);
    }

    /// Writes the SYN that opens the next flow in turn, [`Self::next_len`] bytes long.
    #[inline(always)]
    pub fn write_opening(&mut self, frame: &mut [u8], now: SentAt) {
        let flow = self.opened * self.share.of + self.share.index;
        self.opened = (self.opened + 1) % self.flows() as u32;
        self.write(frame, flow, syn(first_sequence(flow)), now);
    }

    #[inline(always)]
    fn write(&mut self, frame: &mut [u8], flow: u32, numbers: Numbers, now: SentAt) {
        let template = &self.templates[self.sizes.index(self.sent)];
        let stamp = Stamp { flow, number: self.sent as u32, sent: now };
        template.write(frame, self.flows.client(flow), numbers, &stamp, self.key);
        self.sent += 1;
    }
}

/// The first sequence number of a flow that is never closed: the same one whenever it is asked for.
const fn first_sequence(flow: u32) -> u32 {
    flow.wrapping_mul(0x9e37_79b1)
}

const fn syn(sequence: u32) -> Numbers {
    Numbers { sequence, acknowledgment: 0, flags: Flags::SYN }
}

/// The first data after the handshake, sent again and again: within every window, so that no balancer takes offence.
fn segment(first: u32) -> Numbers {
    Numbers {
        sequence: first.wrapping_add(1),
        acknowledgment: backend_sequence(first).wrapping_add(1),
        flags: Flags::PSH.or(Flags::ACK),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::frame::tests::{BOTH, Ip, KEY, destination};
    use crate::generate::judge::{Judge, Verdict, Way};
    use crate::generate::order::Order;
    use crate::generate::plan::NextHop;
    use crate::generate::plan::Protocol;
    use crate::generate::sizes;
    use crate::wire::tcp::Header;

    fn clients(ip: Ip, protocol: Protocol, traffic: Traffic, flows: u32) -> Clients {
        let (to, range) = (destination(ip, protocol), sizes::range(ip == Ip::V6, false));
        Clients {
            vip: to.address,
            port: to.port,
            protocol,
            flows: ip.flows(flows),
            order: Order::Sequential,
            seed: 1,
            sizes: Sizes::new(&Sizes::imix(&range), &range).unwrap(),
            traffic,
            rate: None,
            count: None,
            next_hop: NextHop::Mac(to.mac),
            wait: std::time::Duration::ZERO,
        }
    }

    fn packets(syns: u64) -> Traffic {
        Traffic::Packets { syns, open_rate: None }
    }

    fn judge(clients: &Clients, frame: &[u8]) -> Verdict {
        let Clients { flows, vip: address, port, protocol, .. } = *clients;
        Judge { flows, address, port, protocol, key: KEY }.judge(&frame[14..], Way::ToService)
    }

    fn next(sender: &mut Sender) -> Vec<u8> {
        let mut frame = vec![0; sender.next_len()];
        sender.write_next(&mut frame, SentAt(1));
        frame
    }

    #[test]
    fn senders_share_the_flows_and_none_has_anothers() {
        let kinds = BOTH.into_iter().flat_map(|ip| [(ip, Protocol::Tcp), (ip, Protocol::Udp)]);
        for (ip, protocol) in kinds {
            let clients = clients(ip, protocol, packets(0), 10);
            let mut flows = Vec::new();
            for index in 0..3 {
                let share = Share { index, of: 3 };
                let mut sender = Sender::new(&clients, &destination(ip, protocol), KEY, share).unwrap();
                for _ in 0..sender.flows() {
                    match judge(&clients, &next(&mut sender)) {
                        Verdict::Right { flow, .. } => flows.push(flow),
                        other => panic!("{other:?}"),
                    }
                }
            }
            assert_eq!(flows, [0, 3, 6, 9, 1, 4, 7, 2, 5, 8]);
        }
        let one = clients(Ip::V4, Protocol::Udp, packets(0), 1);
        assert!(Sender::new(&one, &destination(Ip::V4, Protocol::Udp), KEY, Share { index: 1, of: 2 }).is_none());
    }

    #[test]
    fn every_flow_is_opened_once_and_then_used() {
        for ip in BOTH {
            let clients = clients(ip, Protocol::Tcp, packets(0), 4);
            let (to, share) = (destination(ip, Protocol::Tcp), Share { index: 0, of: 1 });
            let mut sender = Sender::new(&clients, &to, KEY, share).unwrap();
            let mut expected = Vec::new();
            for number in 0..4 {
                let mut frame = vec![0; sender.next_len()];
                sender.write_opening(&mut frame, SentAt(1));
                assert!(matches!(judge(&clients, &frame), Verdict::Right { flow, .. } if flow == number));
                let header = Header::new(&frame[ip.transport()..]).unwrap();
                assert!(header.flags().opens());
                expected.push(header.sequence().wrapping_add(1));
            }
            for sequence in expected {
                let frame = next(&mut sender);
                let header = Header::new(&frame[ip.transport()..]).unwrap();
                assert_eq!((header.sequence(), header.flags()), (sequence, Flags::PSH.or(Flags::ACK)));
            }
        }
    }

    #[test]
    fn as_many_segments_are_syns_as_were_asked_for() {
        for (syns, expected) in [(0, 0..=0), (1 << 31, 900..=1100), (1 << 32, 2000..=2000)] {
            let clients = clients(Ip::V4, Protocol::Tcp, packets(syns), 100);
            let share = Share { index: 0, of: 1 };
            let mut sender = Sender::new(&clients, &destination(Ip::V4, Protocol::Tcp), KEY, share).unwrap();
            let syns = (0..2000).filter(|_| Header::new(&next(&mut sender)[34..]).unwrap().flags().opens()).count();
            assert!(expected.contains(&syns), "{syns} of 2000");
        }
    }

    #[test]
    fn sizes_follow_the_mix() {
        let clients = clients(Ip::V4, Protocol::Tcp, packets(0), 4);
        let mut sender =
            Sender::new(&clients, &destination(Ip::V4, Protocol::Tcp), KEY, Share { index: 0, of: 1 }).unwrap();
        let sizes: Vec<_> = (0..12).map(|_| next(&mut sender).len()).collect();
        assert_eq!(sizes.iter().filter(|size| **size == 590).count(), 4, "{sizes:?}");
    }

    #[test]
    fn shares_add_up() {
        for count in [0, 1, 2, 7, 1_000_003] {
            let sum: u64 = (0..4).map(|index| Share { index, of: 4 }.part(count)).sum();
            assert_eq!(sum, count);
        }
    }
}
