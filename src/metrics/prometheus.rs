//! A status as Prometheus reads it: the text exposition format, version 0.0.4.
//!
//! Names follow the ecosystem's habits: base units, counters that end in `_total`, one name for each thing with labels to
//! tell apart where it was counted. A sum over labels is Prometheus' business, so sums are not here.

use std::fmt::{self, Display};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::status::{BackendStatus, PortStatus, ServiceStatus, Status, WorkerStatus};
use crate::flow::endpoint;

/// The content type of [`exposition`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Ports that one local address has for one backend, on all lcores together.
const SOURCE_PORTS: u64 = 64_512;

/// The whole page.
pub fn exposition(status: Status) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Figures(status)));
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = prometheus_text::encode(&mut page, &registry);
    page
}

#[derive(Debug)]
struct Figures(Status);

/// A label's name and value.
type Label = (&'static str, String);

/// One figure of a kind of thing: the end of its name, its explanation, and how it is read.
type Figure<'a, T, V> = (&'a str, &'a str, fn(&T) -> V);

/// Writes families of figures.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counters(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Vec<Label>, u64)>) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        rows.into_iter().try_for_each(|(labels, value)| ConstCounter::new(value).encode(family.encode_family(&labels)?))
    }

    fn gauges(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Vec<Label>, f64)>) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        rows.into_iter().try_for_each(|(labels, value)| ConstGauge::new(value).encode(family.encode_family(&labels)?))
    }
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (page, status) = (&mut Page(encoder), &self.0);
        let version = vec![label("version", status.version), label("dpdk", &status.dpdk)];
        page.gauges("leat_build_info", "leat's version and DPDK's release.", [(version, 1.0)])?;
        page.gauges("leat_uptime_seconds", "Seconds since the start.", [(vec![], status.uptime_seconds as f64)])?;
        page.gauges(
            "leat_cycles_per_second",
            "Cycles of the time stamp counter in a second.",
            [(vec![], status.cycles_per_second as f64)],
        )?;
        let buffers = [("in_use", status.buffers.in_use), ("available", status.buffers.available)];
        page.gauges(
            "leat_buffers",
            "Packet buffers, by whether they hold a packet or wait to receive one, or are free.",
            buffers.map(|(state, count)| (vec![label("state", state)], count as f64)),
        )?;
        ports(page, &status.ports)?;
        lcores(page, &status.workers)?;
        services(page, &status.services)?;
        backends(page, &status.services)?;
        let neighbors = status.neighbors.iter();
        page.gauges(
            "leat_neighbor_resolved",
            "Whether the Ethernet address of a next hop is known.",
            neighbors.map(|it| (vec![label("address", &it.address)], flag(it.mac.is_some()))),
        )?;
        page.gauges(
            "leat_address_given_up",
            "Own and local addresses that are not used, because another station has them.",
            status.given_up.iter().map(|it| (vec![label("address", &it.address)], 1.0)),
        )
    }
}

fn ports(page: &mut Page<'_>, ports: &[PortStatus]) -> fmt::Result {
    let labels = |port: &PortStatus| vec![label("port", port.port), label("name", &port.name)];
    page.gauges(
        "leat_port_up",
        "Whether the port has a link.",
        ports.iter().map(|port| (labels(port), flag(port.figures.link_up))),
    )?;
    let counters: [Figure<'_, PortStatus, u64>; 8] = [
        ("receive_packets", "Packets received.", |port| port.figures.received),
        ("receive_bytes", "Bytes received.", |port| port.figures.received_bytes),
        ("transmit_packets", "Packets sent.", |port| port.figures.transmitted),
        ("transmit_bytes", "Bytes sent.", |port| port.figures.transmitted_bytes),
        ("receive_missed_packets", "Packets lost because nobody took them in time.", |port| port.figures.missed),
        ("receive_errors", "Broken packets received.", |port| port.figures.receive_errors),
        ("transmit_errors", "Packets that could not be sent.", |port| port.figures.transmit_errors),
        ("receive_no_buffer_packets", "Packets lost because no buffer was free.", |port| port.figures.no_buffer),
    ];
    counters.iter().try_for_each(|(name, help, value)| {
        page.counters(&format!("leat_port_{name}"), help, ports.iter().map(|port| (labels(port), value(port))))
    })
}

fn lcores(page: &mut Page<'_>, workers: &[WorkerStatus]) -> fmt::Result {
    let labels = |worker: &WorkerStatus| vec![label("lcore", worker.lcore)];
    let counters: [Figure<'_, WorkerStatus, u64>; 15] = [
        ("polls", "Rounds of the loop.", |it| it.polls),
        ("busy_polls", "Rounds of the loop that found packets.", |it| it.busy_polls),
        ("busy_cycles", "Cycles that the rounds with packets took.", |it| it.busy_cycles),
        ("receive_packets", "Packets taken from ports.", |it| it.received),
        ("receive_bytes", "Bytes taken from ports.", |it| it.received_bytes),
        ("transmit_packets", "Packets given to ports.", |it| it.transmitted),
        ("transmit_bytes", "Bytes given to ports.", |it| it.transmitted_bytes),
        ("handed_over_packets", "Packets given to the lcores that own their connections.", |it| it.handed_over),
        ("taken_over_packets", "Packets taken from other lcores.", |it| it.taken_over),
        ("originated_packets", "Packets that leat made itself, or answered.", |it| it.originated),
        ("source_ports_reused", "Resting connections that gave up their source port to a new one.", |it| {
            it.ports_reused
        }),
        ("cookies_sent", "SYNs that were answered with a cookie.", |it| it.cookies_sent),
        ("cookies_redeemed", "Cookies that clients have acknowledged.", |it| it.cookies_redeemed),
        ("cookies_refused", "Acknowledgements of no cookie of leat's, or of one that is too old.", |it| {
            it.cookies_refused
        }),
        ("half_open_evicted", "Half-open connections that made room for others before their time was over.", |it| {
            it.half_open_evicted
        }),
    ];
    counters.iter().try_for_each(|(name, help, value)| {
        page.counters(&format!("leat_lcore_{name}"), help, workers.iter().map(|it| (labels(it), value(it))))
    })?;
    let gauges: [Figure<'_, WorkerStatus, f64>; 3] = [
        ("connections", "Connections in the table, those that are over and rest included.", |it| it.connections as f64),
        ("connections_limit", "Connections that the table has room for.", |it| it.capacity as f64),
        ("longest_pause_seconds", "The longest pause that taking over a configuration has cost.", |it| {
            it.longest_pause_ns as f64 / 1e9
        }),
    ];
    gauges.iter().try_for_each(|(name, help, value)| {
        page.gauges(&format!("leat_lcore_{name}"), help, workers.iter().map(|it| (labels(it), value(it))))
    })?;
    let drops = workers.iter().flat_map(|worker| {
        let row =
            |(reason, packets): (&&str, &u64)| (vec![label("lcore", worker.lcore), label("reason", reason)], *packets);
        worker.drops.iter().map(row).collect::<Vec<_>>()
    });
    page.counters("leat_dropped_packets", "Packets that were dropped, by reason; docs/DROPS.md explains them.", drops)
}

fn services(page: &mut Page<'_>, services: &[ServiceStatus]) -> fmt::Result {
    let vips: std::collections::BTreeMap<_, _> = services.iter().map(|it| (&it.vip, it.announced)).collect();
    page.gauges(
        "leat_vip_announced",
        "Whether leat answers for the VIP; not while it is withdrawn.",
        vips.into_iter().map(|(vip, announced)| (vec![label("vip", vip)], flag(announced))),
    )?;
    page.gauges(
        "leat_service_info",
        "The services, and what they are.",
        services.iter().map(|service| {
            let labels = vec![
                label("service", &service.name),
                label("vip", &service.vip),
                label("protocol", &service.protocol),
                label("port", service.port),
                label("mode", &service.mode),
                label("scheduler", &service.scheduler),
            ];
            (labels, flag(!service.removed))
        }),
    )
}

fn backends(page: &mut Page<'_>, services: &[ServiceStatus]) -> fmt::Result {
    let all: Vec<_> =
        services.iter().flat_map(|service| service.backends.iter().map(move |it| (service, it))).collect();
    let labels = |(service, it): &(&ServiceStatus, &BackendStatus)| {
        vec![label("service", &service.name), label("backend", endpoint(&it.address, it.port))]
    };
    let probed = all.iter().filter_map(|at| Some((labels(at), flag(at.1.health.as_ref()?.state == "up"))));
    page.gauges("leat_backend_up", "Whether the backend is alive, of those that are probed.", probed)?;
    let changes = all.iter().filter_map(|at| Some((labels(at), at.1.health.as_ref()?.changes)));
    page.counters("leat_backend_health_changes", "How often the backend went down or came up.", changes)?;

    let gauges: [Figure<'_, BackendStatus, f64>; 4] = [
        ("weight", "Its share of new connections; 0 is drained.", |it| it.weight.into()),
        ("draining", "Whether it is no longer configured, and here until its connections end.", |it| flag(it.draining)),
        ("open_connections", "Connections that are open.", |it| it.traffic.open as f64),
        ("table_connections", "Connections in the tables, those that are over and rest included.", |it| {
            it.connections as f64
        }),
    ];
    gauges.iter().try_for_each(|(name, help, value)| {
        page.gauges(&format!("leat_backend_{name}"), help, all.iter().map(|at| (labels(at), value(at.1))))
    })?;
    let ports = all.iter().filter(|(service, _)| !service.local_addresses.is_empty());
    page.gauges(
        "leat_backend_source_ports_limit",
        "Source ports that connections to the backend can have, over all local addresses.",
        ports.map(|at| (labels(at), (at.0.local_addresses.len() as u64 * SOURCE_PORTS) as f64)),
    )?;
    let counters: [Figure<'_, BackendStatus, u64>; 5] = [
        ("connections_opened", "Connections that were opened.", |it| it.traffic.opened),
        ("original_packets", "Packets from clients to the backend.", |it| it.traffic.original_packets),
        ("original_bytes", "Bytes of those, as the clients sent them.", |it| it.traffic.original_bytes),
        ("reply_packets", "Packets from the backend to clients.", |it| it.traffic.reply_packets),
        ("reply_bytes", "Bytes of those, as the backend sent them.", |it| it.traffic.reply_bytes),
    ];
    counters.iter().try_for_each(|(name, help, value)| {
        page.counters(&format!("leat_backend_{name}"), help, all.iter().map(|at| (labels(at), value(at.1))))
    })
}

fn label(name: &'static str, value: impl Display) -> Label {
    (name, value.to_string())
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}
