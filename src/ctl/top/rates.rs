//! What two looks at the counters say about the time between them.

use std::collections::HashMap;
use std::time::Instant;

use serde_json::Value;

use crate::ctl::show::{endpoint, rows, text};

/// A status and when it was asked for.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) status: Value,
    pub(super) at: Instant,
}

/// Everything in numbers a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) title: String,
    pub(super) services: Vec<ServiceRates>,
    pub(super) lcores: Vec<LcoreRates>,
    /// Reasons, with the most frequent first.
    pub(super) drops: Vec<(String, f64)>,
}

/// A service, or a backend of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ServiceRates {
    pub(super) name: String,
    pub(super) is_backend: bool,
    /// Whether it is a backend that is down.
    pub(super) is_down: bool,
    /// Connections open now.
    pub(super) open: u64,
    pub(super) opened: f64,
    pub(super) packets: f64,
    pub(super) bits: f64,
}

/// An lcore.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LcoreRates {
    pub(super) lcore: u64,
    pub(super) packets: f64,
    pub(super) dropped: f64,
    pub(super) connections: u64,
    pub(super) capacity: u64,
    /// The share of its time that it spent on rounds that found packets, from 0 to 1.
    pub(super) load: f64,
    /// Cycles of such rounds for each packet; nothing without packets.
    pub(super) cycles_per_packet: Option<f64>,
}

impl Rates {
    /// From `before` to `now`.
    pub(super) fn between(before: &Sample, now: &Sample) -> Self {
        let seconds = now.at.duration_since(before.at).as_secs_f64().max(1e-3);
        let cycles = now.status["cycles_per_second"].as_f64().unwrap_or(1.0).max(1.0) * seconds;
        let status = &now.status;
        let up = status["uptime_seconds"].as_u64().unwrap_or_default();
        Self {
            title: format!("leat {}, up for {up} s", text(&status["version"])),
            services: services(&before.status, status, seconds),
            lcores: lcores(&before.status, status, seconds, cycles),
            drops: drops(&before.status, status, seconds),
        }
    }
}

fn services(before: &Value, now: &Value, seconds: f64) -> Vec<ServiceRates> {
    let mut known = HashMap::new();
    for service in rows(&before["services"]) {
        known.insert((text(&service["name"]), String::new()), &service["total"]);
        for backend in rows(&service["backends"]) {
            known.insert((text(&service["name"]), endpoint(backend, "address")), backend);
        }
    }
    let rates = |service: &Value, name: String, it: &Value, key: String| {
        let old = known.get(&(text(&service["name"]), key)).copied();
        let rate = |counter: &str| increase(old, it, counter) / seconds;
        ServiceRates {
            name,
            is_backend: false,
            is_down: it["health"]["state"] == "down",
            open: it["open"].as_u64().unwrap_or_default(),
            opened: rate("opened"),
            packets: rate("original_packets") + rate("reply_packets"),
            bits: 8.0 * (rate("original_bytes") + rate("reply_bytes")),
        }
    };
    let mut all = Vec::new();
    for service in rows(&now["services"]) {
        let title = format!("{} ({})", text(&service["name"]), endpoint(service, "vip"));
        all.push(rates(service, title, &service["total"], String::new()));
        for backend in rows(&service["backends"]) {
            let address = endpoint(backend, "address");
            all.push(ServiceRates { is_backend: true, ..rates(service, address.clone(), backend, address) });
        }
    }
    all
}

fn lcores(before: &Value, now: &Value, seconds: f64, cycles: f64) -> Vec<LcoreRates> {
    let old = |at: usize| before["workers"].get(at);
    let drops = |worker: &Value| -> f64 {
        worker["drops"].as_object().into_iter().flat_map(|drops| drops.values().filter_map(Value::as_f64)).sum()
    };
    rows(&now["workers"])
        .enumerate()
        .map(|(at, worker)| {
            let packets = increase(old(at), worker, "received") + increase(old(at), worker, "taken_over");
            let busy = increase(old(at), worker, "busy_cycles");
            LcoreRates {
                lcore: worker["lcore"].as_u64().unwrap_or_default(),
                packets: packets / seconds,
                dropped: (drops(worker) - old(at).map_or(0.0, drops)).max(0.0) / seconds,
                connections: worker["connections"].as_u64().unwrap_or_default(),
                capacity: worker["capacity"].as_u64().unwrap_or_default(),
                load: (busy / cycles).clamp(0.0, 1.0),
                cycles_per_packet: (packets > 0.0).then(|| busy / packets),
            }
        })
        .collect()
}

fn drops(before: &Value, now: &Value, seconds: f64) -> Vec<(String, f64)> {
    let sum = |status: &Value| {
        let mut sums = HashMap::<String, f64>::new();
        let all = rows(&status["workers"]).filter_map(|worker| worker["drops"].as_object()).flatten();
        all.for_each(|(reason, packets)| *sums.entry(reason.clone()).or_default() += packets.as_f64().unwrap_or(0.0));
        sums
    };
    let old = sum(before);
    let increases = sum(now).into_iter().map(|(reason, packets)| {
        let rate = (packets - old.get(&reason).copied().unwrap_or_default()) / seconds;
        (reason, rate)
    });
    let mut drops: Vec<_> = increases.filter(|(_, rate)| *rate > 0.0).collect();
    drops.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    drops
}

/// By how much a counter has grown; a counter that was not there before began at 0, and one that fell began anew.
fn increase(before: Option<&Value>, now: &Value, counter: &str) -> f64 {
    let new = now[counter].as_f64().unwrap_or_default();
    let old = before.and_then(|before| before[counter].as_f64()).unwrap_or_default();
    if new >= old { new - old } else { new }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn status(packets: u64, busy: u64, stray: u64) -> Value {
        json!({
            "version": "1", "uptime_seconds": 7, "cycles_per_second": 1000,
            "workers": [{
                "lcore": 3, "received": packets, "taken_over": 0, "busy_cycles": busy, "connections": 5, "capacity": 10,
                "drops": { "stray_reply": stray, "vlan": 4 },
            }],
            "services": [{
                "name": "web", "vip": "10.0.0.10", "port": 80,
                "total": { "open": 2, "opened": packets, "original_packets": packets, "original_bytes": 100 * packets },
                "backends": [{ "address": "10.0.0.2", "port": 80, "original_packets": packets, "health": { "state": "down" } }],
            }],
        })
    }

    #[test]
    fn rates_are_what_the_time_between_two_looks_brought() {
        let at = Instant::now();
        let before = Sample { status: status(10, 0, 1), at };
        let now = Sample { status: status(30, 1000, 5), at: at + Duration::from_secs(2) };
        let rates = Rates::between(&before, &now);
        let [web, backend] = &rates.services[..] else { panic!("{rates:?}") };
        assert_eq!(
            (web.name.as_str(), web.open, web.opened, web.packets, web.bits),
            ("web (10.0.0.10:80)", 2, 10.0, 10.0, 8000.0)
        );
        assert_eq!((backend.name.as_str(), backend.is_backend, backend.is_down), ("10.0.0.2:80", true, true));
        assert_eq!((rates.lcores[0].load, rates.lcores[0].cycles_per_packet), (0.5, Some(50.0)));
        assert_eq!(rates.drops, [("stray_reply".to_owned(), 2.0)]);
    }

    #[test]
    fn a_counter_that_began_anew_is_no_negative_rate() {
        let at = Instant::now();
        let before = Sample { status: status(1000, 0, 9), at };
        let now = Sample { status: status(30, 0, 5), at: at + Duration::from_secs(1) };
        assert_eq!(Rates::between(&before, &now).services[0].packets, 30.0);
        assert_eq!(Rates::between(&before, &Sample { status: json!({}), at }).services, []);
    }
}
