//! What becomes of packets for a backend that does not answer ARP, and what `--trace` says of them.
#![cfg(feature = "dpdk")]

mod support;

use etherparse::PacketBuilder;
use support::{LIMIT, TempDir, leat::Leat, pcap, require_root, wait_for};

/// A client opens a connection from `port`.
fn syn(port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 0xfe])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 10], 64)
        .tcp(port, 8080, 1, 64_240)
        .syn()
        .write(&mut frame, &[])
        .unwrap();
    frame
}

#[test]
fn the_trace_tells_the_whole_story_of_packets_that_wait_in_vain() {
    require_root();
    let directory = TempDir::new("waiting");
    let (input, output) = (directory.join("in.pcap"), directory.join("out.pcap"));
    pcap::write(&input, &(1..=10).map(|number| syn(40_000 + number)).collect::<Vec<_>>());
    let device = format!("--vdev=net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let service = ["--vip", "10.0.0.10:8080", "--backend", "10.0.0.2", "--mac", "02:00:00:00:00:fe", "--trace"];
    let leat = Leat::start(&["-l", "0", "--no-pci", &device], &service);

    let gone = "    it was rewritten before, and waited for its next hop\n    dropped: the next hop did not answer ARP or neighbour discovery in time";
    let story = wait_for("the end of eight packets", LIMIT, || {
        let said = leat.stdout();
        (said.matches(gone).count() == 8).then_some(said)
    });
    assert_eq!(story.matches("held until 10.0.0.2 answers ARP").count(), 8, "{story}");
    assert_eq!(story.matches("dropped: more packets than may wait for one next hop").count(), 2, "{story}");
    let drops = &leat.status()["workers"][0]["drops"];
    assert_eq!((&drops["neighbor_unresolved"], &drops["neighbor_queue_full"]), (&8.into(), &2.into()), "{drops}");
    leat.stop().success();
}
