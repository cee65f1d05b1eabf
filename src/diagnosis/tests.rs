//! Machines made of files, each with one thing wrong.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::config::eal;

/// A machine of two cores with two threads each, 512 MiB of free hugepages, root's rights, a card on vfio-pci behind an
/// IOMMU, and one on the kernel's driver.
struct Fake(TempDir);

impl Fake {
    fn new() -> Self {
        let fake = Self(tempfile::tempdir().unwrap());
        for (path, text) in [
            ("proc/self/status", "Name:\tleat\nCapEff:\t000001ffffffffff\n"),
            (
                "proc/self/limits",
                "Limit                     Soft Limit           Hard Limit           Units\nMax locked memory         unlimited            unlimited            bytes\n",
            ),
            ("proc/self/mounts", "proc /proc proc rw 0 0\nnone /dev/hugepages hugetlbfs rw 0 0\n"),
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/net/dev", "Inter-|   Receive\n face |bytes\n    lo: 0 0\n  eth0: 0 0\n"),
            ("proc/meminfo", "MemTotal:        8000000 kB\nMemAvailable:    4194304 kB\n"),
            ("sys/devices/system/cpu/present", "0-3\n"),
            ("sys/devices/system/cpu/online", "0-3\n"),
            ("sys/devices/system/cpu/isolated", "1-3\n"),
            ("sys/devices/system/node/node0/cpulist", "0-1\n"),
            ("sys/devices/system/node/node1/cpulist", "2-3\n"),
            ("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "N\n"),
            ("sys/bus/pci/drivers/vfio-pci/bind", ""),
            ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "256\n"),
            ("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "256\n"),
            ("dev/net/tun", ""),
            ("dev/vfio/7", ""),
            ("dev/vfio/vfio", ""),
        ] {
            fake.write(path, text);
        }
        for (cpu, siblings) in [(0, "0,2"), (1, "1,3"), (2, "0,2"), (3, "1,3")] {
            fake.write(&format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"), siblings);
            fake.write(&format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"), "performance\n");
        }
        fake.card("0000:01:00.0", Some("vfio-pci"), Some("7"));
        fake.card("0000:02:00.0", Some("ixgbe"), Some("8"));
        fake.write("sys/bus/pci/devices/0000:02:00.0/net/enp2s0/flags", "0x1003\n");
        fake
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.path(path)).unwrap();
    }

    fn card(&self, address: &str, driver: Option<&str>, group: Option<&str>) {
        let device = format!("sys/bus/pci/devices/{address}");
        self.write(&format!("{device}/class"), "0x020000\n");
        self.write(&format!("{device}/numa_node"), "0\n");
        if let Some(driver) = driver {
            symlink(format!("../../drivers/{driver}"), self.path(&device).join("driver")).unwrap();
        }
        if let Some(group) = group {
            symlink(format!("../../../kernel/iommu_groups/{group}"), self.path(&device).join("iommu_group")).unwrap();
        }
    }

    /// What is found when leat is started with these arguments of EAL's.
    fn findings(&self, args: &str) -> Vec<Finding> {
        let args: Vec<_> = args.split_whitespace().map(str::to_owned).collect();
        let free = eal::free_hugepage_bytes(&self.path("sys/kernel/mm/hugepages"));
        let completed = eal::complete(args.clone(), free >= 128 << 20, 7).unwrap().args;
        examine(&Demand::new(&args, &completed), &Machine::read(self.0.path()))
    }

    /// Insists on exactly one finding, with these words in it.
    #[track_caller]
    fn finds(&self, args: &str, gravity: Gravity, words: &[&str]) {
        let findings = self.findings(args);
        assert_eq!(findings.len(), 1, "{args}: {findings:#?}");
        let text = findings[0].to_string();
        assert_eq!(findings[0].gravity, gravity, "{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in: {text}");
        }
    }

    #[track_caller]
    fn finds_nothing(&self, args: &str) {
        assert_eq!(self.findings(args), [], "{args}");
    }
}

use Gravity::{Note, Problem, Warning};

const CARD: &str = "-l 1 -a 0000:01:00.0";
const TAP: &str = "-l 1 --vdev=net_tap0,iface=tapdpdk";

#[test]
fn a_machine_that_has_everything_gets_no_advice() {
    let fake = Fake::new();
    for args in [
        CARD,
        TAP,
        "-l 1 -a 01:00.0,opt=1",
        "--lcores 5@1 --vdev net_null0",
        "-l 1",
        "-l 1 --no-pci --vdev=net_pcap0,rx_pcap=a",
    ] {
        fake.finds_nothing(args);
    }
}

#[test]
fn a_machine_that_says_nothing_of_itself_gets_advice_about_memory_only() {
    let empty = Fake(tempfile::tempdir().unwrap());
    empty.write("dev/net/tun", "");
    empty.finds(TAP, Note, &["the kernel has none"]);
}

#[test]
fn nothing_is_said_of_lcores_and_ports_to_who_checks_a_file_only() {
    let fake = Fake::new();
    fake.finds_nothing("");
}

#[test]
fn too_few_hugepages_are_told_with_numbers_and_the_command_for_more() {
    let fake = Fake::new();
    let free = "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    fake.write(free, "6\n");
    let words = ["6 of 256 pages of 2048 KiB", "echo 506 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"];
    fake.finds(TAP, Note, &words);
    fake.finds(CARD, Warning, &words);
    let asked = ["32 MiB of hugepages are asked for", "echo 266 >", "--no-huge -m 512"];
    fake.finds(&format!("{CARD} --in-memory -m 32"), Problem, &asked);
    fake.finds(&format!("{CARD} --in-memory --socket-mem 16,16"), Problem, &asked);
    fake.finds_nothing(&format!("{CARD} --in-memory -m 12"));
    fake.write(free, "0\n");
    fake.finds(&format!("{CARD} --in-memory"), Problem, &["hugepages are asked for", "0 of 256", "echo 512 >"]);
}

#[test]
fn a_hugetlbfs_is_missed_only_by_who_uses_it() {
    let fake = Fake::new();
    fake.write("proc/self/mounts", "proc /proc proc rw 0 0\n");
    fake.finds_nothing(CARD);
    fake.finds(&format!("{CARD} -m 64"), Problem, &["no hugetlbfs is mounted", "--in-memory", "mount -t hugetlbfs"]);
}

#[test]
fn more_ordinary_memory_than_there_is_is_told() {
    let fake = Fake::new();
    fake.finds_nothing(&format!("{TAP} --no-huge -m 4096"));
    fake.finds(&format!("{TAP} --no-huge -m 4097"), Warning, &["-m 4097", "4096 MiB"]);
}

#[test]
fn a_card_needs_memory_that_may_be_locked() {
    let fake = Fake::new();
    fake.write("proc/self/limits", "Max locked memory         8388608              8388608              bytes\n");
    fake.finds_nothing(CARD);
    fake.write("proc/self/status", "CapEff:\t0000000000000000\n");
    fake.finds(CARD, Problem, &["lock only 8192 KiB", "ulimit -l unlimited"]);
}

#[test]
fn an_lcore_needs_a_cpu_that_is_there_and_on_and_in_the_cgroup() {
    let fake = Fake::new();
    fake.finds("-l 1,9 --vdev=net_null0", Problem, &["lcore 9 is to run on CPU 9", "this machine has 0-3"]);
    fake.finds("-c 0x20 --vdev=net_null0", Problem, &["lcore 5"]);
    fake.finds("--lcores 0@1,1@(7-8) --vdev=net_null0", Problem, &["lcore 1 is to run on CPU 7-8"]);
    fake.write("sys/devices/system/cpu/online", "0-2\n");
    fake.finds("-l 3 --vdev=net_null0", Problem, &["switched off", "echo 1 > /sys/devices/system/cpu/cpu3/online"]);
    fake.write("sys/devices/system/cpu/online", "0-3\n");
    fake.write("proc/self/cgroup", "0::/box\n");
    fake.write("sys/fs/cgroup/box/cpuset.cpus.effective", "0-1\n");
    fake.finds("-l 3 --vdev=net_null0", Problem, &["CPU 3", "cgroup has 0-1 only", "--cpuset-cpus"]);
    fake.write("proc/self/cgroup", "3:cpuset,cpu:/old\n0::/\n");
    fake.write("sys/fs/cgroup/cpuset/old/cpuset.effective_cpus", "0-2\n");
    fake.finds("-l 3 --vdev=net_null0", Problem, &["cgroup has 0-2 only"]);
    // Seen from inside of a container, the path is another machine's.
    fake.write("proc/self/cgroup", "0::/docker/abc\n");
    fake.write("sys/fs/cgroup/cpuset.cpus.effective", "1\n");
    fake.finds("-l 3 --vdev=net_null0", Problem, &["cgroup has 1 only"]);
}

#[test]
fn lcores_that_share_are_noted() {
    let fake = Fake::new();
    fake.finds("--lcores 0@1,1@1 --vdev=net_null0", Note, &["lcores 0 and 1 share CPU 1"]);
    fake.finds("-l 1,3 --vdev=net_null0", Note, &["CPUs 1 and 3 are hyperthreads"]);
    fake.finds("--vdev=net_null0", Note, &["no -l", "every CPU", "0-3"]);
    let all = fake.findings("-l 0-3 --vdev=net_null0");
    assert!(all.iter().any(|finding| finding.what.contains("nothing is left")), "{all:#?}");
}

#[test]
fn what_disturbs_the_lcores_of_a_card_is_noted() {
    let fake = Fake::new();
    fake.finds("-l 0 -a 0000:01:00.0", Note, &["other work on CPU 0", "isolcpus=0"]);
    fake.write("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n");
    fake.finds(CARD, Note, &["CPU 1", "powersave", "--governor performance"]);
}

#[test]
fn lcores_far_from_the_card_are_told() {
    Fake::new().finds("-l 2 -a 0000:01:00.0", Warning, &["NUMA node 0", "CPU 2 is not", "CPUs of 0-1 after -l"]);
}

#[test]
fn a_card_that_is_not_there_is_told_with_those_that_are() {
    let fake = Fake::new();
    let cards = ["no such PCI device", "0000:01:00.0 (vfio-pci)", "0000:02:00.0 (ixgbe, enp2s0)"];
    fake.finds("-l 1 -a 0000:99:00.0", Problem, &cards);
    fake.finds("-l 1 --no-pci -a 0000:01:00.0", Problem, &["--no-pci"]);
    fs::remove_dir_all(fake.path("sys/bus/pci")).unwrap();
    fake.finds(CARD, Problem, &["no PCI bus"]);
}

#[test]
fn a_card_that_the_kernel_holds_is_told_with_the_commands_that_take_it() {
    let fake = Fake::new();
    let commands = [
        "the kernel's driver ixgbe holds the device, as enp2s0",
        "ip link set enp2s0 down && dpdk-devbind.py --bind=vfio-pci 0000:02:00.0",
        "driverctl set-override 0000:02:00.0 vfio-pci",
        "back again with --bind=ixgbe",
    ];
    fake.finds("-l 1 -a 0000:02:00.0", Problem, &commands);
    fs::remove_dir_all(fake.path("sys/bus/pci/drivers")).unwrap();
    fake.card("0000:03:00.0", None, Some("9"));
    fake.finds("-l 1 -a 0000:03:00.0", Problem, &["bound to no driver", "modprobe vfio-pci && dpdk-devbind.py"]);
}

#[test]
fn a_card_that_stays_with_its_kernel_driver_is_left_there() {
    let fake = Fake::new();
    fake.card("0000:03:00.0", Some("mlx5_core"), None);
    fake.finds_nothing("-l 1 -a 0000:03:00.0");
    fake.write("proc/self/status", "CapEff:\t0000000000004000\n");
    fake.finds("-l 1 -a 0000:03:00.0", Problem, &["mlx5_core", "CAP_NET_RAW and CAP_NET_ADMIN"]);
}

#[test]
fn vfio_without_an_iommu_is_told_what_it_takes() {
    let fake = Fake::new();
    fake.card("0000:03:00.0", Some("vfio-pci"), None);
    let args = "-l 1 -a 0000:03:00.0";
    fake.finds(args, Problem, &["behind no IOMMU", "intel_iommu=on", "enable_unsafe_noiommu_mode"]);
    fake.write("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    fake.finds(args, Note, &["no IOMMU keeps the device from writing"]);
    // Once it is bound so, it is in a group of vfio's own.
    fake.card("0000:04:00.0", Some("vfio-pci"), Some("1"));
    fake.write("dev/vfio/noiommu-1", "");
    fake.finds("-l 1 -a 0000:04:00.0", Note, &["no IOMMU keeps the device from writing"]);
    fake.write("proc/self/status", "CapEff:\t0000000000004000\n");
    let findings = fake.findings(args);
    assert!(findings[0].what.contains("CAP_SYS_RAWIO and CAP_SYS_ADMIN"), "{findings:#?}");
    assert_eq!(findings.len(), 2, "{findings:#?}");
}

#[test]
fn an_iommu_group_that_a_container_hides_is_told() {
    let fake = Fake::new();
    fake.remove("dev/vfio/7");
    fake.finds(CARD, Problem, &["/dev/vfio/7", "docker run --device /dev/vfio/vfio --device /dev/vfio/7"]);
}

#[test]
fn no_port_at_all_is_told_with_the_cards_that_there_are() {
    let fake = Fake::new();
    fs::remove_dir_all(fake.path("sys/bus/pci/devices/0000:01:00.0")).unwrap();
    fake.finds("-l 1", Problem, &["no port is named", "--vdev=net_tap0", "0000:02:00.0 (ixgbe, enp2s0)"]);
    fake.finds("-l 1 --no-pci", Problem, &["no port is named"]);
    fake.finds_nothing("-l 1 -a vmbus:000d3a04-1234-5678-9abc-000d3a041234");
}

#[test]
fn virtual_devices_need_rights_and_what_they_stand_on() {
    let fake = Fake::new();
    fake.finds("-l 1 --vdev=net_af_packet0,iface=eth7", Problem, &["no interface eth7", "lo", "ip netns exec"]);
    fake.finds_nothing("-l 1 --vdev=net_af_packet0,iface=eth0");
    fake.write("proc/self/status", "CapEff:\t0000000000000000\n");
    fake.finds(TAP, Problem, &["--vdev=net_tap0 needs CAP_NET_ADMIN", "as root"]);
    fake.finds("-l 1 --vdev=net_af_packet0,iface=eth0", Problem, &["CAP_NET_RAW"]);
    fake.finds("-l 1 --vdev=net_af_xdp0,iface=eth0", Problem, &["CAP_NET_RAW and CAP_NET_ADMIN"]);
    fake.finds("-l 1 --vdev=net_pcap0,iface=eth0", Problem, &["CAP_NET_RAW"]);
    fake.finds_nothing("-l 1 --vdev=net_pcap0,rx_pcap=in.pcap");
    fake.write("proc/self/status", "CapEff:\t000001ffffffffff\n");
    fake.remove("dev/net/tun");
    fake.finds(TAP, Problem, &["/dev/net/tun", "modprobe tun"]);
}

#[test]
fn the_worst_comes_first_and_explains_an_error() {
    let fake = Fake::new();
    fake.write("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "0\n");
    let findings = fake.findings("-l 0 -a 0000:02:00.0");
    let gravities: Vec<_> = findings.iter().map(|finding| finding.gravity).collect();
    assert_eq!(gravities, [Problem, Warning, Note]);
    let explained = explanation(&findings);
    assert!(explained.contains("ixgbe") && !explained.contains("hugepages"), "{explained}");
    assert!(explanation(&findings[1..]).contains("hugepages"));
    assert_eq!(explanation(&findings[2..]), "");
    assert!(paragraph(&findings).contains("  problem  -a 0000:02:00.0"), "{}", paragraph(&findings));
    assert!(paragraph(&[]).contains("has what that takes"));
}
