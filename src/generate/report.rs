//! What a run found, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::measure::{Figures, Latency, Times};
use crate::metrics::columns;

/// Bytes that a frame takes on Ethernet beside those in a buffer: check sequence, preamble and gap (IEEE 802.3).
const OVERHEAD_BYTES: u64 = 4 + 8 + 12;

/// The whole of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// leat-gen's version.
    pub version: String,
    /// DPDK's version.
    pub dpdk: String,
    /// How long packets were sent.
    pub seconds: f64,
    /// Flows that there were; 0 where only backends were played.
    pub flows: u32,
    /// Flows that were opened by a SYN each before the measurement, and answers to those.
    pub opening: Option<Opening>,
    /// What the clients sent.
    pub sent: Stream,
    /// What came back right.
    pub received: Stream,
    /// Packets that did not come back.
    pub lost: u64,
    /// That as a percentage.
    pub lost_percent: f64,
    /// Packets that came back with addresses or ports that are not their flow's.
    pub misdirected: u64,
    /// Packets that came back damaged.
    pub corrupt: u64,
    /// Packets that came back more than once.
    pub duplicated: u64,
    /// Packets that were overtaken by a later one of their flow.
    pub reordered: u64,
    /// Packets that were returned in the backends' name.
    pub reflected: u64,
    /// Other frames that came in.
    pub other: u64,
    /// Where connections were asked for.
    pub connections: Option<Connections>,
    /// Nanoseconds from when a packet was written until it was taken from a port; of connections, from the SYN to the last
    /// answer.
    pub latency_ns: Option<Times>,
}

/// Flows that were opened before the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Opening {
    /// SYNs sent.
    pub sent: u64,
    /// Those that came back right.
    pub answered: u64,
}

/// Packets in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stream {
    /// How many.
    pub packets: u64,
    /// That many a second.
    pub packets_per_second: f64,
    /// Bits a second on an Ethernet wire, preambles, check sequences and gaps included.
    pub wire_bits_per_second: f64,
}

/// Whole TCP connections.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Connections {
    /// SYNs sent.
    pub opened: u64,
    /// Those that were opened, used and closed.
    pub completed: u64,
    /// That many a second.
    pub completed_per_second: f64,
}

/// What a report is made of.
#[derive(Clone, Debug)]
pub struct Findings<'a> {
    /// Of the measurement alone.
    pub figures: Figures,
    /// How long packets were sent.
    pub sending: Duration,
    /// See [`Report::flows`].
    pub flows: u32,
    /// See [`Report::opening`].
    pub opening: Option<Opening>,
    /// Whether connections were asked for.
    pub connections: bool,
    /// All lcores' times.
    pub latency: &'a Latency,
    /// DPDK's version.
    pub dpdk: &'a str,
}

impl Report {
    /// Works out rates and shares.
    pub fn new(findings: &Findings<'_>) -> Self {
        let Findings { figures, sending, flows, opening, connections, latency, dpdk } = findings;
        let seconds = sending.as_secs_f64();
        let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let stream = |packets: u64, bytes: u64| Stream {
            packets,
            packets_per_second: per_second(packets),
            wire_bits_per_second: per_second((bytes + packets * OVERHEAD_BYTES) * 8),
        };
        let lost = figures.missing();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dpdk: (*dpdk).to_owned(),
            seconds,
            flows: *flows,
            opening: *opening,
            sent: stream(figures.sent, figures.sent_bytes),
            received: stream(figures.right, figures.right_bytes),
            lost,
            lost_percent: 100.0 * lost as f64 / figures.sent.max(1) as f64,
            misdirected: figures.misdirected,
            corrupt: figures.corrupt,
            duplicated: figures.duplicated,
            reordered: figures.reordered,
            reflected: figures.reflected,
            other: figures.other,
            connections: connections.then(|| Connections {
                opened: figures.opened,
                completed: figures.completed,
                completed_per_second: per_second(figures.completed),
            }),
            latency_ns: latency.summary(),
        }
    }

    /// As JSON, with a line feed at its end.
    pub fn json(&self) -> String {
        // Numbers, texts and structs of these are always JSON.
        let json = serde_json::to_string_pretty(self).unwrap_or_else(|_| unreachable!("no map with other keys"));
        json + "\n"
    }

    /// As a table.
    pub fn table(&self) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = write!(page, "leat-gen {} on {}, {:.3} s", self.version, self.dpdk, self.seconds);
        let _ = writeln!(page, "{}", if self.flows > 0 { format!(", {} flows", self.flows) } else { String::new() });
        if let Some(Opening { sent, answered }) = self.opening {
            let _ = writeln!(page, "opened before: {answered} of {sent} flows");
        }
        let stream = |name: &str, stream: &Stream| {
            vec![
                name.to_owned(),
                stream.packets.to_string(),
                format!("{:.0}", stream.packets_per_second),
                format!("{:.3}", stream.wire_bits_per_second / 1e6),
            ]
        };
        let count = |name: &str, count: u64| vec![name.to_owned(), count.to_string()];
        let mut lost = count("lost", self.lost);
        lost.extend([String::new(), String::new(), format!("{:.4}%", self.lost_percent)]);
        let rows = [
            stream("sent", &self.sent),
            stream("received", &self.received),
            lost,
            count("misdirected", self.misdirected),
            count("corrupt", self.corrupt),
            count("duplicated", self.duplicated),
            count("reordered", self.reordered),
            count("reflected", self.reflected),
            count("other", self.other),
        ];
        page.push_str(&columns(&["", "packets", "a second", "Mbit/s on wire", "of sent"], 1, rows.into_iter()));
        if let Some(Connections { opened, completed, completed_per_second }) = self.connections {
            let rows = [vec![opened.to_string(), completed.to_string(), format!("{completed_per_second:.0}")]];
            page.push_str(&columns(&["connections opened", "completed", "a second"], 0, rows.into_iter()));
        }
        if let Some(Times { min, mean, p50, p90, p99, p999, max }) = self.latency_ns {
            let what = if self.connections.is_some() { "SYN to last answer, µs" } else { "there and back, µs" };
            let row = [min, mean, p50, p90, p99, p999, max].map(|nanos| format!("{:.2}", nanos as f64 / 1e3));
            let row = std::iter::once(what.to_owned()).chain(row).collect();
            let head = ["latency", "min", "mean", "50%", "90%", "99%", "99.9%", "max"];
            page.push_str(&columns(&head, 1, std::iter::once(row)));
        }
        page
    }
}

/// A line about the last `span` of a run.
pub fn progress(at: Duration, span: Duration, last: &Figures, total: &Figures) -> String {
    let per_second = |count: u64| count as f64 / span.as_secs_f64().max(1e-9);
    let mut line = format!("{:5.0} s", at.as_secs_f64());
    // Writing to a string cannot fail.
    if total.sent > 0 {
        let _ = write!(
            line,
            "  sent {:.0}/s  received {:.0}/s  missing {}  misdirected {}  corrupt {}",
            per_second(last.sent),
            per_second(last.right),
            total.missing(),
            total.misdirected,
            total.corrupt
        );
    }
    if total.opened > 0 {
        let _ = write!(line, "  connections {:.0}/s", per_second(last.completed));
    }
    if total.reflected > 0 || total.sent == 0 {
        let _ = write!(line, "  reflected {:.0}/s", per_second(last.reflected));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(connections: bool) -> Report {
        let mut latency = Latency::default();
        latency.record(1500);
        let figures = Figures {
            sent: 2_000_000,
            sent_bytes: 120_000_000,
            right: 1_999_000,
            right_bytes: 119_940_000,
            misdirected: 10,
            corrupt: 20,
            opened: 7,
            completed: 6,
            ..Figures::default()
        };
        Report::new(&Findings {
            figures,
            sending: Duration::from_secs(2),
            flows: 1000,
            opening: Some(Opening { sent: 1000, answered: 999 }),
            connections,
            latency: &latency,
            dpdk: "DPDK 22.11",
        })
    }

    #[test]
    fn rates_are_those_of_the_wire() {
        let report = report(false);
        assert_eq!((report.sent.packets_per_second, report.lost), (1e6, 970));
        // A frame of 64 bytes takes 84 on the wire: a million a second are 672 Mbit/s.
        assert_eq!(report.sent.wire_bits_per_second, 672e6);
        assert!((report.lost_percent - 0.0485).abs() < 1e-9);
        assert_eq!(report.connections, None);
    }

    #[test]
    fn the_table_says_what_was_found() {
        let table = report(true).table();
        for part in
            ["1000 flows", "999 of 1000 flows", "672.000", "0.0485%", "connections opened", "SYN to last", "1.50"]
        {
            assert!(table.contains(part), "{part} in:\n{table}");
        }
        let line =
            |name: &str| table.lines().find(|line| line.contains(name)).map(|line| line.split_whitespace().nth(1));
        assert_eq!((line("misdirected"), line("corrupt")), (Some(Some("10")), Some(Some("20"))), "{table}");
    }

    #[test]
    fn the_json_can_be_read_back() {
        let value: serde_json::Value = serde_json::from_str(&report(true).json()).unwrap();
        assert_eq!(value["lost"], 970);
        assert_eq!(value["connections"]["completed"], 6);
        assert_eq!(value["latency_ns"]["p99"], 1500);
    }

    #[test]
    fn a_run_of_no_time_has_no_rate() {
        let findings = Findings {
            figures: Figures::default(),
            sending: Duration::ZERO,
            flows: 0,
            opening: None,
            connections: false,
            latency: &Latency::default(),
            dpdk: "",
        };
        let report = Report::new(&findings);
        assert_eq!((report.sent.packets_per_second, report.lost_percent, report.latency_ns), (0.0, 0.0, None));
        assert!(!report.table().contains("latency"));
    }

    #[test]
    fn progress_is_one_line_about_what_happens() {
        let figures = Figures { sent: 100, right: 90, ..Figures::default() };
        let line = progress(Duration::from_secs(3), Duration::from_secs(1), &figures, &figures);
        assert_eq!(line, "    3 s  sent 100/s  received 90/s  missing 10  misdirected 0  corrupt 0");
        let figures = Figures { reflected: 5, ..Figures::default() };
        let line = progress(Duration::from_secs(3), Duration::from_secs(1), &figures, &figures);
        assert_eq!(line, "    3 s  reflected 5/s");
    }
}
