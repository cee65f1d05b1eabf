//! What was planned, as a TOML file for people: in the order of the input, with each remark as a comment where the thing
//! would be.

use std::fmt::Write as _;

use super::Wishes;
use super::check::{Kind, Probe};
use super::found::Forward;
use super::note::{Note, printable};
use super::settle::{Item, Planned};
use crate::config::emit::quoted;
use crate::config::show_duration;
use crate::service::ServiceProtocol;

/// What stands before the services.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    /// The kind of input.
    pub(super) from: &'a str,
    /// What messages call the input.
    pub(super) name: &'a str,
    pub(super) wishes: &'a Wishes,
}

/// The whole file.
pub(super) fn file(head: &Head<'_>, items: &[Item]) -> String {
    let mut text = format!(
        "# Imported by leatctl from {}, of {}. Is it right, and what would run?  leat --check -c FILE\n",
        printable(head.name),
        head.from
    );
    if items.iter().any(|item| item.notes().next().is_some()) {
        text += "# A comment that begins with a line of that file says what has no counterpart in leat, or another meaning.\n";
    }
    text += &interface(head.wishes);
    let mut follows_note = false;
    for item in items {
        if !follows_note {
            text.push('\n');
        }
        follows_note = matches!(item, Item::Note(_));
        item.notes().for_each(|note| comment(&mut text, note));
        if let Item::Service(planned) = item {
            let service = service(planned, planned.health.as_ref().map(|check| &check.probe));
            match planned.refused {
                None => text += &service,
                Some(_) => service.lines().for_each(|line| commented_out(&mut text, line)),
            }
        }
    }
    text
}

/// The table of the port that has the own addresses, or nothing.
pub(super) fn interface(wishes: &Wishes) -> String {
    if wishes.addresses.is_empty() {
        return String::new();
    }
    let addresses: Vec<String> = wishes.addresses.iter().map(|address| quoted(&address.to_string())).collect();
    let port = match wishes.port.as_str() {
        "" => "0".to_owned(),
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => number.trim_start_matches('0').to_owned(),
        name => quoted(name),
    };
    let port = if port.is_empty() { "0" } else { &port };
    format!("\n[[interface]]\nport = {port}\naddresses = [{}]\n", addresses.join(", "))
}

/// A service with this health check.
pub(super) fn service(planned: &Planned, health: Option<&Probe>) -> String {
    let mut text = format!("# {}: {}\n[[service]]\n", planned.place, printable(&planned.title));
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key} = {value}");
    };
    if let Some(name) = &planned.name {
        line("name", &quoted(name));
    }
    line("vip", &quoted(&planned.vip.to_string()));
    line("protocol", &quoted(&planned.protocol.to_string()));
    if planned.protocol != ServiceProtocol::Any {
        line("port", &planned.port.to_string());
    }
    line("mode", &quoted(planned.forward.mode().name()));
    if let Forward::Gue { port, checksum } = planned.forward {
        line("gue_port", &port.to_string());
        line("gue_checksum", &checksum.to_string());
    }
    line("scheduler", &quoted(planned.scheduler.name()));
    if let Some(persistence) = planned.persistence {
        line("persistence", &quoted(&show_duration(persistence)));
    }
    if planned.one_packet {
        line("one_packet", "true");
    }
    if let Some(probe) = health {
        line("health", &inline(probe));
    }
    for backend in &planned.backends {
        let _ = write!(text, "\n  [[service.backend]]\n  address = {}\n", quoted(&backend.address.to_string()));
        if backend.port != planned.port {
            let _ = writeln!(text, "  port = {}", backend.port);
        }
        let _ = writeln!(text, "  weight = {}", backend.weight);
        if let Some(most) = backend.max_connections {
            let _ = writeln!(text, "  max_connections = {most}");
        }
    }
    text
}

/// On one line, so that a person can take it out.
fn inline(probe: &Probe) -> String {
    let mut keys = vec![
        format!("type = {}", quoted(probe.kind.name())),
        format!("interval = {}", quoted(&show_duration(probe.interval))),
        format!("timeout = {}", quoted(&show_duration(probe.timeout))),
        "rise = 1".to_owned(),
        format!("fall = {}", probe.fall),
    ];
    if let Kind::Http { path, status, host, text } = &probe.kind {
        keys.push(format!("path = {}", quoted(path)));
        keys.push(format!("status = {}", quoted(status)));
        keys.extend(host.iter().map(|host| format!("host = {}", quoted(host))));
        keys.extend(text.iter().map(|text| format!("body = {}", quoted(text))));
    }
    keys.extend(probe.port.iter().map(|port| format!("port = {port}")));
    format!("{{ {} }}", keys.join(", "))
}

fn comment(text: &mut String, note: &Note) {
    let _ = writeln!(text, "# {note}");
}

/// Without spaces at the end, and a comment stays one.
fn commented_out(text: &mut String, line: &str) {
    let _ = match line {
        "" => writeln!(text, "#"),
        line if line.starts_with('#') => writeln!(text, "{line}"),
        line => writeln!(text, "# {line}"),
    };
}
