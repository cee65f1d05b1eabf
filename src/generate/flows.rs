//! Flows by number: which client address and port flow `n` has, and which flow an address and port belong to.
//!
//! Both are computed, so a hundred million flows take no memory. Addresses change fastest, and the ports change with
//! them, so that even a few flows differ in both, as those of real clients do: flow `n` of `a` addresses and `p` ports has
//! address number `n mod a` and port number `(n mod a + n ÷ a) mod p`.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// The most flows there can be.
pub const MOST_FLOWS: u32 = 100_000_000;

/// Where a client is: its address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// The address.
    pub address: Ipv4Addr,
    /// The port of TCP or UDP, in host byte order.
    pub port: u16,
}

/// A block of client addresses and ports, and how many flows use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows {
    prefix: Ipv4Net,
    first_address: u32,
    addresses: u32,
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
    /// is not less. The network's own address and the broadcast address are no hosts, unless the prefix has 31 bits or 32.
    ///
    /// # Errors
    /// When there are fewer pairs of an address and a port than flows.
    pub fn new(prefix: Ipv4Net, first_port: u16, last_port: u16, count: u32) -> Result<Self, TooManyFlows> {
        let size = 1u64 << (32 - prefix.prefix_len());
        let (first_address, hosts) =
            if size <= 2 { (prefix.network().to_bits(), size) } else { (prefix.network().to_bits() + 1, size - 2) };
        let ports = u32::from(last_port.saturating_sub(first_port)) + 1;
        let room = hosts * u64::from(ports);
        if u64::from(count) > room {
            return Err(TooManyFlows { count, room });
        }
        Ok(Self {
            prefix: prefix.trunc(),
            first_address,
            addresses: hosts.min(u64::from(u32::MAX)) as u32,
            first_port,
            ports,
            count,
        })
    }

    /// How many there are.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The client of flow `number`, which is below [`Self::count`].
    #[inline(always)]
    pub const fn client(&self, number: u32) -> Client {
        let (row, column) = (number / self.addresses, number % self.addresses);
        let port = self.wrap(column % self.ports + row);
        Client {
            address: Ipv4Addr::from_bits(self.first_address + column),
            // Below 65536: the last port is one.
            port: self.first_port + port as u16,
        }
    }

    /// The number of a client's flow; `None` when it has none.
    #[inline(always)]
    pub fn number(&self, client: Client) -> Option<u32> {
        let column = client.address.to_bits().wrapping_sub(self.first_address);
        let port = u32::from(client.port.wrapping_sub(self.first_port));
        if column >= self.addresses || port >= self.ports {
            return None;
        }
        let row = self.wrap(port + self.ports - column % self.ports);
        let number = u64::from(row) * u64::from(self.addresses) + u64::from(column);
        (number < u64::from(self.count)).then_some(number as u32)
    }

    /// `port` modulo the number of ports, for one that is less than twice that: a comparison is cheaper than a division.
    #[inline(always)]
    const fn wrap(&self, port: u32) -> u32 {
        if port >= self.ports { port - self.ports } else { port }
    }

    /// Whether an address is in the clients' prefix.
    #[inline(always)]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.prefix.contains(&address)
    }

    /// The clients' prefix.
    pub const fn prefix(&self) -> Ipv4Net {
        self.prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flows(prefix: &str, first_port: u16, last_port: u16, count: u32) -> Flows {
        Flows::new(prefix.parse().unwrap(), first_port, last_port, count).unwrap()
    }

    #[test]
    fn neighbouring_flows_differ_in_address_and_port() {
        let flows = flows("198.18.0.0/30", 1024, 1033, 20);
        let clients: Vec<_> = (0..4).map(|number| flows.client(number)).collect();
        let client = |last, port| Client { address: [198, 18, 0, last].into(), port };
        assert_eq!(clients, [client(1, 1024), client(2, 1025), client(1, 1025), client(2, 1026)]);
    }

    #[test]
    fn no_host_has_the_networks_own_address_or_its_broadcast_address() {
        let flows = flows("10.1.0.0/24", 1, 1, 254);
        assert_eq!(flows.client(0).address, Ipv4Addr::new(10, 1, 0, 1));
        assert_eq!(flows.client(253).address, Ipv4Addr::new(10, 1, 0, 254));
    }

    #[test]
    fn more_flows_than_addresses_and_ports_are_refused() {
        let room = |count| Flows::new("10.0.0.7/32".parse().unwrap(), 1000, 1009, count);
        assert!(room(10).is_ok());
        assert_eq!(room(11).unwrap_err().to_string(), TooManyFlows { count: 11, room: 10 }.to_string());
    }

    #[test]
    fn a_hundred_million_flows_are_all_different() {
        let flows = flows("198.18.0.0/15", 1024, 65535, MOST_FLOWS);
        for number in (0..MOST_FLOWS).step_by(99_991) {
            assert_eq!(flows.number(flows.client(number)), Some(number));
        }
        assert_eq!(flows.number(flows.client(MOST_FLOWS - 1)), Some(MOST_FLOWS - 1));
    }

    proptest! {
        #[test]
        fn a_flow_is_found_by_its_client_and_by_no_other(
            length in 8..=32u8, first in any::<u16>(), span in 0..5000u16, share in 0.0..=1.0, pick in 0.0..1.0,
        ) {
            let last = first.saturating_add(span);
            let prefix = Ipv4Net::new([10, 0, 0, 0].into(), length).unwrap();
            let hosts = Flows::new(prefix, first, last, 1).unwrap().addresses;
            let room = u64::from(hosts) * (u64::from(last - first) + 1);
            let count = ((room.min(u64::from(MOST_FLOWS)) as f64 * share) as u32).max(1);
            let flows = Flows::new(prefix, first, last, count).unwrap();
            let number = (f64::from(count) * pick) as u32;
            let client = flows.client(number);
            prop_assert_eq!(flows.number(client), Some(number));
            prop_assert!(flows.contains(client.address));
            prop_assert!((first..=last).contains(&client.port));
            let stranger = Client { address: [192, 0, 2, 1].into(), ..client };
            prop_assert_eq!(flows.number(stranger), None);
        }
    }
}
