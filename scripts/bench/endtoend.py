"""End to end: real clients and servers in namespaces, over leat, over the kernel's NAT, over HAProxy, and over nobody.

All share the machine's CPUs, the clients and servers too: a figure says what is left for requests when the one in the middle
has taken its part. Each contestant is measured in each round, one after the other, and runs only while it is measured.
"""

import json
import time

import network as net
from contestants import everybody, unload_xdp
from network import Network
from process import Failure, need
from rows import Row

NAME = "end to end"

AGAINST = "direct"


def run(run):
    need("ip", "wrk", "nginx", "iperf3", "curl", "ethtool")
    network = Network(run.repository, run.id)
    try:
        network.up()
        _start_servers(run, network)
        for round in range(1, run.rounds(quick=1, full=3) + 1):
            for contestant in everybody():
                yield from _measure(run, network, contestant, round)
    finally:
        run.programs.end_all()
        network.down()


def _measure(run, network, contestant, round):
    row = {"level": NAME, "what": contestant.what, "mode": contestant.mode, "setting": contestant.setting, "round": round}
    try:
        network.forget_neighbors()
        with contestant.running(run, network):
            _wait_for_answers(run, network, contestant)
            for measured in (_requests, _latency, _bulk):
                yield from _guarded(run, row, measured, network, contestant)
    except run.FAILURES as error:
        yield Row(**row, measure="requests", unit="requests/s", against=AGAINST, note=str(error))
    finally:
        unload_xdp(network)


def _guarded(run, row, measured, network, contestant):
    try:
        yield from (Row(**row, **figures, against=AGAINST) for figures in measured(run, network, contestant))
    except run.FAILURES as error:
        yield Row(**row, measure=measured.__name__[1:], against=AGAINST, note=str(error))


def _requests(run, network, contestant):
    rate, _, note = net.requests(network, contestant.web, seconds=1 if run.quick else 8, connections=64)
    yield {"measure": "requests", "value": rate, "unit": "requests/s", "note": note}


def _latency(run, network, contestant):
    _, percentiles, note = net.requests(network, contestant.web, seconds=1 if run.quick else 3, connections=1)
    for percent, value in percentiles.items():
        yield {"measure": f"latency, {percent} of 100", "value": value, "unit": "µs", "note": note}


def _bulk(run, network, contestant):
    seconds = 1 if run.quick else 4
    command = ("iperf3", "-c", contestant.bulk, "-p", net.BULK, "-t", seconds, "--json", "--connect-timeout", 3000)
    result = json.loads(network.run("client", *command, seconds=seconds + 20))
    yield {"measure": "bulk", "value": result["end"]["sum_received"]["bits_per_second"] / 1e9, "unit": "Gbit/s"}


def _start_servers(run, network):
    for role, address in net.BACKENDS.items():
        directory = run.directory / f"nginx-{role}"
        directory.mkdir(exist_ok=True)
        text = f". {run.repository}/scripts/lib.sh; nginx_configuration {directory} {net.WEB} 'Hello from {address}'"
        (directory / "nginx.conf").write_text(network.run(role, "bash", "-c", text))
        command = ["nginx", "-e", "stderr", "-p", directory, "-c", directory / "nginx.conf"]
        nginx = run.programs.start(f"nginx-{role}", network.inside(role, *command))
        nginx.wait_until("its port is open", lambda: network.listens(role, net.WEB))
    iperf3 = run.programs.start("iperf3", network.inside("b1", "iperf3", "-s", "-p", net.BULK))
    iperf3.wait_until("its port is open", lambda: network.listens("b1", net.BULK))


def _wait_for_answers(run, network, contestant):
    for _ in range(30):
        if net.answers(network, contestant.web):
            return
        time.sleep(0.1)
    raise Failure(f"{contestant.what}: no request to {contestant.web} is answered")
