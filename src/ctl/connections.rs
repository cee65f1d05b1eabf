//! Questions about connections, and their end.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde_json::Value;

use super::client::segment;
use super::show::{rows, text};
use super::{Client, Common, Failure, print};
use crate::metrics::columns;

/// Which connections, or packets, are meant: those for which all terms hold.
#[derive(Args, Debug)]
pub struct Terms {
    /// protocol=tcp, client=ADDR[/LEN][:PORT], vip=…, backend=…, host=… (any of these), service=NAME
    #[arg(value_name = "TERM=VALUE")]
    terms: Vec<String>,
}

/// `leatctl connections`.
#[derive(Args, Debug)]
pub struct Connections {
    #[command(flatten)]
    terms: Terms,
    /// List so many of them
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    /// Only say how many there are
    #[arg(long)]
    count: bool,
}

/// `leatctl explain`.
#[derive(Args, Debug)]
pub struct Explain {
    /// The client: ADDR:PORT
    client: String,
    /// Where it sends to: ADDR:PORT
    vip: String,
    /// tcp or udp
    #[arg(long, default_value = "tcp")]
    protocol: String,
}

impl Terms {
    /// They and `more`, as the part of a path behind the `?`.
    ///
    /// # Errors
    ///
    /// When one is no term.
    pub fn query(&self, more: &[(&str, String)]) -> Result<String, Failure> {
        let mut query = String::new();
        let mut add = |term: &str, value: &str| {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(&format!("{}={}", segment(term), segment(value)));
        };
        for text in &self.terms {
            let (term, value) = text.split_once('=').ok_or_else(|| {
                Failure::Unusable(format!(
                    "{text:?} is no term; write TERM=VALUE, such as client=10.0.0.1 or service=web"
                ))
            })?;
            add(term, value);
        }
        more.iter().for_each(|(term, value)| add(term, value));
        Ok(query)
    }
}

/// `leatctl connections`.
pub fn list(common: &Common, wanted: &Connections) -> Result<ExitCode, Failure> {
    let limit = if wanted.count { 0 } else { wanted.limit };
    let query = wanted.terms.query(&[("limit", limit.to_string())])?;
    let answer = Client::new(common)?.get(&format!("/api/v1/connections{query}"))?;
    Ok(print(common, &answer, |answer| {
        let matched = answer["matched"].as_u64().unwrap_or_default();
        if wanted.count {
            return format!("{matched}\n");
        }
        let head = ["protocol", "client", "vip", "source", "backend", "service", "state", "idle", "lcore"];
        let lines = rows(&answer["connections"]).map(|it| {
            let or_dash = |key: &str| it[key].as_str().unwrap_or("-").to_owned();
            let mut line = vec![or_dash("protocol"), or_dash("client"), or_dash("vip")];
            line.extend(["local", "backend", "service", "state"].map(or_dash));
            line.push(format!("{} s", it["idle_seconds"]));
            line.push(it["lcore"].to_string());
            line
        });
        let mut table = columns(&head, 7, lines);
        let listed = rows(&answer["connections"]).count() as u64;
        if listed < matched {
            table.push_str(&format!("{listed} of {matched}; --limit lists more\n"));
        }
        table
    }))
}

/// `leatctl end`.
pub fn end(common: &Common, terms: &Terms) -> Result<ExitCode, Failure> {
    let path = format!("/api/v1/connections{}", terms.query(&[])?);
    let answer = Client::new(common)?.send(Method::DELETE, &path, None)?;
    Ok(print(common, &answer, |answer| match answer["ended"].as_u64() {
        Some(1) => "1 connection ended\n".to_owned(),
        ended => format!("{} connections ended\n", ended.unwrap_or_default()),
    }))
}

/// `leatctl explain`.
pub fn explain(common: &Common, flow: &Explain) -> Result<ExitCode, Failure> {
    let Explain { client, vip, protocol } = flow;
    let query = format!("?client={}&vip={}&protocol={}", segment(client), segment(vip), segment(protocol));
    let answer = Client::new(common)?.get(&format!("/api/v1/explain{query}"))?;
    Ok(print(common, &answer, told))
}

fn told(answer: &Value) -> String {
    let mut lines = vec![text(&answer["flow"])];
    if let Some(service) = answer["service"].as_str() {
        let (mode, scheduler) = (text(&answer["mode"]), text(&answer["scheduler"]));
        lines.push(format!("service {service} ({mode}, {scheduler}), decided on lcore {}", answer["lcore"]));
    }
    let (backend, why) = (answer["backend"].as_str().unwrap_or("unknown"), text(&answer["why"]));
    match answer["outcome"].as_str() {
        Some("known") => {
            lines.push(why);
            let connection = &answer["connection"];
            let idle = &connection["idle_seconds"];
            match connection["local"].as_str() {
                Some(local) => lines.push(format!("→ backend {backend}, from {local}; last packet {idle} s ago")),
                None => lines.push(format!("→ backend {backend}; last packet {idle} s ago")),
            }
        }
        Some("new") => {
            lines.push("no connection yet; if it began now:".to_owned());
            lines.push(why);
            lines.push(format!("→ backend {backend}"));
        }
        _ => lines.push(format!("dropped: {why}")),
    }
    let (first, rest) = lines.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    rest.iter().fold(format!("{first}\n"), |told, line| format!("{told}    {line}\n"))
}
