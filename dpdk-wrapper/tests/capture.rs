//! A capture in, a capture out, through DPDK's pcap driver: frames in one mbuf and in several, and what is still in the
//! queues when the port stops.

mod common;

use std::{env, fs, path::Path, process};

use arrayvec::ArrayVec;
use dpdk_wrapper::{Mbuf, Mempool, MempoolConfig, PortConfig};

#[test]
fn frames_of_every_length_pass_unchanged() {
    let folder = env::temp_dir().join(format!("dpdk-wrapper-{}", process::id()));
    fs::create_dir_all(&folder).unwrap();
    let [input, short, output] = ["in.pcap", "short.pcap", "out.pcap"].map(|name| folder.join(name));
    let frames: Vec<Vec<u8>> =
        [60, 61, 1514, 2048, 2049, 5000, 64].into_iter().map(|len| (0..len).map(|n| n as u8).collect()).collect();
    write_capture(&input, &frames);
    write_capture(&short, &frames[..1]);

    let vdev = format!("--vdev=net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let endless = format!("--vdev=net_pcap1,rx_pcap={},infinite_rx=1", short.display());
    let eal = common::start(&["-l", "0", &vdev, &endless]);
    let lcore = eal.main_lcore();
    let pool = Mempool::new(&eal, "capture", &MempoolConfig { mbufs: 1023, ..MempoolConfig::default() }).unwrap();
    let mut port = eal.port_named("net_pcap0").unwrap();
    let mut queues = port.start(&PortConfig::default(), &[&pool]).unwrap();

    let mut burst = ArrayVec::<Mbuf, 32>::new();
    while queues.rx[0].rx_burst(lcore, &mut burst) > 0 {}
    let in_segments: Vec<_> = burst.iter().map(Mbuf::segment_count).collect();
    assert_eq!(in_segments, [1, 1, 1, 1, 2, 3, 1]);
    for (mbuf, frame) in burst.iter().zip(&frames) {
        assert_eq!(mbuf.packet_len(), frame.len());
        assert_eq!(mbuf.segments().flatten().copied().collect::<Vec<u8>>(), *frame);
        assert_eq!(mbuf.port(), Some(port.id()));
    }
    lengths_are_those_of_all_segments(&mut burst[5]);

    while queues.tx[0].tx_burst(lcore, &mut burst) > 0 {}
    assert!(burst.is_empty());
    drop(queues);
    port.stop().unwrap();
    drop(port);
    assert_eq!(pool.in_use(), 0);
    let mut expected = frames;
    expected[5].splice(0..14, []);
    expected[5].splice(4980.., *b"end");
    assert_eq!(read_capture(&output), expected);

    // This one keeps all its frames in mbufs from start to close, and gives copies of them for ever.
    let mut endless = eal.port_named("net_pcap1").unwrap();
    let mut queues = endless.start(&PortConfig::default(), &[&pool]).unwrap();
    for _ in 0..3 {
        while !burst.is_full() {
            queues.rx[0].rx_burst(lcore, &mut burst);
        }
        assert!(burst.iter().all(|mbuf| mbuf.data() == expected[0]));
        while queues.tx[0].tx_burst(lcore, &mut burst) > 0 {}
    }
    drop(queues);
    endless.stop().unwrap();
    drop(endless);
    assert_eq!(pool.in_use(), 0, "what a port held is back once it is closed");

    drop(pool);
    eal.shutdown().unwrap();
    fs::remove_dir_all(folder).unwrap();
}

/// Takes 14 bytes off the front, and replaces the last 6 by 3.
fn lengths_are_those_of_all_segments(mbuf: &mut Mbuf) {
    assert_eq!(mbuf.trim_front(14).unwrap().len(), 2048 - 14);
    assert!(mbuf.trim_front(2048).is_none(), "the first segment has no more");
    mbuf.trim_back(6).unwrap();
    mbuf.append(3).unwrap().copy_from_slice(b"end");
    assert_eq!(mbuf.packet_len(), 5000 - 14 - 6 + 3);
    assert_eq!(mbuf.segments().map(<[u8]>::len).sum::<usize>(), mbuf.packet_len());
}

/// The classic file format: a file header of 24 bytes, and 16 bytes before each frame.
fn write_capture(path: &Path, frames: &[Vec<u8>]) {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, 1] {
        file.extend(u32::to_le_bytes(word));
    }
    for frame in frames {
        for word in [0, 0, frame.len() as u32, frame.len() as u32] {
            file.extend(u32::to_le_bytes(word));
        }
        file.extend(frame);
    }
    fs::write(path, file).unwrap();
}

fn read_capture(path: &Path) -> Vec<Vec<u8>> {
    let file = fs::read(path).unwrap();
    let (mut frames, mut rest) = (Vec::new(), &file[24..]);
    while !rest.is_empty() {
        let len = u32::from_ne_bytes(rest[8..12].try_into().unwrap()) as usize;
        frames.push(rest[16..16 + len].to_vec());
        rest = &rest[16 + len..];
    }
    frames
}
