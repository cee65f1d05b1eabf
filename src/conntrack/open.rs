//! Opening a connection: by which tuple the backend shall know it.
//!
//! In `fullnat` that takes a source port of a local address, in `nat` it is the client's own tuple, and in the one-way
//! modes the backend gets the packet as it is and its answers never come by.

use std::net::IpAddr;

use super::connection::{ClientLink, Connection, Path, Standing};
use super::ports::PoolKey;
use super::tcp::{Segment, Sight};
use super::track::{Direction, Track};
use super::{Adjustment, ConnectionIndex, Conntrack, Numbers, OpenError};
use crate::flow::{FlowKey, Protocol};
use crate::id::BackendId;
use crate::time::Tick;

/// How many ports of one pool are tried before the next local address: a pool of all ports of a backend and one of a
/// single port meet in the same tuples, so a port can be free in its pool and its tuple taken.
const PORT_TRIES: usize = 32;

/// A connection to be opened, of the client's packet that asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// The packet's key: `C:c → V:v`. No connection has it: the caller has looked.
    pub original: FlowKey,
    /// The key's hash.
    pub hash: u64,
    /// The backend that was chosen.
    pub backend: BackendId,
    /// Its address.
    pub backend_address: IpAddr,
    /// Its port; 0 to keep the packet's destination port.
    pub backend_port: u16,
    /// Whom the backend sees.
    pub source: Source<'a>,
    /// The way back to the client.
    pub link: ClientLink,
    /// The packet's TCP header, if it is TCP.
    pub segment: Option<&'a Segment>,
    /// Whether it is a datagram that is scheduled by itself, so that only answers belong to the connection.
    pub is_one_packet: bool,
    /// The numbers of its SYN, if it may get others.
    pub numbers: Option<Numbers<'a>>,
    /// How the connection's segments are changed, if they are.
    pub adjustment: Option<Adjustment>,
    /// The time of the packet.
    pub now: Tick,
}

impl Opening<'_> {
    /// Whether the connection could have a source port of this pool.
    pub(super) fn can_use(&self, pool: &PoolKey) -> bool {
        let Source::Local { addresses, .. } = self.source else { return false };
        let protocol = self.original.protocol;
        let backend_port = if protocol == Protocol::Icmp { 0 } else { self.backend_port };
        (pool.backend, pool.protocol, pool.backend_port) == (self.backend_address, protocol, backend_port)
            && addresses.contains(&pool.local)
    }
}

/// Whom a backend sees as the source of a connection.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// `fullnat`: one of leat's local addresses.
    Local {
        /// The addresses to choose from. Each has a pool for this backend, made at its first connection.
        addresses: &'a [IpAddr],
        /// The port to have where it is free: the client's own. `None`: the port that rested longest. A port that rests
        /// after another connection is not free for this.
        preferred_port: Option<u16>,
    },
    /// `nat`: the client itself.
    Client,
    /// `dr`, `ipip`, `gue`: the client itself, and the backend answers it directly.
    ClientDirectly,
}

/// The tuple by which a backend will know a connection.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    pub(super) reply: FlowKey,
    /// None where replies do not come by.
    pub(super) reply_hash: Option<u64>,
    path: Path,
    /// The connection that rests on the same tuple.
    pub(super) resting: Option<ConnectionIndex>,
}

impl Choice {
    pub(super) fn connection(&self, opening: &Opening<'_>) -> Connection {
        let original = opening.original;
        let sight = if self.reply_hash.is_some() { Sight::Both } else { Sight::OriginalOnly };
        let standing = Standing {
            track: match opening.segment {
                Some(segment) => Track::tcp(segment, sight),
                None if opening.is_one_packet => Track::one_packet(original.protocol, sight),
                None => Track::datagram(original.protocol, sight),
            },
            last_seen: opening.now,
            backend: opening.backend,
            link: opening.link,
            path: self.path,
            is_one_packet: opening.is_one_packet,
        };
        Connection::new(&original, &self.reply, standing)
    }
}

impl Conntrack {
    /// The tuple for a new connection. A source port is taken from its pool.
    pub(super) fn choose_way(&mut self, opening: &Opening<'_>) -> Result<Choice, OpenError> {
        let original = opening.original;
        // The backend's answer to the client itself.
        let reply = FlowKey {
            src: opening.backend_address,
            dst: original.src,
            src_port: if opening.backend_port == 0 { original.dst_port } else { opening.backend_port },
            dst_port: original.src_port,
            protocol: original.protocol,
        };
        match opening.source {
            Source::Local { addresses, preferred_port } => {
                self.choose_port(opening, addresses, preferred_port).ok_or(OpenError::PortsExhausted)
            }
            Source::Client => {
                let hash = self.hasher.hash(&reply);
                let resting = match self.table.find(&reply.pack(), hash) {
                    None => None,
                    Some((index, _)) if !self.table.record(index).is_open() => Some(index),
                    Some(_) => return Err(OpenError::TupleInUse),
                };
                Ok(Choice { reply, reply_hash: Some(hash), path: Path::Client, resting })
            }
            Source::ClientDirectly => Ok(Choice { reply, reply_hash: None, path: Path::OneWay, resting: None }),
        }
    }

    /// Takes a port of the first local address that has one, beginning with an address that the hash chooses.
    fn choose_port(&mut self, opening: &Opening<'_>, addresses: &[IpAddr], preferred: Option<u16>) -> Option<Choice> {
        let (before, after) = addresses.split_at(spread(opening.hash, addresses.len()));
        let fits = |local: &&IpAddr| local.is_ipv4() == opening.backend_address.is_ipv4();
        after.iter().chain(before).filter(fits).find_map(|&local| self.choose_port_at(opening, local, preferred))
    }

    fn choose_port_at(&mut self, opening: &Opening<'_>, local: IpAddr, preferred: Option<u16>) -> Option<Choice> {
        let protocol = opening.original.protocol;
        let key = PoolKey {
            local,
            protocol,
            backend: opening.backend_address,
            backend_port: if protocol == Protocol::Icmp { 0 } else { opening.backend_port },
        };
        let Self { table, pools, reserved, hasher, .. } = self;
        let (path, backend_port) = match key.backend_port {
            0 => (Path::LocalToAnyPort, opening.original.dst_port),
            port => (Path::Local, port),
        };
        let mut pool = pools.ensure(&key, backend_port, reserved);
        // What a lookup will read is fetched before anything else is waited for.
        let aim = |port: u16| {
            let reply = FlowKey { src_port: backend_port, dst_port: port, ..key.answers() };
            let hash = hasher.hash(&reply);
            table.prefetch_entry(hash);
            (hash, Choice { reply, reply_hash: Some(hash), path, resting: None })
        };
        let look = |(hash, choice): &(u64, Choice)| table.find(&choice.reply.pack(), *hash);

        if let Some(port) = preferred {
            pool.prefetch(port);
            let aimed = aim(port);
            if pool.is_waiting(port) && look(&aimed).is_none() {
                pool.take(port);
                return Some(aimed.1);
            }
        }
        for _ in 0..PORT_TRIES {
            let port = pool.take_oldest()?;
            let aimed = aim(port);
            // The next connection of this pool is likely to have the port that is in front now.
            if let Some(next) = pool.front() {
                aim(next);
            }
            match look(&aimed) {
                None => return Some(aimed.1),
                Some((index, Direction::Reply)) if !table.record(index).is_open() => {
                    return Some(Choice { resting: Some(index), ..aimed.1 });
                }
                // In use through another pool: as good as used just now.
                Some(_) => pool.give_back(port),
            }
        }
        None
    }
}

/// A number below `count`, or 0, from the hash bits that the table uses least.
const fn spread(hash: u64, count: usize) -> usize {
    (((hash >> 8) as u32 as u64 * count as u64) >> 32) as usize
}
