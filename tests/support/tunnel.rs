//! The sending ends of tunnels: packets that a test makes byte by byte, and a router that wraps what it forwards.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddrV4},
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
    /// IP in IP.
    Ipip,
    /// GUE version 0, with these four bytes before the packet: [`GUE`] in a right one.
    Gue([u8; 4]),
    /// GUE version 1, or anything else in a UDP datagram to GUE's port.
    Bare,
}

/// The header of GUE version 0 around IPv4 (draft-ietf-intarea-gue).
pub const GUE: [u8; 4] = [0, 4, 0, 0];

/// A socket on a host that sends the outer headers, written by the kernel there.
#[derive(Debug)]
pub struct Sender {
    socket: Socket,
    wrap: Wrap,
    to: Ipv4Addr,
}

impl Sender {
    pub fn new(net: &Net, from: Role, to: Ipv4Addr, wrap: Wrap) -> Self {
        let socket = in_namespace(net, from, || match wrap {
            Wrap::Ipip => Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(4))),
            Wrap::Gue(_) | Wrap::Bare => Socket::new(Domain::IPV4, Type::DGRAM, None),
        })
        .expect("root may open a socket");
        socket.set_broadcast(true).expect("a socket may send to everyone");
        Self { socket, wrap, to }
    }

    /// With this traffic class in the outer header.
    pub fn with_traffic_class(self, traffic_class: u32) -> Self {
        self.socket.set_tos_v4(traffic_class).expect("a socket has a traffic class");
        self
    }

    /// Wraps and sends a packet.
    ///
    /// # Errors
    /// The kernel's: EMSGSIZE when it has become too long.
    pub fn try_send(&self, inner: &[u8]) -> std::io::Result<()> {
        let bytes = match self.wrap {
            Wrap::Gue(header) => [&header, inner].concat(),
            Wrap::Ipip | Wrap::Bare => inner.to_vec(),
        };
        self.socket.send_to(&bytes, &SocketAddrV4::new(self.to, 6080).into()).map(drop)
    }

    #[track_caller]
    pub fn send(&self, inner: &[u8]) {
        self.try_send(inner).expect("the packet can be sent");
    }
}

/// A host made a router: what it has to forward to `destination` goes wrapped to a backend.
#[derive(Debug)]
pub struct Router {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    too_long: AtomicU64,
}

impl Router {
    /// `mtu` is that of the way into the tunnel: what is longer is answered by ICMP.
    pub fn start(net: &Net, role: Role, destination: Ipv4Addr, backend: Ipv4Addr, wrap: Wrap, mtu: u16) -> Self {
        let device = in_namespace(net, role, || DeviceBuilder::new().name("wrap0").mtu(mtu).enable(true).build_sync())
            .expect("root may make a TUN device");
        device.set_nonblocking(true).expect("a TUN device need not block");
        net.exec(role, &["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.send_redirects=0"]).success();
        net.exec(role, &["ip", "route", "replace", &destination.to_string(), "dev", "wrap0"]).success();

        let sender = Sender::new(net, role, backend, wrap);
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&counts));
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                let Ok(length) = device.recv(&mut buffer) else {
                    thread::sleep(Duration::from_micros(200));
                    continue;
                };
                let count = if sender.try_send(&buffer[..length]).is_ok() { &counted.sent } else { &counted.too_long };
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, counts, thread: Some(thread) }
    }

    /// Packets that went into the tunnel.
    pub fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::Relaxed)
    }

    /// Packets that no longer fitted, wrapped.
    pub fn too_long(&self) -> u64 {
        self.counts.too_long.load(Ordering::Relaxed)
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
