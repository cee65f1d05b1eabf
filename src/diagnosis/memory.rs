//! Hugepages, and memory that may be locked.

use super::demand::Memory;
use super::machine::{CAP_IPC_LOCK, PageSize};
use super::{Demand, Finding, Machine, listed};

/// What leat's packet buffers take on a few lcores, in MiB: below this it does not ask for hugepages.
const USUAL: u64 = 512;

pub(super) fn examine(demand: &Demand, machine: &Machine) -> Vec<Finding> {
    let mut findings = Vec::new();
    match demand.memory {
        Memory::Fallback => {
            findings.push(fallback(demand, machine));
            findings.extend(ordinary(demand, machine));
        }
        Memory::Ordinary => findings.extend(ordinary(demand, machine)),
        Memory::Unmounted => findings.extend(too_few(demand, machine)),
        Memory::Mounted => {
            findings.extend(too_few(demand, machine));
            if !machine.has_hugetlbfs {
                findings.push(Finding::problem(
                    "no hugetlbfs is mounted, and these memory options take hugepages from there",
                    "add --in-memory, which needs none; or: mkdir -p /dev/hugepages && mount -t hugetlbfs none /dev/hugepages",
                ));
            }
        }
    }
    findings.extend(not_lockable(demand, machine));
    findings
}

/// leat goes without hugepages by itself.
fn fallback(demand: &Demand, machine: &Machine) -> Finding {
    let what = format!(
        "too few hugepages are free ({}), so leat takes ordinary memory: slower, and most network cards cannot use it",
        count(machine)
    );
    let mend = more(machine, USUAL).unwrap_or_else(|| "a kernel with CONFIG_HUGETLBFS".to_owned());
    match demand.devices.is_empty() {
        true => Finding::note(what, format!("not needed for virtual ports; {mend}")),
        false => Finding::warning(what, mend),
    }
}

/// Ordinary memory that is not there is noticed only when it is written to.
fn ordinary(demand: &Demand, machine: &Machine) -> Option<Finding> {
    let (wanted, available) = (demand.mebibytes?, machine.available_mebibytes?);
    (wanted > available).then(|| {
        Finding::warning(
            format!("-m {wanted} asks for more than the {available} MiB of memory that are free"),
            "write a smaller number after -m, or end something that holds memory",
        )
    })
}

/// Fewer hugepages than an option asks for, or none.
fn too_few(demand: &Demand, machine: &Machine) -> Option<Finding> {
    let wanted = demand.mebibytes.unwrap_or(2);
    if free_mebibytes(machine) >= wanted {
        return None;
    }
    let asked = match demand.mebibytes {
        Some(mebibytes) => format!("{mebibytes} MiB of hugepages are asked for, and"),
        None => "hugepages are asked for, and".to_owned(),
    };
    Some(Finding::problem(
        format!("{asked} too few are free ({})", count(machine)),
        match more(machine, demand.mebibytes.unwrap_or(USUAL)) {
            Some(mend) => format!("{mend}; or go without: --no-huge -m 512 instead"),
            None => "go without: --no-huge -m 512 instead; this kernel has no hugepages".to_owned(),
        },
    ))
}

/// A device behind an IOMMU has all memory locked that it may write to.
fn not_lockable(demand: &Demand, machine: &Machine) -> Option<Finding> {
    let limit = machine.lockable.filter(|limit| *limit < USUAL << 20)?;
    (!demand.devices.is_empty() && machine.lacks(CAP_IPC_LOCK)).then(|| {
        Finding::problem(
            format!(
                "this process may lock only {} KiB of memory, and a network card needs all of leat's locked",
                limit >> 10
            ),
            "run as root, or lift the limit: ulimit -l unlimited (LimitMEMLOCK=infinity in a systemd unit)",
        )
    })
}

fn free_mebibytes(machine: &Machine) -> u64 {
    machine.hugepages.iter().map(|size| size.free.saturating_mul(size.kibibytes)).sum::<u64>() / 1024
}

/// `3 of 8 of 2048 KiB`, for each size.
fn count(machine: &Machine) -> String {
    match machine.hugepages.is_empty() {
        true => "the kernel has none".to_owned(),
        false => listed(
            machine
                .hugepages
                .iter()
                .map(|PageSize { kibibytes, total, free }| format!("{free} of {total} pages of {kibibytes} KiB")),
        ),
    }
}

/// The command that makes so many MiB free, in pages of the smallest size.
fn more(machine: &Machine, mebibytes: u64) -> Option<String> {
    let size = machine.hugepages.first()?;
    let missing = mebibytes.saturating_mul(1024).saturating_sub(size.free.saturating_mul(size.kibibytes));
    let total = size.total + missing.div_ceil(size.kibibytes.max(1));
    Some(format!(
        "as root: echo {total} > /sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages (after every boot: vm.nr_hugepages = \
         {total} in /etc/sysctl.d)",
        size.kibibytes
    ))
}
