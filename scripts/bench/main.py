"""Runs the benchmark, level by level, and reports: scripts/bench.sh is how it is started.

Data goes one way: a level yields rows, they are written to a file as they come, and the reporter reads that file.
"""

import argparse
import shutil
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

import driver
import endtoend
import lcores
import machine
import micro
import pipeline
import report
import rows
from context import Run

REPOSITORY = Path(__file__).resolve().parents[2]
LEVELS = {"driver": driver, "pipeline": pipeline, "lcores": lcores, "endtoend": endtoend, "micro": micro}
# Where a whole run leaves its results, and where a part of one does.
RESULTS = REPOSITORY / "docs/benchmarks"
WORK = REPOSITORY / "target/bench"
# By which a run is interrupted.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main():
    arguments = _arguments()
    if arguments.report:
        _report(arguments.report, arguments.out or arguments.report.parent)
        return
    out = arguments.out or (WORK / "report" if arguments.level else RESULTS)
    for number in _SIGNALS:
        signal.signal(number, _stop)
    measured = _measure(arguments)
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results.csv"
    shutil.copyfile(measured, results)
    _report(results, out)


def _stop(*_):
    """Programs, namespaces and hugepages are put in order on the way out; a second signal does not disturb that."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(130)


def _measure(arguments):
    directory = WORK / "run"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    path = directory / "results.csv"
    started = time.monotonic()
    facts = machine.facts(REPOSITORY)
    facts["run"] = " ".join(["bench.sh", *sys.argv[1:]])
    levels = [LEVELS[arguments.level]] if arguments.level else list(LEVELS.values())

    writer = rows.Writer(path, facts)
    with machine.hugepages(0 if arguments.no_hugepages else machine.HUGEPAGES) as memory:
        run = Run(REPOSITORY, directory, memory, machine.cpus(), arguments.quick, arguments.rounds)
        try:
            for level in levels:
                _say(started, level.NAME)
                _run(level, run, writer, started)
        finally:
            run.close()
            writer.close()
    _say(started, "done")
    return path


def _run(level, run, writer, started):
    """A level that fails leaves a row that says so, and the next one runs."""
    try:
        # Closed here, so that an interruption finds its namespaces and programs in order.
        with closing(level.run(run)) as measured:
            for row in measured:
                writer.write(row)
                if row.note:
                    _say(started, f"{row.subject} {row.measure}: {row.note}")
    except run.FAILURES as error:
        _say(started, f"{level.NAME} failed: {error}")
        writer.write(rows.Row(level.NAME, "all", "leat", note=str(error)))


def _report(path, out):
    facts, measured = rows.read(path)
    out.mkdir(parents=True, exist_ok=True)
    report.write(facts, measured, out)
    print(report.table(facts, measured))
    print(f"Written to {out}: README.md, results.csv and its pictures", file=sys.stderr)


def _say(started, text):
    print(f"{time.monotonic() - started:6.0f} s  {text}", file=sys.stderr)


def _arguments():
    # bench.sh has looked at them, and has the help.
    parser = argparse.ArgumentParser(prog="bench.sh", add_help=False, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--level", choices=LEVELS)
    parser.add_argument("--no-hugepages", action="store_true")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--report", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
