//! What `--check` prints: everything that would run, the defaults and leat's own additions included.

use std::fmt::Write;

use super::cli::Run;
use super::{Config, Health, Interface, Service, eal, timeouts, value};
use crate::conntrack::ClientLimits;
use crate::flow::Endpoint;
use crate::scheduler::Algorithm;
use crate::service::{ClientAddress, SequenceNumbers, SynProxy, Tunnel};
use crate::wire::{ipv4, ipv6};

/// A page of text for people, with a line feed at its end. `eal` are the arguments that EAL would get;
/// `bytes_per_connection` is what one entry of the connection table takes.
pub fn summary(run: &Run, eal: &eal::Completed, bytes_per_connection: usize) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(&mut page, run, eal, bytes_per_connection);
    page
}

fn write_page(page: &mut String, run: &Run, eal: &eal::Completed, bytes_per_connection: usize) -> std::fmt::Result {
    let Run { config, trace, warnings, file, .. } = run;
    match file {
        Some(file) => writeln!(page, "{} is right. This would run:", file.display())?,
        None => writeln!(page, "The arguments are right. This would run:")?,
    }
    writeln!(page)?;
    writeln!(page, "EAL          {}", eal.args.join(" "))?;
    for note in &eal.notes {
        writeln!(page, "             ({note})")?;
    }
    write_settings(page, config, *trace, bytes_per_connection)?;
    write_timeouts(page, config)?;
    write_interfaces(page, &config.interfaces)?;
    for service in &config.services {
        write_service(page, service)?;
    }
    if !warnings.is_empty() {
        writeln!(page)?;
    }
    for warning in warnings {
        writeln!(page, "warning: {warning}")?;
    }
    Ok(())
}

fn write_settings(page: &mut String, config: &Config, trace: bool, bytes_per_connection: usize) -> std::fmt::Result {
    let mebibytes = config.connections.saturating_mul(bytes_per_connection).div_ceil(1 << 20);
    writeln!(page, "mac          {}", config.mac)?;
    writeln!(page, "api          {}", config.api)?;
    if let Some(metrics) = config.metrics {
        writeln!(page, "metrics      http://{metrics}/metrics")?;
    }
    if let Some(user) = &config.user {
        writeln!(page, "user         {user}, once the ports are up")?;
    }
    writeln!(page, "connections  {} per lcore, {mebibytes} MiB of memory when full", config.connections)?;
    if config.buffers > 0 {
        writeln!(page, "buffers      at least {}", config.buffers)?;
    }
    writeln!(page, "hash seed    {}", config.hash_seed)?;
    writeln!(page, "trace        {}", if trace { "on" } else { "off" })?;
    let clients = &config.clients;
    if !clients.is_empty() {
        let (deny, allow) = (clients.deny.len(), clients.allow.len());
        writeln!(page, "clients      {deny} prefixes are denied, {allow} allowed; the longest that matches decides")?;
    }
    if !config.addresses.is_empty() {
        writeln!(page, "addresses    {}", joined(&config.addresses))?;
    }
    Ok(())
}

fn write_timeouts(page: &mut String, config: &Config) -> std::fmt::Result {
    let mut timeouts = config.timeouts;
    writeln!(page, "timeouts")?;
    for (name, timeout) in timeouts::fields(&mut timeouts) {
        writeln!(page, "  {name:<17}{}", value::show_duration(*timeout))?;
    }
    Ok(())
}

fn write_interfaces(page: &mut String, interfaces: &[Interface]) -> std::fmt::Result {
    if interfaces.is_empty() {
        return writeln!(page, "interfaces   every port; replies go where the request came from");
    }
    for interface in interfaces {
        write!(page, "interface {}", interface.port)?;
        if let Some(tag) = interface.vlan {
            write!(page, ", VLAN {tag}")?;
        }
        writeln!(page)?;
        if !interface.addresses.is_empty() {
            writeln!(page, "  addresses  {}", joined(&interface.addresses))?;
        }
        if let Some(gateway) = interface.gateway {
            writeln!(page, "  gateway    {gateway}")?;
        }
        for route in &interface.routes {
            writeln!(page, "  route      {} via {}", route.to, route.via)?;
        }
    }
    Ok(())
}

fn write_service(page: &mut String, service: &Service) -> std::fmt::Result {
    let Service { name, vip, protocol, port, scheduler, .. } = service;
    writeln!(page)?;
    match port {
        0 => writeln!(page, "service {name}: {protocol} {vip}, every port")?,
        _ => writeln!(page, "service {name}: {protocol} {}", Endpoint(*vip, *port))?,
    }
    write_mode(page, service)?;
    match scheduler {
        Algorithm::Maglev | Algorithm::SourceHash => {
            writeln!(page, "  scheduler  {scheduler}, a table of {}", service.maglev_table_size)?;
        }
        _ => writeln!(page, "  scheduler  {scheduler}")?,
    }
    if let Some(persistence) = service.persistence {
        writeln!(page, "  persists   {} after a client's last packet", value::show_duration(persistence))?;
    }
    if let Some(memory) = service.flow_memory {
        writeln!(page, "  memory     of a flow's backend for {} after its end", value::show_duration(memory))?;
    }
    if let Some(bytes) = service.mss_clamp {
        writeln!(page, "  mss clamp  {bytes} bytes")?;
    }
    write_failure(page, service)?;
    for backend in &service.backends {
        write!(page, "  backend    {}", backend.address)?;
        if backend.port != 0 {
            write!(page, ":{}", backend.port)?;
        }
        write!(page, ", weight {}", backend.weight)?;
        if let Some(most) = backend.max_connections {
            write!(page, ", at most {most} connections")?;
        }
        if let Some(most) = backend.max_rate {
            write!(page, ", at most {most} new a second")?;
        }
        if backend.weight == 0 {
            write!(page, " (drained)")?;
        }
        if let Some(mac) = backend.mac {
            write!(page, ", at {mac}")?;
        }
        writeln!(page)?;
    }
    Ok(())
}

fn write_mode(page: &mut String, service: &Service) -> std::fmt::Result {
    let mode = service.mode;
    write!(page, "  mode       {mode}")?;
    if !service.local_addresses.is_empty() {
        write!(page, ", from {}", joined(&service.local_addresses))?;
    }
    if let Some(Tunnel::Gue(gue)) = service.tunnel {
        let checksum = if gue.checksum { "with" } else { "without" };
        write!(page, " version {} to UDP port {}, {checksum} a checksum", gue.version.number(), gue.port)?;
    }
    if let Some(tunnel) = service.tunnel {
        // Before the backends are known, those of the VIP's family are meant.
        let is_v6 = service.backends.first().map_or(service.vip, |backend| backend.address).is_ipv6();
        let outer = if is_v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        write!(page, ", {} bytes more a packet", outer + usize::from(tunnel.between()))?;
    }
    writeln!(page)?;
    if !service.proxy_arp.is_empty() {
        writeln!(page, "  proxy arp  for {} and the clients that are known", joined(&service.proxy_arp))?;
    }
    Ok(())
}

fn write_failure(page: &mut String, service: &Service) -> std::fmt::Result {
    match &service.health {
        None => writeln!(page, "  health     none")?,
        Some(Health { kind, interval, timeout, rise, fall, http, .. }) => {
            let (every, within) = (value::show_duration(*interval), value::show_duration(*timeout));
            let what = http.as_ref().map_or_else(String::new, |http| format!(" {}", http.path));
            writeln!(
                page,
                "  health     {kind}{what} every {every}, answer within {within}, up after {rise}, down after {fall}"
            )?;
        }
    }
    writeln!(page, "  failure    {} its connections", service.on_failure.name())?;
    writeln!(page, "  strays     {}", service.no_connection.name())?;
    if service.syn_proxy != SynProxy::Off {
        writeln!(page, "  SYN proxy  {}", service.syn_proxy.name())?;
    }
    if service.sequence_numbers != SequenceNumbers::Auto {
        writeln!(page, "  sequence   numbers: {}", service.sequence_numbers.name())?;
    }
    match service.client_address {
        ClientAddress::Hidden => {}
        ClientAddress::Option(kind) => writeln!(page, "  client     in TCP option {kind}")?,
        ClientAddress::Proxy(_) => writeln!(page, "  client     by {}", service.client_address.name())?,
    }
    if service.one_packet {
        writeln!(page, "  datagrams  scheduled one by one")?;
    }
    write_limits(page, "limits", service.max_connections, service.max_rate)?;
    let ClientLimits { connections, rate } = service.client_limits;
    write_limits(page, "clients", connections.map(u32::from), rate.map(u32::from))?;
    Ok(())
}

fn write_limits(page: &mut String, of: &str, connections: Option<u32>, rate: Option<u32>) -> std::fmt::Result {
    let connections = connections.map(|most| format!("at most {most} connections"));
    let limits: Vec<_> =
        connections.into_iter().chain(rate.map(|most| format!("at most {most} new a second"))).collect();
    if limits.is_empty() { Ok(()) } else { writeln!(page, "  {of:<10} {}", limits.join(", ")) }
}

fn joined(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::cli::{self, Invocation};
    use super::*;

    fn page(args: &str, file: &str) -> String {
        let args = args.split_whitespace().map(Into::into);
        let Ok(Invocation::Check(run)) = cli::parse(args, |_| Ok(file.into())) else { panic!("not a check") };
        let eal = eal::complete(run.eal.clone(), false, 7).unwrap();
        summary(&run, &eal, 80)
    }

    #[test]
    fn everything_that_would_run_is_on_the_page() {
        let page = page("-l 0-1 --check --config x.toml", include_str!("../../docs/leat.example.toml"));
        for line in [
            "x.toml is right. This would run:",
            "EAL          -l 0-1 --no-huge -m 512 --no-shconf --file-prefix=leat-7",
            "(no hugepages are free: added --no-huge -m 512 --no-shconf)",
            "mac          auto",
            "api          unix:/run/leat/leat.sock",
            "connections  1048576 per lcore, 80 MiB of memory when full",
            "hash seed    0",
            "trace        off",
            "  tcp_established  2h4m",
            "interface net_tap0",
            "  addresses  10.0.0.254/24, 10.1.0.254/24",
            "  gateway    10.0.0.1",
            "  route      192.0.2.0/24 via 10.0.0.9",
            "service web: tcp 10.0.0.10:8080",
            "  mode       fullnat, from 10.0.0.11",
            "  scheduler  maglev, a table of 65537",
            "  persists   5m after a client's last packet",
            "  backend    10.0.0.2:8080, weight 1, at most 10000 connections, at most 2000 new a second",
            "  limits     at most 100000 connections, at most 20000 new a second",
            "  clients    at most 200 connections, at most 50 new a second",
            "  client     by proxy_v2",
            "  SYN proxy  auto",
            "  backend    10.0.0.3:8080, weight 1, at 02:00:00:00:00:03",
            "  memory     of a flow's backend for 5m after its end",
            "  mss clamp  1460 bytes",
            "  health     none",
            "  failure    keep its connections",
            "  strays     drop",
            "service all: any 10.0.0.20, every port",
            "  backend    10.0.0.2, weight 1",
            "  mode       nat",
            "  proxy arp  for 10.0.0.0/24 and the clients that are known",
            "  health     arp every 5s, answer within 3s, up after 1, down after 1",
            "  failure    move its connections",
            "  mode       dr",
            "  strays     schedule",
            "  mode       gue version 0 to UDP port 6080, without a checksum, 32 bytes more a packet",
        ] {
            assert!(page.lines().any(|printed| printed.trim_start() == line.trim_start()), "{line}\n{page}");
        }
        assert!(!page.contains("warning"), "{page}");
    }

    #[test]
    fn a_tunnel_says_what_it_costs() {
        let vip = "--vip 10.0.0.10:80 --backend 10.0.0.2 --address 10.0.0.9/24";
        let page = page(&format!("--check {vip} --mode ipip"), "");
        assert!(page.contains("\n  mode       ipip, 20 bytes more a packet\n"), "{page}");
    }

    #[test]
    fn a_service_from_arguments_is_shown_with_its_defaults_and_warnings() {
        let page = page("--check --trace --vip 10.0.0.10:80 --backend 10.0.0.2,weight=0 --address 10.0.0.9/24", "");
        for line in [
            "The arguments are right. This would run:",
            "trace        on",
            "addresses    10.0.0.9/24",
            "interfaces   every port; replies go where the request came from",
            "  mode       fullnat, from 10.0.0.10",
            "  backend    10.0.0.2:80, weight 0 (drained)",
            "warning: service \"tcp:10.0.0.10:80\": every backend has weight 0, so new connections will be dropped",
        ] {
            assert!(page.lines().any(|printed| printed == line), "{line}\n{page}");
        }
    }
}
