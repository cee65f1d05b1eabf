//! A status as DPDK's telemetry socket shows it: `/leat/status`, `/leat/lcores`, `/leat/drops`, `/leat/services` and
//! `/leat/backends`.
//!
//! DPDK writes at most 16 KiB for a question, and leaves out what is more. So long lists come in pages: a parameter says
//! with which entry one begins, and `next` in the answer where the following one does. Names of entries are numbers,
//! because DPDK allows no colon or dot there.

use std::sync::Arc;

use dpdk_wrapper::{Eal, Error, Telemetry, TelemetryDict as Dict, TelemetryValue as Value};

use super::status::{BackendStatus, ServiceStatus, Source, Status, Traffic, WorkerStatus};

/// Entries of a page: with all names and numbers as long as they can be, they fit.
const PAGE: usize = 16;

/// Offers `source`'s figures on the telemetry socket, as long as the value lives.
///
/// # Errors
/// When DPDK takes no more commands.
pub fn telemetry(eal: &Eal, source: &Arc<Source>) -> Result<Telemetry, Error> {
    type Page = fn(&Status, &str) -> Option<Dict>;
    let commands: [(&str, &str, Page); 5] = [
        ("/leat/status", "leat in a few figures. No parameters", |status, _| Some(overview(status))),
        ("/leat/lcores", "What each lcore does. Parameter: the first to show", lcores),
        ("/leat/drops", "Dropped packets by reason, over all lcores. No parameters", |status, _| Some(drops(status))),
        ("/leat/services", "What goes through each service. Parameter: the first to show", services),
        ("/leat/backends", "What goes to each backend. Parameters: a service's number, the first to show", backends),
    ];
    let mut telemetry = Telemetry::new(eal);
    for (command, help, page) in commands {
        let source = Arc::clone(source);
        telemetry.register(command, help, move |parameters| page(&source.status(), parameters))?;
    }
    Ok(telemetry)
}

fn overview(status: &Status) -> Dict {
    let sum = |figure: fn(&WorkerStatus) -> u64| number(status.workers.iter().map(figure).sum());
    vec![
        entry("version", text(status.version)),
        entry("dpdk", text(&status.dpdk)),
        entry("uptime_seconds", number(status.uptime_seconds)),
        entry("services", count(status.services.len())),
        entry("lcores", count(status.workers.len())),
        entry("ports", count(status.ports.len())),
        entry("received", sum(|worker| worker.received)),
        entry("received_bytes", sum(|worker| worker.received_bytes)),
        entry("transmitted", sum(|worker| worker.transmitted)),
        entry("transmitted_bytes", sum(|worker| worker.transmitted_bytes)),
        entry("handed_over", sum(|worker| worker.handed_over)),
        entry("originated", sum(|worker| worker.originated)),
        entry("dropped", sum(|worker| worker.drops.values().sum())),
        entry("connections", sum(|worker| worker.connections)),
        entry("buffers_in_use", count(status.buffers.in_use)),
        entry("buffers_available", count(status.buffers.available)),
    ]
}

fn lcores(status: &Status, parameters: &str) -> Option<Dict> {
    page("lcores", &status.workers, first(parameters)?, |worker| {
        vec![
            entry("worker", count(worker.worker)),
            entry("lcore", count(worker.lcore)),
            entry("received", number(worker.received)),
            entry("received_bytes", number(worker.received_bytes)),
            entry("transmitted", number(worker.transmitted)),
            entry("transmitted_bytes", number(worker.transmitted_bytes)),
            entry("handed_over", number(worker.handed_over)),
            entry("taken_over", number(worker.taken_over)),
            entry("originated", number(worker.originated)),
            entry("polls", number(worker.polls)),
            entry("busy_polls", number(worker.busy_polls)),
            entry("busy_cycles", number(worker.busy_cycles)),
            entry("connections", number(worker.connections)),
            entry("capacity", count(worker.capacity)),
            entry("ports_reused", number(worker.ports_reused)),
            entry("half_open_evicted", number(worker.half_open_evicted)),
            entry("cookies_sent", number(worker.cookies_sent)),
            entry("cookies_redeemed", number(worker.cookies_redeemed)),
            entry("cookies_refused", number(worker.cookies_refused)),
            entry("longest_pause_ns", number(worker.longest_pause_ns)),
            entry("dropped", number(worker.drops.values().sum())),
        ]
    })
}

fn drops(status: &Status) -> Dict {
    status.drops().into_iter().map(|(reason, packets)| entry(reason, number(packets))).collect()
}

fn services(status: &Status, parameters: &str) -> Option<Dict> {
    page("services", &status.services, first(parameters)?, |service: &ServiceStatus| {
        let mut figures = vec![
            entry("name", text(&service.name)),
            entry("vip", text(&service.vip)),
            entry("protocol", text(&service.protocol)),
            entry("port", number(service.port.into())),
            entry("mode", text(&service.mode)),
            entry("scheduler", text(&service.scheduler)),
            entry("removed", number(service.removed.into())),
            entry("backends", count(service.backends.len())),
        ];
        figures.extend(traffic(&service.total));
        figures
    })
}

fn backends(status: &Status, parameters: &str) -> Option<Dict> {
    let (service, rest) = parameters.split_once(',').unwrap_or((parameters, ""));
    let service = status.services.get(service.trim().parse::<usize>().ok()?)?;
    page("backends", &service.backends, first(rest)?, |backend: &BackendStatus| {
        let mut figures = vec![
            entry("address", text(&backend.address)),
            entry("port", number(backend.port.into())),
            entry("weight", number(backend.weight.into())),
            entry("draining", number(backend.draining.into())),
            entry("health", text(backend.health.as_ref().map_or("not probed", |health| health.state))),
            entry("connections", number(backend.connections)),
        ];
        figures.extend(traffic(&backend.traffic));
        figures
    })
}

fn traffic(traffic: &Traffic) -> [(String, Value); 6] {
    [
        entry("open", number(traffic.open)),
        entry("opened", number(traffic.opened)),
        entry("original_packets", number(traffic.original_packets)),
        entry("original_bytes", number(traffic.original_bytes)),
        entry("reply_packets", number(traffic.reply_packets)),
        entry("reply_bytes", number(traffic.reply_bytes)),
    ]
}

/// The number of the first entry to show: 0 where nothing is said, None for what is no number.
fn first(parameters: &str) -> Option<usize> {
    match parameters.trim() {
        "" => Some(0),
        number => number.parse().ok(),
    }
}

/// A page of `entries`, from `first` on. None behind the last, but for an empty list's only page.
fn page<T>(name: &str, entries: &[T], first: usize, show: impl Fn(&T) -> Dict) -> Option<Dict> {
    if first > 0 && first >= entries.len() {
        return None;
    }
    let shown = entries.iter().enumerate().skip(first).take(PAGE);
    let shown = shown.map(|(at, thing)| entry(&at.to_string(), Value::Dict(show(thing)))).collect();
    let mut dict = vec![entry("total", count(entries.len())), entry(name, Value::Dict(shown))];
    if first + PAGE < entries.len() {
        dict.push(entry("next", count(first + PAGE)));
    }
    Some(dict)
}

fn entry(name: &str, value: Value) -> (String, Value) {
    (name.to_owned(), value)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

const fn number(number: u64) -> Value {
    Value::Number(number)
}

const fn count(count: usize) -> Value {
    Value::Number(count as u64)
}
