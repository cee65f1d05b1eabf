"""What every level is given: how thorough to be, where to work, how to start leat."""

import http.client
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import samples
from machine import Memory
from process import Failure, Program, Programs


@dataclass
class Leat:
    """A running leat."""

    program: Program
    api: Path

    def is_ready(self):
        return self.program.has_said("leat: ready")

    def sample(self):
        return samples.of_leat(self.program.pid, self.api)


class Run:
    """One run of the benchmark."""

    # What a level takes as a row that failed, and not as a reason to stop.
    FAILURES = (Failure, OSError, ValueError, LookupError, ArithmeticError, http.client.HTTPException)

    def __init__(self, repository: Path, directory: Path, memory: Memory, cpus: list[int], quick: bool, rounds: int):
        self.repository, self.directory, self.memory, self.cpus, self.quick = repository, directory, memory, cpus, quick
        self.id = os.getpid()
        self.programs = Programs(directory)
        self._rounds = rounds
        self._prefixes = []
        # The name of a socket must be short.
        self._sockets = Path(tempfile.mkdtemp(prefix="leat-bench-"))

    def rounds(self, quick, full):
        """How many: what the command line says, or else what the level takes for right."""
        return self._rounds or (quick if self.quick else full)

    def runtime(self, prefix):
        """EAL's directory for a process with this file prefix; it is removed at the end."""
        directory = Path("/var/run/dpdk") / prefix
        self._prefixes.append(directory)
        return directory

    def start_leat(self, name, eal, own, namespace=""):
        """Starts leat, in a namespace if one is named, and does not wait for it."""
        prefix = f"leat-bench-{self.id}-{name}"
        api = self._sockets / f"{name}.sock"
        self.runtime(prefix)
        program = self.programs.start(name, [
            *(["ip", "netns", "exec", namespace] if namespace else []),
            self.repository / "target/release/leat", "--no-pci", *self.memory.eal(512), f"--file-prefix={prefix}",
            *eal, "--", *own, "--api", f"unix:{api}",
        ])  # fmt: skip
        return Leat(program, api)

    def close(self):
        """Ends what still runs, and removes what DPDK leaves behind."""
        self.programs.end_all()
        for directory in [self._sockets, *self._prefixes]:
            shutil.rmtree(directory, ignore_errors=True)
