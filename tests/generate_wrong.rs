//! leat-gen against balancers that do it wrong: what they do is found, and called by its name.
//!
//! The wrong balancers, and their backends, are this process: it holds the other end of leat-gen's shared memory. EAL starts
//! once in a process, so one test runs them all.
#![cfg(feature = "dpdk")]

mod support;

use std::net::Ipv6Addr;

use arrayvec::ArrayVec;
use dpdk_wrapper::{Eal, Lcore, Mbuf, Mempool, MempoolConfig, PortConfig, Queues};
use leat::generate::converse;
use leat::io::Packet;
use leat::wire::checksum::Delta;
use leat::wire::{ipv4, ipv6, udp};
use serde_json::Value;
use support::{
    LONG,
    generator::{self, Memif, count},
    unique,
};

/// The services of both versions, and how long the frames to each are.
const SERVICES: [(&str, &str); 2] = [("udp:10.0.0.10:53", "100"), ("udp:[2001:db8::10]:53", "120")];

const ETHERNET: usize = 14;

/// Whether a frame is of IPv6.
fn is_v6(frame: &[u8]) -> bool {
    frame[12..ETHERNET] == [0x86, 0xdd]
}

/// Where a frame's UDP header begins.
fn transport(frame: &[u8]) -> usize {
    ETHERNET + if is_v6(frame) { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN }
}

fn payload(frame: &[u8]) -> usize {
    transport(frame) + udp::HEADER_LEN
}

/// Packets that leat-gen sends to each.
const SENT: u64 = 1000;

/// What a balancer does with the answer of its backend, packet number `n`: what leaves in its place.
type Balancer = fn(n: u64, answer: Mbuf, copy: Option<Mbuf>) -> ArrayVec<Mbuf, 2>;

/// Counts of a report that are not 0 besides `sent`.
type Expected = &'static [(&'static str, u64)];

fn one(packet: Mbuf) -> ArrayVec<Mbuf, 2> {
    ArrayVec::from_iter([packet])
}

/// Adjusts UDP's checksum as if `old` had become `new`.
fn patch(frame: &mut [u8], old: u16, new: u16) {
    let at = transport(frame) + 6;
    let checksum = Delta::NONE.replace(old, new).apply(u16::from_be_bytes([frame[at], frame[at + 1]]));
    frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Every tenth packet is treated wrongly.
fn is_chosen(n: u64) -> bool {
    n.is_multiple_of(10)
}

const BALANCERS: [(&str, Balancer, Expected); 9] = [
    ("right", |_, answer, _| one(answer), &[("received", 1000)]),
    (
        "one bit of the payload flips",
        |n, mut answer, _| {
            let at = payload(answer.data_mut()) + 17;
            answer.data_mut()[at] ^= u8::from(is_chosen(n));
            one(answer)
        },
        &[("received", 900), ("corrupt", 100)],
    ),
    (
        "the payload changes, and the checksum with it",
        |n, mut answer, _| {
            let frame = answer.data_mut();
            let at = payload(frame);
            let old = u16::from_be_bytes([frame[at], frame[at + 1]]);
            if is_chosen(n) {
                frame[at..at + 2].copy_from_slice(&(!old).to_be_bytes());
                patch(frame, old, !old);
            }
            one(answer)
        },
        &[("received", 900), ("corrupt", 100)],
    ),
    (
        "the address changes, and no checksum does",
        |n, mut answer, _| {
            let frame = answer.data_mut();
            // The last byte before UDP is the address's.
            frame[transport(frame) - 1] ^= u8::from(is_chosen(n));
            one(answer)
        },
        &[("received", 900), ("corrupt", 100)],
    ),
    (
        "the checksum is left out",
        |n, mut answer, _| {
            let frame = answer.data_mut();
            let at = transport(frame) + 6;
            if is_chosen(n) {
                frame[at..at + 2].fill(0);
            }
            one(answer)
        },
        &[("received", 900), ("corrupt", 100)],
    ),
    (
        "answers go to another port of the client",
        |n, mut answer, _| {
            let at = transport(answer.data_mut());
            let transport = &mut answer.data_mut()[at..];
            let mut ports = udp::Header::new(transport).expect("it was UDP").ports().to_ne_bytes();
            ports[3] ^= u8::from(is_chosen(n));
            let mut header = udp::HeaderMut::new(transport).expect("it was UDP");
            header.forward(u32::from_ne_bytes(ports), Delta::NONE);
            one(answer)
        },
        &[("received", 900), ("misdirected", 100)],
    ),
    (
        "answers come from the backend and not from the service",
        |n, mut answer, _| {
            let at = transport(answer.data_mut()) - ETHERNET;
            let is_v6 = is_v6(answer.data_mut());
            let (ip, transport) = answer.data_mut()[ETHERNET..].split_at_mut(at);
            if is_chosen(n) {
                let delta = if is_v6 {
                    let mut header = ipv6::HeaderMut::new(ip).expect("it was IPv6");
                    let [_, _, to, rest] = header.as_header().addresses();
                    let backend = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2).octets();
                    let [front, back] = [0, 8].map(|at| u64::from_ne_bytes(std::array::from_fn(|i| backend[at + i])));
                    header.forward([front, back, to, rest])
                } else {
                    let mut addresses = ipv4::Header::new(ip).expect("it was IPv4").addresses().to_ne_bytes();
                    addresses[..4].copy_from_slice(&[10, 0, 0, 2]);
                    ipv4::HeaderMut::new(ip).expect("it was IPv4").forward(u64::from_ne_bytes(addresses))
                };
                let ports = udp::Header::new(transport).expect("it was UDP").ports();
                udp::HeaderMut::new(transport).expect("it was UDP").forward(ports, delta);
            }
            one(answer)
        },
        &[("received", 900), ("misdirected", 100)],
    ),
    (
        "some are lost",
        |n, answer, _| if is_chosen(n) { ArrayVec::new() } else { one(answer) },
        &[("received", 900), ("lost", 100)],
    ),
    (
        "some come twice",
        |n, answer, copy| ArrayVec::from_iter([answer].into_iter().chain(copy.filter(|_| is_chosen(n)))),
        &[("received", 1000), ("duplicated", 100)],
    ),
];

#[test]
fn what_a_balancer_does_wrong_is_found_and_named() {
    support::require_root();
    let runs = || SERVICES.iter().flat_map(|service| BALANCERS.iter().map(move |balancer| (service, balancer)));
    let memifs: Vec<Memif> = runs().map(|_| Memif::new()).collect();
    let devices = memifs.iter().enumerate().map(|(at, memif)| memif.server(&format!("net_memif{at}")));
    let fixed = ["test", "-l", "0", "--no-pci", "--no-huge", "-m", "128", "--no-shconf", "--file-prefix"];
    let arguments = fixed.into_iter().map(str::to_owned).chain([unique("wrong")]).chain(devices);
    let eal = Eal::init(arguments).expect("EAL starts");
    let pool = Mempool::new(&eal, "wrong", &MempoolConfig::default()).expect("there is memory");
    for (at, ((service, (name, balancer, expected)), memif)) in runs().zip(&memifs).enumerate() {
        let mut port = eal.port_named(&format!("net_memif{at}")).expect("EAL has made the port");
        let mut queues = port.start(&PortConfig::default(), &[&pool]).expect("the port starts");
        let report = measure(eal.main_lcore(), &mut queues, &pool, memif, *service, *balancer);
        for figure in ["received", "lost", "misdirected", "corrupt", "duplicated", "reordered"] {
            let expected = expected.iter().find(|(name, _)| *name == figure).map_or(0, |(_, count)| *count);
            assert_eq!(count(&report, figure), expected, "{figure}, {name}, {service:?}: {report:#}");
        }
        assert_eq!(count(&report, "sent"), SENT, "{name}");
        drop(queues);
        port.stop().expect("the port stops");
    }
}

/// Runs leat-gen, and is its balancer until it ends.
fn measure(
    lcore: Lcore,
    queues: &mut Queues,
    pool: &Mempool,
    memif: &Memif,
    (service, size): (&str, &str),
    balancer: Balancer,
) -> Value {
    let device = memif.client("net_memif0");
    let own = ["--vip", service, "--to-mac", "02:00:00:00:00:fe", "--size", size, "--flows", "64"];
    let much = ["--rate", "5k", "--count", &SENT.to_string()];
    let mut generator = generator::spawn(&["-l", "1", "--no-pci", &device], &[&own[..], &much].concat());
    let (mut received, mut n) = (ArrayVec::<Mbuf, 64>::new(), 0);
    let mut waiting = ArrayVec::<Mbuf, 256>::new();
    while generator.is_running() {
        queues.rx[0].rx_burst(lcore, &mut received);
        for mut packet in received.drain(..) {
            assert!(converse::echo(packet.data_mut()), "leat-gen sends UDP");
            let copy = pool.copy(lcore, Packet::data(&packet));
            waiting.extend(balancer(n, packet, copy));
            n += 1;
        }
        while !waiting.is_empty() && queues.tx[0].tx_burst(lcore, &mut waiting) > 0 {}
        std::thread::yield_now();
    }
    generator::report(&generator.wait(LONG).success())
}
