//! What came out of leat on net_pcap, as independent judges see it.

use std::collections::BTreeMap;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use serde_json::Value;

use super::{
    capture::render,
    frames::LEAT,
    leat::{PcapRun, pcap_run, received},
};

/// One line of a table: frames that go in, what comes out of it, and what is dropped on the way.
pub struct Row<'a> {
    pub what: &'a str,
    /// leat's own options, without `--mac`.
    pub own: &'a str,
    pub frames: Vec<Vec<u8>>,
    /// What [`PcapRun::lines`] makes of it.
    pub out: &'a [&'a str],
    /// Reasons in any order.
    pub drops: &'a [(&'a str, u64)],
}

/// Runs each row through a leat of its own. All rows that fail are shown.
///
/// Beside what the rows say it is checked that every checksum that came out is right, that no packet is lost
/// uncounted, and that no buffer is left in use.
#[track_caller]
pub fn check(rows: &[Row<'_>]) {
    let failures: Vec<String> = rows.iter().filter_map(|row| row.failure()).collect();
    assert!(failures.is_empty(), "{} of {} rows:\n{}", failures.len(), rows.len(), failures.join("\n"));
}

impl Row<'_> {
    fn failure(&self) -> Option<String> {
        let own: Vec<&str> = ["--mac", "02:00:00:00:00:fe"].into_iter().chain(self.own.split_whitespace()).collect();
        let run = pcap_run(&self.frames, &own);
        let lines = run.lines();
        let drops = drops(&run.status);
        let expected: BTreeMap<String, u64> = self.drops.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let mut wrong = Vec::new();
        if lines != self.out {
            wrong.push(format!(
                "  came out:\n    {}\n  expected:\n    {}",
                lines.join("\n    "),
                self.out.join("\n    ")
            ));
        }
        if drops != expected {
            wrong.push(format!("  dropped {drops:?}, expected {expected:?}"));
        }
        wrong.extend(run.wrong_checksums().into_iter().map(|line| format!("  wrong checksum: {line}")));
        wrong.extend(run.unaccounted().map(|line| format!("  {line}")));
        (!wrong.is_empty()).then(|| format!("{}:\n{}", self.what, wrong.join("\n")))
    }
}

/// Packets dropped, by reason, over all workers.
pub fn drops(status: &Value) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for worker in status["workers"].as_array().expect("the status lists workers") {
        for (name, packets) in worker["drops"].as_object().expect("drops are a table") {
            *sums.entry(name.clone()).or_insert(0) += packets.as_u64().expect("a count");
        }
    }
    sums
}

/// A filter for all but the ARP requests and announcements that leat sends on its own: when they go out depends on the
/// clock.
const NOT_SPOKEN: &str = "not (arp and ether src 02:00:00:00:00:fe and arp[6:2] = 1)";

impl PcapRun {
    /// The frames that leat sent on or answered, in order.
    pub fn answers(&self) -> Vec<&[u8]> {
        let frames = self.frames.iter().map(|frame| frame.bytes.as_slice());
        frames.filter(|frame| !(frame[6..12] == LEAT && frame[12..14] == [8, 6] && frame[20..22] == [0, 1])).collect()
    }

    /// tcpdump's rendering of those, a line each: `to 02: 10.0.0.10.34952 > 10.0.0.2.8080: Flags [S], …` for a frame from
    /// leat's Ethernet address to 02:00:00:00:00:02. One that is from or to another is shown as tcpdump has it.
    pub fn lines(&self) -> Vec<String> {
        let lines = render(&self.output, &["-e", "-t", "-S", NOT_SPOKEN]);
        lines.into_iter().map(|line| shorten(&line).unwrap_or(line)).collect()
    }

    /// What tcpdump and etherparse say is wrong with the checksums of what leat sent.
    pub fn wrong_checksums(&self) -> Vec<String> {
        let signs = ["(incorrect -> ", "bad cksum ", "[bad udp cksum ", "(wrong icmp cksum "];
        let is_wrong = |line: &String| signs.iter().any(|sign| line.contains(sign));
        let mut wrong: Vec<String> = render(&self.output, &["-vv"]).into_iter().filter(is_wrong).collect();
        wrong.extend(self.answers().into_iter().filter_map(wrong_by_etherparse));
        wrong
    }

    /// What is missing from the balance: every frame that came in was sent, or dropped and counted, and no buffer holds
    /// one any more.
    pub fn unaccounted(&self) -> Option<String> {
        // What leat says about a dropped packet is a packet of its own.
        let answers = self.answers();
        let sent = answers.iter().filter(|frame| !says_time_exceeded(frame)).count() as u64;
        let received = received(&self.status);
        let dropped: u64 = drops(&self.status).values().sum();
        let in_use = self.status["buffers"]["in_use"].as_u64().expect("in_use is a count");
        (received != sent + dropped || in_use != 0)
            .then(|| format!("received {received}, sent {sent}, dropped {dropped}, buffers in use {in_use}"))
    }
}

/// Whether a frame is an ICMP error of type 11.
fn says_time_exceeded(frame: &[u8]) -> bool {
    frame[12..15] == [8, 0, 0x45] && frame[23] == 1 && frame[34] == 11
}

fn shorten(line: &str) -> Option<String> {
    let (ethernet, packet) = line.strip_prefix("02:00:00:00:00:fe > 02:00:00:00:00:")?.split_once(": ")?;
    let (last, _) = ethernet.split_once(", ethertype ")?;
    Some(format!("to {last}: {packet}"))
}

/// What etherparse, summing everything anew, finds wrong.
fn wrong_by_etherparse(frame: &[u8]) -> Option<String> {
    let packet = SlicedPacket::from_ethernet(frame).unwrap_or_else(|error| panic!("{error}: {frame:02x?}"));
    let Some(NetSlice::Ipv4(ip)) = packet.net else { return None };
    let header = ip.header().to_header();
    if header.header_checksum != header.calc_header_checksum() {
        return Some(format!("IPv4 of {frame:02x?}"));
    }
    let (there, right) = match packet.transport? {
        TransportSlice::Tcp(tcp) => (tcp.checksum(), tcp.calc_checksum_ipv4(header.source, header.destination).ok()?),
        // 0 says that there is none (RFC 768).
        TransportSlice::Udp(udp) if udp.checksum() == 0 => (0, 0),
        TransportSlice::Udp(udp) => (udp.checksum(), udp.to_header().calc_checksum_ipv4(&header, udp.payload()).ok()?),
        TransportSlice::Icmpv4(icmp) => (icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload())),
        other @ (TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_)) => panic!("leat sends no such thing: {other:?}"),
    };
    (there != right).then(|| format!("{there:#06x}, not {right:#06x}, of {frame:02x?}"))
}
