//! The command line: EAL's options, `--`, leat-gen's own.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use clap::{CommandFactory, Parser};

use super::flows::{Flows, MOST_FLOWS};
use super::frame;
use super::order::Order;
use super::plan::{Answer, Clients, NextHop, Plan, Protocol, Traffic};
use super::values::{amount, clients, decimal, default_clients, gateway, given, order, ports, service, time, whole};
use super::{sizes, stamp, values};
use crate::config::convention::{Arguments, Instead, Program};
use crate::config::{Failure, value};
use crate::io::BURST;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Invocation {
    /// Print this on standard output and exit with status 0.
    Help(String),
    /// leat-gen's name, version and revision, on one line.
    Version(String),
    /// Generate.
    Run(Box<Run>),
}

/// A whole, valid instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// EAL's arguments as they were given, without the program's name; [`crate::config::eal::complete`] adds what is
    /// missing.
    pub eal: Vec<String>,
    /// What to do.
    pub plan: Plan,
    /// Whether the report is JSON.
    pub json: bool,
    /// Whether to say nothing while it runs.
    pub quiet: bool,
}

/// leat-gen's own options. The texts are the help.
#[derive(Debug, Parser)]
#[command(
    name = "leat-gen",
    version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("LEAT_REVISION"), ")"),
    about = "leat-gen sends packets of many flows to a load balancer, and measures what comes back",
    override_usage = "leat-gen [EAL options] -- --vip [PROTO:]ADDR:PORT [options]\n       \
                      leat-gen [EAL options] -- --reflect --backend ADDR ... [options]",
    after_help = EXAMPLES,
    no_binary_name = true,
    max_term_width = 110
)]
struct Options {
    /// The service to send to; PROTO is tcp (default) or udp, and an IPv6 address stands in [brackets]
    #[arg(long, value_name = "[PROTO:]ADDR:PORT", help_heading = "Who")]
    vip: Option<String>,

    /// An address to play as a backend, repeatable: answers ARP or neighbour solicitations for it and returns its packets. It may
    /// be of the other version of IP than the service. The backends' port is the second one, or the first where there is one only
    #[arg(long, value_name = "ADDR", help_heading = "Who")]
    backend: Vec<String>,

    /// Only play backends
    #[arg(long, help_heading = "Who")]
    reflect: bool,

    /// The backends' answers go past the balancer (modes dr, ipip, gue): what reaches a backend has come back
    #[arg(long, help_heading = "Who")]
    direct: bool,

    /// The clients' addresses (default 198.18.0.0/15, or 2001:2::/48 if the service is of IPv6)
    #[arg(long, value_name = "ADDR/LEN", help_heading = "Who")]
    clients: Option<String>,

    /// The clients' ports (default 1024-65535)
    #[arg(long, value_name = "FIRST-LAST", help_heading = "Who")]
    client_ports: Option<String>,

    /// Ethernet address to send to (default: that of the gateway, found by ARP or neighbour discovery)
    #[arg(long, value_name = "MAC", help_heading = "Who")]
    to_mac: Option<String>,

    /// The next hop on the way to the service (default: the service's own address)
    #[arg(long, value_name = "ADDR", help_heading = "Who")]
    gateway: Option<String>,

    /// Ethernet address to send from and to tell who asks (default: the port's)
    #[arg(long, value_name = "MAC", help_heading = "Who")]
    mac: Option<String>,

    /// How many flows, 1 to 100M (default 1000)
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "What")]
    flows: Option<String>,

    /// Which flow is next: sequential (default), random, or zipf, by a power law with the exponent S (default 1)
    #[arg(long, value_name = "sequential|random|zipf[=S]", help_heading = "What")]
    order: Option<String>,

    /// Where the random order begins (default 1)
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "What")]
    seed: Option<String>,

    /// Frame sizes with their check sequence, 64 to 1518 (default 64), in IPv6 84 to 1518 (default 84): one; several, each as
    /// often as its weight; or imix, which is 64*7,594*4,1518 and in IPv6 84*7,594*4,1518
    #[arg(long, value_name = "SIZE[*WEIGHT],...|imix", help_heading = "What")]
    size: Option<String>,

    /// Percentage of TCP segments that are SYNs (default 0); with 100 no flow is opened beforehand
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true, help_heading = "What")]
    syn_share: Option<String>,

    /// Flows opened a second, by a SYN each, before TCP is measured (default 200k); 0 for not at all
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, help_heading = "What")]
    open_rate: Option<String>,

    /// Whole TCP connections: SYN, a request, FIN; rate and count are those of connections then
    #[arg(long, help_heading = "What")]
    connections: bool,

    /// Packets a second over all lcores, with k or M behind it (default: as many as possible)
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, help_heading = "How much")]
    rate: Option<String>,

    /// Packets over all lcores, with k or M behind it (default: no end)
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "How much")]
    count: Option<String>,

    /// How long to send, as 500ms, 10s, 5m (default: until SIGINT or SIGTERM)
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, help_heading = "How much")]
    duration: Option<String>,

    /// How long the link and the next hop are waited for before it is given up (default 10s)
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, help_heading = "How much")]
    wait: Option<String>,

    /// Packets that are sent together at most, 1 to 64 (default 32)
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "How much")]
    burst: Option<String>,

    /// The report as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,

    /// No line each second
    #[arg(long, help_heading = "Output")]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  leat-gen -l 1 -a 0000:01:00.0 -a 0000:01:00.1 -- --vip 10.0.0.10:80 --backend 10.0.0.2 --duration 30s
      clients on the first port, a backend on the second, a balancer between them, as fast as possible
  leat-gen -l 1 --no-pci --vdev=net_memif0,role=client,socket=/run/leat/memif.sock -- \\
      --vip udp:10.0.0.10:53 --backend 10.0.0.2 --flows 1M --order random --rate 500k --duration 10s
      both on one port, which is a shared memory interface to a leat beside it
  leat-gen -l 1 --no-pci --vdev=net_null0,no-rx=1 -- --vip 10.0.0.10:80 --to-mac 02:00:00:00:00:fe --open-rate 0 --duration 5s
      how fast is it by itself?
  leat-gen -l 1 -a 0000:01:00.0 -- --vip [2001:db8::10]:80 --backend 2001:db8::2 --backend 10.0.0.3
      clients of IPv6, and backends of both versions, of which the balancer must make one

The report is on standard output, all else on standard error. Exit status: 0 after an orderly end, whatever was lost; 1 when
EAL or a device fails or the next hop does not answer; 2 for arguments that cannot be meant.";

const PROGRAM: Program = Program { name: "leat-gen", anywhere: &["--help", "--version"], with_options: &[] };

const HOW_TO_START: &str = "write `leat-gen [EAL options] -- --vip ADDR:PORT ...`; `leat-gen --help` explains";

/// Flows when nothing else is said.
const DEFAULT_FLOWS: u32 = 1000;
/// Flows opened a second when nothing else is said: what a slow balancer can do, too.
const DEFAULT_OPEN_RATE: f64 = 200_000.0;
/// How long the balancer may take to be there when nothing else is said.
const DEFAULT_WAIT: Duration = Duration::from_secs(10);
/// Packets sent together when nothing else is said.
const DEFAULT_BURST: usize = 32;
/// The highest rate that can be asked for, a second: more than any port carries.
const HIGHEST_RATE: f64 = 1e9;

/// leat-gen's own options, for the manual page.
pub fn command() -> clap::Command {
    Options::command()
}

/// Understands the arguments, without the program's name.
///
/// # Errors
/// What is wrong with them: print it on standard error and exit with status 2.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, Failure> {
    let Arguments { eal, own } = PROGRAM.split(args, &Options::command())?;
    let Some(own) = own else {
        let what = if eal.is_empty() { "there is nothing to do" } else { "there is no `--` with --vip after it" };
        return Err(PROGRAM.failure(format_args!("{what}; {HOW_TO_START}")));
    };
    let options = match Options::try_parse_from(&own) {
        Ok(options) => options,
        Err(error) => {
            return PROGRAM.instead(&error).map(|instead| match instead {
                Instead::Help(text) => Invocation::Help(text),
                Instead::Version(text) => Invocation::Version(text),
            });
        }
    };
    let (json, quiet) = (options.json, options.quiet);
    let plan = options.plan().map_err(|complaint| PROGRAM.failure(complaint))?;
    Ok(Invocation::Run(Box::new(Run { eal, plan, json, quiet })))
}

impl Options {
    fn plan(&self) -> Result<Plan, String> {
        let backends = self.backends()?;
        if self.reflect && backends.is_empty() {
            return Err("--reflect needs an address to answer for; write --backend ADDR at least once".to_owned());
        }
        if self.reflect && self.direct {
            return Err("--reflect returns packets and --direct does not; leave one of them out".to_owned());
        }
        Ok(Plan {
            clients: if self.reflect { self.no_clients()? } else { Some(self.clients()?) },
            backends,
            answer: if self.direct { Answer::Direct } else { Answer::Back },
            mac: given("--mac", &self.mac, value::station)?,
            duration: time("--duration", &self.duration)?,
            burst: given("--burst", &self.burst, |text| whole("burst", text, 1, BURST as u64))?
                .map_or(DEFAULT_BURST, |burst| burst as usize),
        })
    }

    fn backends(&self) -> Result<Vec<IpAddr>, String> {
        let mut backends = Vec::new();
        for text in &self.backend {
            let address = value::host("backend", text).map_err(|complaint| format!("--backend {text}: {complaint}"))?;
            if backends.contains(&address) {
                return Err(format!("--backend {text}: it is there twice; write it once"));
            }
            backends.push(address);
        }
        Ok(backends)
    }

    /// Nobody sends, so nothing can be said about what is sent.
    fn no_clients(&self) -> Result<Option<Clients>, String> {
        let clients_only = [
            ("--vip", self.vip.is_some()),
            ("--clients", self.clients.is_some()),
            ("--client-ports", self.client_ports.is_some()),
            ("--to-mac", self.to_mac.is_some()),
            ("--gateway", self.gateway.is_some()),
            ("--flows", self.flows.is_some()),
            ("--order", self.order.is_some()),
            ("--seed", self.seed.is_some()),
            ("--size", self.size.is_some()),
            ("--syn-share", self.syn_share.is_some()),
            ("--open-rate", self.open_rate.is_some()),
            ("--connections", self.connections),
            ("--rate", self.rate.is_some()),
            ("--count", self.count.is_some()),
            ("--wait", self.wait.is_some()),
        ];
        match clients_only.iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => Err(format!("{name} is about clients, and --reflect has none; leave one of them out")),
            None => Ok(None),
        }
    }

    fn clients(&self) -> Result<Clients, String> {
        let Some(vip) = &self.vip else {
            return Err(format!("there is no --vip to send to; {HOW_TO_START}"));
        };
        let (protocol, address, port) = service(vip).map_err(|complaint| format!("--vip {vip}: {complaint}"))?;
        let (flows, backends) = (self.flows(address)?, self.backends()?);
        if flows.contains(address) {
            return Err(format!(
                "--vip {vip}: it is one of the clients {}; write another prefix after --clients",
                flows.prefix()
            ));
        }
        if let Some(backend) = backends.iter().find(|backend| flows.contains(**backend)) {
            return Err(format!(
                "--backend {backend}: it is one of the clients {}; write another prefix after --clients",
                flows.prefix()
            ));
        }
        let count = given("--count", &self.count, |text| amount("count", text, 1.0, 1e15))?;
        // In a tunnel they grow, too, but whether there is one only the balancer knows.
        let grows = !self.direct && backends.iter().any(IpAddr::is_ipv6);
        let range = sizes::range(address.is_ipv6(), grows);
        Ok(Clients {
            vip: address,
            port,
            protocol,
            flows,
            order: given("--order", &self.order, order)?.unwrap_or(Order::Sequential),
            seed: given("--seed", &self.seed, |text| whole("seed", text, 0, u64::MAX))?.unwrap_or(1),
            sizes: match given("--size", &self.size, |text| values::sizes(text, &range))? {
                Some(sizes) => sizes,
                None => values::sizes(&range.start().to_string(), &range)?,
            },
            traffic: self.traffic(protocol)?,
            rate: given("--rate", &self.rate, |text| amount("rate", text, 0.001, HIGHEST_RATE))?,
            count: count.map(|count| count as u64),
            next_hop: self.next_hop(address)?,
            wait: time("--wait", &self.wait)?.unwrap_or(DEFAULT_WAIT),
        })
    }

    /// The flows to the service at `vip`.
    fn flows(&self, vip: IpAddr) -> Result<Flows, String> {
        let count = given("--flows", &self.flows, |text| amount("flows", text, 1.0, f64::from(MOST_FLOWS)))?;
        let count = count.map_or(DEFAULT_FLOWS, |count| count as u32);
        let prefix = given("--clients", &self.clients, |text| clients(text, vip))?;
        let prefix = prefix.unwrap_or_else(|| default_clients(vip));
        let (first, last) = given("--client-ports", &self.client_ports, ports)?.unwrap_or((1024, u16::MAX));
        Flows::new(prefix, first, last, count).map_err(|error| format!("--flows {count}: {error}"))
    }

    fn traffic(&self, protocol: Protocol) -> Result<Traffic, String> {
        let syn_share = given("--syn-share", &self.syn_share, |text| decimal("SYN share", text, 0.0, 100.0))?;
        let open_rate = given("--open-rate", &self.open_rate, |text| amount("open rate", text, 0.0, HIGHEST_RATE))?;
        let tcp_only = [
            ("--syn-share", syn_share.is_some()),
            ("--open-rate", open_rate.is_some()),
            ("--connections", self.connections),
        ];
        if let (Protocol::Udp, Some((name, _))) = (protocol, tcp_only.iter().find(|(_, is_given)| *is_given)) {
            return Err(format!("{name} is about TCP, and the service is UDP's; leave it out, or write --vip tcp:..."));
        }
        if self.connections {
            let packets_only =
                [("--syn-share", syn_share.is_some()), ("--open-rate", open_rate.is_some()), ("--direct", self.direct)];
            if let Some((name, _)) = packets_only.iter().find(|(_, is_given)| *is_given) {
                return Err(format!("{name} cannot be used with --connections; leave one of them out"));
            }
            return Ok(Traffic::Connections);
        }
        let share = syn_share.unwrap_or(0.0) / 100.0;
        let needs_opening = protocol == Protocol::Tcp && share < 1.0;
        let open_rate = open_rate.unwrap_or(DEFAULT_OPEN_RATE);
        Ok(Traffic::Packets {
            syns: (share * (1u64 << 32) as f64) as u64,
            open_rate: (needs_opening && open_rate > 0.0).then_some(open_rate),
        })
    }

    fn next_hop(&self, vip: IpAddr) -> Result<NextHop, String> {
        let mac = given("--to-mac", &self.to_mac, value::station)?;
        let gateway = given("--gateway", &self.gateway, |text| gateway(text, vip))?;
        match (mac, gateway) {
            (Some(_), Some(_)) => Err("--to-mac and --gateway both say where to send to; leave one out".to_owned()),
            (Some(mac), None) => Ok(NextHop::Mac(mac)),
            (None, gateway) => Ok(NextHop::Address(gateway.unwrap_or(vip))),
        }
    }
}

/// Every payload has room for a stamp, whatever the frame's size.
const _: () = {
    let shortest = [*sizes::range(false, false).start(), *sizes::range(true, false).start()];
    let versions = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let mut at = 0;
    while at < 2 {
        assert!(shortest[at] as usize - 4 - frame::headers_len(versions[at], Protocol::Tcp) >= stamp::SHORT);
        at += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_guide_has_every_option() {
        let guide = include_str!("../../docs/GENERATOR.md");
        for option in Options::command().get_arguments() {
            let name = option.get_long().unwrap();
            assert!(guide.contains(&format!("`--{name}")), "--{name}");
        }
    }

    fn plan(args: &str) -> Plan {
        match parse(args.split_whitespace().map(OsString::from)) {
            Ok(Invocation::Run(run)) => run.plan,
            other => panic!("{args}: {other:?}"),
        }
    }

    fn clients(args: &str) -> Clients {
        plan(&format!("-l 0 -- --vip 10.0.0.10:80 {args}")).clients.unwrap()
    }

    #[test]
    fn what_is_not_said_has_a_value() {
        let Clients { vip, port, protocol, flows, order, sizes, traffic, rate, count, next_hop, .. } = clients("");
        assert_eq!((vip, port, protocol), ([10, 0, 0, 10].into(), 80, Protocol::Tcp));
        assert_eq!((flows.count(), flows.prefix().to_string().as_str()), (1000, "198.18.0.0/15"));
        assert_eq!((order, sizes.distinct(), rate, count), (Order::Sequential, &[60][..], None, None));
        assert_eq!(traffic, Traffic::Packets { syns: 0, open_rate: Some(200_000.0) });
        assert_eq!(next_hop, NextHop::Address(vip));
        let Plan { backends, answer, mac, duration, burst, .. } = plan("-- --vip 10.0.0.10:80");
        assert_eq!((backends.len(), answer, mac, duration, burst), (0, Answer::Back, None, None, 32));
    }

    #[test]
    fn a_service_of_ipv6_has_clients_sizes_and_gateways_of_ipv6() {
        let said = |args: &str| plan(&format!("-- {args}")).clients.unwrap();
        for (vip, protocol) in [
            ("[2001:db8::10]:80", Protocol::Tcp),
            ("tcp:[2001:db8::10]:80", Protocol::Tcp),
            ("udp:[2001:db8::10]:80", Protocol::Udp),
        ] {
            let found = said(&format!("--vip {vip}"));
            let address: IpAddr = "2001:db8::10".parse().unwrap();
            assert_eq!((found.vip, found.port, found.protocol), (address, 80, protocol), "{vip}");
            assert_eq!(found.flows.prefix().to_string(), "2001:2::/48");
            assert_eq!((found.sizes.distinct(), found.next_hop), (&[80][..], NextHop::Address(address)));
        }
        let mix = said("--vip [2001:db8::10]:80 --clients fd00:7::/120 --gateway fe80::1 --size imix");
        assert_eq!(mix.flows.prefix().to_string(), "fd00:7::/120");
        assert_eq!(mix.sizes.distinct(), [80, 590, 1514]);
        assert_eq!(mix.next_hop, NextHop::Address("fe80::1".parse().unwrap()));
    }

    #[test]
    fn frames_that_grow_on_their_way_are_no_longer_than_they_may_be_then() {
        let sizes = |args: &str| clients(&format!("--size imix {args}")).sizes.distinct().to_vec();
        assert_eq!(sizes("--backend 10.0.0.2 --backend 2001:db8::2"), [60, 590, 1494]);
        assert_eq!(sizes("--backend 10.0.0.2"), [60, 590, 1514]);
        assert_eq!(sizes("--backend 2001:db8::2 --direct"), [60, 590, 1514]);
    }

    #[test]
    fn amounts_are_read_with_their_units() {
        let said =
            clients("--flows 1.5M --rate 250k --count 3G --order zipf=0.8 --size imix --syn-share 50 --open-rate 1M");
        assert_eq!((said.flows.count(), said.rate, said.count), (1_500_000, Some(250_000.0), Some(3_000_000_000)));
        assert_eq!((said.order, said.sizes.distinct()), (Order::Zipf(0.8), &[60, 590, 1514][..]));
        assert_eq!(said.traffic, Traffic::Packets { syns: 1 << 31, open_rate: Some(1e6) });
    }

    #[test]
    fn flows_are_opened_only_where_that_means_something() {
        let opened = |args: &str| matches!(clients(args).traffic, Traffic::Packets { open_rate: Some(_), .. });
        assert!(opened("") && opened("--syn-share 99"));
        assert!(!opened("--syn-share 100") && !opened("--open-rate 0"));
        assert!(matches!(clients("--connections").traffic, Traffic::Connections));
        let udp = plan("-- --vip udp:10.0.0.10:53").clients.unwrap();
        assert_eq!(udp.traffic, Traffic::Packets { syns: 0, open_rate: None });
    }

    #[test]
    fn backends_may_be_all_that_is_played() {
        let Plan { clients, backends, .. } = plan("-l 0 -- --reflect --backend 10.0.0.2 --backend 10.0.0.3");
        assert_eq!((clients, backends.len()), (None, 2));
    }
}
