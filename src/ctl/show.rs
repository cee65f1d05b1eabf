//! The questions that change nothing.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::client::segment;
use super::{Client, Common, Failure, print};
use crate::metrics::columns;

/// A service that may be named.
#[derive(Args, Debug)]
pub struct OfService {
    /// Only this service
    service: Option<String>,
}

/// `leatctl status`.
pub fn status(common: &Common) -> Result<ExitCode, Failure> {
    let status = Client::new(common)?.get("/api/v1/status")?;
    Ok(print(common, &status, |status| {
        let sum = |key: &str| -> u64 { rows(&status["workers"]).filter_map(|worker| worker[key].as_u64()).sum() };
        let drops: u64 = rows(&status["workers"])
            .filter_map(|worker| worker["drops"].as_object())
            .flat_map(|drops| drops.values().filter_map(Value::as_u64))
            .sum();
        let backends = || rows(&status["services"]).flat_map(|service| rows(&service["backends"]));
        let down = backends().filter(|backend| backend["health"]["state"] == "down").count();
        let given_up: String = rows(&status["given_up"])
            .map(|it| format!("not used     {}: {} has it, too\n", text(&it["address"]), text(&it["mac"])))
            .collect();
        format!(
            "leat {} on {}, up for {} s\n\
             services     {}, with {} backends, {down} of them down\n\
             connections  {} in the tables\n\
             packets      {} received, {} sent, {drops} dropped, {} handed over\n{given_up}",
            text(&status["version"]),
            text(&status["dpdk"]),
            status["uptime_seconds"],
            rows(&status["services"]).count(),
            backends().count(),
            sum("connections"),
            sum("received"),
            sum("transmitted"),
            sum("handed_over"),
        )
    }))
}

/// `leatctl services`.
pub fn services(common: &Common, of: &OfService) -> Result<ExitCode, Failure> {
    let services = services_of(common, of)?;
    Ok(print(common, &services, |services| {
        let head = ["service", "vip", "mode", "scheduler", "backends", "up", "open", "opened", "packets", "bytes"];
        let lines = rows(services).map(|it| {
            let backends = || rows(&it["backends"]);
            let is_down = |backend: &&Value| backend["health"]["state"] == "down";
            let total = &it["total"];
            let both = |key: &str| {
                total[format!("original_{key}")].as_u64().unwrap_or_default()
                    + total[format!("reply_{key}")].as_u64().unwrap_or_default()
            };
            vec![
                text(&it["name"]),
                if it["announced"] == false {
                    format!("{} (withdrawn)", endpoint(it, "vip"))
                } else {
                    endpoint(it, "vip")
                },
                text(&it["mode"]),
                text(&it["scheduler"]),
                backends().count().to_string(),
                (backends().count() - backends().filter(is_down).count()).to_string(),
                total["open"].to_string(),
                total["opened"].to_string(),
                both("packets").to_string(),
                both("bytes").to_string(),
            ]
        });
        columns(&head, 4, lines)
    }))
}

/// `leatctl vips`.
pub fn vips(common: &Common) -> Result<ExitCode, Failure> {
    let vips = Client::new(common)?.get("/api/v1/vips")?;
    Ok(print(common, &vips, |vips| {
        let lines = rows(vips).map(|it| {
            let state = if it["announced"] == true { "announced" } else { "withdrawn" };
            let services: Vec<_> = rows(&it["services"]).map(text).collect();
            vec![text(&it["vip"]), state.to_owned(), services.join(", ")]
        });
        columns(&["vip", "state", "services"], 3, lines)
    }))
}

/// `leatctl backends`.
pub fn backends(common: &Common, of: &OfService) -> Result<ExitCode, Failure> {
    let services = services_of(common, of)?;
    Ok(print(common, &services, |services| {
        let head = [
            "service",
            "backend",
            "health",
            "weight",
            "open",
            "opened",
            "packets to",
            "bytes to",
            "packets from",
            "bytes from",
        ];
        let lines = rows(services).flat_map(|service| {
            rows(&service["backends"]).map(move |it| {
                let state = match (it["draining"].as_bool(), it["health"]["state"].as_str(), it["weight"].as_u64()) {
                    (Some(true), ..) => "removed".to_owned(),
                    (_, Some(state), _) => state.to_owned(),
                    (_, None, Some(0)) => "drained".to_owned(),
                    _ => "not probed".to_owned(),
                };
                let figures = ["weight", "open", "opened", "original_packets", "original_bytes", "reply_packets"];
                let mut line = vec![text(&service["name"]), endpoint(it, "address"), state];
                line.extend(figures.map(|key| it[key].to_string()));
                line.push(it["reply_bytes"].to_string());
                line
            })
        });
        columns(&head, 3, lines)
    }))
}

/// `leatctl lcores`.
pub fn lcores(common: &Common) -> Result<ExitCode, Failure> {
    let lcores = Client::new(common)?.get("/api/v1/lcores")?;
    Ok(print(common, &lcores, |lcores| {
        let head = ["lcore", "received", "sent", "dropped", "handed over", "taken over", "connections", "of", "busy"];
        let lines = rows(lcores).map(|it| {
            let drops: u64 =
                it["drops"].as_object().into_iter().flat_map(|drops| drops.values().filter_map(Value::as_u64)).sum();
            let share =
                it["busy_polls"].as_f64().unwrap_or_default() / it["polls"].as_f64().unwrap_or_default().max(1.0);
            let mut line: Vec<_> = ["lcore", "received", "transmitted"].map(|key| it[key].to_string()).into();
            line.push(drops.to_string());
            line.extend(["handed_over", "taken_over", "connections", "capacity"].map(|key| it[key].to_string()));
            line.push(format!("{:.1}%", 100.0 * share));
            line
        });
        columns(&head, 0, lines)
    }))
}

/// `leatctl ports`.
pub fn ports(common: &Common) -> Result<ExitCode, Failure> {
    let ports = Client::new(common)?.get("/api/v1/ports")?;
    Ok(print(common, &ports, |ports| {
        let head =
            ["name", "mac", "link", "steering", "port", "mtu", "received", "sent", "missed", "no buffer", "errors"];
        let lines = rows(ports).map(|it| {
            let errors =
                it["receive_errors"].as_u64().unwrap_or_default() + it["transmit_errors"].as_u64().unwrap_or_default();
            let link = if it["link_up"] == true { "up" } else { "down" };
            let mut line = vec![text(&it["name"]), text(&it["mac"]), link.to_owned(), text(&it["steering"])];
            line.extend(
                ["port", "mtu", "received", "transmitted", "missed", "no_buffer"].map(|key| it[key].to_string()),
            );
            line.push(errors.to_string());
            line
        });
        columns(&head, 4, lines)
    }))
}

/// `leatctl neighbors`.
pub fn neighbors(common: &Common) -> Result<ExitCode, Failure> {
    let neighbors = Client::new(common)?.get("/api/v1/neighbors")?;
    Ok(print(common, &neighbors, |neighbors| {
        let lines = rows(neighbors).map(|it| {
            let known = it["mac"].as_str().unwrap_or("not found").to_owned();
            let is_v6 = it["address"].as_str().is_some_and(|address| address.contains(':'));
            let how = match it["is_static"] == true {
                true => "configured",
                false if is_v6 => "NDP",
                false => "ARP",
            };
            let port = it["port"].as_u64().map_or("-".to_owned(), |port| port.to_string());
            vec![text(&it["address"]), known, how.to_owned(), port]
        });
        columns(&["address", "mac", "by", "port"], 4, lines)
    }))
}

/// `leatctl drops`.
pub fn drops(common: &Common) -> Result<ExitCode, Failure> {
    let drops = Client::new(common)?.get("/api/v1/drops")?;
    Ok(print(common, &drops, |drops| {
        let drops = drops.as_object().into_iter().flatten();
        columns(&["reason", "packets"], 1, drops.map(|(reason, packets)| vec![reason.clone(), packets.to_string()]))
    }))
}

fn services_of(common: &Common, of: &OfService) -> Result<Value, Failure> {
    let client = Client::new(common)?;
    match &of.service {
        None => client.get("/api/v1/services"),
        Some(name) => Ok(Value::Array(vec![client.get(&format!("/api/v1/services/{}", segment(name)))?])),
    }
}

pub(super) fn rows(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An address with its port, if it has one.
pub(super) fn endpoint(it: &Value, key: &str) -> String {
    crate::flow::endpoint(&text(&it[key]), it["port"].as_u64().unwrap_or_default() as u16)
}
