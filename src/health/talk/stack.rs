//! TCP for one of leat's addresses: smoltcp's stack, between two queues of packets.

use std::collections::VecDeque;
use std::net::IpAddr;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{HardwareAddress, IpCidr, TcpPacket};

use super::Place;
use crate::courier;
use crate::time::Instant;
use crate::wire::{ip, ipv6};

/// IANA protocol number of TCP.
const TCP: u8 = 6;

/// Bytes of an answer that may be on their way.
const WINDOW: usize = 4096;

/// One address's TCP.
pub(super) struct Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
    queue: Queue,
    /// Sockets that have been aborted, and go once they have said so.
    aborted: Vec<SocketHandle>,
}

/// How a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Its SYN is not answered yet.
    Connecting,
    /// It is there.
    Open,
    /// The other side has sent all that it has.
    Ended,
    /// The other side has reset it.
    Refused,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Stack {
    /// The stack of `address`.
    pub(super) fn new(address: IpAddr, now: Instant) -> Self {
        let mut queue = Queue::default();
        let mut config = Config::new(HardwareAddress::Ip);
        // Without randomness initial sequence numbers can be guessed; the checks work all the same.
        config.random_seed = getrandom::u64().unwrap_or_default();
        let mut interface = Interface::new(config, &mut queue, stack_time(now));
        interface.update_ip_addrs(|addresses| {
            // There is room for two.
            let whole = if address.is_ipv4() { 32 } else { 128 };
            let _ = addresses.push(IpCidr::new(address.into(), whole));
        });
        // Where to is the worker's business; here everything is reached.
        let routes = interface.routes_mut();
        let _ = match address {
            IpAddr::V4(address) => routes.add_default_ipv4_route(address),
            IpAddr::V6(address) => routes.add_default_ipv6_route(address),
        };
        Self { interface, sockets: SocketSet::new(Vec::new()), queue, aborted: Vec::new() }
    }

    /// Begins a connection from port `number` to `place`, over which `request` bytes will be sent.
    pub(super) fn connect(&mut self, number: u16, place: &Place, request: usize) -> Option<SocketHandle> {
        let buffer = |len| SocketBuffer::new(vec![0; len]);
        let mut socket = Socket::new(buffer(WINDOW), buffer(request));
        socket.set_nagle_enabled(false);
        let to = (place.destination, place.port);
        socket.connect(self.interface.context(), to, (place.source, number)).ok()?;
        Some(self.sockets.add(socket))
    }

    /// How the connection stands.
    pub(super) fn stand(&mut self, socket: SocketHandle) -> Stand {
        match self.sockets.get::<Socket<'_>>(socket).state() {
            State::SynSent | State::SynReceived | State::Listen => Stand::Connecting,
            State::Established | State::FinWait1 | State::FinWait2 => Stand::Open,
            State::CloseWait | State::Closing | State::LastAck | State::TimeWait => Stand::Ended,
            State::Closed => Stand::Refused,
        }
    }

    /// Sends `bytes`, for which there is room.
    pub(super) fn send(&mut self, socket: SocketHandle, bytes: &[u8]) {
        // A connection that has gone meanwhile is found out when it is looked at next.
        let _ = self.sockets.get_mut::<Socket<'_>>(socket).send_slice(bytes);
    }

    /// Puts what has come behind `answer`, up to `most` bytes in all.
    pub(super) fn receive(&mut self, socket: SocketHandle, answer: &mut Vec<u8>, most: usize) {
        let socket = self.sockets.get_mut::<Socket<'_>>(socket);
        while socket.can_recv() {
            let took = socket.recv(|bytes| {
                let room = most.saturating_sub(answer.len());
                answer.extend_from_slice(&bytes[..bytes.len().min(room)]);
                (bytes.len(), ())
            });
            if took.is_err() {
                return;
            }
        }
    }

    /// Resets the connection.
    pub(super) fn abort(&mut self, socket: SocketHandle) {
        self.sockets.get_mut::<Socket<'_>>(socket).abort();
        self.aborted.push(socket);
    }

    /// Forgets the connections that were reset, after the next [`Self::poll`].
    pub(super) fn sweep(&mut self) {
        for socket in self.aborted.drain(..) {
            self.sockets.remove(socket);
        }
    }

    /// A packet has come for this address.
    pub(super) fn take_in(&mut self, packet: &[u8]) {
        self.queue.inbound.push_back(packet.to_vec());
    }

    /// Takes in what has come; `send` gets each packet that is to leave, with its source port.
    pub(super) fn poll(&mut self, now: Instant, mut send: impl FnMut(u16, &[u8])) {
        self.interface.poll(stack_time(now), &mut self.queue, &mut self.sockets);
        for packet in self.queue.outbound.drain(..) {
            if let Some(number) = source_port(&packet) {
                send(number, &packet);
            }
        }
    }
}

/// The destination of an IP packet.
pub(super) fn destination(packet: &[u8]) -> Option<IpAddr> {
    Some(ip::Header::new(packet)?.destination())
}

/// The source port of a TCP packet without options or extension headers, as the stack writes them.
fn source_port(packet: &[u8]) -> Option<u16> {
    let at = match ip::Header::new(packet)? {
        ip::Header::V4(header) if header.protocol() == TCP => header.header_len(),
        ip::Header::V6(header) if header.next_header() == TCP => ipv6::HEADER_LEN,
        _ => return None,
    };
    Some(TcpPacket::new_checked(packet.get(at..)?).ok()?.src_port())
}

const fn stack_time(now: Instant) -> StackInstant {
    StackInstant::from_micros_const((now.as_nanos() / 1000) as i64)
}

/// The two queues.
#[derive(Debug, Default)]
struct Queue {
    inbound: VecDeque<Vec<u8>>,
    outbound: VecDeque<Vec<u8>>,
}

/// A packet that has come.
struct Inbound(Vec<u8>);

/// Room for one that leaves.
struct Room<'a>(&'a mut VecDeque<Vec<u8>>);

impl Device for Queue {
    type RxToken<'a> = Inbound;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _now: StackInstant) -> Option<(Inbound, Room<'_>)> {
        let packet = self.inbound.pop_front()?;
        Some((Inbound(packet), Room(&mut self.outbound)))
    }

    fn transmit(&mut self, _now: StackInstant) -> Option<Room<'_>> {
        Some(Room(&mut self.outbound))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = courier::LONGEST;
        capabilities
    }
}

impl phy::RxToken for Inbound {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl phy::TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut packet = vec![0; len];
        let result = write(&mut packet);
        self.0.push_back(packet);
        result
    }
}
