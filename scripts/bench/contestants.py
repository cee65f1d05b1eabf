"""Who carries requests from clients to backends in the end-to-end level: each is started, measured, and ended again."""

from contextlib import contextmanager

from network import BACKENDS, BULK, DIRECT, DIRECT_BULK, KERNEL_SOURCES, LEAT_SOURCES, VIPS, WEB
from process import Failure, need, run as run_command


class Direct:
    """Nobody: the forwarder routes, and spreads connections over the backends. What this topology has to give."""

    what, mode, setting = "direct", "", "routed"
    web, bulk = DIRECT, DIRECT_BULK

    @contextmanager
    def running(self, run, network):
        yield


class Nftables:
    """The kernel's own NAT: DNAT to the backends in turn, and a source address of the forwarder's."""

    what, mode = "nftables", "DNAT + masquerade"
    web = bulk = VIPS["nftables"]

    def __init__(self, addresses):
        self.setting = _addresses(addresses)
        self._sources = "masquerade" if addresses == 1 else f"snat to {KERNEL_SOURCES[0]}-{KERNEL_SOURCES[-1]}"

    @contextmanager
    def running(self, run, network):
        need("nft", "conntrack")
        rules = run.directory / "nftables.conf"
        rules.write_text(f"""
            table ip leat_bench {{
                chain prerouting {{
                    type nat hook prerouting priority dstnat
                    ip daddr {self.web} tcp dport {WEB} dnat to numgen inc mod 2 map {{ {_map(BACKENDS.values())} }}
                    ip daddr {self.bulk} tcp dport {BULK} dnat to {BACKENDS["b1"]}
                }}
                chain postrouting {{
                    type nat hook postrouting priority srcnat
                    ip daddr {{ {", ".join(BACKENDS.values())} }} {self._sources}
                }}
            }}
        """)
        network.run("forwarder", "nft", "-f", rules)
        try:
            yield
        finally:
            network.run("forwarder", "nft", "delete", "table", "ip", "leat_bench", check=False)
            # Its connections stay for two minutes, and are not to be in the way of the next round's.
            network.run("forwarder", "conntrack", "-F", check=False)


class Haproxy:
    """A proxy: it ends the client's connection and makes one of its own to the backend."""

    what, mode = "HAProxy", "TCP mode"
    web = bulk = VIPS["haproxy"]

    def __init__(self, addresses):
        self.setting = _addresses(addresses)
        self._sources = [""] if addresses == 1 else [f" source {address}" for address in KERNEL_SOURCES]

    @contextmanager
    def running(self, run, network):
        need("haproxy")
        servers = [f"server {role}-{i} {address}:{WEB}{source}"
                   for i, source in enumerate(self._sources) for role, address in BACKENDS.items()]  # fmt: skip
        configuration = run.directory / "haproxy.cfg"
        configuration.write_text("\n".join([
            "global", "maxconn 4000",
            "defaults", "mode tcp", "timeout connect 10s", "timeout client 60s", "timeout server 60s",
            "frontend web", f"bind {self.web}:{WEB}", "default_backend web", "backend web", *servers,
            "frontend bulk", f"bind {self.bulk}:{BULK}", "default_backend bulk",
            "backend bulk", f"server b1 {BACKENDS['b1']}:{BULK}", "",
        ]))  # fmt: skip
        program = run.programs.start("haproxy", network.inside("forwarder", "haproxy", "-db", "-f", configuration))
        try:
            program.wait_until("its port is open", lambda: network.listens("forwarder", WEB))
            yield
        finally:
            run.programs.end(program)


class Leat:
    """leat in mode fullnat, on one lcore."""

    what = "leat"

    def __init__(self, port, addresses):
        self.mode, self.setting = f"fullnat, {port}", _addresses(addresses)
        self.web = self.bulk = VIPS[port]
        self._port, self._many = port, addresses > 1
        self._device = {"tap": "net_tap0,iface=tapdpdk", "af_xdp": "net_af_xdp0,iface=vethdpdk"}[port]

    @contextmanager
    def running(self, run, network):
        if self._port == "af_xdp" and not run.memory.is_huge:
            # Seen with DPDK 22.11: what leat makes itself, ARP for one, goes into the driver and never leaves; what it only
            # changes does. A figure of half a balancer would be none.
            raise Failure("without hugepages net_af_xdp does not send all that it is given")
        name = f"leat-{self._port}-{'many' if self._many else 'one'}"
        configuration = run.directory / f"{name}.toml"
        web = [f"{address}:{WEB}" for address in BACKENDS.values()]
        configuration.write_text(
            self._service("web", WEB, web) + self._service("bulk", BULK, [f"{BACKENDS['b1']}:{BULK}"])
        )
        eal = [f"-l{run.cpus[0]}", f"--vdev={self._device}"]
        leat = run.start_leat(name, eal, ["-c", configuration], network.namespace("lb"))
        try:
            leat.program.wait_until("'leat: ready'", leat.is_ready)
            yield
        finally:
            run.programs.end(leat.program)

    def _service(self, name, port, backends):
        sources = f"local_addresses = {LEAT_SOURCES}\n".replace("'", '"') if self._many else ""
        lines = [f'[[service.backend]]\naddress = "{backend.split(":")[0]}"\n' for backend in backends]
        return f'[[service]]\nname = "{name}"\nvip = "{self.web}"\nport = {port}\n{sources}' + "".join(lines)


def everybody():
    """In the order of a round."""
    yield Direct()
    for addresses in (1, 64):
        yield Nftables(addresses)
        yield Haproxy(addresses)
        yield Leat("tap", addresses)
        yield Leat("af_xdp", addresses)


def unload_xdp(network):
    """Takes away the program that net_af_xdp leaves on its link when it ends: the next one could not load its own."""
    run_command(["ip", "-n", network.namespace("lb"), "link", "set", "vethdpdk", "xdp", "off"], check=False)


def _addresses(count):
    return f"{count} local address" + ("es" if count > 1 else "")


def _map(values):
    return ", ".join(f"{i} : {value}" for i, value in enumerate(values))
