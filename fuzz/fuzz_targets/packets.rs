//! Packets of clients, backends and strangers, whole and in pieces, with time and configurations that pass, through the whole packet
//! path: nothing panics, every packet is sent or dropped once, what leaves has right checksums, and nothing is left at the end.

#![no_main]

use leat_fuzz::{Balancer, Step};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, u8, Vec<Step>)| {
    let (many, number, steps) = input;
    let mut leat = Balancer::new(if many { 3 } else { 1 }, number);
    for step in &steps {
        leat.step(step);
    }
    leat.finish();
});
