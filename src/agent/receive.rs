//! The sockets that tunnel packets come in by, and the loop that takes the packets out of them.
//!
//! IP in IP comes by raw sockets, GUE by UDP ones, each kind of tunnel by its own; the kernel has put outer fragments
//! together, has seen to the outer extension headers and checked the outer checksums by then, and says with each packet what
//! its outer destination and traffic class were. While the sockets are open the kernel sends no "unreachable" for such
//! packets. UDP_GRO is not set, so each read is one datagram.

use std::fs;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;

use arrayvec::ArrayVec;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg, setsockopt,
    sockopt::{IpRecvTos, Ipv4PacketInfo, Ipv6RecvPacketInfo, Ipv6RecvTClass, RcvBufForce},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::device::Device;
use super::gue;
use super::inner::{Outer, Policy};
use super::offload::finish_checksum;
use super::own::Own;
use super::{DropCounters, DropReason, Version};
use crate::counters::Counter;
use crate::wire::ipv4;

/// Packets in one system call.
const BURST: usize = 32;

/// No IP packet is longer.
const LONGEST: usize = 65_536;

/// What the kernel may hold back for a slow reader, in bytes.
const RECEIVE_BUFFER: usize = 8 << 20;

/// That a datagram over IPv6 may come without a checksum: around a packet that has its own none is needed (RFC 6935 §5).
#[derive(Clone, Copy, Debug)]
struct NoChecksumNeeded;

nix::setsockopt_impl!(
    NoChecksumNeeded,
    libc::SOL_UDP,
    libc::UDP_NO_CHECK6_RX,
    bool,
    nix::sys::socket::sockopt::SetBool
);

/// How packets are wrapped, and in what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tunnel {
    Ipip { inner: Version, outer: Version },
    Gue { outer: Version, port: u16 },
}

impl Tunnel {
    /// The name in tables.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ipip { inner: Version::V4, outer: Version::V4 } => "ipip-4in4",
            Self::Ipip { inner: Version::V6, outer: Version::V4 } => "ipip-6in4",
            Self::Ipip { inner: Version::V4, outer: Version::V6 } => "ipip-4in6",
            Self::Ipip { inner: Version::V6, outer: Version::V6 } => "ipip-6in6",
            Self::Gue { outer: Version::V4, .. } => "gue-ipv4",
            Self::Gue { outer: Version::V6, .. } => "gue-ipv6",
        }
    }

    /// The version of the outer header.
    pub(super) const fn outer(self) -> Version {
        match self {
            Self::Ipip { outer, .. } | Self::Gue { outer, .. } => outer,
        }
    }

    /// Where in what a socket delivers the inner packet begins, and its version: a raw socket of IPv4 delivers the outer
    /// header too.
    #[inline(always)]
    fn inner(self, bytes: &[u8]) -> Result<gue::Inner, DropReason> {
        match self {
            Self::Ipip { inner: version, outer: Version::V4 } => ipv4::Header::new(bytes)
                .map(ipv4::Header::header_len)
                .filter(|&length| length <= bytes.len())
                .map(|offset| gue::Inner { offset, version })
                .ok_or(DropReason::InnerTruncated),
            Self::Ipip { inner: version, outer: Version::V6 } => Ok(gue::Inner { offset: 0, version }),
            Self::Gue { .. } => gue::inner(bytes),
        }
    }

    /// The kernel's table of such sockets.
    const fn socket_table(self) -> &'static str {
        match self {
            Self::Ipip { outer: Version::V4, .. } => "/proc/self/net/raw",
            Self::Ipip { outer: Version::V6, .. } => "/proc/self/net/raw6",
            Self::Gue { outer: Version::V4, .. } => "/proc/self/net/udp",
            Self::Gue { outer: Version::V6, .. } => "/proc/self/net/udp6",
        }
    }

    /// What the kernel has had to complain about datagrams, in all the namespace, so far.
    fn complaints(self) -> Complaints {
        let (table, read): (_, fn(&str, &str) -> Option<u64>) = match self {
            Self::Ipip { .. } => return Complaints::default(),
            Self::Gue { outer: Version::V4, .. } => ("/proc/self/net/snmp", figure_v4),
            Self::Gue { outer: Version::V6, .. } => ("/proc/self/net/snmp6", figure_v6),
        };
        let table = fs::read_to_string(table).unwrap_or_default();
        let figure = |name| read(&table, name).unwrap_or(0);
        Complaints { damaged: figure("InCsumErrors"), unread: figure("RcvbufErrors") + figure("MemErrors") }
    }
}

/// Datagrams of a namespace that came to nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Complaints {
    /// They had a wrong checksum.
    damaged: u64,
    /// There was no room for them.
    unread: u64,
}

/// What one receiver counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Tunnel packets.
    pub(super) received: Counter,
    /// Inner packets that the kernel took.
    pub(super) delivered: Counter,
    /// Bytes of those.
    pub(super) delivered_bytes: Counter,
    /// Dropped packets by reason.
    pub(super) drops: DropCounters,
}

/// An open tunnel socket.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) tunnel: Tunnel,
    pub(super) counters: Counters,
    socket: Socket,
    /// From before it was opened.
    earlier: Complaints,
}

/// What the kernel has dropped in place of handing it over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    /// It had a wrong checksum.
    pub(super) damaged: u64,
    /// It was not read in time.
    pub(super) unread: u64,
}

impl Receiver {
    /// Opens the socket, for what comes in by `interface` or by any.
    ///
    /// # Errors
    /// The kernel's; EADDRINUSE when something else has GUE's port.
    pub(super) fn open(tunnel: Tunnel, interface: Option<&str>) -> io::Result<Self> {
        let outer = tunnel.outer();
        let (domain, everywhere) = match outer {
            Version::V4 => (Domain::IPV4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            Version::V6 => (Domain::IPV6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        };
        let socket = match tunnel {
            Tunnel::Ipip { inner, .. } => {
                Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(inner.protocol()))))?
            }
            Tunnel::Gue { .. } => Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?,
        };
        match outer {
            Version::V4 => {
                setsockopt(&socket, Ipv4PacketInfo, &true)?;
                setsockopt(&socket, IpRecvTos, &true)?;
            }
            Version::V6 => {
                setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
                setsockopt(&socket, Ipv6RecvTClass, &true)?;
            }
        }
        // More than net.core.rmem_max takes a privilege; less than all of it still works.
        if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        }
        socket.bind_device(interface.map(str::as_bytes))?;
        if let Tunnel::Gue { port, .. } = tunnel {
            if outer == Version::V6 {
                socket.set_only_v6(true)?;
                setsockopt(&socket, NoChecksumNeeded, &true)?;
            }
            socket.bind(&SocketAddr::new(everywhere, port).into())?;
        }
        Ok(Self { tunnel, counters: Counters::default(), socket, earlier: tunnel.complaints() })
    }

    /// Receives, checks and delivers for ever.
    ///
    /// # Errors
    /// When the socket or the device is no longer usable.
    pub(super) fn run(&self, mut policy: Policy, own: &Own, device: &Device) -> io::Error {
        let mut buffers: Box<[[u8; LONGEST]]> = vec![[0; LONGEST]; BURST].into();
        let control = match self.tunnel.outer() {
            Version::V4 => nix::cmsg_space!(libc::in_pktinfo, u8),
            Version::V6 => nix::cmsg_space!(libc::in6_pktinfo, libc::c_int),
        };
        let mut headers = MultiHeaders::preallocate(BURST, Some(control));
        let mut edition = 0;
        loop {
            let burst = match self.receive(&mut headers, &mut buffers) {
                Ok(burst) => burst,
                Err(Errno::EINTR) => continue,
                // What the network says about the socket is no failure of the socket.
                Err(Errno::ENETDOWN | Errno::ENOBUFS | Errno::ENOMEM) => continue,
                Err(errno) => return errno.into(),
            };
            if let Some(own) = own.since(&mut edition) {
                policy.set_own(own);
            }
            self.counters.received.add(burst.len() as u64);
            for ((length, outer), buffer) in burst.into_iter().zip(&mut buffers) {
                match take_out(self.tunnel, &policy, outer, &mut buffer[..length]) {
                    Ok(packet) => match device.deliver(packet) {
                        Ok(()) => {
                            self.counters.delivered.add(1);
                            self.counters.delivered_bytes.add(packet.len() as u64);
                        }
                        Err(error) if error.raw_os_error() == Some(libc::EBADFD) => return error,
                        Err(_) => self.counters.drops.add(DropReason::DeliveryFailed, 1),
                    },
                    Err(reason) => self.counters.drops.add(reason, 1),
                }
            }
        }
    }

    /// What the kernel has dropped in place of handing it over.
    ///
    /// A wrong checksum is seen before it is known which socket a datagram is for, or later, and is then among the socket's
    /// drops as well: so it is taken from the namespace's figures, and is about all UDP of this version there.
    pub(super) fn lost(&self) -> Lost {
        let socket = fs::metadata(format!("/proc/self/fd/{}", self.socket.as_raw_fd()));
        let table = fs::read_to_string(self.tunnel.socket_table());
        let dropped = socket.and_then(|socket| Ok(drops_of(socket.ino(), &table?))).unwrap_or(0);
        match self.tunnel {
            Tunnel::Ipip { .. } => Lost { damaged: 0, unread: dropped },
            Tunnel::Gue { .. } => {
                let now = self.tunnel.complaints();
                Lost {
                    damaged: now.damaged.saturating_sub(self.earlier.damaged),
                    unread: now.unread.saturating_sub(self.earlier.unread).min(dropped),
                }
            }
        }
    }

    /// Waits for packets; the lengths and outer headers of those that are in `buffers` then.
    fn receive(
        &self,
        headers: &mut MultiHeaders<SockaddrStorage>,
        buffers: &mut [[u8; LONGEST]],
    ) -> nix::Result<ArrayVec<(usize, Outer), BURST>> {
        let mut buffers = buffers.iter_mut();
        let mut slices: [_; BURST] =
            std::array::from_fn(|_| [IoSliceMut::new(buffers.next().map_or(&mut [][..], |buffer| &mut buffer[..]))]);
        // Waits for the first one only.
        let messages = recvmmsg(self.socket.as_raw_fd(), headers, &mut slices, MsgFlags::MSG_WAITFORONE, None)?;
        Ok(messages.map(|message| (message.bytes, outer(&message))).collect())
    }
}

/// The inner packet of a tunnel packet, ready for the kernel.
#[inline(always)]
fn take_out<'a>(tunnel: Tunnel, policy: &Policy, outer: Outer, bytes: &'a mut [u8]) -> Result<&'a [u8], DropReason> {
    policy.admit(outer)?;
    let gue::Inner { offset, version } = tunnel.inner(bytes)?;
    let inner = &mut bytes[offset..];
    let length = policy.inspect(inner, version, outer.traffic_class)?;
    let packet = &mut inner[..length];
    finish_checksum(packet);
    Ok(packet)
}

fn outer(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Outer {
    let source = message.address.as_ref().and_then(|address| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    let mut outer =
        Outer { source: source.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), destination: None, traffic_class: 0 };
    for control in message.cmsgs().into_iter().flatten() {
        match control {
            // They differ when the destination is a group or everyone: then the second is the address to answer from.
            ControlMessageOwned::Ipv4PacketInfo(info) if info.ipi_addr.s_addr == info.ipi_spec_dst.s_addr => {
                outer.destination = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
            }
            ControlMessageOwned::Ipv4Tos(traffic_class) => outer.traffic_class = traffic_class,
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                outer.destination = (!address.is_multicast()).then_some(address.into());
            }
            ControlMessageOwned::Ipv6TClass(traffic_class) => outer.traffic_class = traffic_class as u8,
            _ => {}
        }
    }
    outer
}

/// A figure of UDP in /proc/net/snmp: a line of names, and one of numbers.
fn figure_v4(table: &str, name: &str) -> Option<u64> {
    let mut lines = table.lines().filter(|line| line.starts_with("Udp: ")).map(str::split_whitespace);
    let (names, numbers) = (lines.next()?, lines.next()?);
    names.zip(numbers).find(|(found, _)| *found == name)?.1.parse().ok()
}

/// The same in /proc/net/snmp6: a name and a number in each line.
fn figure_v6(table: &str, name: &str) -> Option<u64> {
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("Udp6")).map(str::split_whitespace);
    lines.find_map(|mut words| (words.next()? == name).then(|| words.next()?.parse().ok())?)
}

/// The last column of a socket's line in /proc/net/udp, udp6, raw or raw6 (proc_net_udp(5)); the tenth is its inode.
fn drops_of(inode: u64, table: &str) -> u64 {
    let inode = inode.to_string();
    table
        .lines()
        .map(|line| line.split_whitespace())
        .filter(|columns| columns.clone().nth(9) == Some(&inode))
        .filter_map(|columns| columns.last()?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_dropped_is_found_by_the_sockets_inode() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n \
                     4242: 00000000:17C0 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12345 2 0000000000000000 17\n \
                     4343: 00000000:17C1 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 99999 2 0000000000000000 3\n";
        assert_eq!(drops_of(12345, table), 17);
        assert_eq!(drops_of(1, table), 0);
    }

    #[test]
    fn what_the_kernel_says_about_datagrams_is_found_by_its_name() {
        let table = "Ip: Forwarding DefaultTTL\nIp: 1 64\nUdp: InDatagrams InErrors InCsumErrors\nUdp: 5 6 7\n\
                     UdpLite: InDatagrams InErrors InCsumErrors\nUdpLite: 1 2 3\n";
        assert_eq!(figure_v4(table, "InCsumErrors"), Some(7));
        assert_eq!(figure_v4(table, "MemErrors"), None);
        assert_eq!(figure_v4("Ip: Forwarding\nIp: 1\n", "InCsumErrors"), None);
        let table = "Udp6InErrors                    \t5\nUdp6InCsumErrors\t9\nUdpLite6InCsumErrors\t1\n";
        assert_eq!(figure_v6(table, "InCsumErrors"), Some(9));
        assert_eq!(figure_v6(table, "RcvbufErrors"), None);
    }

    #[test]
    fn an_outer_header_is_skipped_with_its_options() {
        let tunnel = |outer| Tunnel::Ipip { inner: Version::V4, outer };
        let packet = |first: u8, length: usize| {
            let mut packet = vec![0; length];
            packet[0] = first;
            tunnel(Version::V4).inner(&packet).map(|inner| inner.offset)
        };
        assert_eq!(packet(0x45, 40), Ok(20));
        assert_eq!(packet(0x46, 44), Ok(24));
        assert_eq!(packet(0x45, 20), Ok(20));
        assert_eq!(packet(0x4f, 44), Err(DropReason::InnerTruncated));
        assert_eq!(packet(0x45, 19), Err(DropReason::InnerTruncated));
        let whole = tunnel(Version::V6).inner(&[]);
        assert_eq!(whole, Ok(gue::Inner { offset: 0, version: Version::V4 }), "IPv6 delivers no header");
    }
}
