//! Flows by number: which client address and port flow `n` has, and which flow an address and port belong to.
//!
//! Both are computed, so a hundred million flows take no memory. Addresses change fastest, and the ports change with
//! them, so that even a few flows differ in both, as those of real clients do: flow `n` of `a` addresses and `p` ports has
//! address number `n mod a` and port number `(n mod a + n ÷ a) mod p`.
//!
//! Clients differ in the last 32 bits of their addresses alone, which in IPv4 is all of them: there are never more flows than
//! that can tell apart. So both versions are reckoned alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The most flows there can be.
pub const MOST_FLOWS: u32 = 100_000_000;

/// Where a client is: what its address and port have of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// The last 32 bits of the address.
    pub host: u32,
    /// The port of TCP or UDP, in host byte order.
    pub port: u16,
}

/// A block of client addresses and ports, and how many flows use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows {
    prefix: IpNet,
    first_host: u32,
    hosts: u32,
    first_port: u16,
    ports: u32,
    count: u32,
}

/// More flows than the clients' addresses and ports can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} flows do not fit in {room}, the number of client addresses times that of client ports")]
pub struct TooManyFlows {
    count: u32,
    room: u64,
}

impl Flows {
    /// `count` flows, 1 to [`MOST_FLOWS`], of the hosts of `prefix` and the ports from `first_port` to `last_port`, which
    /// is not less. The network's own address, which in IPv6 is that of its routers (RFC 4291 §2.6.1), and IPv4's broadcast
    /// address are no hosts, unless the prefix leaves one bit or none.
    ///
    /// # Errors
    /// When there are fewer pairs of an address and a port than flows.
    pub fn new(prefix: IpNet, first_port: u16, last_port: u16, count: u32) -> Result<Self, TooManyFlows> {
        let prefix = prefix.trunc();
        let size = 1u64 << (prefix.max_prefix_len() - prefix.prefix_len()).min(32);
        let network = last_bits(prefix.addr());
        let (first_host, hosts) = match prefix {
            _ if size <= 2 => (network, size),
            IpNet::V4(_) => (network + 1, size - 2),
            IpNet::V6(_) => (network + 1, size - 1),
        };
        let ports = u32::from(last_port.saturating_sub(first_port)) + 1;
        let room = hosts * u64::from(ports);
        if u64::from(count) > room {
            return Err(TooManyFlows { count, room });
        }
        // Below 2³²: the network's own address is left out where there are so many.
        Ok(Self { prefix, first_host, hosts: hosts as u32, first_port, ports, count })
    }

    /// How many there are.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The client of flow `number`, which is below [`Self::count`].
    #[inline(always)]
    pub const fn client(&self, number: u32) -> Client {
        let (row, column) = (number / self.hosts, number % self.hosts);
        let port = self.wrap(column % self.ports + row);
        Client {
            host: self.first_host + column,
            // Below 65536: the last port is one.
            port: self.first_port + port as u16,
        }
    }

    /// The number of a client's flow; `None` when it has none.
    #[inline(always)]
    pub fn number(&self, client: Client) -> Option<u32> {
        let column = client.host.wrapping_sub(self.first_host);
        let port = u32::from(client.port.wrapping_sub(self.first_port));
        if column >= self.hosts || port >= self.ports {
            return None;
        }
        let row = self.wrap(port + self.ports - column % self.ports);
        let number = u64::from(row) * u64::from(self.hosts) + u64::from(column);
        (number < u64::from(self.count)).then_some(number as u32)
    }

    /// `port` modulo the number of ports, for one that is less than twice that: a comparison is cheaper than a division.
    #[inline(always)]
    const fn wrap(&self, port: u32) -> u32 {
        if port >= self.ports { port - self.ports } else { port }
    }

    /// Whether an address is in the clients' prefix.
    #[inline(always)]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.prefix.contains(&address)
    }

    /// The whole address of a client.
    pub const fn address(&self, client: Client) -> IpAddr {
        match self.prefix {
            IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(client.host)),
            IpNet::V6(prefix) => {
                let network = prefix.addr().to_bits() & !LAST_BITS;
                IpAddr::V6(Ipv6Addr::from_bits(network | client.host as u128))
            }
        }
    }

    /// What all clients have in their addresses, with zeros for the rest.
    pub const fn network(&self) -> IpAddr {
        self.address(Client { host: 0, port: 0 })
    }

    /// What a client with this address in IPv6 has of its own; `None` if its other bits are not the clients'.
    #[inline(always)]
    pub const fn host_v6(&self, address: Ipv6Addr) -> Option<u32> {
        let IpNet::V6(prefix) = self.prefix else { return None };
        let differs = (address.to_bits() ^ prefix.addr().to_bits()) & !LAST_BITS;
        if differs == 0 { Some(address.to_bits() as u32) } else { None }
    }

    /// The clients' prefix.
    pub const fn prefix(&self) -> IpNet {
        self.prefix
    }
}

/// The bits in which clients differ.
const LAST_BITS: u128 = u32::MAX as u128;

const fn last_bits(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => address.to_bits() as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipnet::{Ipv4Net, Ipv6Net};
    use proptest::prelude::*;

    fn flows(prefix: &str, first_port: u16, last_port: u16, count: u32) -> Flows {
        Flows::new(prefix.parse().unwrap(), first_port, last_port, count).unwrap()
    }

    fn address(flows: &Flows, number: u32) -> String {
        flows.address(flows.client(number)).to_string()
    }

    #[test]
    fn neighbouring_flows_differ_in_address_and_port() {
        for (prefix, first) in [("198.18.0.0/30", 0xc612_0001), ("2001:db8::1:0/126", 0x1_0001)] {
            let flows = flows(prefix, 1024, 1033, 20);
            let clients: Vec<_> = (0..2).map(|number| flows.client(number)).collect();
            let client = |host: u32, port| Client { host: first + host, port };
            assert_eq!(clients, [client(0, 1024), client(1, 1025)]);
            let second_row = flows.client(flows.hosts);
            assert_eq!(second_row, client(0, 1025), "{prefix}");
        }
    }

    #[test]
    fn no_host_has_the_networks_own_address_or_its_broadcast_address() {
        let v4 = flows("10.1.0.0/24", 1, 1, 254);
        assert_eq!((address(&v4, 0), address(&v4, 253)), ("10.1.0.1".to_owned(), "10.1.0.254".to_owned()));
        let v6 = flows("2001:db8::/120", 1, 1, 255);
        assert_eq!((address(&v6, 0), address(&v6, 254)), ("2001:db8::1".to_owned(), "2001:db8::ff".to_owned()));
        let pair = flows("2001:db8::4/127", 1, 1, 2);
        assert_eq!((address(&pair, 0), address(&pair, 1)), ("2001:db8::4".to_owned(), "2001:db8::5".to_owned()));
    }

    #[test]
    fn more_flows_than_addresses_and_ports_are_refused() {
        for prefix in ["10.0.0.7/32", "2001:db8::7/128"] {
            let room = |count| Flows::new(prefix.parse().unwrap(), 1000, 1009, count);
            assert!(room(10).is_ok());
            assert_eq!(room(11).unwrap_err().to_string(), TooManyFlows { count: 11, room: 10 }.to_string());
        }
    }

    #[test]
    fn a_hundred_million_flows_are_all_different() {
        for prefix in ["198.18.0.0/15", "2001:2::/48", "2001:db8::/96", "::/0"] {
            let flows = flows(prefix, 1024, 65535, MOST_FLOWS);
            for number in (0..MOST_FLOWS).step_by(99_991).chain([MOST_FLOWS - 1]) {
                assert_eq!(flows.number(flows.client(number)), Some(number), "{prefix}");
            }
        }
    }

    #[test]
    fn the_bits_that_all_clients_have_are_looked_at_too() {
        let flows = flows("2001:db8:0:7::/64", 1024, 65535, 1000);
        for (address, host) in [
            ("2001:db8:0:7::5", Some(5)),
            ("2001:db8:0:7::ffff:ffff", Some(u32::MAX)),
            ("2001:db8:0:7:0:1:0:5", None),
            ("2001:db8:0:8::5", None),
        ] {
            assert_eq!(flows.host_v6(address.parse().unwrap()), host, "{address}");
        }
    }

    fn prefixes() -> impl Strategy<Value = IpNet> {
        prop_oneof![
            (8..=32u8).prop_map(|length| Ipv4Net::new([10, 0, 0, 0].into(), length).unwrap().into()),
            (8..=128u8)
                .prop_map(|length| Ipv6Net::new([0x2001, 0xdb8, 0, 0, 0, 9, 9, 9].into(), length).unwrap().into()),
        ]
    }

    proptest! {
        #[test]
        fn a_flow_is_found_by_its_client_and_by_no_other(
            prefix in prefixes(), first in any::<u16>(), span in 0..5000u16, share in 0.0..=1.0, pick in 0.0..1.0,
        ) {
            let last = first.saturating_add(span);
            let hosts = Flows::new(prefix, first, last, 1).unwrap().hosts;
            let room = u64::from(hosts) * (u64::from(last - first) + 1);
            let count = ((room.min(u64::from(MOST_FLOWS)) as f64 * share) as u32).max(1);
            let flows = Flows::new(prefix, first, last, count).unwrap();
            let number = (f64::from(count) * pick) as u32;
            let client = flows.client(number);
            prop_assert_eq!(flows.number(client), Some(number));
            let address = flows.address(client);
            prop_assert!(flows.contains(address));
            if let IpAddr::V6(address) = address {
                prop_assert_eq!(flows.host_v6(address), Some(client.host));
            }
            prop_assert!((first..=last).contains(&client.port));
            for stranger in [flows.first_host.wrapping_sub(1), flows.first_host.wrapping_add(flows.hosts)] {
                prop_assert_eq!(flows.number(Client { host: stranger, ..client }), None);
            }
        }
    }
}
