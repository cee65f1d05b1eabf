//! What users see of all schedulers alike, and what freezes the table.

use std::net::IpAddr;

use proptest::prelude::*;

use super::fixtures::{Random, flow, member, members, next, schedule, tally, without_table};
use super::{Algorithm, Schedule, ScheduleError, TableSize, Turn, Why};
use crate::flow::FlowKey;
use crate::id::BackendId;
use crate::scheduler::Member;
use crate::wire::ip::Octets as _;

/// FNV-1a over address and port, in network order, of each slot's backend.
fn digest(schedule: &Schedule, members: &[Member]) -> u64 {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for backend in schedule.entries() {
        let member = members.iter().find(|member| member.backend == backend).unwrap();
        for byte in member.address.octets().into_iter().chain(member.port.to_be_bytes()) {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    digest
}

fn at(number: u32, address: [u8; 4], port: u16, weight: u16) -> Member {
    Member { backend: BackendId(number), address: address.into(), port, weight, up: true }
}

/// Never to be adapted to the code: another number moves every user's flows. The digests come from an implementation
/// of `docs/SCHEDULERS.md` in another language.
#[test]
fn the_table_is_frozen() {
    let two = [at(0, [10, 0, 0, 2], 8_080, 1), at(1, [10, 0, 0, 3], 8_080, 1)];
    let tiny = schedule(Algorithm::Maglev, 13, 0, &two);
    let numbers: Vec<u32> = tiny.entries().map(|backend| backend.0).collect();
    assert_eq!(numbers, [1, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 1, 1]);

    let demo = schedule(Algorithm::Maglev, 65_537, 0, &two);
    assert_eq!(digest(&demo, &two), 0xb721_7b2b_0ba3_0eba);
    assert_eq!(digest(&demo.with_liveness(|backend| backend.0 != 0), &two), 0x1199_84cf_6fe7_c9a5);

    let weighted = [
        at(0, [10, 0, 0, 2], 80, 5),
        at(1, [10, 0, 0, 3], 80, 1),
        at(2, [10, 0, 0, 3], 81, 0),
        at(3, [10, 0, 0, 4], 80, 3),
        at(4, [9, 255, 0, 1], 8_080, 1_000),
    ];
    for algorithm in [Algorithm::Maglev, Algorithm::SourceHash] {
        let all = schedule(algorithm, 65_537, 0x0123_4567_89ab_cdef, &weighted);
        assert_eq!(digest(&all, &weighted), 0x84c1_3990_39d4_d974);
        assert_eq!(digest(&all.with_liveness(|backend| backend.0 != 4), &weighted), 0x5318_fa0d_3271_9d32);
    }
}

#[test]
fn the_table_of_a_thousand_is_frozen() {
    let thousand = members(&[1; 1_000]);
    let all = schedule(Algorithm::Maglev, 65_537, 7, &thousand);
    assert_eq!(digest(&all, &thousand), 0xe692_f5a4_43df_4631);
    let even = all.with_liveness(|backend| thousand[backend.index()].address.octets()[3].is_multiple_of(2));
    assert_eq!(digest(&even, &thousand), 0x8f7c_0b1c_c0a5_f26f);
}

#[test]
fn a_flow_is_looked_up_by_its_hash_modulo_the_table() {
    let two = [at(0, [10, 0, 0, 2], 8_080, 1), at(1, [10, 0, 0, 3], 8_080, 1)];
    let key = FlowKey {
        src: [10, 0, 0, 1].into(),
        dst: [10, 0, 0, 10].into(),
        src_port: 34_952,
        dst_port: 8_080,
        protocol: crate::flow::Protocol::Tcp,
    };
    let table = schedule(Algorithm::Maglev, 13, 0, &two);
    let choice = table.choose(&key, &mut Turn::default(), |_| 0).unwrap();
    // 0x67208285f64a121a modulo 13 is 4, a slot of the first: see the two frozen tests.
    assert_eq!(choice.why.to_string(), "hash 0x67208285f64a121a → slot 4 of 13");
    assert_eq!(choice.backend, BackendId(0));

    let degraded = table.with_liveness(|backend| backend.0 == 1);
    let choice = degraded.choose(&key, &mut Turn::default(), |_| 0).unwrap();
    let Why::Maglev(slot) = choice.why else { panic!("{:?}", choice.why) };
    assert_eq!((choice.backend, slot.number, slot.owner), (BackendId(1), 4, BackendId(0)));
    assert!(slot.passed_over >= 1);
}

#[test]
fn a_client_keeps_its_backend_over_all_its_ports_with_sh_and_not_with_maglev() {
    let members = members(&[1; 10]);
    let key = flow(1);
    let backends = |algorithm| {
        let table = schedule(algorithm, 65_537, 0, &members);
        let ports = (1_024..1_124).map(|src_port| FlowKey { src_port, ..key });
        tally(ports.map(|key| table.choose(&key, &mut Turn::default(), |_| 0).unwrap().backend)).len()
    };
    assert_eq!(backends(Algorithm::SourceHash), 1);
    assert_eq!(backends(Algorithm::Maglev), 10);
}

#[test]
fn many_flows_spread_by_weight() {
    let members = members(&[1, 2, 3, 0, 4]);
    for algorithm in [Algorithm::Maglev, Algorithm::SourceHash] {
        let table = schedule(algorithm, 65_537, 9, &members);
        let counts = tally((0..20_000).map(|n| table.choose(&flow(n), &mut Turn::default(), |_| 0).unwrap().backend.0));
        for (number, weight) in [(0, 1.0), (1, 2.0), (2, 3.0), (4, 4.0)] {
            let expected = 20_000.0 * weight / 10.0;
            let sigmas = (f64::from(counts[&number]) - expected).abs() / expected.sqrt();
            assert!(sigmas < 4.0, "{algorithm}: {} of {expected} for weight {weight}", counts[&number]);
        }
        assert_eq!(counts.len(), 4, "the drained one gets nothing");
    }
}

#[test]
fn weights_hold_among_survivors_when_the_heaviest_dies() {
    let members = members(&[1_000, 10, 20, 30]);
    let table = schedule(Algorithm::Maglev, 65_537, 9, &members).with_liveness(|backend| backend.0 != 0);
    let counts = tally(table.entries().map(|backend| backend.0));
    for (number, share) in [(1, 1.0 / 6.0), (2, 2.0 / 6.0), (3, 3.0 / 6.0)] {
        let measured = f64::from(counts[&number]) / 65_537.0;
        assert!((measured / share - 1.0).abs() < 0.1, "backend {number}: {measured:.3} instead of {share:.3}");
    }
}

#[test]
fn two_members_of_one_address_and_port_both_get_their_share() {
    let mut twice = members(&[1; 5]);
    twice.push(Member { backend: BackendId(5), ..twice[2] });
    let table = schedule(Algorithm::Maglev, 1_009, 0, &twice);
    let counts = tally(table.entries());
    assert_eq!(counts.len(), 6);
    assert!(counts.values().all(|&count| count == 168 || count == 169));
    assert!(table.with_liveness(|backend| backend.0 == 5).entries().all(|backend| backend.0 == 5));
}

#[test]
fn without_anyone_to_choose_nobody_is_chosen() {
    let all_drained = members(&[0, 0]);
    let all_down = members(&[1, 2]).into_iter().map(|member| Member { up: false, ..member }).collect();
    for algorithm in Algorithm::ALL {
        for members in [vec![], all_drained.clone(), Vec::clone(&all_down)] {
            let schedule = without_table(algorithm, &members);
            let mut turn = Turn::default();
            assert_eq!(schedule.choose(&flow(0), &mut turn, |_| 0), None, "{algorithm} of {members:?}");
            assert_eq!(turn, Turn::default());
            assert_eq!(schedule.entries().count(), 0);
        }
        let revived = without_table(algorithm, &all_down).with_liveness(|backend| backend.0 == 1);
        assert_eq!(next(&revived, &mut Turn::default(), 2), [1, 1]);
    }
}

#[test]
fn too_many_members_are_refused_with_the_limit() {
    let build = |algorithm, size, count: u32| {
        let members: Vec<Member> =
            (0..count).map(|number| Member { address: number.to_be_bytes().into(), ..member(number, 1) }).collect();
        Schedule::new(algorithm, TableSize::new(size).unwrap(), 0, &members)
    };
    let error = build(Algorithm::RoundRobin, 7, 65_536).unwrap_err();
    assert_eq!(error, ScheduleError::TooManyMembers { members: 65_536 });
    assert_eq!(error.to_string(), "65536 backends in one service: at most 65535 are possible");
    let error = build(Algorithm::Maglev, 7, 8).unwrap_err();
    assert_eq!(
        error.to_string(),
        "8 backends do not fit in a table of 7 entries: choose a larger prime, best 100 for each"
    );
    assert_eq!(tally(build(Algorithm::Maglev, 7, 7).unwrap().entries()).len(), 7);
    assert_eq!(tally(build(Algorithm::Maglev, 65_537, 65_535).unwrap().entries()).len(), 65_535);
}

#[test]
fn a_turn_outlives_a_change_of_algorithm() {
    let members = members(&[3, 1, 2]);
    let mut turn = Turn::default();
    for round in 0..4 {
        for algorithm in Algorithm::ALL {
            let schedule = without_table(algorithm, &members[..3 - round % 3]);
            assert_eq!(next(&schedule, &mut turn, 5).len(), 5);
        }
    }
}

/// Up to 12 members, weights with zeros and extremes, some down, a few of the same address and port.
fn any_members() -> impl Strategy<Value = Vec<Member>> {
    let weight = prop_oneof![Just(0_u16), Just(1), 1..10_u16, any::<u16>()];
    prop::collection::vec((0..16_u8, weight, prop::bool::weighted(0.7)), 0..12).prop_map(|rows| {
        let numbered = rows.into_iter().zip(0..);
        numbered.map(|((host, weight, up), number)| Member { up, ..at(number, [10, 0, 0, host], 80, weight) }).collect()
    })
}

fn any_algorithm() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(&Algorithm::ALL[..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nobody_dead_or_drained_is_ever_chosen(
        algorithm in any_algorithm(),
        members in any_members(),
        open in prop::collection::vec(any::<u64>(), 12),
        seed in any::<u64>(),
    ) {
        let schedule = schedule(algorithm, 251, seed, &members);
        let can_be_chosen = |member: &Member| member.up && member.weight > 0;
        let mut turn = Turn::default();
        for number in 0..50 {
            let choice = schedule.choose(&flow(seed ^ number), &mut turn, |backend| open[backend.index()]);
            match choice {
                Some(choice) => prop_assert!(can_be_chosen(&members[choice.backend.index()])),
                None => prop_assert!(!members.iter().any(can_be_chosen)),
            }
        }
    }

    #[test]
    fn the_order_in_which_members_are_listed_does_not_matter_to_the_table(
        members in any_members(),
        seed in any::<u64>(),
    ) {
        let mut shuffled = members.clone();
        Random(seed).shuffle(&mut shuffled);
        // Another instance numbers its backends as it likes.
        for (member, number) in shuffled.iter_mut().zip(100..) {
            member.backend = BackendId(number);
        }
        let hosts = |members: &[Member]| -> Vec<(IpAddr, u16)> {
            let all_up = schedule(Algorithm::Maglev, 251, seed, members).with_liveness(|_| true);
            let host = |backend| members.iter().find(|member| member.backend == backend).unwrap();
            all_up.entries().map(|backend| (host(backend).address, host(backend).port)).collect()
        };
        prop_assert_eq!(hosts(&members), hosts(&shuffled));
    }

    #[test]
    fn a_schedule_with_other_liveness_is_the_schedule_built_so(
        algorithm in any_algorithm(),
        members in any_members(),
        seed in any::<u64>(),
    ) {
        let all_down: Vec<Member> = members.iter().map(|&member| Member { up: false, ..member }).collect();
        let updated = schedule(algorithm, 251, seed, &all_down).with_liveness(|backend| members[backend.index()].up);
        let built = schedule(algorithm, 251, seed, &members);
        let (mut one, mut other) = (Turn::default(), Turn::default());
        for number in 0..20 {
            let key = flow(number);
            prop_assert_eq!(updated.choose(&key, &mut one, |_| number), built.choose(&key, &mut other, |_| number));
        }
    }
}
