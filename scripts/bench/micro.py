"""Micro-benchmarks: hash, lookup, checksum, Maglev's table, as criterion measures them; each of its samples is a round."""

import json

from process import Failure, run as run_command
from rows import Row

NAME = "micro"


def run(run):
    results = run.repository / "target/criterion"
    before = {path: path.stat().st_mtime_ns for path in _found(results)}
    command = ["cargo", "bench", "-q", "-p", "leat", "--no-default-features", "--bench", "micro", "--", "--noplot"]
    if run.quick:
        command += ["--warm-up-time", "0.2", "--measurement-time", "0.5", "--sample-size", "10"]
    pinned = ["taskset", "-c", str(run.cpus[0]), *command]
    run_command(pinned, seconds=120 if run.quick else 900, cwd=run.repository)
    # Not what is left of benchmarks that are gone.
    fresh = [path for path in _found(results) if before.get(path) != path.stat().st_mtime_ns]
    if not fresh:
        raise Failure("cargo bench --bench micro left no estimates in target/criterion")
    for path in fresh:
        yield from _rows(path)


def _found(results):
    return sorted(results.glob("**/new/sample.json"))


def _rows(path):
    """criterion notes for each sample how often it ran the routine, and the nanoseconds that this took in all."""
    sample = json.loads(path.read_text())
    name = json.loads((path.parent / "benchmark.json").read_text())["full_id"]
    for round, (iterations, nanoseconds) in enumerate(zip(sample["iters"], sample["times"]), start=1):
        yield Row(NAME, name, "leat", round=round, value=nanoseconds / iterations, unit="ns")
