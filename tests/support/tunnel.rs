//! The sending ends of tunnels: packets that a test makes byte by byte, and a router that wraps what it forwards.

use std::{
    fs::File,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};
use tun_rs::DeviceBuilder;

use super::net::{Net, Role};

/// How packets are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrap {
    /// IPv4 in IP.
    Ipip,
    /// IPv6 in IP.
    Ipip6,
    /// GUE version 0, with these four bytes before the packet: [`GUE`] or [`GUE_6`] in a right one.
    Gue([u8; 4]),
    /// GUE version 1, or anything else in a UDP datagram to GUE's port.
    Bare,
    /// The same with this for the UDP checksum, right or wrong.
    Sum(u16),
    /// As it is: the test has written the outer IPv6 header itself.
    AsItIs,
}

impl Wrap {
    /// Bytes that it adds to a packet on its way to `to`.
    fn overhead(self, to: IpAddr) -> usize {
        let ip = if to.is_ipv4() { 20 } else { 40 };
        match self {
            Self::Ipip | Self::Ipip6 => ip,
            Self::Gue(_) => ip + 8 + 4,
            Self::Bare | Self::Sum(_) => ip + 8,
            Self::AsItIs => 0,
        }
    }

    /// The protocol of the raw socket that sends it; others need none.
    fn raw(self) -> Option<i32> {
        match self {
            Self::Ipip => Some(4),
            Self::Ipip6 => Some(41),
            Self::Sum(_) => Some(17),
            Self::AsItIs => Some(255),
            Self::Gue(_) | Self::Bare => None,
        }
    }
}

/// The header of GUE version 0 around IPv4 (draft-ietf-intarea-gue).
pub const GUE: [u8; 4] = [0, 4, 0, 0];

/// The same around IPv6.
pub const GUE_6: [u8; 4] = [0, 41, 0, 0];

/// A socket on a host that sends the outer headers, written by the kernel there.
#[derive(Debug)]
pub struct Sender {
    socket: Socket,
    wrap: Wrap,
    to: IpAddr,
}

impl Sender {
    pub fn new(net: &Net, from: Role, to: impl Into<IpAddr>, wrap: Wrap) -> Self {
        let to = to.into();
        let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = in_namespace(net, from, || match wrap.raw() {
            Some(protocol) => Socket::new(domain, Type::RAW, Some(Protocol::from(protocol))),
            None => Socket::new(domain, Type::DGRAM, None),
        })
        .expect("root may open a socket");
        socket.set_broadcast(true).expect("a socket may send to everyone");
        Self { socket, wrap, to }
    }

    /// With this traffic class in the outer header.
    pub fn with_traffic_class(self, traffic_class: u32) -> Self {
        match self.to {
            IpAddr::V4(_) => self.socket.set_tos_v4(traffic_class),
            IpAddr::V6(_) => self.socket.set_tclass_v6(traffic_class),
        }
        .expect("a socket has a traffic class");
        self
    }

    /// Wraps and sends a packet.
    ///
    /// # Errors
    /// The kernel's: EMSGSIZE when it has become too long.
    pub fn try_send(&self, inner: &[u8]) -> std::io::Result<()> {
        let bytes = match self.wrap {
            Wrap::Gue(header) => [&header, inner].concat(),
            Wrap::Sum(checksum) => {
                let length = 8 + inner.len() as u16;
                let words = [40_000, 6080, length, checksum].map(u16::to_be_bytes);
                [words.as_flattened(), inner].concat()
            }
            Wrap::Ipip | Wrap::Ipip6 | Wrap::Bare | Wrap::AsItIs => inner.to_vec(),
        };
        // A raw socket of IPv6 takes no port.
        let port = if self.wrap.raw().is_some() { 0 } else { 6080 };
        self.socket.send_to(&bytes, &SocketAddr::new(self.to, port).into()).map(drop)
    }

    #[track_caller]
    pub fn send(&self, inner: &[u8]) {
        self.try_send(inner).expect("the packet can be sent");
    }
}

/// A host made a router: what it has to forward to `destination` goes wrapped to a backend, in fragments if need be.
#[derive(Debug)]
pub struct Router {
    stop: Arc<AtomicBool>,
    too_long: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Router {
    /// `mtu` is that of the way into the tunnel: what is longer is answered by ICMP.
    pub fn start(
        net: &Net,
        role: Role,
        destination: impl Into<IpAddr>,
        backend: impl Into<IpAddr>,
        wrap: Wrap,
        mtu: u16,
    ) -> Self {
        let (destination, backend) = (destination.into(), backend.into());
        let device = in_namespace(net, role, || DeviceBuilder::new().name("wrap0").mtu(mtu).enable(true).build_sync())
            .expect("root may make a TUN device");
        device.set_nonblocking(true).expect("a TUN device need not block");
        let settings: &[&str] = match destination {
            IpAddr::V4(_) => &["net.ipv4.ip_forward=1", "net.ipv4.conf.all.send_redirects=0"],
            IpAddr::V6(_) => &["net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.wrap0.disable_ipv6=0"],
        };
        net.exec(role, &[&["sysctl", "-qw"], settings].concat()).success();
        let version = if destination.is_ipv4() { "-4" } else { "-6" };
        net.exec(role, &["ip", version, "route", "replace", &destination.to_string(), "dev", "wrap0"]).success();

        let sender = Sender::new(net, role, backend, wrap);
        let (stop, too_long) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&too_long));
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                let Ok(length) = device.recv(&mut buffer) else {
                    thread::sleep(Duration::from_micros(200));
                    continue;
                };
                // The kernel has something of its own to say on each interface.
                if !is_for(&buffer[..length], destination) {
                    continue;
                }
                if length + wrap.overhead(backend) > 1500 {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                // What is lost is sent again.
                let _ = sender.try_send(&buffer[..length]);
            }
        });
        Self { stop, too_long, thread: Some(thread) }
    }

    /// Packets that, wrapped, were longer than 1500 bytes.
    pub fn too_long(&self) -> u64 {
        self.too_long.load(Ordering::Relaxed)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn is_for(packet: &[u8], destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(address) => packet.get(16..20) == Some(&address.octets()),
        IpAddr::V6(address) => packet.get(24..40) == Some(&address.octets()),
    }
}

/// Does something in a host's namespace; what it opens there stays there.
pub fn in_namespace<T: Send>(net: &Net, role: Role, work: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/run/netns/{}", net.namespace(role))).expect("the host is there");
    thread::scope(|scope| {
        // The thread ends afterwards, and nothing else has moved.
        let thread = scope.spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
            work()
        });
        thread.join().expect("what is done in a namespace does not panic")
    })
}
