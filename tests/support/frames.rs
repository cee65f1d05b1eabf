//! Frames for captures: built by etherparse, checksums included, and then damaged on purpose where a test says so.

use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader, TcpOptionElement};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// An IPv4 address.
pub type Ip = [u8; 4];

/// A station on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    pub mac: Mac,
    pub ip: Ip,
}

impl Host {
    /// The station 10.0.0.`last`, with `last` as its Ethernet address's last byte too.
    pub const fn new(last: u8) -> Self {
        Self { mac: [2, 0, 0, 0, 0, last], ip: [10, 0, 0, last] }
    }

    /// The same station, sending with another IP address.
    pub const fn as_ip(self, ip: Ip) -> Self {
        Self { ip, ..self }
    }

    /// The same station, sending with another Ethernet address.
    pub const fn as_mac(self, mac: Mac) -> Self {
        Self { mac, ..self }
    }
}

/// The client.
pub const C1: Host = Host::new(1);
/// Another client.
pub const C4: Host = Host::new(4);
/// The first backend.
pub const B2: Host = Host::new(2);
/// The second backend.
pub const B3: Host = Host::new(3);
/// The VIP.
pub const VIP: Ip = [10, 0, 0, 10];
/// leat's Ethernet address, where it is told one by `--mac 02:00:00:00:00:fe`.
pub const LEAT: Mac = [2, 0, 0, 0, 0, 0xfe];
pub const BROADCAST: Mac = [0xff; 6];

/// A TCP segment to be sent to leat.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    pub from: Host,
    pub to: Ip,
    /// Source and destination.
    pub ports: (u16, u16),
    /// As tcpdump writes them: `S`, `S.`, `.`, `P.`, `F.`, `R`.
    pub flags: &'a str,
    pub seq: u32,
    pub ack: u32,
    pub options: &'a [TcpOptionElement],
    pub payload: &'a [u8],
}

impl<'a> Segment<'a> {
    pub const fn new(from: Host, to: Ip, ports: (u16, u16), flags: &'a str) -> Self {
        Self { from, to, ports, flags, seq: 1000, ack: 0, options: &[], payload: &[] }
    }

    pub const fn seq(self, seq: u32) -> Self {
        Self { seq, ..self }
    }

    pub const fn ack(self, ack: u32) -> Self {
        Self { ack, ..self }
    }

    pub const fn options(self, options: &'a [TcpOptionElement]) -> Self {
        Self { options, ..self }
    }

    pub const fn payload(self, payload: &'a [u8]) -> Self {
        Self { payload, ..self }
    }

    /// The frame, with a window of 64240 and a time to live of 64.
    pub fn frame(self) -> Vec<u8> {
        let Self { from, to, ports, flags, seq, ack, options, payload } = self;
        let mut tcp = PacketBuilder::ethernet2(from.mac, LEAT).ipv4(from.ip, to, 64).tcp(ports.0, ports.1, seq, 64240);
        for flag in flags.chars() {
            tcp = with_flag(tcp, flag, ack);
        }
        let tcp = tcp.options(options).expect("the options fit");
        let mut frame = Vec::new();
        tcp.write(&mut frame, payload).expect("a vector takes everything");
        frame
    }
}

fn with_flag(tcp: PacketBuilderStep<TcpHeader>, flag: char, ack: u32) -> PacketBuilderStep<TcpHeader> {
    match flag {
        'S' => tcp.syn(),
        'F' => tcp.fin(),
        'R' => tcp.rst(),
        'P' => tcp.psh(),
        '.' => tcp.ack(ack),
        other => panic!("no TCP flag is written {other}"),
    }
}

/// A SYN from a client to the VIP.
pub fn syn(from: Host, ports: (u16, u16)) -> Vec<u8> {
    Segment::new(from, VIP, ports, "S").frame()
}

pub fn udp(from: Host, to: Ip, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(from.mac, LEAT)
        .ipv4(from.ip, to, 64)
        .udp(ports.0, ports.1)
        .write(&mut frame, payload)
        .expect("a vector takes everything");
    frame
}

pub fn echo_request(from: Host, to: Ip, id: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(from.mac, LEAT)
        .ipv4(from.ip, to, 64)
        .icmpv4_echo_request(id, 1)
        .write(&mut frame, b"are you there?")
        .expect("a vector takes everything");
    frame
}

pub fn echo_reply(from: Host, to: Ip, id: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(from.mac, LEAT)
        .ipv4(from.ip, to, 64)
        .icmpv4_echo_reply(id, 1)
        .write(&mut frame, b"are you there?")
        .expect("a vector takes everything");
    frame
}

/// An ARP request to everybody.
pub fn arp_request(from: Host, target: Ip) -> Vec<u8> {
    arp(BROADCAST, 1, from, [0; 6], target)
}

/// An ARP reply to leat, which asked in the name of `asker`.
pub fn arp_reply(from: Host, asker: Ip) -> Vec<u8> {
    arp(LEAT, 2, from, LEAT, asker)
}

fn arp(destination: Mac, operation: u8, from: Host, target_mac: Mac, target: Ip) -> Vec<u8> {
    let fixed = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, operation];
    let mut frame = [&destination[..], &from.mac, &fixed, &from.mac, &from.ip, &target_mac, &target].concat();
    // As short as Ethernet carries it.
    frame.resize(60, 0);
    frame
}

/// `frame` with `bytes` in place of what stands at `at`. No checksum is touched.
pub fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// As [`with`], and then with the right IPv4 header checksum.
pub fn with_ip(frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    sum_ip(with(frame, at, bytes))
}

/// `frame` with IPv4 options, a multiple of four bytes, in its header.
pub fn with_ip_options(mut frame: Vec<u8>, options: &[u8]) -> Vec<u8> {
    frame.splice(34..34, options.iter().copied());
    frame[14] += u8::try_from(options.len() / 4).expect("at most 40 bytes of options");
    let total = u16::try_from(frame.len() - 14).expect("a frame is short");
    sum_ip(with(frame, 16, &total.to_be_bytes()))
}

/// `frame` with its IPv4 header checksum made right (RFC 791 §3.1), as far as the frame has the header that it claims.
fn sum_ip(mut frame: Vec<u8>) -> Vec<u8> {
    frame[24..26].fill(0);
    let end = (14 + usize::from(frame[14] & 15) * 4).clamp(34, frame.len());
    let mut sum: u32 =
        frame[14..end].chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).expect("folded to 16 bits");
    with(frame, 24, &sum.to_be_bytes())
}
