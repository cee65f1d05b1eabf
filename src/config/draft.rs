//! The form that both front ends fill in: what was written and where, before any rule is applied.

use super::problem::{At, Place};

#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) mac: Option<At<String>>,
    pub(super) api: Option<At<String>>,
    pub(super) api_token_file: Option<At<String>>,
    pub(super) metrics: Option<At<String>>,
    pub(super) user: Option<At<String>>,
    pub(super) connections: Option<At<i128>>,
    pub(super) buffers: Option<At<i128>>,
    pub(super) hash_seed: Option<At<i128>>,
    pub(super) standby: Option<At<bool>>,
    pub(super) timeouts: Vec<(&'static str, At<String>)>,
    pub(super) clients: DraftClients,
    pub(super) addresses: Vec<At<String>>,
    pub(super) interfaces: Vec<DraftInterface>,
    pub(super) services: Vec<DraftService>,
}

/// The lists of client prefixes.
#[derive(Debug, Default)]
pub(super) struct DraftClients {
    pub(super) allow: Vec<At<String>>,
    pub(super) deny: Vec<At<String>>,
}

#[derive(Debug)]
pub(super) struct DraftInterface {
    /// What messages call it.
    pub(super) context: String,
    pub(super) port: At<DraftPort>,
    pub(super) vlan: Option<At<i128>>,
    pub(super) addresses: Vec<At<String>>,
    pub(super) gateway: Option<At<String>>,
    pub(super) routes: Vec<DraftRoute>,
}

/// TOML tells a number from a string, and so do ports.
#[derive(Debug)]
pub(super) enum DraftPort {
    Name(String),
    Number(i128),
}

#[derive(Debug)]
pub(super) struct DraftRoute {
    pub(super) to: At<String>,
    pub(super) via: At<String>,
}

#[derive(Debug)]
pub(super) struct DraftService {
    /// What messages call it: `service "web"`; empty on the command line, where there is only one.
    pub(super) context: String,
    /// Where complaints about the whole of it go.
    pub(super) place: Place,
    pub(super) name: Option<At<String>>,
    pub(super) vip: At<String>,
    pub(super) protocol: Option<At<String>>,
    pub(super) port: Option<At<i128>>,
    pub(super) mode: Option<At<String>>,
    pub(super) scheduler: Option<At<String>>,
    pub(super) maglev_table_size: Option<At<i128>>,
    pub(super) local_addresses: Vec<At<String>>,
    pub(super) persistence: Option<At<String>>,
    pub(super) extras: DraftExtras,
    pub(super) backends: Vec<DraftBackend>,
}

/// What only a file can say of a service.
#[derive(Debug, Default)]
pub(super) struct DraftExtras {
    pub(super) proxy_arp: Vec<At<String>>,
    pub(super) gue_port: Option<At<i128>>,
    pub(super) gue_version: Option<At<i128>>,
    pub(super) gue_checksum: Option<At<bool>>,
    pub(super) mss_clamp: Option<At<i128>>,
    pub(super) flow_memory: Option<At<String>>,
    pub(super) health: Option<DraftHealth>,
    pub(super) slow_start: Option<At<String>>,
    pub(super) panic: Option<At<i128>>,
    pub(super) on_failure: Option<At<String>>,
    pub(super) no_connection: Option<At<String>>,
    pub(super) syn_proxy: Option<At<String>>,
    pub(super) sequence_numbers: Option<At<String>>,
    pub(super) client_address: Option<At<String>>,
    pub(super) toa_kind: Option<At<i128>>,
    pub(super) one_packet: Option<At<bool>>,
    pub(super) max_connections: Option<At<i128>>,
    pub(super) max_rate: Option<At<i128>>,
    pub(super) client_max_connections: Option<At<i128>>,
    pub(super) client_max_rate: Option<At<i128>>,
}

#[derive(Debug)]
pub(super) struct DraftHealth {
    /// What messages call it.
    pub(super) context: String,
    pub(super) kind: At<String>,
    pub(super) interval: Option<At<String>>,
    pub(super) timeout: Option<At<String>>,
    pub(super) rise: Option<At<i128>>,
    pub(super) fall: Option<At<i128>>,
    pub(super) start_delay: Option<At<String>>,
    pub(super) jitter: Option<At<String>>,
    pub(super) port: Option<At<i128>>,
    pub(super) path: Option<At<String>>,
    pub(super) host: Option<At<String>>,
    /// Ranges, or one number.
    pub(super) status: Option<Result<At<String>, At<i128>>>,
    pub(super) body: Option<At<String>>,
}

#[derive(Debug)]
pub(super) struct DraftBackend {
    pub(super) address: At<String>,
    pub(super) port: Option<At<i128>>,
    pub(super) weight: Option<At<i128>>,
    pub(super) max_connections: Option<At<i128>>,
    pub(super) max_rate: Option<At<i128>>,
    pub(super) mac: Option<At<String>>,
}
