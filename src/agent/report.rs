//! What was counted, as a table for people.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::DropReason;
use super::receive::{Lost, Receiver};
use crate::metrics::columns;

/// All tables. They begin and end with a line that says what they are.
pub(super) fn report(receivers: &[Receiver], uptime: Duration) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write_report(&mut page, receivers, uptime);
    page
}

fn write_report(page: &mut String, receivers: &[Receiver], uptime: Duration) -> fmt::Result {
    writeln!(page, "leat-agent {}, up for {} s", env!("CARGO_PKG_VERSION"), uptime.as_secs())?;
    writeln!(page, "\ntunnels")?;
    let rows = receivers.iter().map(|receiver| {
        let counters = &receiver.counters;
        let lost = receiver.lost();
        let dropped: u64 = DropReason::ALL.iter().map(|&reason| drops(receiver, lost, reason)).sum();
        let figures =
            [counters.received.value(), counters.delivered.value(), counters.delivered_bytes.value(), dropped];
        [receiver.tunnel.name().to_owned()].into_iter().chain(figures.map(|figure| figure.to_string())).collect()
    });
    page.push_str(&columns(&["tunnel", "received", "delivered", "bytes", "dropped"], 1, rows));

    writeln!(page, "\ndropped packets")?;
    let rows = receivers.iter().flat_map(|receiver| {
        let lost = receiver.lost();
        DropReason::ALL.iter().filter_map(move |&reason| {
            let packets = drops(receiver, lost, reason);
            let tunnel = receiver.tunnel.name().to_owned();
            let cells = [tunnel, reason.name().to_owned(), packets.to_string(), reason.description().to_owned()];
            (packets > 0).then(|| cells.to_vec())
        })
    });
    page.push_str(&columns(&["tunnel", "reason", "packets", "meaning"], 2, rows));
    writeln!(page, "\nend of statistics")
}

fn drops(receiver: &Receiver, lost: Lost, reason: DropReason) -> u64 {
    match reason {
        DropReason::OuterChecksum => lost.damaged,
        DropReason::ReceiveQueueFull => lost.unread,
        reason => receiver.counters.drops.value(reason),
    }
}
