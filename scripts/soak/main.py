"""What soak.sh does once its network is up: starts everybody, lets things happen, and reports."""

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
BACKENDS = {"b1": "10.0.0.3", "b2": "10.0.0.4", "b3": "10.0.0.5"}
WEB, ECHO = 8080, 5353
# A backend that is killed is noticed within this time, and requests that were on it have failed.
NOTICED = 3.0
# No timeout is longer than this at the end, so that all comes to rest.
REST = 3


def configuration(weights, timeouts):
    """The file, with these weights of the backends."""
    health = 'health = { type = "tcp", interval = "500ms", timeout = "400ms" }'
    backends = "".join(
        f'[[service.backend]]\naddress = "{address}"\nweight = {weight}\n'
        for address, weight in zip(BACKENDS.values(), weights)
    )
    echo = f'health = {{ type = "tcp", port = {WEB}, interval = "500ms", timeout = "400ms" }}'
    return (
        f"connections = 20000\n[timeouts]\n{timeouts}\n"
        f'[[service]]\nname = "web"\nvip = "10.0.0.10"\nport = {WEB}\nsyn_proxy = "auto"\n{health}\n{backends}'
        f'[[service]]\nname = "echo"\nvip = "10.0.0.10"\nprotocol = "udp"\nport = {ECHO}\none_packet = true\n'
        f'scheduler = "rr"\n{echo}\n{backends}'
    )


def nginx_configuration(directory, address):
    return (
        f"user root; daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr warn;\n"
        "events { worker_connections 8192; }\nhttp { access_log off; default_type text/plain; keepalive_timeout 600s;\n"
        f'server {{ listen {WEB} backlog=4096; root {directory}; location = / {{ return 200 "{address}"; }} '
        "location = /big { } } }\n"
    )


class Soak:
    def __init__(self, options):
        self.options = options
        self.rng = random.Random(options.seed)
        self.work = Path(options.work)
        self.binaries = Path(options.binaries)
        self.socket = f"/run/leat/{options.name}.sock"
        self.servers = {}
        # When backends were killed, in seconds of the monotonic clock.
        self.kills = []
        self.happened = {}

    # --- Everybody ---------------------------------------------------------------------------------------------

    def inside(self, role, *command):
        return ["ip", "netns", "exec", f"leat-{self.options.name}-{role}", *map(str, command)]

    def start(self, role, *command, log, **options):
        """A process that ends when this one does, whatever ends this one."""
        words = ["setpriv", "--pdeathsig", "KILL", "--", *command]
        output = open(self.work / log, "ab")
        return subprocess.Popen(self.inside(role, *words), stderr=output, stdout=options.pop("stdout", output), **options)

    def start_backend(self, role):
        directory = self.work / role
        directory.mkdir(exist_ok=True)
        (directory / "big").write_bytes(bytes(range(256)) * 2048)
        (directory / "nginx.conf").write_text(nginx_configuration(directory, BACKENDS[role]))
        # What is probed comes last: leat is not to find a backend up that cannot answer everything yet.
        echo = self.start(role, "python3", HERE / "echo.py", ECHO, log=f"{role}.log")
        while not subprocess.run(self.inside(role, "ss", "-Hlnu", f"sport = :{ECHO}"), capture_output=True).stdout:
            time.sleep(0.05)
        nginx = self.start(role, "nginx", "-e", "stderr", "-p", directory, "-c", directory / "nginx.conf", log=f"{role}.log")
        self.servers[role] = [nginx, echo]

    def start_leat(self):
        self.file = self.work / "leat.toml"
        self.file.write_text(configuration([1, 1, 1], ""))
        self.leat = self.start(
            "lb", self.binaries / "leat", "-l", self.options.lcores, "--no-pci", "--vdev=net_tap0,iface=tapdpdk",
            "--file-prefix", self.options.name, "--", "-c", self.file, "--api", f"unix:{self.socket}", log="leat.log",
        )
        self.wait_for("leat", lambda: "leat: ready" in (self.work / "leat.log").read_text())

    def wait_for(self, what, condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            if self.leat.poll() is not None:
                raise SystemExit(f"leat has ended: see {self.work}/leat.log")
            if time.monotonic() > end:
                raise SystemExit(f"{what}: not within {seconds} s; see {self.work}")
            time.sleep(0.1)

    def ctl(self, *words, check=True):
        finished = subprocess.run(
            [self.binaries / "leatctl", "--api", f"unix:{self.socket}", *words], capture_output=True, text=True, timeout=60
        )
        if check and finished.returncode != 0:
            raise SystemExit(f"leatctl {' '.join(words)}: {finished.stderr}")
        return finished.stdout

    def status(self):
        return json.loads(self.ctl("status", "--json"))

    def memory(self):
        """What leat has of its own in memory, in KiB."""
        with open(f"/proc/{self.leat.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

    # --- What happens -------------------------------------------------------------------------------------------

    def reload(self):
        weights = [self.rng.choice([1, 1, 2, 5]) for _ in BACKENDS]
        self.file.write_text(configuration(weights, ""))
        self.leat.send_signal(signal.SIGHUP)

    def kill_and_revive(self):
        """Kills one backend; two are left. It comes back when it was noticed."""
        role = self.rng.choice(list(BACKENDS))
        self.kills.append(time.monotonic())
        for process in self.servers[role]:
            process.kill()
            process.wait()
        time.sleep(NOTICED + self.rng.random() * 3)
        self.start_backend(role)
        time.sleep(NOTICED)

    def ask_api(self):
        words = self.rng.choice([
            ["status"], ["services"], ["backends"], ["drops"], ["connections", "service=web"], ["neighbors"], ["config"],
            ["explain", "tcp", f"10.0.0.1:{self.rng.randrange(1024, 65536)}", "10.0.0.10:8080"],
        ])
        self.ctl(*words, check=False)

    def capture(self):
        self.ctl("capture", "--for", "1s", "--count", "500", "--write", str(self.work / "capture.pcapng"), "service=web", check=False)

    def end_connections(self):
        """Ends what is of a client that does not exist: the whole table is looked at."""
        self.ctl("end", "client=10.1.2.3", check=False)

    def drain_and_enable(self):
        address = self.rng.choice(list(BACKENDS.values()))
        self.ctl("drain", "web", f"{address}:{WEB}", check=False)
        time.sleep(self.rng.random())
        self.ctl("enable", "web", f"{address}:{WEB}", check=False)

    def let_things_happen(self, seconds):
        things = [self.reload] * 6 + [self.ask_api] * 8 + [self.capture, self.drain_and_enable, self.end_connections, self.kill_and_revive]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            thing = self.rng.choice(things)
            self.happened[thing.__name__] = self.happened.get(thing.__name__, 0) + 1
            thing()
            if self.leat.poll() is not None:
                raise SystemExit(f"leat has ended: see {self.work}/leat.log")
            time.sleep(self.rng.random() / 2)

    # --- The whole ----------------------------------------------------------------------------------------------

    def run(self):
        for role in BACKENDS:
            self.start_backend(role)
        self.start_leat()
        mac = self.status()["ports"][0]["mac"]
        self.wait_for("the backends", lambda: all(
            backend["health"]["state"] == "up" for service in self.status()["services"] for backend in service["backends"]
        ))
        # What is there once is not what grows.
        time.sleep(1)
        idle = self.status()["buffers"]["in_use"]
        outputs = [open(self.work / f"client{n}.json", "w+") for n in (1, 2)]
        clients = []
        for number, (role, output) in enumerate(zip(("client", "client2"), outputs)):
            words = ["python3", HERE / "client.py", self.options.seed * 1000 + number * 100]
            clients.append(self.start(role, *words, log="client.log", stdin=subprocess.PIPE, stdout=output, text=True))
        garbage = self.start("client2", "python3", HERE / "garbage.py", mac, self.options.seed, log="garbage.log")
        # Tables and caches are touched little by little: only what grows after that grows for ever.
        memory = []
        self.let_things_happen(self.options.seconds / 4)
        memory.append(self.memory())
        self.let_things_happen(self.options.seconds * 3 / 4)
        garbage.kill()
        for process in clients:
            process.stdin.write("enough\n")
            process.stdin.flush()
        for process in clients:
            process.wait(timeout=120)
        memory.append(self.memory())
        self.come_to_rest()
        status = self.status()
        failures, made = self.read(outputs)
        return self.report(status, idle, memory, failures, made)

    def come_to_rest(self):
        """With short timeouts, what is over is forgotten soon."""
        names = ["tcp_syn_sent", "tcp_syn_received", "tcp_established", "tcp_closing", "tcp_time_wait", "tcp_reset",
                 "udp_unreplied", "udp", "udp_answered", "icmp"]
        self.file.write_text(configuration([1, 1, 1], "\n".join(f'{name} = "{REST}s"' for name in names)))
        self.leat.send_signal(signal.SIGHUP)
        # Fragments are held for 15 s, and a health check's connection is not in the table.
        end = time.monotonic() + 40
        while time.monotonic() < end and any(worker["connections"] for worker in self.status()["workers"]):
            time.sleep(0.5)
        time.sleep(16)

    @staticmethod
    def read(outputs):
        failures, made = [], {}
        for output in outputs:
            output.seek(0)
            for line in map(json.loads, output):
                if "made" in line:
                    made = {kind: made.get(kind, 0) + count for kind, count in line["made"].items()}
                else:
                    failures.append(line)
        return failures, made

    def is_excused(self, failure):
        """Whether a backend was killed while the request was under way, or just before and leat had not noticed yet."""
        return any(failure["begun"] - NOTICED <= kill <= failure["failed"] for kill in self.kills)

    def report(self, status, idle, memory, failures, made):
        excused = [failure for failure in failures if self.is_excused(failure)]
        failed = [failure for failure in failures if not self.is_excused(failure)]
        connections = sum(worker["connections"] for worker in status["workers"])
        open_now = sum(backend["open"] for service in status["services"] for backend in service["backends"])
        drops = {}
        for worker in status["workers"]:
            for reason, count in worker["drops"].items():
                drops[reason] = drops.get(reason, 0) + count
        in_use = status["buffers"]["in_use"]
        # Descriptors of queues that were never filled at the start are filled later.
        limits = {
            "requests that failed": (len(failed), 0),
            "connections at rest": (connections, 0),
            "open connections, and so source ports in use": (open_now, 0),
            "packet buffers in use beyond those at the start": (max(in_use - idle, 0), 64),
            "MiB of memory that it grew by": (max(0, memory[1] - memory[0]) >> 10, max(8, memory[0] >> 12)),
        }
        print(f"    {sum(made.values())} requests: " + ", ".join(f"{count} {kind}" for kind, count in made.items()))
        print(f"    {len(excused)} failed with a backend that was killed ({len(self.kills)} times)")
        print("    happened: " + ", ".join(f"{name} {count}" for name, count in sorted(self.happened.items())))
        print("    dropped: " + ", ".join(f"{reason} {count}" for reason, count in sorted(drops.items(), key=lambda it: -it[1])[:12]))
        print(f"    memory {memory[0]} KiB, then {memory[1]} KiB; buffers {idle}, then {in_use}")
        is_well = True
        for what, (value, most) in limits.items():
            verdict = "ok" if value <= most else "WRONG"
            is_well &= value <= most
            print(f"    {verdict:5} {what}: {value}" + (f" (at most {most})" if most else ""))
        for failure in failed[:10]:
            print(f"          {failure['kind']} after {failure['failed'] - failure['begun']:.2f} s: {failure['why']}")
        return is_well


def main():
    parser = argparse.ArgumentParser()
    for name in ("name", "lcores", "binaries", "work"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("seconds", "seed"):
        parser.add_argument(f"--{name}", required=True, type=int)
    soak = Soak(parser.parse_args())
    is_well = soak.run()
    soak.leat.send_signal(signal.SIGTERM)
    is_well &= soak.leat.wait(timeout=30) == 0
    sys.exit(0 if is_well else 1)


main()
