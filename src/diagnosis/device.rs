//! Ports: cards on the PCI bus with their drivers, devices made of software, and the rights that both take.

use std::collections::BTreeMap;

use super::machine::{CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN, CAP_SYS_RAWIO};
use super::{CpuList, Demand, Finding, Machine, PciDevice, listed};

/// Drivers that hand a device to user space.
const USER_SPACE: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

/// Drivers that share a device with user space: it stays bound to them.
const SHARED: [&str; 3] = ["mlx4_core", "mlx5_core", "mana"];

/// The devices of the PCI bus by address.
type Pci = BTreeMap<String, PciDevice>;

pub(super) fn examine(demand: &Demand, machine: &Machine) -> Vec<Finding> {
    if !demand.is_given {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (name, arguments) in &demand.virtual_devices {
        virtual_device(name, arguments, machine, &mut findings);
    }
    let Some(pci) = machine.pci.as_ref().filter(|_| demand.looks_at_pci) else {
        findings.extend(no_port(demand, None));
        findings.extend(demand.devices.iter().map(|address| match demand.looks_at_pci {
            true => Finding::problem(format!("-a {address}: this machine has no PCI bus"), "use --vdev instead"),
            false => Finding::problem(
                format!("-a {address} names a PCI device, and --no-pci says not to look for any"),
                "leave one of the two out",
            ),
        }));
        return findings;
    };
    findings.extend(no_port(demand, Some(pci)));
    for address in &demand.devices {
        match pci.get(address) {
            Some(device) => card(address, device, demand, machine, &mut findings),
            None => findings.push(Finding::problem(
                format!("-a {address}: there is no such PCI device"),
                match cards(pci) {
                    cards if cards.is_empty() => {
                        "this machine has no network card on its PCI bus; use --vdev".to_owned()
                    }
                    cards => format!("the network cards are {cards}"),
                },
            )),
        }
    }
    findings
}

/// The network cards, each with its driver.
fn cards(pci: &Pci) -> String {
    let cards = pci.iter().filter(|(_, device)| device.is_network);
    listed(cards.map(|(address, device)| match &device.driver {
        Some(driver) => format!(
            "{address} ({driver}{})",
            device.interfaces.iter().map(|name| format!(", {name}")).collect::<String>()
        ),
        None => format!("{address} (no driver)"),
    }))
}

/// Nothing among the arguments is a port, and no card is there for DPDK to find.
fn no_port(demand: &Demand, pci: Option<&Pci>) -> Option<Finding> {
    if !demand.devices.is_empty() || !demand.virtual_devices.is_empty() || demand.names_others {
        return None;
    }
    let is_ready = |device: &PciDevice| {
        device.driver.as_deref().is_some_and(|driver| USER_SPACE.contains(&driver) || SHARED.contains(&driver))
    };
    if pci.is_some_and(|pci| pci.values().any(|device| device.is_network && is_ready(device))) {
        return None;
    }
    let mend = match pci.map(cards).filter(|cards| !cards.is_empty()) {
        Some(cards) => format!("--vdev=net_tap0; or bind a network card to vfio-pci (dpdk-devbind.py): {cards}"),
        None => "--vdev=net_tap0 for one made of software".to_owned(),
    };
    Some(Finding::problem("no port is named, and DPDK finds none by itself", mend))
}

fn card(address: &str, device: &PciDevice, demand: &Demand, machine: &Machine, findings: &mut Vec<Finding>) {
    match device.driver.as_deref() {
        Some(driver) if USER_SPACE.contains(&driver) => user_space(address, driver, device, machine, findings),
        Some(driver) if SHARED.contains(&driver) => findings.extend(lacking(
            &format!("-a {address}, which shares its card with {driver},"),
            &[(CAP_NET_RAW, "CAP_NET_RAW"), (CAP_NET_ADMIN, "CAP_NET_ADMIN")],
            machine,
        )),
        driver => {
            findings.push(Finding::problem(held(address, driver, device), binding(address, driver, device, machine)))
        }
    }
    findings.extend(far_away(address, device, &demand.cpus(), machine));
}

fn held(address: &str, driver: Option<&str>, device: &PciDevice) -> String {
    match (driver, device.interfaces.as_slice()) {
        (None, _) => format!("-a {address}: the device is bound to no driver, so DPDK passes over it"),
        (Some(driver), []) => {
            format!("-a {address}: the kernel's driver {driver} holds the device, so DPDK passes over it")
        }
        (Some(driver), interfaces) => format!(
            "-a {address}: the kernel's driver {driver} holds the device, as {}, so DPDK passes over it",
            listed(interfaces)
        ),
    }
}

fn binding(address: &str, driver: Option<&str>, device: &PciDevice, machine: &Machine) -> String {
    let mut steps: Vec<String> = Vec::new();
    if !machine.has_vfio {
        steps.push("modprobe vfio-pci".to_owned());
    }
    steps.extend(device.interfaces.iter().map(|name| format!("ip link set {name} down")));
    steps.push(format!("dpdk-devbind.py --bind=vfio-pci {address}"));
    let mut mend = format!("as root: {} (or driverctl set-override {address} vfio-pci)", steps.join(" && "));
    if let Some(driver) = driver {
        mend += &format!("; back again with --bind={driver}");
    }
    if !device.interfaces.is_empty() {
        mend += ". The kernel loses this interface: not the one that you are logged in through";
    }
    mend
}

/// The device is DPDK's; can it be used?
fn user_space(address: &str, driver: &str, device: &PciDevice, machine: &Machine, findings: &mut Vec<Finding>) {
    let who = format!("-a {address} on {driver}");
    if driver != "vfio-pci" {
        let needed = [(CAP_SYS_RAWIO, "CAP_SYS_RAWIO"), (CAP_SYS_ADMIN, "CAP_SYS_ADMIN, for physical addresses")];
        findings.extend(lacking(&who, &needed, machine));
        return;
    }
    // Without an IOMMU vfio makes groups of its own, with another name below /dev/vfio.
    let is_without = |group: &&String| machine.vfio_groups.contains(&format!("noiommu-{group}"));
    let group = device.iommu_group.as_ref();
    match group.filter(|group| !is_without(group)) {
        Some(group) if machine.vfio_groups.contains(group) => {}
        Some(group) => findings.push(Finding::problem(
            format!("{who}: /dev/vfio/{group}, its IOMMU group, is not there"),
            format!("in a container, pass it in: docker run --device /dev/vfio/vfio --device /dev/vfio/{group}"),
        )),
        None if group.is_some() || machine.is_noiommu_allowed => {
            let needed = [(CAP_SYS_RAWIO, "CAP_SYS_RAWIO"), (CAP_SYS_ADMIN, "CAP_SYS_ADMIN, for physical addresses")];
            findings.extend(lacking(&format!("{who} without an IOMMU"), &needed, machine));
            findings.push(Finding::note(
                format!("{who}: no IOMMU keeps the device from writing to all of this machine's memory"),
                "intel_iommu=on iommu=pt on the kernel's command line, where there is one",
            ));
        }
        None => findings.push(Finding::problem(
            format!("{who}: the device is behind no IOMMU, and vfio-pci refuses it so"),
            "intel_iommu=on iommu=pt on the kernel's command line (AMD's is on by itself) and a boot; in a virtual machine \
             without one, as root: echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode, then bind it again",
        )),
    }
}

/// Lcores on another NUMA node than the device's.
fn far_away(address: &str, device: &PciDevice, cpus: &CpuList, machine: &Machine) -> Option<Finding> {
    let node = device.node.filter(|_| machine.nodes.len() > 1)?;
    let far: CpuList = cpus.iter().filter(|cpu| machine.node_of(*cpu).is_some_and(|other| other != node)).collect();
    (!far.is_empty()).then(|| {
        let near = machine.nodes.get(&node).map(|cpus| format!(": name CPUs of {cpus} after -l")).unwrap_or_default();
        Finding::warning(
            format!("-a {address} is on NUMA node {node}, and CPU {far} is not: each packet crosses between them"),
            format!("take CPUs of node {node}{near}"),
        )
    })
}

fn virtual_device(name: &str, arguments: &[(String, String)], machine: &Machine, findings: &mut Vec<Finding>) {
    let who = format!("--vdev={name}");
    let is = |kind: &str| name.strip_prefix(kind).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    let interface = arguments.iter().find(|(key, _)| key == "iface").map(|(_, value)| value);
    let needed: &[(u32, &str)] = if is("net_tap") {
        if !machine.has_tun {
            findings.push(Finding::problem(
                format!("{who} needs /dev/net/tun, which is not there"),
                "as root: modprobe tun; in a container: docker run --device /dev/net/tun",
            ));
        }
        &[(CAP_NET_ADMIN, "CAP_NET_ADMIN")]
    } else if is("net_af_packet") {
        &[(CAP_NET_RAW, "CAP_NET_RAW")]
    } else if is("net_af_xdp") {
        &[(CAP_NET_RAW, "CAP_NET_RAW"), (CAP_NET_ADMIN, "CAP_NET_ADMIN")]
    } else if is("net_pcap") && interface.is_some() {
        &[(CAP_NET_RAW, "CAP_NET_RAW")]
    } else {
        &[]
    };
    findings.extend(lacking(&who, needed, machine));
    // net_tap makes its interface; the others must find theirs.
    if let (Some(interface), Some(there), false) = (interface, &machine.interfaces, is("net_tap"))
        && !there.contains(interface)
        && !needed.is_empty()
    {
        findings.push(Finding::problem(
            format!("{who}: there is no interface {interface} in this network namespace"),
            format!(
                "name one that there is ({}); or enter the right namespace: ip netns exec NAME leat ...",
                listed(there)
            ),
        ));
    }
}

/// Capabilities that this process has not.
fn lacking(who: &str, needed: &[(u32, &str)], machine: &Machine) -> Option<Finding> {
    let missing: Vec<_> = needed.iter().filter(|(bit, _)| machine.lacks(*bit)).map(|(_, name)| *name).collect();
    (!missing.is_empty()).then(|| {
        Finding::problem(
            format!("{who} needs {}, and this process has not got it", missing.join(" and ")),
            "run leat as root; in a container: docker run --cap-add; under systemd: CapabilityBoundingSet",
        )
    })
}
