//! What is wrong with this machine for what leat is to do, and how to mend it: hugepages, drivers, rights, lcores.
//!
//! [`Demand`] is what EAL's arguments ask for, [`Machine`] what `/proc` and `/sys` say there is; [`examine`] holds one
//! against the other. Nothing here stops leat: what cannot work, EAL refuses, and then the finding that explains it
//! stands beside. `leat --check` prints all findings, a start logs them.

mod cpu_list;
mod demand;
mod device;
mod lcore;
mod machine;
mod memory;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write};

pub use cpu_list::CpuList;
pub use demand::Demand;
pub use machine::{Machine, PageSize, PciDevice};

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// leat will not start, or a port will not work.
    Problem,
    /// It works, but slower or with less than the user may expect.
    Warning,
    /// It may be meant so.
    Note,
}

/// One thing that was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub gravity: Gravity,
    /// What is so.
    pub what: String,
    /// How to mend it: a command where there is one.
    pub mend: String,
}

impl Finding {
    fn problem(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { gravity: Gravity::Problem, what: what.into(), mend: mend.into() }
    }

    fn warning(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { gravity: Gravity::Warning, what: what.into(), mend: mend.into() }
    }

    fn note(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { gravity: Gravity::Note, what: what.into(), mend: mend.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. To mend it: {}", self.what, self.mend)
    }
}

/// Everything that `demand` does not find in `machine`, the worst first.
pub fn examine(demand: &Demand, machine: &Machine) -> Vec<Finding> {
    let mut findings = memory::examine(demand, machine);
    findings.extend(lcore::examine(demand, machine));
    findings.extend(device::examine(demand, machine));
    findings.sort_by_key(|finding| finding.gravity);
    findings
}

/// A paragraph of text about all findings, with a line feed at its end, for the end of what `--check` prints.
pub fn paragraph(findings: &[Finding]) -> String {
    let mut text = String::from("\nthis machine");
    if findings.is_empty() {
        text.push_str(" has what that takes, as far as can be seen from here\n");
        return text;
    }
    text.push('\n');
    for Finding { gravity, what, mend } in findings {
        let gravity = match gravity {
            Gravity::Problem => "problem",
            Gravity::Warning => "warning",
            Gravity::Note => "note",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {gravity:<9}{what}");
        let _ = writeln!(text, "           mend: {mend}");
    }
    text
}

/// What to say beside an error of EAL's or a device's: the problems, or when there is none, the warnings.
pub fn explanation(findings: &[Finding]) -> String {
    let worst = findings.first().map(|finding| finding.gravity).filter(|gravity| *gravity < Gravity::Note);
    let fitting = findings.iter().filter(|finding| Some(finding.gravity) == worst);
    fitting.fold(String::new(), |mut text, finding| {
        // Writing to a string cannot fail.
        let _ = write!(text, "\nleat: perhaps because of this: {finding}");
        text
    })
}

/// Things in a list, as a sentence has them.
fn listed<T: fmt::Display>(things: impl IntoIterator<Item = T>) -> String {
    things.into_iter().map(|thing| thing.to_string()).collect::<Vec<_>>().join(", ")
}
