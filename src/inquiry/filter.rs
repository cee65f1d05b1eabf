//! Which connections, or packets, somebody wants to hear of: terms such as `client=10.0.0.0/24`, all of which must hold.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::conntrack::{Connection, State};
use crate::flow::{FlowKey, Protocol, split_endpoint};

/// An address or a prefix, and a port if that matters: `10.0.0.2`, `10.0.0.0/24`, `10.0.0.2:80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    prefix: IpNet,
    port: Option<u16>,
}

/// The terms. Without any it lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The protocol of the flow.
    pub protocol: Option<Protocol>,
    /// Where the client is.
    pub client: Option<Side>,
    /// Where the client sends to.
    pub vip: Option<Side>,
    /// Where that is sent on to.
    pub backend: Option<Side>,
    /// Any side of it, the local address among them.
    pub host: Option<Side>,
    /// The name of its service.
    pub service: Option<String>,
    /// Where the connection stands.
    pub state: Option<State>,
}

/// A term that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// There is no such term.
    #[error("{0:?} is no term; there are protocol, client, vip, backend, host, service and state, each as TERM=VALUE")]
    Unknown(String),
    /// It stands there twice.
    #[error("{0} is given twice")]
    Twice(&'static str),
    /// Its value does not fit.
    #[error("{term}={value}: {problem}")]
    Value {
        /// Which.
        term: &'static str,
        /// Its value.
        value: String,
        /// What would be right.
        problem: String,
    },
}

impl FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let so = "write ADDR, ADDR:PORT or ADDR/LEN";
            // Without brackets a port would be a part of the address.
            if text.bytes().filter(|byte| *byte == b':').count() > 1 {
                format!("{so}, IPv6 without a zone, and in [brackets] before a port")
            } else {
                so.to_owned()
            }
        };
        let (address, port) = split_endpoint(text).ok_or_else(wrong)?;
        let prefix = match address.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => address.parse().map_err(|_| wrong())?,
        };
        match prefix.network() {
            IpAddr::V6(v6) if prefix.prefix_len() >= 96 && v6.to_ipv4_mapped().is_some() => {
                Err("no packet has an IPv4 address in IPv6's way; write it as 10.0.0.1".to_owned())
            }
            _ => Ok(Self { prefix, port }),
        }
    }
}

impl Side {
    /// Whether `port` at `address` is there.
    pub fn is(&self, address: IpAddr, port: u16) -> bool {
        self.prefix.contains(&address) && self.port.is_none_or(|wanted| wanted == port)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_one = self.prefix.prefix_len() == self.prefix.max_prefix_len();
        let place = if is_one { self.prefix.addr().to_string() } else { self.prefix.to_string() };
        match self.port {
            None => f.write_str(&place),
            Some(port) if place.contains(':') => write!(f, "[{place}]:{port}"),
            Some(port) => write!(f, "{place}:{port}"),
        }
    }
}

impl Filter {
    /// Adds the term `term` with `value`.
    ///
    /// # Errors
    ///
    /// As [`FilterError`] says.
    pub fn add(&mut self, term: &str, value: &str) -> Result<(), FilterError> {
        match term {
            "protocol" => set(&mut self.protocol, "protocol", value, |value| {
                let known = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp];
                let found = known.into_iter().find(|protocol| protocol.to_string() == value);
                found.ok_or_else(|| "there are tcp, udp and icmp".to_owned())
            }),
            "client" => set(&mut self.client, "client", value, str::parse),
            "vip" => set(&mut self.vip, "vip", value, str::parse),
            "backend" => set(&mut self.backend, "backend", value, str::parse),
            "host" => set(&mut self.host, "host", value, str::parse),
            "service" => set(&mut self.service, "service", value, |value| Ok(value.to_owned())),
            "state" => set(&mut self.state, "state", value, |value| {
                State::named(value).ok_or_else(|| {
                    let names: Vec<_> = State::names().collect();
                    format!("there are {}", names.join(", "))
                })
            }),
            other => Err(FilterError::Unknown(other.to_owned())),
        }
    }

    /// Whether there is no term.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `connection` with this backend is let through, but for the service's name.
    pub fn matches_connection(&self, connection: &Connection, backend: Option<(IpAddr, u16)>) -> bool {
        let original = connection.original_key();
        let local = connection.has_replies().then(|| connection.reply_key());
        self.state.is_none_or(|state| state == connection.state())
            && self.matches_flow(&original, backend)
            && self.host.is_none_or(|host| {
                let [client, vip] = [(original.src, original.src_port), (original.dst, original.dst_port)];
                let local = local.map(|reply| (reply.dst, reply.dst_port));
                [Some(client), Some(vip), local, backend].into_iter().flatten().any(|(at, port)| host.is(at, port))
            })
    }

    /// Whether a client's flow with this backend is let through, but for the service's name, the state and the host.
    pub fn matches_flow(&self, original: &FlowKey, backend: Option<(IpAddr, u16)>) -> bool {
        self.protocol.is_none_or(|protocol| protocol == original.protocol)
            && self.client.is_none_or(|client| client.is(original.src, original.src_port))
            && self.vip.is_none_or(|vip| vip.is(original.dst, original.dst_port))
            && self.backend.is_none_or(|wanted| backend.is_some_and(|(address, port)| wanted.is(address, port)))
    }
}

fn set<T>(
    place: &mut Option<T>,
    term: &'static str,
    value: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<(), FilterError> {
    if place.is_some() {
        return Err(FilterError::Twice(term));
    }
    let wrong = |problem| FilterError::Value { term, value: value.to_owned(), problem };
    *place = Some(read(value).map_err(wrong)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(terms: &[(&str, &str)]) -> Result<Filter, FilterError> {
        let mut filter = Filter::default();
        terms.iter().try_for_each(|(term, value)| filter.add(term, value)).map(|()| filter)
    }

    fn flow() -> FlowKey {
        FlowKey {
            src: [10, 0, 0, 1].into(),
            dst: [10, 0, 0, 10].into(),
            src_port: 40000,
            dst_port: 80,
            protocol: Protocol::Tcp,
        }
    }

    #[test]
    fn all_terms_must_hold() {
        let backend = Some(([10, 0, 0, 2].into(), 8080));
        for (terms, expected) in [
            (&[][..], true),
            (&[("client", "10.0.0.1")], true),
            (&[("client", "10.0.0.1:40000"), ("vip", "10.0.0.10:80"), ("protocol", "tcp")], true),
            (&[("client", "10.0.0.0/24"), ("backend", "10.0.0.2:8080")], true),
            (&[("client", "10.0.0.1:40001")], false),
            (&[("client", "10.0.1.0/24")], false),
            (&[("client", "10.0.0.1"), ("vip", "10.0.0.11")], false),
            (&[("backend", "10.0.0.3")], false),
            (&[("protocol", "udp")], false),
        ] {
            assert_eq!(filter(terms).unwrap().matches_flow(&flow(), backend), expected, "{terms:?}");
        }
        assert!(!filter(&[("backend", "10.0.0.2")]).unwrap().matches_flow(&flow(), None));
    }

    #[test]
    fn what_cannot_be_meant_is_said_with_what_would_be_right() {
        for (terms, expected) in [
            (&[("color", "red")][..], "\"color\" is no term; there are protocol, client, "),
            (&[("client", "tree")], "client=tree: write ADDR, ADDR:PORT or ADDR/LEN"),
            (&[("client", "10.0.0.1:70000")], "write ADDR, ADDR:PORT"),
            (&[("client", "10.0.0.0/33")], "write ADDR, ADDR:PORT"),
            (&[("client", "")], "write ADDR, ADDR:PORT"),
            (&[("client", "2001:db8::1%eth0")], "IPv6 without a zone, and in [brackets] before a port"),
            (&[("client", "[2001:db8::1]80")], "in [brackets] before a port"),
            (&[("client", "2001:db8::/129")], "write ADDR, ADDR:PORT"),
            (&[("host", "::ffff:10.0.0.1")], "host=::ffff:10.0.0.1: no packet has an IPv4 address in IPv6's way"),
            (&[("vip", "[::ffff:10.0.0.1]:80")], "write it as 10.0.0.1"),
            (&[("vip", "10.0.0.1"), ("vip", "10.0.0.1")], "vip is given twice"),
            (&[("protocol", "sctp")], "protocol=sctp: there are tcp, udp and icmp"),
            (&[("state", "asleep")], "state=asleep: there are syn_sent, syn_received, established, "),
        ] {
            let error = filter(terms).unwrap_err().to_string();
            assert!(error.contains(expected), "{terms:?}: {error}");
        }
    }

    #[test]
    fn a_side_reads_as_it_was_written() {
        for text in [
            "10.0.0.1",
            "10.0.0.1:80",
            "10.0.0.0/24",
            "10.0.0.0/24:80",
            "2001:db8::1",
            "[2001:db8::1]:80",
            "2001:db8::/32",
            "[2001:db8::/32]:80",
        ] {
            assert_eq!(text.parse::<Side>().unwrap().to_string(), text);
        }
    }
}
