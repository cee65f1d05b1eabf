//! The packet path alone, on packets made in memory: what a packet costs by number of flows, mode and direction; how many
//! connections a second come and go; how much memory a connection takes.
//!
//! ```text
//! cargo run --release --no-default-features --example pipeline -- [--quick] [--csv] [--modes M,…] [--flows N,…] …
//! ```
//!
//! Costs are time on the CPU. Each round makes its packets twice, once without sending them through the packet path, and
//! that is taken off; what it was is shown too. Rounds of all workloads of one number of flows are interleaved, so that
//! a disturbance of the machine meets them all.

mod balancer;
mod clock;
mod connect;
mod forward;
mod frame;
mod template;

use clap::Parser;
use leat::service::Mode;

use connect::Churn;
use forward::{Direction, Known, Sizes};
use template::Transport;

/// What to measure.
#[derive(Parser)]
struct Options {
    /// Fewer flows, fewer rounds: about a minute.
    #[arg(long)]
    quick: bool,
    /// Lines of `what,mode,direction,flows,frame,round,value,unit` instead of a table.
    #[arg(long)]
    csv: bool,
    /// What to measure.
    #[arg(long, value_delimiter = ',', default_value = "forward,connect,memory")]
    what: Vec<String>,
    /// The modes to measure.
    #[arg(long, value_delimiter = ',', default_value = "fullnat,nat,dr,ipip,gue", value_parser = mode)]
    modes: Vec<Mode>,
    /// The transports to measure.
    #[arg(long, value_delimiter = ',', default_value = "udp,tcp,udp6,tcp6")]
    transports: Vec<String>,
    /// Numbers of flows.
    #[arg(long, value_delimiter = ',')]
    flows: Option<Vec<u64>>,
    /// Rounds of each measurement.
    #[arg(long)]
    rounds: Option<u32>,
    /// Packets of one round.
    #[arg(long)]
    packets: Option<u64>,
}

fn mode(name: &str) -> Result<Mode, String> {
    Mode::ALL.into_iter().find(|mode| mode.name() == name).ok_or_else(|| "no such mode".to_owned())
}

/// One figure.
struct Row {
    what: String,
    mode: Mode,
    direction: &'static str,
    flows: u64,
    frame: &'static str,
    round: u32,
    value: f64,
    unit: &'static str,
}

/// Where figures go.
struct Report {
    csv: bool,
    rows: Vec<Row>,
}

impl Report {
    fn add(&mut self, row: Row) {
        let Row { what, mode, direction, flows, frame, round, value, unit } = &row;
        if self.csv {
            println!("{what},{mode},{direction},{flows},{frame},{round},{value:.3},{unit}");
        } else {
            self.rows.push(row);
        }
    }

    /// Minimum, median and maximum of each group of rounds, in the order in which the groups first came.
    fn print(&mut self) {
        let mut rows = std::mem::take(&mut self.rows);
        while !rows.is_empty() {
            let name = |row: &Row| (row.what.clone(), row.mode, row.direction, row.flows, row.frame);
            let group = name(&rows[0]);
            let (these, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| name(row) == group);
            rows = others;
            let mut values: Vec<_> = these.iter().map(|row| row.value).collect();
            values.sort_by(f64::total_cmp);
            let (what, mode, direction, flows, frame) = group;
            println!(
                "{what:12} {:8} {direction:8} {flows:>10} flows {frame:>4}  min {:>9.1} median {:>9.1} max {:>9.1} {}",
                mode.name(),
                values[0],
                values[values.len() / 2],
                values[values.len() - 1],
                these[0].unit,
            );
        }
    }
}

fn main() {
    let options = Options::parse();
    let flows = options.flows.clone().unwrap_or_else(|| {
        if options.quick {
            vec![1, 1000, 16_000, 1_000_000]
        } else {
            vec![1, 1000, 16_000, 100_000, 1_000_000, 10_000_000, 100_000_000]
        }
    });
    let mut report = Report { csv: options.csv, rows: Vec::new() };
    for what in &options.what {
        match what.as_str() {
            "forward" => {
                for &flows in &flows {
                    forward(&options, flows, &mut report);
                    report.print();
                }
            }
            "connect" => connect(&options, &mut report),
            "memory" => memory(&options, &mut report),
            "walk" => walk(&options),
            other => panic!("--what {other}: forward, connect, memory, or walk"),
        }
        report.print();
    }
}

/// The most flows whose workloads are all held at once, so that their rounds can be interleaved.
const INTERLEAVED: u64 = 2_000_000;

/// What a flow takes of memory in the table, in its source port's queue, and in the benchmark's own notes; generously.
const BYTES_PER_FLOW: u64 = 110;

fn forward(options: &Options, flows: u64, report: &mut Report) {
    let transports = options.transports.iter().map(|name| transport(name));
    let workloads: Vec<_> =
        options.modes.iter().flat_map(|&mode| transports.clone().map(move |transport| (mode, transport))).collect();
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 7 });
    let needed = flows * BYTES_PER_FLOW;
    if needed > clock::available_memory() {
        eprintln!("{flows} flows are left out: they take {} MiB of memory, which are not there", needed >> 20);
        return;
    }
    // To fill the table takes minutes then, and one workload shows what the number of flows does.
    let few = flows > 20_000_000 && options.modes.len() > 1;
    let workloads = if few { vec![(Mode::Fullnat, ("udp", Transport::Udp))] } else { workloads };
    if flows <= INTERLEAVED {
        let mut known: Vec<_> = workloads
            .iter()
            .map(|&(mode, transport)| (mode, transport.0, Known::open(mode, transport.1, flows)))
            .collect();
        for round in 0..rounds {
            for (mode, transport, known) in &mut known {
                measure(options, known, (*mode, transport, flows, round), report);
            }
        }
    } else {
        for (mode, transport) in workloads {
            let mut known = Known::open(mode, transport.1, flows);
            for round in 0..rounds {
                measure(options, &mut known, (mode, transport.0, flows, round), report);
            }
        }
    }
}

fn transport(name: &str) -> (&'static str, Transport) {
    let known = Transport::ALL.into_iter().find(|(known, _)| *known == name);
    known.unwrap_or_else(|| panic!("--transports {name}: udp, tcp, udp6 or tcp6"))
}

fn measure(
    options: &Options,
    known: &mut Known,
    (mode, transport, flows, round): (Mode, &str, u64, u32),
    report: &mut Report,
) {
    let packets = options.packets.unwrap_or(if options.quick { 1 << 20 } else { 1 << 22 });
    let directions: &[_] = if mode.is_one_way() {
        &[("original", Direction::Original)]
    } else {
        &[("original", Direction::Original), ("reply", Direction::Reply)]
    };
    for &(direction, which) in directions {
        for sizes in [Sizes::Short, Sizes::Imix] {
            // The longer frames cost what the short ones do; once is enough to show it.
            if sizes == Sizes::Imix && (transport != "udp" || flows != 1000) {
                continue;
            }
            let cost = known.measure(which, sizes, packets);
            let mut add = |what: &str, value| {
                let what = format!("{what}-{transport}");
                let (frame, unit) = (sizes.name(), "ns/packet");
                report.add(Row { what, mode, direction, flows, frame, round, value, unit });
            };
            add("forward", cost.forward);
            add("make", cost.make);
        }
    }
}

/// Takes packets of a few known flows through the packet path, each direction in turn, and says nothing: for somebody who
/// counts instructions from outside. All but the packets' number is the same in each run.
fn walk(options: &Options) {
    for &mode in &options.modes {
        for transport in &options.transports {
            Known::open(mode, self::transport(transport).1, 1000).walk(mode, options.packets.unwrap_or(1 << 16));
        }
    }
}

fn connect(options: &Options, report: &mut Report) {
    let mut churns = [1 << 13, 1 << 20].map(|connections| (connections, Churn::new(connections)));
    for round in 0..options.rounds.unwrap_or(if options.quick { 3 } else { 7 }) {
        for (connections, churn) in &mut churns {
            let value = churn.measure(if options.quick { 500_000 } else { 2_000_000 });
            report.add(Row {
                what: "connect".to_owned(),
                mode: Mode::Fullnat,
                direction: "both",
                flows: *connections as u64,
                frame: "60",
                round,
                value,
                unit: "connections/s",
            });
        }
    }
}

fn memory(options: &Options, report: &mut Report) {
    // As many as make good use of one local address's ports, or of four.
    let flows = balancer::CONNECTIONS_PER_LOCAL_ADDRESS as u64 * if options.quick { 1 } else { 4 };
    for (what, transport) in [("memory", Transport::Tcp), ("memory-ipv6", Transport::Tcp6)] {
        let before = clock::resident_memory();
        let known = Known::open(Mode::Fullnat, transport, flows);
        // What the benchmark itself notes of each flow is not the table's.
        let noted = known.noted_bytes();
        let value = (clock::resident_memory() - before - noted) as f64 / flows as f64;
        report.add(Row {
            what: what.to_owned(),
            mode: Mode::Fullnat,
            direction: "both",
            flows,
            frame: "",
            round: 0,
            value,
            unit: "bytes/connection",
        });
    }
}
