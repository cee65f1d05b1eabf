//! Many clients with few ports, on four workers that know nothing of each other.

use super::*;

use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Open { worker: usize, client: u32, port: u16, udp: bool },
    Refuse { worker: usize, pick: usize },
    End { worker: usize, pick: usize },
    Sweep { worker: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let worker = 0..4_usize;
    prop_oneof![
        8 => (worker.clone(), 0..30_u32, 0..6_u16, any::<bool>())
            .prop_map(|(worker, client, port, udp)| Step::Open { worker, client, port: 5000 + port, udp }),
        4 => (worker.clone(), any::<usize>()).prop_map(|(worker, pick)| Step::Refuse { worker, pick }),
        2 => (worker.clone(), any::<usize>()).prop_map(|(worker, pick)| Step::End { worker, pick }),
        1 => worker.prop_map(|worker| Step::Sweep { worker }),
    ]
}

proptest! {
    #[test]
    fn two_clients_with_the_same_port_never_meet_in_one_tuple(steps in prop::collection::vec(step(), 1..250)) {
        let mut workers: Vec<Conntrack> = (0..4).map(|number| worker(number, 4, 40)).collect();
        let mut live: [Vec<(ConnectionIndex, FlowKey)>; 4] = Default::default();
        for step in steps {
            match step {
                Step::Open { worker, client, port, udp } => {
                    let conntrack = &mut workers[worker];
                    let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
                    // A client's packets come to one worker, so clients are told apart by it.
                    let original = key(protocol, client * 4 + worker as u32, port);
                    if find(conntrack, &original).is_some() {
                        continue;
                    }
                    let request = opening(conntrack, original, (!udp).then_some(&SYN));
                    match conntrack.open(&request) {
                        Ok(opened) => {
                            if let Some(ended) = opened.ended {
                                live[worker].retain(|(_, key)| *key != ended.original_key());
                            }
                            live[worker].push((opened.index, original));
                        }
                        Err(error) => {
                            prop_assert_eq!(error, OpenError::TableFull);
                            prop_assert_eq!(live[worker].len(), 40);
                            let state = |index: &ConnectionIndex| conntrack.connection(*index).state();
                            prop_assert!(live[worker].iter().all(|(index, _)| !state(index).is_half_open()));
                        }
                    }
                }
                Step::Refuse { worker, pick } if !live[worker].is_empty() => {
                    let (index, key) = live[worker][pick % live[worker].len()];
                    if key.protocol == Protocol::Tcp && workers[worker].connection(index).is_open() {
                        refuse(&mut workers[worker], index);
                    }
                }
                Step::End { worker, pick } if !live[worker].is_empty() => {
                    let pick = pick % live[worker].len();
                    let (index, key) = live[worker].swap_remove(pick);
                    prop_assert_eq!(workers[worker].end(index).original_key(), key);
                }
                Step::Refuse { .. } | Step::End { .. } => {}
                Step::Sweep { worker } => {
                    let mut ended = HashSet::new();
                    let resting_over = after(Duration::from_secs(11));
                    workers[worker].sweep(resting_over, 40, |connection| { ended.insert(connection.original_key()); });
                    live[worker].retain(|(_, key)| !ended.contains(key));
                }
            }
        }
        let mut tuples = HashSet::new();
        for (conntrack, live) in workers.iter().zip(&live) {
            prop_assert_eq!(conntrack.len(), live.len());
            let mut in_use = [Protocol::Tcp, Protocol::Udp].map(|protocol| (protocol, 0));
            for (index, key) in live {
                prop_assert_eq!(find(conntrack, key), Some((*index, Direction::Original)));
                let connection = conntrack.connection(*index);
                let reply = connection.reply_key();
                prop_assert_eq!(find(conntrack, &reply), Some((*index, Direction::Reply)));
                prop_assert!(tuples.insert(reply), "{} twice", reply);
                for (protocol, count) in &mut in_use {
                    *count += usize::from(*protocol == key.protocol && connection.is_open());
                }
            }
            // Every port is waiting, reserved, or an open connection's.
            for (protocol, count) in in_use {
                let Some(free) = conntrack.ports_free(&pool(protocol)) else {
                    prop_assert_eq!(count, 0);
                    continue;
                };
                prop_assert!([16_128, 16_127].contains(&(free + count)), "{} and {}", free, count);
            }
        }
    }
}
