//! A status as tables for people: what SIGUSR1 and the end print.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::status::{HealthStatus, Status, Traffic};
use crate::counters::DropReason;
use crate::flow::endpoint;

/// All tables. They begin and end with a line that says what they are.
pub fn tables(status: &Status) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write_tables(&mut page, status);
    page
}

fn write_tables(page: &mut String, status: &Status) -> fmt::Result {
    writeln!(page, "leat {} on {}, up for {} s", status.version, status.dpdk, status.uptime_seconds)?;
    writeln!(page, "\nports")?;
    let head = [
        "port",
        "name",
        "mac",
        "link",
        "steering",
        "received",
        "bytes",
        "sent",
        "bytes",
        "missed",
        "no buffer",
        "errors",
    ];
    let rows = status.ports.iter().map(|port| {
        let figures = &port.figures;
        vec![
            port.port.to_string(),
            port.name.clone(),
            port.mac.clone(),
            if figures.link_up { "up" } else { "down" }.to_owned(),
            port.steering.to_owned(),
            figures.received.to_string(),
            figures.received_bytes.to_string(),
            figures.transmitted.to_string(),
            figures.transmitted_bytes.to_string(),
            figures.missed.to_string(),
            figures.no_buffer.to_string(),
            (figures.receive_errors + figures.transmit_errors).to_string(),
        ]
    });
    page.push_str(&columns(&head, 3, rows));

    writeln!(page, "\nlcores")?;
    let head =
        ["lcore", "worker", "received", "sent", "dropped", "handed over", "taken over", "connections", "of", "busy"];
    let rows = status.workers.iter().map(|worker| {
        vec![
            worker.lcore.to_string(),
            worker.worker.to_string(),
            worker.received.to_string(),
            worker.transmitted.to_string(),
            worker.drops.values().sum::<u64>().to_string(),
            worker.handed_over.to_string(),
            worker.taken_over.to_string(),
            worker.connections.to_string(),
            worker.capacity.to_string(),
            format!("{:.1}%", 100.0 * worker.busy_polls as f64 / worker.polls.max(1) as f64),
        ]
    });
    page.push_str(&columns(&head, 0, rows));

    for service in &status.services {
        let super::ServiceStatus { name, vip, protocol, port, mode, scheduler, .. } = service;
        writeln!(page, "\nservice {name}: {protocol} {}, {mode}, {scheduler}", endpoint(vip, *port))?;
        let head =
            ["backend", "health", "weight", "open", "opened", "packets to", "bytes to", "packets from", "bytes from"];
        let backends = service.backends.iter().map(|backend| {
            let name = endpoint(&backend.address, backend.port);
            let health = backend.health.as_ref().map_or_else(|| "not probed".to_owned(), health);
            let health = if backend.draining { format!("draining, {health}") } else { health };
            traffic_row([name, health, backend.weight.to_string()], &backend.traffic)
        });
        let total = traffic_row(["total".to_owned(), String::new(), String::new()], &service.total);
        page.push_str(&columns(&head, 2, backends.chain([total])));
    }

    if !status.given_up.is_empty() {
        writeln!(page, "\naddresses that another station has, and leat does not use")?;
        let rows = status.given_up.iter().map(|it| vec![it.address.clone(), it.mac.clone(), it.port.to_string()]);
        page.push_str(&columns(&["address", "mac", "port"], 2, rows));
    }

    let mut drops = BTreeMap::new();
    for (name, packets) in status.workers.iter().flat_map(|worker| &worker.drops) {
        *drops.entry(*name).or_insert(0) += packets;
    }
    writeln!(page, "\ndropped packets")?;
    let rows = DropReason::ALL.iter().filter_map(|reason| {
        let packets: &u64 = drops.get(reason.name())?;
        Some(vec![reason.name().to_owned(), packets.to_string(), reason.description().to_owned()])
    });
    page.push_str(&columns(&["reason", "packets", "meaning"], 1, rows));
    writeln!(page, "\nend of statistics")
}

/// For example "down for 12 s (no answer to ARP for 3s)".
fn health(status: &HealthStatus) -> String {
    let HealthStatus { state, for_seconds, reason, changes } = status;
    let flaps = match changes {
        0 => String::new(),
        1 => ", 1 change".to_owned(),
        changes => format!(", {changes} changes"),
    };
    format!("{state} for {for_seconds} s ({reason}{flaps})")
}

fn traffic_row(names: [String; 3], traffic: &Traffic) -> Vec<String> {
    let Traffic { open, opened, original_packets, original_bytes, reply_packets, reply_bytes } = traffic;
    let figures = [open, opened, original_packets, original_bytes, reply_packets, reply_bytes];
    names.into_iter().chain(figures.iter().map(|figure| figure.to_string())).collect()
}

/// Lines of cells, each column as wide as its widest cell: names to the left, numbers to the right. The first `names`
/// columns and the last one, when it is no number, are names.
pub(crate) fn columns(head: &[&str], names: usize, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut lines: Vec<Vec<String>> = vec![head.iter().map(|&name| name.to_owned()).collect()];
    lines.extend(rows);
    if lines.len() == 1 {
        return "  none\n".to_owned();
    }
    let is_number = |cell: &String| cell.bytes().next().is_none_or(|first| first.is_ascii_digit());
    let widths: Vec<_> =
        (0..head.len()).map(|at| lines.iter().filter_map(|line| line.get(at)).map(String::len).max()).collect();
    let right: Vec<_> = (0..head.len())
        .map(|at| at >= names && lines[1..].iter().filter_map(|line| line.get(at)).all(is_number))
        .collect();
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for ((cell, width), right) in line.iter().zip(&widths).zip(&right) {
            let width = width.unwrap_or(0);
            // Writing to a string cannot fail.
            let _ = if *right { write!(row, "  {cell:>width$}") } else { write!(row, "  {cell:<width$}") };
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["a".to_owned(), "7".to_owned(), "x y".to_owned()],
            vec!["bcd".to_owned(), "12".to_owned(), "z".to_owned()],
        ];
        let text = columns(&["name", "n", "meaning"], 1, rows.into_iter());
        assert_eq!(text, "  name   n  meaning\n  a      7  x y\n  bcd   12  z\n");
    }

    #[test]
    fn a_table_without_rows_says_so() {
        assert_eq!(columns(&["name"], 1, std::iter::empty()), "  none\n");
    }
}
