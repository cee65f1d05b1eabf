//! What EAL's arguments ask of a machine.

use super::CpuList;
use crate::config::eal;

/// What EAL is to be given. What cannot be read from its arguments is left out: EAL itself will complain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Whether the user has written anything for EAL. Without it nothing is known of lcores and ports.
    pub is_given: bool,
    /// The lcores with the CPUs of each. None when EAL is to choose by itself.
    pub lcores: Option<Vec<(usize, CpuList)>>,
    /// Where memory comes from.
    pub memory: Memory,
    /// Memory in MiB, if an amount is named.
    pub mebibytes: Option<u64>,
    /// PCI devices by full address, `0000:01:00.0`.
    pub devices: Vec<String>,
    /// Whether devices of other buses are named.
    pub names_others: bool,
    /// Devices of software: name, and arguments.
    pub virtual_devices: Vec<(String, Vec<(String, String)>)>,
    /// Whether EAL looks at the PCI bus at all.
    pub looks_at_pci: bool,
}

/// Where EAL takes memory from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// Hugepages, through files in a mounted hugetlbfs.
    #[default]
    Mounted,
    /// Hugepages, without files.
    Unmounted,
    /// Ordinary pages, because the user says so.
    Ordinary,
    /// Ordinary pages, because no hugepages are free.
    Fallback,
}

impl Demand {
    /// Understands EAL's arguments: as the user `wrote` them, and as leat has `completed` them.
    pub fn new(wrote: &[String], completed: &[String]) -> Self {
        let options = eal::given(completed);
        let has = |name: &str| options.iter().any(|(given, _)| *given == name);
        let wrote_no_huge = eal::given(wrote).iter().any(|(name, _)| *name == "no-huge");
        let memory = match (has("no-huge"), has("in-memory")) {
            (true, _) if wrote_no_huge => Memory::Ordinary,
            (true, _) => Memory::Fallback,
            (false, true) => Memory::Unmounted,
            (false, false) => Memory::Mounted,
        };
        let mut demand = Self { is_given: !wrote.is_empty(), memory, looks_at_pci: !has("no-pci"), ..Self::default() };
        for (name, value) in options {
            match name {
                "c" => demand.lcores = CpuList::from_mask(value).map(each_on_its_own),
                "l" | "lcores" => demand.lcores = lcores(value),
                "m" => demand.mebibytes = value.parse().ok(),
                "socket-mem" => demand.mebibytes = value.split(',').map(|part| part.parse::<u64>().ok()).sum(),
                "a" | "allow" => match pci_address(value) {
                    Some(address) => demand.devices.push(address),
                    None => demand.names_others = true,
                },
                "vdev" => demand.virtual_devices.push(virtual_device(value)),
                _ => {}
            }
        }
        demand
    }

    /// The CPUs of all lcores.
    pub fn cpus(&self) -> CpuList {
        self.lcores.iter().flatten().flat_map(|(_, cpus)| cpus.iter()).collect()
    }
}

fn each_on_its_own(cpus: CpuList) -> Vec<(usize, CpuList)> {
    cpus.iter().map(|cpu| (cpu, CpuList::from_iter([cpu]))).collect()
}

/// Understands `--lcores`: `0-3`, `0@2,1@3`, `(0-1)@(2,3)`.
fn lcores(text: &str) -> Option<Vec<(usize, CpuList)>> {
    let mut found = Vec::new();
    for part in outside_of_parentheses(text)? {
        let (names, cpus) = match part.split_once('@') {
            Some((names, cpus)) => (names, Some(cpus)),
            None => (part, None),
        };
        let list = |text: &str| {
            let text = text.trim();
            let inner = text.strip_prefix('(').map_or(Some(text), |rest| rest.strip_suffix(')'))?;
            CpuList::parse(inner).filter(|list| !list.is_empty())
        };
        let lcores = list(names)?;
        match cpus.map(list) {
            Some(cpus) => {
                let cpus = cpus?;
                found.extend(lcores.iter().map(|lcore| (lcore, cpus.clone())));
            }
            // A group without CPUs shares those of its own numbers.
            None if names.trim().starts_with('(') => {
                found.extend(lcores.iter().map(|lcore| (lcore, lcores.clone())));
            }
            None => found.extend(each_on_its_own(lcores)),
        }
    }
    Some(found)
}

/// Cuts at the commas that are in no parentheses.
fn outside_of_parentheses(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (depth == 0).then_some(parts)
}

/// The address in `-a`, with its domain: `01:00.0,mprq_en=1` is `0000:01:00.0`. Nothing for another bus's device.
fn pci_address(value: &str) -> Option<String> {
    let address = value.split(',').next()?;
    let address = address.strip_prefix("pci:").unwrap_or(address);
    let full = match address.matches(':').count() {
        1 => format!("0000:{address}"),
        2 => address.to_owned(),
        _ => return None,
    };
    let is_hex = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (rest, function) = full.split_once('.')?;
    let [domain, bus, device] = rest.split(':').collect::<Vec<_>>().try_into().ok()?;
    let is_address = is_hex(domain, 4) && is_hex(bus, 2) && is_hex(device, 2) && is_hex(function, 1);
    is_address.then(|| full.to_ascii_lowercase())
}

fn virtual_device(value: &str) -> (String, Vec<(String, String)>) {
    let mut parts = value.split(',');
    let name = parts.next().unwrap_or_default().to_owned();
    let arguments = parts.filter_map(|part| part.split_once('='));
    (name, arguments.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        let lcores = lcores(text)?;
        Some(lcores.iter().map(|(lcore, cpus)| format!("{lcore}@{cpus}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn lcores_are_understood_as_eal_understands_them() {
        for (text, meant) in [
            ("0-2", "0@0 1@1 2@2"),
            ("0@0,1@0,2@1", "0@0 1@0 2@1"),
            ("(0-1)@(4-5,7),9", "0@4-5,7 1@4-5,7 9@9"),
            ("(2-3)", "2@2-3 3@2-3"),
            ("1-2@5", "1@5 2@5"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(meant), "{text}");
        }
        for wrong in ["", "a", "0@", "(0", "0)", "0@@1"] {
            assert_eq!(shown(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn addresses_get_their_domain_and_lose_their_arguments() {
        assert_eq!(pci_address("01:00.0").as_deref(), Some("0000:01:00.0"));
        assert_eq!(pci_address("0000:0A:00.1,mprq_en=1").as_deref(), Some("0000:0a:00.1"));
        for other in ["vmbus:1234", "net_tap0", "", "1:0.0", "0000:01:00.0:2"] {
            assert_eq!(pci_address(other), None, "{other}");
        }
    }
}
