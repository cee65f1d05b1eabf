"""Programs that a run starts: each is ended by its id, whatever happens, and dies with the run if that is killed."""

import os
import shutil
import signal
import subprocess
import time

# Seconds that a program has to start, or to end.
PATIENCE = 20


class Failure(Exception):
    """Something did not work; the text is for the row that has no value because of it."""

    # What a command that failed had written to standard output before.
    stdout = ""


class Programs:
    """All that were started and not yet ended."""

    def __init__(self, directory):
        self._directory = directory
        self._running = []
        self._number = 0

    def start(self, name, command, **options):
        """Starts a program, with its output in a log named after it."""
        self._number += 1
        log = self._directory / f"{self._number:03}-{name}.log"
        program = Program(name, command, log, **options)
        self._running.append(program)
        return program

    def end(self, program):
        if program in self._running:
            self._running.remove(program)
        program.end()

    def end_all(self):
        """All at once, so that ten take no longer than one."""
        for program in self._running:
            program.ask_to_end()
        while self._running:
            self._running.pop().end()


class Program:
    """A running program. Standard input stays open and silent: testpmd ends when it closes."""

    def __init__(self, name, command, log):
        self.name = name
        self.log = log
        with open(log, "wb") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *map(str, command)],
                stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
                # A Ctrl-C is for the run, which then ends its programs in order.
                start_new_session=True,
            )  # fmt: skip
        self.pid = self._process.pid

    def wait_until(self, what, is_ready):
        """Waits for `is_ready` to return something true, and returns it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            if ready := is_ready():
                return ready
            if not self.is_running():
                raise Failure(f"{self.name} ended before {what}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise Failure(f"{self.name}: no {what} within {PATIENCE} s: {self.last_words()}")
            time.sleep(0.02)

    def is_running(self):
        return self._process.poll() is None

    def has_said(self, line):
        return line in self.log.read_text(errors="replace").splitlines()

    def last_words(self):
        """The last line of its log that says something."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it said nothing"

    def pause(self):
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        self._process.send_signal(signal.SIGCONT)

    def ask_to_end(self):
        if self.is_running():
            self._process.send_signal(signal.SIGTERM)
            # One that is paused hears nothing else.
            self._process.send_signal(signal.SIGCONT)

    def end(self):
        self.ask_to_end()
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE / 4)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def run(command, seconds=PATIENCE, **options):
    """Runs a command to its end and returns what it wrote to standard output.

    It dies with the run, as a Program does. With `check=False` its failure is the caller's business.
    """
    check = options.pop("check", True)
    command = [str(part) for part in command]
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True, **options,
    )  # fmt: skip
    try:
        stdout, stderr = process.communicate(timeout=seconds)
        said = _reason(stderr.strip() or stdout.strip() or f"exit status {process.returncode}")
        is_done = process.returncode == 0 or not check
    except BaseException as error:
        # Its children are in its group, and have its pipes.
        os.killpg(process.pid, signal.SIGKILL)
        stdout, _ = process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        said, is_done = f"not done within {seconds:.0f} s", False
    if is_done:
        return stdout
    failure = Failure(f"{' '.join(command[:6])}: {said}")
    failure.stdout = stdout
    raise failure


def _reason(text):
    """The line that says why a program failed: what follows the place of a panic in Rust, an `error:`, or its last."""
    lines = text.splitlines()
    panics = [after for line, after in zip(lines, lines[1:]) if " panicked at " in line]
    errors = [line for line in lines if line.startswith("error:")]
    return [*panics[:1], *errors[:1], lines[-1]][0].strip()


def need(*commands):
    """Stops a level early whose programs are not there."""
    for command in commands:
        if shutil.which(command) is None:
            raise Failure(f"{command} is not installed")
