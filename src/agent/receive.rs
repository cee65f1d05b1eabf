//! The sockets that tunnel packets come in by, and the loop that takes the packets out of them.
//!
//! IP in IP comes by a raw socket, GUE by a UDP one; the kernel has put outer fragments together and checked the outer
//! checksums by then, and says with each packet what its outer destination and traffic class were. While the sockets
//! are open the kernel sends no "unreachable" for such packets. UDP_GRO is not set, so each read is one datagram.

use std::fs;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;

use arrayvec::ArrayVec;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, recvmmsg, setsockopt,
    sockopt::{IpRecvTos, Ipv4PacketInfo, RcvBufForce},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::device::Device;
use super::gue;
use super::inner::{Outer, Policy};
use super::offload::finish_checksum;
use super::{DropCounters, DropReason};
use crate::counters::Counter;
use crate::wire::ipv4;

/// Packets in one system call.
const BURST: usize = 32;

/// No IP packet is longer.
const LONGEST: usize = 65_536;

/// What the kernel may hold back for a slow reader, in bytes.
const RECEIVE_BUFFER: usize = 8 << 20;

/// IANA's number of IPv4 within IP.
const IPIP: i32 = 4;

/// How packets are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tunnel {
    Ipip,
    Gue { port: u16 },
}

impl Tunnel {
    /// The name in tables.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gue { .. } => "gue",
        }
    }

    /// Where in what a socket delivers the inner packet begins: a raw socket delivers the outer header too.
    #[inline(always)]
    fn inner_offset(self, bytes: &[u8]) -> Result<usize, DropReason> {
        match self {
            Self::Ipip => ipv4::Header::new(bytes)
                .map(ipv4::Header::header_len)
                .filter(|&length| length <= bytes.len())
                .ok_or(DropReason::InnerTruncated),
            Self::Gue { .. } => gue::inner_offset(bytes),
        }
    }
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
}

impl Receiver {
    /// Opens the socket, for what comes in by `interface` or by any.
    ///
    /// # Errors
    /// The kernel's; EADDRINUSE when something else has GUE's port.
    pub(super) fn open(tunnel: Tunnel, interface: Option<&str>) -> io::Result<Self> {
        let socket = match tunnel {
            Tunnel::Ipip => Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPIP)))?,
            Tunnel::Gue { .. } => Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?,
        };
        setsockopt(&socket, Ipv4PacketInfo, &true)?;
        setsockopt(&socket, IpRecvTos, &true)?;
        // More than net.core.rmem_max takes a privilege; less than all of it still works.
        if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        }
        socket.bind_device(interface.map(str::as_bytes))?;
        if let Tunnel::Gue { port } = tunnel {
            socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
        }
        Ok(Self { tunnel, counters: Counters::default(), socket })
    }

    /// Receives, checks and delivers for ever.
    ///
    /// # Errors
    /// When the socket or the device is no longer usable.
    pub(super) fn run(&self, policy: &Policy, device: &Device) -> io::Error {
        let mut buffers: Box<[[u8; LONGEST]]> = vec![[0; LONGEST]; BURST].into();
        let mut headers = MultiHeaders::preallocate(BURST, Some(nix::cmsg_space!(libc::in_pktinfo, u8)));
        loop {
            let burst = match self.receive(&mut headers, &mut buffers) {
                Ok(burst) => burst,
                Err(Errno::EINTR) => continue,
                // What the network says about the socket is no failure of the socket.
                Err(Errno::ENETDOWN | Errno::ENOBUFS | Errno::ENOMEM) => continue,
                Err(errno) => return errno.into(),
            };
            self.counters.received.add(burst.len() as u64);
            for ((length, outer), buffer) in burst.into_iter().zip(&mut buffers) {
                match take_out(self.tunnel, policy, outer, &mut buffer[..length]) {
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

    /// Packets that the kernel has dropped because they were not read in time.
    pub(super) fn missed(&self) -> u64 {
        let table = match self.tunnel {
            Tunnel::Ipip => "/proc/self/net/raw",
            Tunnel::Gue { .. } => "/proc/self/net/udp",
        };
        let socket = fs::metadata(format!("/proc/self/fd/{}", self.socket.as_raw_fd()));
        let (Ok(socket), Ok(table)) = (socket, fs::read_to_string(table)) else { return 0 };
        drops_of(socket.ino(), &table)
    }

    /// Waits for packets; the lengths and outer headers of those that are in `buffers` then.
    fn receive(
        &self,
        headers: &mut MultiHeaders<SockaddrIn>,
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
    let offset = tunnel.inner_offset(bytes)?;
    let inner = &mut bytes[offset..];
    let length = policy.inspect(inner, outer.traffic_class)?;
    let packet = &mut inner[..length];
    finish_checksum(packet);
    Ok(packet)
}

fn outer(message: &RecvMsg<'_, '_, SockaddrIn>) -> Outer {
    let mut outer = Outer {
        source: message.address.map_or(Ipv4Addr::UNSPECIFIED, |address| address.ip()),
        destination: None,
        traffic_class: 0,
    };
    for control in message.cmsgs().into_iter().flatten() {
        match control {
            // They differ when the destination is a group or everyone: then the second is the address to answer from.
            ControlMessageOwned::Ipv4PacketInfo(info) if info.ipi_addr.s_addr == info.ipi_spec_dst.s_addr => {
                outer.destination = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()));
            }
            ControlMessageOwned::Ipv4Tos(traffic_class) => outer.traffic_class = traffic_class,
            _ => {}
        }
    }
    outer
}

/// The last column of a socket's line in /proc/net/udp or /proc/net/raw (proc_net_udp(5)); the tenth is its inode.
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
    fn an_outer_header_is_skipped_with_its_options() {
        let packet = |first: u8, length: usize| {
            let mut packet = vec![0; length];
            packet[0] = first;
            Tunnel::Ipip.inner_offset(&packet)
        };
        assert_eq!(packet(0x45, 40), Ok(20));
        assert_eq!(packet(0x46, 44), Ok(24));
        assert_eq!(packet(0x45, 20), Ok(20));
        assert_eq!(packet(0x4f, 44), Err(DropReason::InnerTruncated));
        assert_eq!(packet(0x45, 19), Err(DropReason::InnerTruncated));
    }
}
