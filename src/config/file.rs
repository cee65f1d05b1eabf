//! The configuration file: TOML text in, a validated [`Config`] out.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::document::{self, Table};
use super::draft::{
    Draft, DraftBackend, DraftClients, DraftExtras, DraftHealth, DraftInterface, DraftPort, DraftRoute, DraftService,
};
use super::problem::{At, Failure, Problems, SourceText};
use super::{Config, timeouts, validate};
use crate::conntrack::Timeouts;

/// The largest file that is read, in bytes.
pub const MAX_SIZE: usize = 16 << 20;

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is legal and yet likely not meant, a sentence each.
    pub warnings: Vec<String>,
}

/// Reads at most one byte more than [`MAX_SIZE`], which [`load`] then refuses: a device file ends too.
///
/// # Errors
/// What the operating system says.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_SIZE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Validates the contents of a file. `name` is what messages call it.
///
/// # Errors
/// Every complaint that can be found in one go, each with its line and column.
pub fn load(name: &str, bytes: &[u8]) -> Result<Loaded, Failure> {
    if bytes.len() > MAX_SIZE {
        return Err(Failure::new(format_args!(
            "{name}: larger than {} MiB, which no configuration needs; name a TOML file",
            MAX_SIZE >> 20
        )));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::new(format_args!("{name}:{line}: not UTF-8 text, as TOML is; name a TOML file"))
    })?;
    validate::validate(&draft(name, text)?)
}

fn draft(name: &str, text: &str) -> Result<Draft, Failure> {
    let text = SourceText::new(name, text);
    let document = document::parse(&text)?;
    let problems = Problems::default();
    let draft = read_document(Table::root(&text, &problems, &document));
    problems.into_result().map(|()| draft)
}

fn read_document(top: Table<'_>) -> Draft {
    let draft = Draft {
        mac: top.string("mac"),
        api: top.string("api"),
        api_token_file: top.string("api_token_file"),
        metrics: top.string("metrics"),
        user: top.string("user"),
        connections: top.integer("connections"),
        buffers: top.integer("buffers"),
        hash_seed: top.integer("hash_seed"),
        standby: top.boolean("standby"),
        timeouts: top.table("timeouts", "timeouts".to_owned()).map(read_timeouts).unwrap_or_default(),
        clients: top.table("clients", "clients".to_owned()).map(read_clients).unwrap_or_default(),
        addresses: Vec::new(),
        interfaces: top
            .tables("interface", |number| format!("interface {number}"))
            .into_iter()
            .filter_map(read_interface)
            .collect(),
        services: top
            .tables("service", |number| format!("service {number}"))
            .into_iter()
            .filter_map(read_service)
            .collect(),
    };
    top.finish();
    draft
}

fn read_timeouts(table: Table<'_>) -> Vec<(&'static str, At<String>)> {
    let names = timeouts::fields(&mut Timeouts::default()).map(|(name, _)| name);
    let given = names.into_iter().filter_map(|name| Some((name, table.string(name)?))).collect();
    table.finish();
    given
}

fn read_clients(table: Table<'_>) -> DraftClients {
    let clients = DraftClients { allow: table.strings("allow"), deny: table.strings("deny") };
    table.finish();
    clients
}

fn read_interface(mut table: Table<'_>) -> Option<DraftInterface> {
    let port = match table.string_or_integer("port") {
        Some(Ok(name)) => {
            table.call(format!("interface {:?}", name.value));
            Some(At::new(DraftPort::Name(name.value), &name.place))
        }
        Some(Err(number)) => {
            table.call(format!("interface {}", number.value));
            Some(At::new(DraftPort::Number(number.value), &number.place))
        }
        None => {
            table.demand("port", "\"net_tap0\" or its number");
            None
        }
    };
    let vlan = table.integer("vlan");
    let addresses = table.strings("addresses");
    let gateway = table.string("gateway");
    let routes = table
        .tables("routes", |number| format!("{}, route {number}", table.context()))
        .into_iter()
        .filter_map(read_route)
        .collect();
    let context = table.context().to_owned();
    table.finish();
    Some(DraftInterface { context, port: port?, vlan, addresses, gateway, routes })
}

fn read_route(table: Table<'_>) -> Option<DraftRoute> {
    table.demand("to", "\"192.0.2.0/24\"");
    table.demand("via", "\"10.0.0.2\"");
    let (to, via) = (table.string("to"), table.string("via"));
    table.finish();
    Some(DraftRoute { to: to?, via: via? })
}

fn read_service(mut table: Table<'_>) -> Option<DraftService> {
    let name = table.string("name");
    if let Some(name) = &name {
        table.call(format!("service {:?}", name.value));
    }
    table.demand("vip", "\"10.0.0.10\"");
    let vip = table.string("vip");
    let protocol = table.string("protocol");
    let port = table.integer("port");
    let mode = table.string("mode");
    let scheduler = table.string("scheduler");
    let maglev_table_size = table.integer("maglev_table_size");
    let local_addresses = table.strings("local_addresses");
    let persistence = table.string("persistence");
    let extras = read_extras(&table);
    let backends = table
        .tables("backend", |number| format!("{}, backend {number}", table.context()))
        .into_iter()
        .filter_map(read_backend)
        .collect();
    let (context, place) = (table.context().to_owned(), table.place().clone());
    table.finish();
    Some(DraftService {
        context,
        place,
        name,
        vip: vip?,
        protocol,
        port,
        mode,
        scheduler,
        maglev_table_size,
        local_addresses,
        persistence,
        extras,
        backends,
    })
}

fn read_extras(service: &Table<'_>) -> DraftExtras {
    DraftExtras {
        proxy_arp: service.strings("proxy_arp"),
        gue_port: service.integer("gue_port"),
        gue_version: service.integer("gue_version"),
        gue_checksum: service.boolean("gue_checksum"),
        mss_clamp: service.integer("mss_clamp"),
        flow_memory: service.string("flow_memory"),
        health: service.table("health", format!("{}, health", service.context())).and_then(read_health),
        slow_start: service.string("slow_start"),
        panic: service.integer("panic"),
        on_failure: service.string("on_failure"),
        no_connection: service.string("no_connection"),
        syn_proxy: service.string("syn_proxy"),
        sequence_numbers: service.string("sequence_numbers"),
        client_address: service.string("client_address"),
        toa_kind: service.integer("toa_kind"),
        one_packet: service.boolean("one_packet"),
        max_connections: service.integer("max_connections"),
        max_rate: service.integer("max_rate"),
        client_max_connections: service.integer("client_max_connections"),
        client_max_rate: service.integer("client_max_rate"),
    }
}

fn read_health(table: Table<'_>) -> Option<DraftHealth> {
    table.demand("type", "\"tcp\"");
    let kind = table.string("type");
    let interval = table.string("interval");
    let timeout = table.string("timeout");
    let rise = table.integer("rise");
    let fall = table.integer("fall");
    let (start_delay, jitter) = (table.string("start_delay"), table.string("jitter"));
    let port = table.integer("port");
    let (path, host) = (table.string("path"), table.string("host"));
    let status = table.string_or_integer("status");
    let body = table.string("body");
    let context = table.context().to_owned();
    table.finish();
    Some(DraftHealth {
        context,
        kind: kind?,
        interval,
        timeout,
        rise,
        fall,
        start_delay,
        jitter,
        port,
        path,
        host,
        status,
        body,
    })
}

fn read_backend(table: Table<'_>) -> Option<DraftBackend> {
    table.demand("address", "\"10.0.0.2\"");
    let address = table.string("address");
    let port = table.integer("port");
    let weight = table.integer("weight");
    let max_connections = table.integer("max_connections");
    let max_rate = table.integer("max_rate");
    let mac = table.string("mac");
    table.finish();
    Some(DraftBackend { address: address?, port, weight, max_connections, max_rate, mac })
}
