//! What `/proc`, `/sys` and `/dev` say of this machine, read once. What cannot be read counts as unknown, and of what is
//! unknown nothing is said.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::CpuList;

/// Capabilities by their bit (capabilities(7)).
pub(super) const CAP_NET_ADMIN: u32 = 12;
/// See capabilities(7).
pub(super) const CAP_NET_RAW: u32 = 13;
/// See capabilities(7).
pub(super) const CAP_IPC_LOCK: u32 = 14;
/// See capabilities(7).
pub(super) const CAP_SYS_RAWIO: u32 = 17;
/// See capabilities(7).
pub(super) const CAP_SYS_ADMIN: u32 = 21;

/// The machine, as this process sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Hugepages of each size, the smallest first.
    pub hugepages: Vec<PageSize>,
    /// Whether a hugetlbfs is mounted.
    pub has_hugetlbfs: bool,
    /// Ordinary memory that is free or can be made so, in MiB.
    pub available_mebibytes: Option<u64>,
    /// This process's effective capabilities, a bit for each.
    pub capabilities: Option<u64>,
    /// The most memory that this process may lock, in bytes; nothing where there is no limit.
    pub lockable: Option<u64>,
    /// CPUs that there are.
    pub present: CpuList,
    /// CPUs that are switched on.
    pub online: CpuList,
    /// CPUs that this process may be pinned to: those of its cgroup. Nothing where no cgroup says so.
    pub permitted: Option<CpuList>,
    /// CPUs that the scheduler leaves alone.
    pub isolated: CpuList,
    /// The CPUs that are one core with this one, itself included.
    pub siblings: BTreeMap<usize, CpuList>,
    /// CPUs whose clock is governed by something else than `performance`, and by what.
    pub governors: BTreeMap<usize, String>,
    /// CPUs of each NUMA node.
    pub nodes: BTreeMap<usize, CpuList>,
    /// Whether `/dev/net/tun` is there.
    pub has_tun: bool,
    /// The network interfaces of this process's namespace.
    pub interfaces: Option<BTreeSet<String>>,
    /// Devices on the PCI bus, by address. Nothing where there is no such bus.
    pub pci: Option<BTreeMap<String, PciDevice>>,
    /// Whether the driver vfio-pci is there.
    pub has_vfio: bool,
    /// Whether vfio goes without an IOMMU.
    pub is_noiommu_allowed: bool,
    /// What is in `/dev/vfio`.
    pub vfio_groups: BTreeSet<String>,
}

/// Hugepages of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageSize {
    /// The size in KiB.
    pub kibibytes: u64,
    /// How many there are.
    pub total: u64,
    /// How many are free and not promised to anybody.
    pub free: u64,
}

/// A device on the PCI bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PciDevice {
    /// Whether it is a network card.
    pub is_network: bool,
    /// The driver that it is bound to.
    pub driver: Option<String>,
    /// The kernel's interfaces on it.
    pub interfaces: Vec<String>,
    /// Its NUMA node.
    pub node: Option<usize>,
    /// Its IOMMU group.
    pub iommu_group: Option<String>,
}

impl Machine {
    /// Reads everything below `root`, which is `/` but in tests.
    pub fn read(root: &Path) -> Self {
        let cpus = root.join("sys/devices/system/cpu");
        let list = |file: &str| text(&cpus.join(file)).and_then(|text| CpuList::parse(&text)).unwrap_or_default();
        let present = list("present");
        let status = text(&root.join("proc/self/status")).unwrap_or_default();
        Self {
            hugepages: hugepages(&root.join("sys/kernel/mm/hugepages")),
            has_hugetlbfs: text(&root.join("proc/self/mounts"))
                .is_some_and(|mounts| mounts.lines().any(|line| line.split(' ').nth(2) == Some("hugetlbfs"))),
            available_mebibytes: text(&root.join("proc/meminfo"))
                .and_then(|text| field(&text, "MemAvailable:")?.split(' ').next()?.parse::<u64>().ok())
                .map(|kibibytes| kibibytes / 1024),
            capabilities: field(&status, "CapEff:").and_then(|mask| u64::from_str_radix(mask, 16).ok()),
            lockable: text(&root.join("proc/self/limits"))
                .and_then(|text| field(&text, "Max locked memory")?.split_whitespace().next()?.parse().ok()),
            online: list("online"),
            permitted: permitted(root),
            isolated: list("isolated"),
            siblings: of_each(&present, &cpus, "topology/thread_siblings_list", CpuList::parse),
            governors: of_each(&present, &cpus, "cpufreq/scaling_governor", |governor| {
                (governor.trim() != "performance").then(|| governor.trim().to_owned())
            }),
            present,
            nodes: nodes(&root.join("sys/devices/system/node")),
            has_tun: root.join("dev/net/tun").exists(),
            interfaces: text(&root.join("proc/self/net/dev")).map(|text| {
                text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned()).collect()
            }),
            pci: pci(&root.join("sys/bus/pci/devices")),
            has_vfio: root.join("sys/bus/pci/drivers/vfio-pci").exists(),
            is_noiommu_allowed: text(&root.join("sys/module/vfio/parameters/enable_unsafe_noiommu_mode"))
                .is_some_and(|text| text.trim() == "Y"),
            vfio_groups: names(&root.join("dev/vfio")).into_iter().collect(),
        }
    }

    /// Whether this process lacks a capability. False where that is unknown.
    pub(super) fn lacks(&self, capability: u32) -> bool {
        self.capabilities.is_some_and(|mask| mask & (1 << capability) == 0)
    }

    /// The NUMA node of a CPU.
    pub(super) fn node_of(&self, cpu: usize) -> Option<usize> {
        self.nodes.iter().find(|(_, cpus)| cpus.contains(cpu)).map(|(node, _)| *node)
    }
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The names in a directory, in order.
fn names(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut names: Vec<_> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// What follows `name` at the beginning of a line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The name of what a link leads to.
fn target(link: &Path) -> Option<String> {
    fs::read_link(link).ok()?.file_name()?.to_str().map(str::to_owned)
}

fn hugepages(root: &Path) -> Vec<PageSize> {
    let sizes = names(root).into_iter().filter_map(|name| {
        let kibibytes = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let count = |file: &str| text(&root.join(&name).join(file))?.trim().parse::<u64>().ok();
        let free = count("free_hugepages")?.saturating_sub(count("resv_hugepages").unwrap_or(0));
        Some(PageSize { kibibytes, total: count("nr_hugepages")?, free })
    });
    let mut sizes: Vec<_> = sizes.collect();
    sizes.sort_unstable();
    sizes
}

fn of_each<T>(cpus: &CpuList, root: &Path, file: &str, read: impl Fn(&str) -> Option<T>) -> BTreeMap<usize, T> {
    cpus.iter().filter_map(|cpu| Some((cpu, read(&text(&root.join(format!("cpu{cpu}")).join(file))?)?))).collect()
}

fn nodes(root: &Path) -> BTreeMap<usize, CpuList> {
    let nodes = names(root).into_iter().filter_map(|name| {
        let node = name.strip_prefix("node")?.parse().ok()?;
        Some((node, CpuList::parse(&text(&root.join(name).join("cpulist"))?)?))
    });
    nodes.collect()
}

/// The CPUs of the cgroup (cgroups(7)) that this process is in: version 2, or else version 1's controller.
fn permitted(root: &Path) -> Option<CpuList> {
    let cgroups = root.join("sys/fs/cgroup");
    let groups = text(&root.join("proc/self/cgroup"))?;
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        let (folder, file) = match controllers {
            "" => (cgroups.clone(), "cpuset.cpus.effective"),
            _ if controllers.split(',').any(|name| name == "cpuset") => {
                (cgroups.join("cpuset"), "cpuset.effective_cpus")
            }
            _ => return None,
        };
        // In a container the path may be that outside, and its own group be mounted here.
        let text = text(&folder.join(path).join(file)).or_else(|| text(&folder.join(file)))?;
        CpuList::parse(&text).filter(|cpus| !cpus.is_empty())
    })
}

fn pci(root: &Path) -> Option<BTreeMap<String, PciDevice>> {
    if !root.exists() {
        return None;
    }
    let devices = names(root).into_iter().map(|address| {
        let device = root.join(&address);
        let number = |file: &str| text(&device.join(file))?.trim().parse().ok();
        // Interfaces of virtio's devices are one folder further.
        let folders = names(&device).into_iter().filter(|name| name.starts_with("virtio"));
        let folders = folders.map(|name| device.join(name)).chain([device.clone()]);
        let found = PciDevice {
            is_network: text(&device.join("class")).is_some_and(|class| class.starts_with("0x02")),
            driver: target(&device.join("driver")),
            interfaces: folders.flat_map(|folder| names(&folder.join("net"))).collect(),
            node: number("numa_node"),
            iommu_group: target(&device.join("iommu_group")),
        };
        (address, found)
    });
    Some(devices.collect())
}
