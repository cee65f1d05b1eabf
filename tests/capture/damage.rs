//! Frames that are damaged, cut, unusual or malicious. None stops leat; each that is dropped is counted under the name
//! of what is wrong with it; what is only the receiver's business is passed on as it is.

use std::fs;

use crate::support::{
    TempDir,
    capture::render,
    frames::{
        B2, BROADCAST, C1, C4, Ip, Mac, Segment, VIP, arp_request, echo_request, syn, udp, with, with_ip,
        with_ip_options,
    },
    leat::{PcapRun, pcap_run},
    verdict::{Row, check, drops},
};

const TCP: &str = "--vip 10.0.0.10:8080 --backend 10.0.0.2,mac=02:00:00:00:00:02";
const ANY: &str = "--vip any:10.0.0.10 --local-address 10.0.0.11 --backend 10.0.0.2,mac=02:00:00:00:00:02";
const SYN_OUT: &str = "to 02: 10.0.0.10.34952 > 10.0.0.2.8080: Flags [S], seq 1000, win 64240, length 0";

fn run(frames: &[Vec<u8>], own: &str) -> PcapRun {
    let own: Vec<&str> = ["--mac", "02:00:00:00:00:fe"].into_iter().chain(own.split_whitespace()).collect();
    pcap_run(frames, &own)
}

/// What became of each frame, from the trace: the name of the reason it was dropped for, or `sent`.
fn verdicts(frames: &[Vec<u8>], own: &str) -> Vec<String> {
    let run = run(frames, &format!("{own} --trace"));
    assert_eq!(run.unaccounted(), None);
    let ends = run.finished.stdout.lines().filter_map(|line| {
        let line = line.strip_prefix("    ")?;
        let dropped = line.strip_prefix("dropped: ").and_then(|line| line.rsplit_once(" ("));
        match dropped {
            Some((_, name)) => Some(name.trim_end_matches(')').to_owned()),
            None => line.starts_with("sent on port").then(|| "sent".to_owned()),
        }
    });
    ends.collect()
}

fn the_syn() -> Vec<u8> {
    syn(C1, (34952, 8080))
}

#[test]
fn a_frame_cut_at_any_length_from_0_to_60_is_counted_by_what_is_missing() {
    // 40 bytes of IPv4 and TCP, 35 of IPv4 and UDP with payload, and so on; padding behind a whole packet is no fault.
    let templates = [
        ("TCP", the_syn(), [("frame_truncated", 14), ("ipv4_truncated", 34), ("ipv4_total_length", 54), ("sent", 61)]),
        (
            "UDP",
            udp(C1, VIP, (34952, 9999), b"hello"),
            [("frame_truncated", 14), ("ipv4_truncated", 34), ("ipv4_total_length", 47), ("sent", 61)],
        ),
        (
            "ICMP",
            echo_request(C1, VIP, 5000),
            [("frame_truncated", 14), ("ipv4_truncated", 34), ("ipv4_total_length", 56), ("sent", 61)],
        ),
        (
            "ARP",
            arp_request(C1, [10, 0, 0, 99]),
            [("frame_truncated", 14), ("arp_malformed", 42), ("arp_not_for_us", 61), ("", 61)],
        ),
    ];
    for (what, template, expected) in templates {
        let padded = [template, vec![0; 60]].concat();
        let frames: Vec<Vec<u8>> = (0..=60).map(|length| padded[..length].to_vec()).collect();
        let verdicts = verdicts(&frames, ANY);
        assert_eq!(verdicts.len(), 61, "{what}: {verdicts:?}");
        for (length, verdict) in verdicts.iter().enumerate() {
            let (name, _) = expected.iter().find(|(_, until)| length < *until).expect("60 is covered");
            assert_eq!(verdict, name, "{what}, {length} bytes");
        }
    }
}

/// The IPv4 header says how much there is, so it is the transport header that is cut.
#[test]
fn a_packet_cut_within_its_transport_header_is_counted_by_its_protocol() {
    let templates = [
        (the_syn(), 20, "tcp_truncated"),
        (udp(C1, VIP, (34952, 9999), b""), 8, "udp_truncated"),
        (echo_request(C1, VIP, 5000), 8, "icmp_truncated"),
    ];
    for (template, header, reason) in templates {
        let frames: Vec<Vec<u8>> = (0..header).map(|length| with_ip(template.clone(), 16, &[0, 20 + length])).collect();
        let cut: Vec<Vec<u8>> = frames.iter().zip(34..).map(|(frame, length)| frame[..length].to_vec()).collect();
        for frames in [frames, cut] {
            let verdicts = verdicts(&frames, ANY);
            assert_eq!(verdicts.len(), usize::from(header), "{reason}: {verdicts:?}");
            assert!(verdicts.iter().all(|verdict| verdict == reason), "{reason}: {verdicts:?}");
        }
    }
}

#[test]
fn a_wrong_length_in_any_header_is_counted_under_its_own_name() {
    let datagram = || udp(C1, VIP, (34952, 8080), b"hello");
    let row = |what, frame, reason| Row { what, own: ANY, frames: vec![frame], out: &[], drops: reason };
    check(&[
        row("IP version 6", with_ip(the_syn(), 14, &[0x65]), &[("ipv4_version", 1)]),
        row("IP header of 16 bytes", with_ip(the_syn(), 14, &[0x44]), &[("ipv4_header_length", 1)]),
        row("IP header of 0 bytes", with_ip(the_syn(), 14, &[0x40]), &[("ipv4_header_length", 1)]),
        row("IP header beyond the frame", with_ip(the_syn(), 14, &[0x4f]), &[("ipv4_header_length", 1)]),
        row(
            "IP header beyond the packet",
            with_ip([the_syn(), vec![0; 40]].concat(), 14, &[0x4f]),
            &[("ipv4_total_length", 1)],
        ),
        row("IP packet beyond the frame", with_ip(the_syn(), 16, &[0, 41]), &[("ipv4_total_length", 1)]),
        row("IP packet of 65535 bytes", with_ip(the_syn(), 16, &[0xff, 0xff]), &[("ipv4_total_length", 1)]),
        row("IP packet within its header", with_ip(the_syn(), 16, &[0, 19]), &[("ipv4_total_length", 1)]),
        row("IP packet of no length", with_ip(the_syn(), 16, &[0, 0]), &[("ipv4_total_length", 1)]),
        row("TCP header of 16 bytes", with(the_syn(), 46, &[0x40]), &[("tcp_header_length", 1)]),
        row("TCP header of no length", with(the_syn(), 46, &[0]), &[("tcp_header_length", 1)]),
        row("TCP header beyond the packet", with(the_syn(), 46, &[0x60]), &[("tcp_header_length", 1)]),
        row("UDP of 7 bytes", with(datagram(), 38, &[0, 7]), &[("udp_length", 1)]),
        row("UDP of no length", with(datagram(), 38, &[0, 0]), &[("udp_length", 1)]),
        row("UDP beyond the packet", with(datagram(), 38, &[0, 14]), &[("udp_length", 1)]),
        row("longer than the MTU", udp(C1, VIP, (34952, 9999), &[7; 1480]), &[("too_long", 1)]),
    ]);
}

#[test]
fn what_is_not_for_leat_or_not_ipv4_is_counted_by_what_it_is() {
    let to = |mac: Mac| with(the_syn(), 0, &mac);
    let type_of = |ether_type: [u8; 2]| with(the_syn(), 12, &ether_type);
    let row = |what, frames, reason| Row { what, own: TCP, frames, out: &[], drops: reason };
    check(&[
        row("another station's frame", vec![to(B2.mac), to([2, 0, 0, 0, 1, 0xfe])], &[("not_for_us", 2)]),
        row("broadcast, multicast", vec![to(BROADCAST), to([1, 0, 0x5e, 0, 0, 1])], &[("broadcast", 2)]),
        row("a group as the sender", vec![with(the_syn(), 6, &[1, 0, 0x5e, 0, 0, 1])], &[("ethernet_source", 1)]),
        row("VLAN tags", vec![type_of([0x81, 0]), type_of([0x88, 0xa8])], &[("vlan", 2)]),
        row("IPv4 that calls itself IPv6", vec![type_of([0x86, 0xdd])], &[("ipv6_version", 1)]),
        row(
            "the same, to a group",
            vec![with(type_of([0x86, 0xdd]), 0, &[0x33, 0x33, 0, 0, 0, 1])],
            &[("broadcast", 1)],
        ),
        row(
            "LLDP, spanning tree, an experimental EtherType",
            vec![
                with(type_of([0x88, 0xcc]), 0, &[1, 0x80, 0xc2, 0, 0, 0x0e]),
                with(type_of([0, 38]), 0, &[1, 0x80, 0xc2, 0, 0, 0]),
                type_of([0x88, 0xb5]),
            ],
            &[("ether_type", 3)],
        ),
        row("VLAN to another station", vec![with(type_of([0x81, 0]), 0, &B2.mac)], &[("not_for_us", 1)]),
    ]);
}

#[test]
fn a_source_that_nobody_has_opens_nothing() {
    let from = |ip: Ip| Segment::new(C1.as_ip(ip), VIP, (34952, 8080), "S").frame();
    let sources = |ips: &[Ip]| ips.iter().map(|ip| from(*ip)).collect();
    let row = |what, frames, reason| Row { what, own: TCP, frames, out: &[], drops: reason };
    check(&[
        row("land: the VIP to itself", vec![from(VIP)], &[("ipv4_source", 1)]),
        row(
            "land to its own port",
            vec![Segment::new(C1.as_ip(VIP), VIP, (8080, 8080), "S").frame()],
            &[("ipv4_source", 1)],
        ),
        row("this network, loopback", sources(&[[0, 0, 0, 0], [0, 1, 2, 3], [127, 0, 0, 1]]), &[("ipv4_source", 3)]),
        row(
            "multicast, reserved, broadcast",
            sources(&[[224, 0, 0, 1], [239, 255, 255, 255], [240, 0, 0, 1], [255, 255, 255, 255]]),
            &[("ipv4_source", 4)],
        ),
        row(
            "pings from there",
            vec![echo_request(C1.as_ip([127, 0, 0, 1]), VIP, 1), echo_request(C1.as_ip(VIP), VIP, 1)],
            &[("ipv4_source", 2)],
        ),
    ]);
}

#[test]
fn a_time_to_live_of_1_ends_here() {
    const EXPIRED: &str = "to 01: 10.0.0.10 > 10.0.0.1: ICMP time exceeded in-transit, length 48";
    let aged = |frame, ttl: u8| with_ip(frame, 22, &[ttl]);
    let second = || Segment::new(C1, VIP, (34952, 8080), "S").frame();
    check(&[
        Row {
            what: "of a new connection",
            own: TCP,
            frames: vec![aged(the_syn(), 1), aged(the_syn(), 0)],
            out: &[EXPIRED, EXPIRED],
            drops: &[("ipv4_ttl", 2)],
        },
        Row {
            what: "of a known one",
            own: TCP,
            frames: vec![the_syn(), aged(second(), 1), aged(second(), 2)],
            out: &[SYN_OUT, EXPIRED, SYN_OUT],
            drops: &[("ipv4_ttl", 1)],
        },
    ]);
}

#[test]
fn ip_options_are_carried_and_source_routes_are_not() {
    let carried: [&[u8]; 5] = [
        &[1, 1, 1, 0],              // no operation, end
        &[7, 7, 4, 0, 0, 0, 0, 0],  // record route
        &[68, 8, 5, 0, 0, 0, 0, 0], // timestamp
        &[148, 4, 0, 0],            // router alert
        &[0x9e, 4, 1, 2],           // experimental (RFC 4727)
    ];
    let refused: [&[u8]; 6] = [
        &[131, 7, 4, 10, 0, 0, 3, 0], // loose source route
        &[137, 7, 4, 10, 0, 0, 3, 0], // strict source route
        &[1, 131, 7, 4, 10, 0, 0, 3], // behind another option
        &[7, 1, 0, 0],                // shorter than an option's header
        &[7, 9, 4, 0, 0, 0, 0, 0],    // beyond the header
        &[1, 1, 1, 7],                // no length
    ];
    let frames = |all: &[&[u8]]| all.iter().map(|options| with_ip_options(the_syn(), options)).collect();
    check(&[
        Row { what: "carried", own: TCP, frames: frames(&carried), out: &[SYN_OUT; 5], drops: &[] },
        Row { what: "refused", own: TCP, frames: frames(&refused), out: &[], drops: &[("ipv4_source_route", 6)] },
    ]);
    // The options themselves are as they came.
    let run = run(&frames(&carried), TCP);
    let kept: Vec<&[u8]> =
        run.answers().iter().zip(carried).map(|(frame, options)| &frame[34..34 + options.len()]).collect();
    assert_eq!(kept, carried);
}

#[test]
fn fragments_that_no_host_makes_or_that_stay_alone_are_dropped() {
    // Eight bytes of header and five of payload: more may only follow a multiple of 8.
    let fragment = |offset: [u8; 2]| with_ip(udp(C1, VIP, (34952, 9999), b"hello"), 20, &offset);
    check(&[Row {
        what: "two that are cut wrong, one beyond the longest packet, and a last one alone",
        own: ANY,
        frames: vec![fragment([0x20, 0]), fragment([0x20, 9]), fragment([0x1f, 0xff]), fragment([0, 9])],
        out: &[],
        drops: &[("fragment_malformed", 3), ("fragment_incomplete", 1)],
    }]);
}

#[test]
fn a_wrong_ip_checksum_is_dropped() {
    let frames = (0..16).map(|bit: u16| {
        let frame = the_syn();
        let wrong = u16::from_be_bytes([frame[24], frame[25]]) ^ 1 << bit;
        with(frame, 24, &wrong.to_be_bytes())
    });
    check(&[Row {
        what: "any bit of it",
        own: TCP,
        frames: frames.collect(),
        out: &[],
        drops: &[("ipv4_checksum", 16)],
    }]);
}

/// A checksum protects what is between its ends: leat carries the damage on, and the receiver sees it.
#[test]
fn a_wrong_tcp_or_udp_checksum_is_passed_on_and_is_still_wrong() {
    let damaged = |mut frame: Vec<u8>| {
        *frame.last_mut().expect("a frame has bytes") ^= 0x10;
        frame
    };
    let frames = [
        damaged(Segment::new(C1, VIP, (34952, 80), "S").payload(b"data").frame()),
        damaged(udp(C1, VIP, (34952, 9999), b"hello")),
        damaged(echo_request(C1, VIP, 5000)),
        damaged(udp(B2, [10, 0, 0, 11], (9999, 34952), b"hello yourself")),
    ];
    let run = run(&frames, ANY);
    let lines = render(&run.output, &["-t", "-vv", "ip"]);
    let signs = ["(incorrect -> ", "[bad udp cksum ", "(wrong icmp cksum ", "[bad udp cksum "];
    assert_eq!(lines.len(), signs.len(), "{lines:?}");
    for (line, sign) in lines.iter().zip(signs) {
        assert!(line.contains(sign) && !line.contains("bad cksum"), "{sign}: {line}");
    }
}

/// Whatever bytes come, leat goes on, nothing leaves with a wrong IPv4 header, and no frame and no buffer gets lost.
#[test]
fn thousands_of_damaged_frames_do_no_harm() {
    let templates = [
        the_syn(),
        Segment::new(B2, [10, 0, 0, 11], (8080, 34952), "S.").seq(1).ack(1001).frame(),
        udp(C1, VIP, (34952, 9999), b"hello"),
        echo_request(C1, VIP, 5000),
        with_ip_options(the_syn(), &[7, 7, 4, 0, 0, 0, 0, 0]),
        arp_request(C1, VIP),
    ];
    // A generator of xorshift type: the same frames in every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut frames: Vec<Vec<u8>> = (0..4000)
        .map(|number| {
            let mut frame = templates[number % templates.len()].clone();
            for _ in 0..1 + random(3) {
                let at = 12 + random(frame.len() - 12);
                frame[at] = random(256) as u8;
            }
            // Half of them with the right sum, so that the damage gets further than the first check.
            let is_ipv4 = frame[12..14] == [8, 0];
            let mut frame = if is_ipv4 && number % 2 == 0 { with_ip(frame, 14, &[]) } else { frame };
            if random(4) == 0 {
                frame.truncate(random(frame.len()));
            }
            frame
        })
        .collect();
    frames.push(syn(C1, (50_000, 8080)));

    let run = run(&frames, ANY);
    assert_eq!(run.unaccounted(), None);
    assert!(drops(&run.status).len() > 15, "many kinds of damage: {:?}", drops(&run.status));
    let sent = render(&run.output, &["-v"]);
    let wrong: Vec<&String> = sent.iter().filter(|line| line.contains(", bad cksum ")).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(sent.iter().any(|line| line.contains("10.0.0.11.50000 > 10.0.0.2.8080: Flags [S]")), "the last one leaves");
}

#[test]
fn no_buffer_is_in_use_while_nothing_comes() {
    let idle = run(&[], TCP);
    assert_eq!((&idle.status["buffers"]["in_use"], idle.unaccounted()), (&0.into(), None));
}

#[test]
fn frames_that_came_in_several_buffers_leave_whole_or_not_at_all() {
    // net_pcap chains as many buffers as a frame needs; each of these is longer than the MTU that leat sends with.
    let long = |segment: Segment<'static>| segment.payload(&[7; 5000]).frame();
    let known = Segment::new(C1, VIP, (34952, 8080), ".");
    let frames = vec![
        the_syn(),
        // Passed on, it would be too long; and answered, it would be an answer with somebody's data behind it.
        long(known),
        long(Segment::new(C4, VIP, (40000, 8080), ".")),
        long(Segment::new(C4, VIP, (40001, 8080), "S")),
        udp(C1, VIP, (34952, 9999), &[7; 5000]),
    ];
    let directory = TempDir::new("several_buffers");
    let file = directory.join("leat.toml");
    for (proxy, expected) in [("off", 1), ("always", 0)] {
        let toml = format!(
            "mac = \"02:00:00:00:00:fe\"\n[[service]]\nvip = \"10.0.0.10\"\nport = 8080\nno_connection = \"reset\"\n\
             syn_proxy = \"{proxy}\"\nbackend = [{{ address = \"10.0.0.2\", mac = \"02:00:00:00:00:02\" }}]\n"
        );
        fs::write(&file, toml).expect("a temporary directory can be written");
        let run = pcap_run(&frames, &["-c", file.to_str().expect("a path is text")]);
        let ours = run.frames.iter().filter(|frame| frame.bytes[12..14] == [8, 0]);
        assert!(ours.clone().all(|frame| frame.bytes.len() <= 60), "no half of an answer: {:?}", run.lines());
        assert_eq!(ours.clone().filter(|frame| frame.bytes[..6] == B2.mac).count(), expected, "{:?}", run.lines());
        let drops = drops(&run.status);
        assert!(drops.get("too_long").is_some_and(|count| *count >= 2), "{drops:?}");
    }
}
