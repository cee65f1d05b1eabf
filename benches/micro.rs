//! What the parts of the packet path cost by themselves: hash, lookup, checksum, choice of a backend; how long the
//! table of a service is built; and what this machine's memory leaves possible.
//!
//! ```text
//! cargo bench --no-default-features --bench micro
//! ```

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use leat::conntrack::{ClientLink, Conntrack, Direction, Opening, Settings, Source, Timeouts};
use leat::flow::{FlowHasher, FlowKey, PackedKey, PackedKey4, Protocol};
use leat::id::{BackendId, WorkerId};
use leat::io::BURST;
use leat::scheduler::{Algorithm, Member, Schedule, TableSize, Turn};
use leat::steering::{PortShare, Steering};
use leat::time::Tick;
use leat::wire::{MacAddr, checksum};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const NOW: Tick = Tick(1000);

criterion_group!(benches, hash, memory, lookup, churn, checksums, choose, build);
criterion_main!(benches);

/// The key of the packets of flow number `flow`.
fn key(flow: u32) -> FlowKey {
    FlowKey {
        src: Ipv4Addr::from_bits(0x6440_0000 + flow / 50_000).into(),
        dst: VIP.into(),
        src_port: 10_000 + (flow % 50_000) as u16,
        dst_port: 80,
        protocol: Protocol::Udp,
    }
}

/// A number below `below` that no predictor of branches and addresses foresees.
fn pick(state: &mut u64, below: u32) -> u32 {
    *state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
    (((*state >> 32) * u64::from(below)) >> 32) as u32
}

fn hash(criterion: &mut Criterion) {
    let hasher = FlowHasher::random().expect("the system has random numbers");
    let keys: [PackedKey4; BURST] = std::array::from_fn(|flow| match key(flow as u32).pack() {
        PackedKey::V4(key) => key,
        PackedKey::V6(_) => unreachable!("IPv4 addresses"),
    });
    let mut group = criterion.benchmark_group("flow hash");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one key", |bencher| bencher.iter(|| hasher.hash_packed(black_box(&PackedKey::V4(keys[0])))));
    group.throughput(Throughput::Elements(BURST as u64));
    group.bench_function("64 keys", |bencher| {
        bencher.iter(|| {
            let mut hashes = [0; BURST];
            hasher.hash_each(hashes.iter_mut().zip(black_box(&keys)));
            hashes
        });
    });
}

/// A table with `flows` connections, and room for no more.
/// How fast lines come from memory at best: nothing waits for what is read, so as many are on their way as the processor can have. What looks
/// into `n` cold lines for a packet cannot be faster.
fn memory(criterion: &mut Criterion) {
    const LINES_OF_PAGE: usize = 64;
    let mut group = criterion.benchmark_group("memory, 64 at random");
    group.throughput(Throughput::Elements(BURST as u64));
    for mebibytes in [8, 64, 800] {
        let count = mebibytes << 20 >> 6;
        let mut lines: Vec<[u64; 8]> = Vec::with_capacity(count);
        leat::arch::commit(lines.spare_capacity_mut());
        lines.resize(count, [1; 8]);
        let mut state = 1;
        let mut run = |name: &str, read: &dyn Fn(&mut u64) -> u64| {
            let id = BenchmarkId::new(name, format!("{mebibytes} MiB"));
            group.bench_function(id, |bencher| bencher.iter(|| read(&mut state)));
        };
        let one = |state: &mut u64| pick(state, count as u32) as usize;
        run("a line", &|state| (0..BURST).map(|_| lines[one(state)][0]).sum());
        run("two lines", &|state| (0..BURST).map(|_| lines[one(state)][0] + lines[one(state)][0]).sum());
        run("two lines of a page", &|state| {
            let other = |line: usize| line - line % LINES_OF_PAGE + (line + 17) % LINES_OF_PAGE;
            (0..BURST).map(|_| one(state)).map(|line| lines[line][0] + lines[other(line)][0]).sum()
        });
    }
}

fn conntrack(flows: u32) -> Conntrack {
    let steering = Steering::Modulo { workers: 1 };
    let mut conntrack = Conntrack::new(&Settings {
        connections: flows as usize,
        ipv6: false,
        hasher: FlowHasher::random().expect("the system has random numbers"),
        timeouts: Timeouts::default(),
        share: PortShare::new(&steering, WorkerId(0)).expect("the only worker"),
    });
    for flow in 0..flows {
        open(&mut conntrack, flow);
    }
    conntrack
}

/// Opens flow number `flow`, each 50,000 of them to another backend.
fn open(conntrack: &mut Conntrack, flow: u32) {
    let original = key(flow);
    let backend = Ipv4Addr::from_bits(BACKEND.to_bits() + flow / 50_000).into();
    let opening = Opening {
        original,
        hash: conntrack.hash(&original),
        backend: BackendId(0),
        backend_address: backend,
        backend_port: 80,
        source: Source::Local { addresses: &[VIP.into()], preferred_port: Some(original.src_port) },
        link: ClientLink::new(MacAddr([2, 0, 0, 0, 0, 1]), 0),
        segment: None,
        is_one_packet: false,
        numbers: None,
        adjustment: None,
        now: NOW,
    };
    conntrack.open(&opening).expect("there is room");
}

/// 64 lookups at a time, as the passes over a burst make them, of flows chosen at random.
fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connection lookup, 64 at once");
    group.throughput(Throughput::Elements(BURST as u64));
    for flows in [1000, 100_000, 1_000_000] {
        let conntrack = conntrack(flows);
        let mut state = 1;
        group.bench_function(BenchmarkId::from_parameter(flows), |bencher| {
            bencher.iter(|| {
                let keys: [FlowKey; BURST] = std::array::from_fn(|_| key(pick(&mut state, flows)));
                let mut hashes = [0; BURST];
                for (hash, key) in hashes.iter_mut().zip(&keys) {
                    *hash = conntrack.hash(key);
                    conntrack.prefetch(*hash);
                }
                let mut candidates = hashes.map(|hash| conntrack.find_candidate(hash));
                for (candidate, hash) in candidates.iter_mut().zip(hashes) {
                    conntrack.find_elsewhere(candidate, hash);
                }
                for ((key, hash), candidate) in keys.iter().zip(hashes).zip(candidates) {
                    let found = conntrack.verify(candidate, &key.pack(), hash);
                    assert_eq!(found.map(|(_, direction)| direction), Some(Direction::Original));
                }
            });
        });
    }
}

/// A connection ends and another is opened.
fn churn(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connection opened and ended");
    for flows in [1000, 1_000_000] {
        let mut conntrack = conntrack(flows);
        let mut state = 1;
        group.bench_function(BenchmarkId::from_parameter(flows), |bencher| {
            bencher.iter(|| {
                let flow = pick(&mut state, flows);
                let hash = conntrack.hash(&key(flow));
                let (index, _) = conntrack.find(&key(flow).pack(), hash).expect("every flow is open");
                conntrack.end(index);
                open(&mut conntrack, flow);
            });
        });
    }
}

fn checksums(criterion: &mut Criterion) {
    let bytes = [0x5a; 1500];
    let mut group = criterion.benchmark_group("checksum");
    for len in [20, 1500] {
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("whole", len), |bencher| {
            bencher.iter(|| checksum::of(black_box(&bytes[..len])));
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("adjusted for two addresses", |bencher| {
        bencher.iter(|| {
            checksum::Delta::NONE
                .replace_address(black_box(VIP), black_box(BACKEND))
                .replace_address(black_box(BACKEND), black_box(VIP))
                .apply(black_box(0x1234))
        });
    });
}

fn members(count: u32) -> Vec<Member> {
    (0..count)
        .map(|number| Member {
            backend: BackendId(number),
            address: Ipv4Addr::from_bits(BACKEND.to_bits() + number).into(),
            port: 80,
            weight: 1,
            up: true,
        })
        .collect()
}

fn choose(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("backend chosen among 100");
    for algorithm in [Algorithm::Maglev, Algorithm::SourceHash, Algorithm::WeightedRoundRobin] {
        let schedule = Schedule::new(algorithm, TableSize::default(), 0, &members(100)).expect("few enough members");
        let (mut turn, mut state) = (Turn::default(), 1);
        group.bench_function(algorithm.name(), |bencher| {
            bencher.iter(|| schedule.choose(&key(pick(&mut state, 1_000_000)), &mut turn, |_| 0));
        });
    }
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("Maglev table built");
    group.sample_size(10);
    for count in [10, 100, 1000] {
        let members = members(count);
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| Schedule::new(Algorithm::Maglev, TableSize::default(), 0, black_box(&members)));
        });
    }
}
