//! Lcores and the CPUs under them.

use super::{CpuList, Demand, Finding, Machine};

pub(super) fn examine(demand: &Demand, machine: &Machine) -> Vec<Finding> {
    if !demand.is_given {
        return Vec::new();
    }
    let Some(lcores) = &demand.lcores else {
        return every_cpu(demand, machine).into_iter().collect();
    };
    let mut findings: Vec<_> = lcores.iter().filter_map(|(lcore, cpus)| not_there(*lcore, cpus, machine)).collect();
    if !findings.is_empty() {
        return findings;
    }
    findings.extend(shared(lcores));
    findings.extend(one_core(&demand.cpus(), machine));
    findings.extend(none_left(&demand.cpus(), machine));
    if !demand.devices.is_empty() {
        findings.extend(not_isolated(&demand.cpus(), machine));
        findings.extend(governed(&demand.cpus(), machine));
    }
    findings
}

fn not_there(lcore: usize, cpus: &CpuList, machine: &Machine) -> Option<Finding> {
    let outside = |there: &CpuList| cpus.iter().filter(|cpu| !there.contains(*cpu)).collect::<CpuList>();
    let (present, online) = (&machine.present, &machine.online);
    if present.is_empty() {
        return None;
    }
    let missing = outside(present);
    if !missing.is_empty() {
        return Some(Finding::problem(
            format!("lcore {lcore} is to run on CPU {missing}, and this machine has {present}"),
            format!("name CPUs of {} after -l", machine.permitted.as_ref().unwrap_or(online)),
        ));
    }
    let offline = outside(online);
    if let Some(cpu) = offline.iter().next().filter(|_| !online.is_empty()) {
        return Some(Finding::problem(
            format!("lcore {lcore} is to run on CPU {offline}, which is switched off"),
            format!("as root: echo 1 > /sys/devices/system/cpu/cpu{cpu}/online; or name CPUs of {online} after -l"),
        ));
    }
    let permitted = machine.permitted.as_ref()?;
    let forbidden = outside(permitted);
    (!forbidden.is_empty()).then(|| {
        Finding::problem(
            format!("lcore {lcore} is to run on CPU {forbidden}, and this process's cgroup has {permitted} only"),
            format!(
                "name CPUs of {permitted} after -l; or give the cgroup more (docker run --cpuset-cpus, AllowedCPUs= in \
                 a systemd unit)"
            ),
        )
    })
}

fn every_cpu(demand: &Demand, machine: &Machine) -> Option<Finding> {
    let cpus = machine.permitted.as_ref().unwrap_or(&machine.online);
    (cpus.len() > 1 && demand.lcores.is_none()).then(|| {
        Finding::note(
            format!("no -l: EAL takes every CPU that it may use ({cpus}), and each is busy all the time"),
            "name CPUs after -l",
        )
    })
}

/// Several lcores on one CPU.
fn shared(lcores: &[(usize, CpuList)]) -> Option<Finding> {
    let (lcore, other, cpus) = lcores.iter().enumerate().find_map(|(at, (lcore, cpus))| {
        let before = lcores[..at].iter().find(|(_, others)| cpus.iter().any(|cpu| others.contains(cpu)))?;
        Some((before.0, lcore, cpus))
    })?;
    Some(Finding::note(
        format!("lcores {lcore} and {other} share CPU {cpus}, and each wants all of it"),
        "good for tests only; else give each lcore a CPU of its own",
    ))
}

/// Two CPUs that are hyperthreads of one core.
fn one_core(cpus: &CpuList, machine: &Machine) -> Option<Finding> {
    let pair = cpus.iter().find_map(|cpu| {
        let siblings = machine.siblings.get(&cpu)?;
        Some((cpu, siblings.iter().find(|sibling| *sibling > cpu && cpus.contains(*sibling))?))
    });
    let (first, second) = pair?;
    Some(Finding::note(
        format!(
            "CPUs {first} and {second} are hyperthreads of one core: two lcores there do less than twice the work of one"
        ),
        "leave one of each two out of -l; lscpu -e tells which belong together",
    ))
}

fn none_left(cpus: &CpuList, machine: &Machine) -> Option<Finding> {
    let permitted = machine.permitted.as_ref().unwrap_or(&machine.online);
    let is_all = !permitted.is_empty() && permitted.iter().all(|cpu| cpus.contains(cpu));
    (is_all && permitted.len() > 1).then(|| {
        Finding::note(
            format!("every CPU ({permitted}) has an lcore, which is busy all the time: nothing is left for the rest of the system"),
            "leave a CPU out of -l",
        )
    })
}

fn not_isolated(cpus: &CpuList, machine: &Machine) -> Option<Finding> {
    let disturbed: CpuList = cpus.iter().filter(|cpu| !machine.isolated.contains(*cpu)).collect();
    (!disturbed.is_empty()).then(|| {
        Finding::note(
            format!("the kernel schedules other work on CPU {disturbed}, which delays packets now and then"),
            format!("isolcpus={cpus} nohz_full={cpus} rcu_nocbs={cpus} on the kernel's command line"),
        )
    })
}

fn governed(cpus: &CpuList, machine: &Machine) -> Option<Finding> {
    let (cpu, governor) = machine.governors.iter().find(|(cpu, _)| cpus.contains(**cpu))?;
    Some(Finding::note(
        format!("the clock of CPU {cpu} is governed by {governor:?}, and may be slower than it could"),
        "cpupower frequency-set --governor performance",
    ))
}
