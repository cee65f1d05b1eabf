"""The machine that a run takes place on: what it is, its CPUs, its hugepages."""

import os
import re
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# 2 MiB each: what eight DPDK processes with captures of 16,384 packets take side by side.
HUGEPAGES = 512
NR_HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")


def facts(repository):
    """What a reader must know to judge the figures, by name."""
    memory = _field("/proc/meminfo", r"MemTotal:\s+(\d+)")
    cpu = _field("/proc/cpuinfo", r"model name\s*:\s*(.*)")
    is_virtual = re.search(r"^flags\s*:.*\bhypervisor\b", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    changed = _said(["git", "-C", repository, "status", "--porcelain", "--untracked-files=no", "--", "*.rs", "*.toml"])
    commit = _said(["git", "-C", repository, "rev-parse", "--short=12", "HEAD"]) or "unknown"
    return {
        "date": _said(["date", "--utc", "+%Y-%m-%d %H:%M UTC"]),
        "machine": f"{'virtual machine' if is_virtual else 'bare metal'}, {os.cpu_count()} CPUs, "
        f"{int(memory or 0) / (1 << 20):.0f} GiB of memory",
        "cpu": f"{cpu or os.uname().machine}{_cpu_numbers()}",
        "caches": _caches(),
        "kernel": os.uname().release,
        "dpdk": _said(["pkg-config", "--modversion", "libdpdk"]),
        "rustc": _said(["rustc", "--version"]),
        "leat": commit + (", with changes" if changed else ""),
        "load at the start": f"{os.getloadavg()[0]:.2f}",
    }


def cpus():
    """The CPUs to measure on: the first for one lcore, the first two for two; what else runs has the rest.

    Not the first CPU, where interrupts go; and not two that share a core, as long as there are others.
    """
    allowed = sorted(os.sched_getaffinity(0))
    chosen = allowed[1:] + allowed[:1]
    siblings = _siblings(chosen[0])
    return [chosen[0], *sorted(chosen[1:], key=lambda cpu: cpu in siblings)]


@dataclass(frozen=True)
class Memory:
    """Where EAL's memory comes from."""

    is_huge: bool

    def eal(self, mebibytes):
        """EAL's options for a process that needs so much."""
        return ["--in-memory"] if self.is_huge else ["--no-huge", "-m", str(mebibytes), "--no-shconf"]

    def __str__(self):
        return "hugepages" if self.is_huge else "no hugepages"


@contextmanager
def hugepages(count):
    """Sets hugepages aside for as long as it lasts, where the kernel lets us; yields the Memory that there is.

    With a count of 0 the run does without, also where there are some.
    """
    if count == 0:
        yield Memory(is_huge=False)
        return
    before = int(NR_HUGEPAGES.read_text())
    missing = count - _free_hugepages()
    # As much again, and more, stays for everybody else.
    is_possible = int(_field("/proc/meminfo", r"MemAvailable:\s+(\d+)") or 0) > 4 << 20
    if missing <= 0 or not is_possible:
        yield Memory(is_huge=missing <= 0)
        return
    try:
        _set_hugepages(before + missing)
        yield Memory(is_huge=_free_hugepages() >= count)
    finally:
        _set_hugepages(before)


def _set_hugepages(count):
    try:
        NR_HUGEPAGES.write_text(str(count))
    except OSError:
        # Then there are none, and the rows say so.
        pass


def _free_hugepages():
    return int(_field("/proc/meminfo", r"HugePages_Free:\s+(\d+)") or 0)


def _siblings(cpu):
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return set()
    ranges = [[int(end) for end in part.split("-")] for part in text.strip().split(",")]
    return {cpu for ends in ranges for cpu in range(ends[0], ends[-1] + 1)}


def _cpu_numbers():
    names = ("cpu family", "model", "stepping")
    numbers = [_field("/proc/cpuinfo", rf"{name}\s*:\s*(\d+)") for name in names]
    return f" (family {numbers[0]}, model {numbers[1]}, stepping {numbers[2]})" if all(numbers) else ""


def _caches():
    found = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        found.append(f"L{level}{kind[0].lower() if kind != 'Unified' else ''} {size}")
    return ", ".join(found) or "unknown"


def _field(path, pattern):
    match = re.search(f"^{pattern}", Path(path).read_text(), re.MULTILINE)
    return match and match[1].strip()


def _said(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
