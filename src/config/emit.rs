//! A configuration as a file again: what [`load`](super::file::load) makes the same configuration of.
//!
//! Keys that have their default are left out, but for those that say what a service is. Own addresses that belong to no
//! interface, which only the command line can give, have no place in a file; they stand in a comment.

use std::fmt::{self, Write as _};

use super::timeouts;
use super::value::show_duration;
use super::{Backend, Config, DEFAULT_CONNECTIONS, Health, Interface, MacSetting, PortName, Service};
use crate::conntrack::Timeouts;
use crate::scheduler::TableSize;
use crate::service::{ClientAddress, ClientLists, NoConnection, ServiceProtocol, Tunnel};

/// The file.
pub fn emit(config: &Config) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut text, config);
    text
}

fn write_all(text: &mut String, config: &Config) -> fmt::Result {
    if let MacSetting::Fixed(mac) = config.mac {
        writeln!(text, "mac = \"{mac}\"")?;
    }
    writeln!(text, "api = {}", quoted(&config.api.to_string()))?;
    if let Some(path) = &config.api_token_file {
        writeln!(text, "api_token_file = {}", quoted(&path.display().to_string()))?;
    }
    if let Some(metrics) = config.metrics {
        writeln!(text, "metrics = \"{metrics}\"")?;
    }
    if let Some(user) = &config.user {
        writeln!(text, "user = {}", quoted(user))?;
    }
    if config.connections != DEFAULT_CONNECTIONS {
        writeln!(text, "connections = {}", config.connections)?;
    }
    if config.buffers != 0 {
        writeln!(text, "buffers = {}", config.buffers)?;
    }
    if config.hash_seed != 0 {
        writeln!(text, "hash_seed = {}", config.hash_seed)?;
    }
    if config.standby {
        writeln!(text, "standby = true")?;
    }
    for address in &config.addresses {
        writeln!(text, "# --address {address}")?;
    }
    write_timeouts(text, &mut config.timeouts.clone())?;
    write_clients(text, &config.clients)?;
    config.interfaces.iter().try_for_each(|interface| write_interface(text, interface))?;
    config.services.iter().try_for_each(|service| write_service(text, service))
}

fn write_clients(text: &mut String, clients: &ClientLists) -> fmt::Result {
    if clients.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n[clients]")?;
    for (name, prefixes) in [("deny", &clients.deny), ("allow", &clients.allow)] {
        if !prefixes.is_empty() {
            writeln!(text, "{name} = {}", list(prefixes))?;
        }
    }
    Ok(())
}

fn write_timeouts(text: &mut String, given: &mut Timeouts) -> fmt::Result {
    let mut defaults = Timeouts::default();
    let pairs = timeouts::fields(given).into_iter().zip(timeouts::fields(&mut defaults));
    let other: Vec<_> = pairs.filter(|((_, given), (_, default))| given != default).map(|(given, _)| given).collect();
    if !other.is_empty() {
        writeln!(text, "\n[timeouts]")?;
    }
    other.into_iter().try_for_each(|(name, timeout)| writeln!(text, "{name} = \"{}\"", show_duration(*timeout)))
}

fn write_interface(text: &mut String, interface: &Interface) -> fmt::Result {
    writeln!(text, "\n[[interface]]")?;
    match &interface.port {
        PortName::Name(name) => writeln!(text, "port = {}", quoted(name))?,
        PortName::Number(number) => writeln!(text, "port = {number}")?,
    }
    if let Some(tag) = interface.vlan {
        writeln!(text, "vlan = {tag}")?;
    }
    if !interface.addresses.is_empty() {
        writeln!(text, "addresses = {}", list(&interface.addresses))?;
    }
    if let Some(gateway) = interface.gateway {
        writeln!(text, "gateway = \"{gateway}\"")?;
    }
    if !interface.routes.is_empty() {
        let routes =
            interface.routes.iter().map(|route| format!("{{ to = \"{}\", via = \"{}\" }}", route.to, route.via));
        writeln!(text, "routes = [{}]", routes.collect::<Vec<_>>().join(", "))?;
    }
    Ok(())
}

fn write_service(text: &mut String, service: &Service) -> fmt::Result {
    writeln!(text, "\n[[service]]")?;
    writeln!(text, "name = {}", quoted(&service.name))?;
    writeln!(text, "vip = \"{}\"", service.vip)?;
    writeln!(text, "protocol = \"{}\"", service.protocol)?;
    if service.protocol != ServiceProtocol::Any {
        writeln!(text, "port = {}", service.port)?;
    }
    writeln!(text, "mode = \"{}\"", service.mode)?;
    writeln!(text, "scheduler = \"{}\"", service.scheduler)?;
    if service.maglev_table_size != TableSize::default() {
        writeln!(text, "maglev_table_size = {}", service.maglev_table_size)?;
    }
    if !service.local_addresses.is_empty() && service.local_addresses != [service.vip] {
        writeln!(text, "local_addresses = {}", list(&service.local_addresses))?;
    }
    if !service.proxy_arp.is_empty() {
        writeln!(text, "proxy_arp = {}", list(&service.proxy_arp))?;
    }
    if let Some(Tunnel::Gue(gue)) = service.tunnel {
        writeln!(text, "gue_port = {}", gue.port)?;
        writeln!(text, "gue_version = {}", gue.version.number())?;
        writeln!(text, "gue_checksum = {}", gue.checksum)?;
    }
    if let Some(mss) = service.mss_clamp {
        writeln!(text, "mss_clamp = {mss}")?;
    }
    if let Some(persistence) = service.persistence {
        writeln!(text, "persistence = \"{}\"", show_duration(persistence))?;
    }
    if let Some(memory) = service.flow_memory {
        writeln!(text, "flow_memory = \"{}\"", show_duration(memory))?;
    }
    if let Some(health) = &service.health {
        writeln!(text, "health = {{ {} }}", health_keys(health).join(", "))?;
    }
    if let Some(time) = service.slow_start {
        writeln!(text, "slow_start = \"{}\"", show_duration(time))?;
    }
    if let Some(share) = service.panic {
        writeln!(text, "panic = {share}")?;
    }
    if service.on_failure != Default::default() {
        writeln!(text, "on_failure = \"{}\"", service.on_failure.name())?;
    }
    if service.no_connection != NoConnection::default_of(service.mode) {
        writeln!(text, "no_connection = \"{}\"", service.no_connection.name())?;
    }
    if service.syn_proxy != Default::default() {
        writeln!(text, "syn_proxy = \"{}\"", service.syn_proxy.name())?;
    }
    if service.sequence_numbers != Default::default() {
        writeln!(text, "sequence_numbers = \"{}\"", service.sequence_numbers.name())?;
    }
    if service.client_address != Default::default() {
        writeln!(text, "client_address = \"{}\"", service.client_address.name())?;
    }
    if let ClientAddress::Option(kind) = service.client_address {
        writeln!(text, "toa_kind = {kind}")?;
    }
    if service.one_packet {
        writeln!(text, "one_packet = true")?;
    }
    let client = service.client_limits;
    let limits = [
        ("max_connections", service.max_connections),
        ("max_rate", service.max_rate),
        ("client_max_connections", client.connections.map(u32::from)),
        ("client_max_rate", client.rate.map(u32::from)),
    ];
    for (key, limit) in limits {
        if let Some(limit) = limit {
            writeln!(text, "{key} = {limit}")?;
        }
    }
    service.backends.iter().try_for_each(|backend| write_backend(text, service, backend))
}

fn health_keys(health: &Health) -> Vec<String> {
    let Health { kind, interval, timeout, rise, fall, start_delay, jitter, port, http } = health;
    let (interval, timeout) = (show_duration(*interval), show_duration(*timeout));
    let mut keys = vec![
        format!("type = \"{kind}\""),
        format!("interval = \"{interval}\""),
        format!("timeout = \"{timeout}\""),
        format!("rise = {rise}"),
        format!("fall = {fall}"),
    ];
    for (key, time) in [("start_delay", start_delay), ("jitter", jitter)] {
        if !time.is_zero() {
            keys.push(format!("{key} = \"{}\"", show_duration(*time)));
        }
    }
    keys.extend(port.map(|port| format!("port = {port}")));
    if let Some(http) = http {
        keys.push(format!("path = {}", quoted(&http.path)));
        keys.extend(http.host.as_ref().map(|host| format!("host = {}", quoted(host))));
        keys.push(format!("status = \"{}\"", http.statuses()));
        keys.extend(http.body.as_ref().map(|body| format!("body = {}", quoted(body))));
    }
    keys
}

fn write_backend(text: &mut String, service: &Service, backend: &Backend) -> fmt::Result {
    writeln!(text, "\n  [[service.backend]]\n  address = \"{}\"", backend.address)?;
    if backend.port != service.port {
        writeln!(text, "  port = {}", backend.port)?;
    }
    if backend.weight != 1 {
        writeln!(text, "  weight = {}", backend.weight)?;
    }
    if let Some(most) = backend.max_connections {
        writeln!(text, "  max_connections = {most}")?;
    }
    if let Some(most) = backend.max_rate {
        writeln!(text, "  max_rate = {most}")?;
    }
    if let Some(mac) = backend.mac {
        writeln!(text, "  mac = \"{mac}\"")?;
    }
    Ok(())
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

/// A basic string of TOML.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;

    /// The same, wherever its lines stand.
    fn without_places(mut config: Config) -> Config {
        for interface in &mut config.interfaces {
            interface.place.clear();
        }
        config
    }

    #[test]
    fn what_is_written_reads_as_what_it_was() {
        let examples = [
            include_str!("../../docs/leat.example.toml"),
            include_str!("../../docs/labs/ecmp-h1.toml"),
            "",
            "[[service]]\nvip = \"10.0.0.1\"\nport = 80\nhealth = { type = \"http\", host = \"a\", status = 204, \
             body = \"o\\\"k\", start_delay = \"3s\", jitter = \"500ms\", port = 81 }\nslow_start = \"30s\"\npanic = 50\non_failure = \"reset\"\n",
            "[clients]\ndeny = [\"0.0.0.0/0\"]\nallow = [\"192.0.2.0/24\", \"10.0.0.0/8\"]\n",
            "[[service]]\nvip = \"10.0.0.1\"\nport = 80\nbackend = [{ address = \"10.0.0.2\", max_connections = 7 }]\n",
            "user = \"nobody\"\nstandby = true\napi_token_file = \"/a/b\"\nmac = \"02:00:00:00:00:01\"\nbuffers = 5\n[[service]]\nvip = \"10.0.0.1\"\nprotocol = \"any\"\nmode = \"dr\"\n",
        ];
        for example in examples {
            let config = file::load("example", example.as_bytes()).unwrap_or_else(|error| panic!("{error}")).config;
            let text = emit(&config);
            let again = file::load("again", text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}")).config;
            assert_eq!(without_places(again), without_places(config), "{text}");
        }
    }
}
