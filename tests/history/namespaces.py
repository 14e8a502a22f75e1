"""Machines of their own, as far as the network goes: Linux' network namespaces, joined by two switches.

One switch joins them all to this machine, the other leads to Redis alone. So one's wire to Redis can be
pulled: what is sent vanishes, both ways, and nobody is told.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Final

from tests.ports import free_port
from tests.services import missing

NETWORK: Final = IPv4Network("198.18.0.0/15")  # kept for tests of networks: RFC 2544
BLOCK: Final = 16  # addresses, half of them for each switch
BLOCKS: Final = NETWORK.num_addresses // BLOCK


@dataclass(frozen=True)
class Machine:
    """Where a program runs: its address, and the command that starts it there. This one, by default."""

    address: str = "127.0.0.1"
    enter: tuple[str, ...] = ()
    wire: str = ""

    def pull_the_wire(self) -> None:
        """Redis and this machine are out of each other's reach."""
        _ip(f"link set {self.wire} down")

    def plug_it_in(self) -> None:
        """What was not acknowledged is sent again, as by any TCP."""
        _ip(f"link set {self.wire} up")


class Switch:
    """Ports for machines, and one for this machine at `address`."""

    def __init__(self, name: str, network: IPv4Network) -> None:
        self.name = name
        self._free = network.hosts()
        self._bits = network.prefixlen
        self.address = str(next(self._free))
        self._mac = "02:" + ":".join(f"{byte:02x}" for byte in (0, *network.network_address.packed))

    def start(self) -> None:
        _ip(f"link add {self.name} address {self._mac} type bridge")
        _ip(f"address add {self.address}/{self._bits} dev {self.name}")
        _ip(f"link set {self.name} up")

    def join(self, namespace: str, wire: str) -> str:
        """The address of the namespace, which has a wire of this name now, as the switch's port has."""
        address = str(next(self._free))
        _ip(f"link add {wire} type veth peer name {wire} netns {namespace}")
        _ip(f"link set {wire} master {self.name} up")
        _ip(f"-n {namespace} address add {address}/{self._bits} dev {wire}")
        _ip(f"-n {namespace} link set {wire} up")
        # Who is never asked for is never missing: no system would say "no route to host".
        _ip(f"-n {namespace} neighbour add {self.address} lladdr {self._mac} dev {wire} nud permanent")
        return address


@dataclass(frozen=True)
class Network:
    """Machines, and where they reach this one: at `address` for all, at `redis_address` for Redis."""

    address: str
    redis_address: str
    machines: tuple[Machine, ...]


@contextmanager
def a_network(count: int) -> Iterator[Network]:
    """So many machines; they are gone afterwards, by when nothing may run on them any more."""
    if os.geteuid() != 0:
        missing("network namespaces need root")
    if shutil.which("ip") is None:
        missing("network namespaces need ip: Debian's iproute2 is not installed")
    number = (
        free_port()
    )  # nobody else's on this machine, and so are the names and addresses that are made of it
    first = int(NETWORK.network_address) + number % BLOCKS * BLOCK
    all_of_us = Switch(f"all{number}", IPv4Network((first, 29)))
    to_redis = Switch(f"redis{number}", IPv4Network((first + BLOCK // 2, 29)))
    namespaces = [f"sora{number}.{n}" for n in range(count)]
    _remove(namespaces, all_of_us, to_redis)  # whoever had the number before may have been killed
    try:
        all_of_us.start()
        to_redis.start()
        machines = tuple(_machine(namespace, all_of_us, to_redis) for namespace in namespaces)
        yield Network(all_of_us.address, to_redis.address, machines)
    finally:
        _remove(namespaces, all_of_us, to_redis)


def _machine(namespace: str, all_of_us: Switch, to_redis: Switch) -> Machine:
    _ip(f"netns add {namespace}")
    _ip(f"-n {namespace} link set lo up")
    number = namespace.rpartition(".")[2]
    wire = f"{to_redis.name}.{number}"
    to_redis.join(namespace, wire)
    address = all_of_us.join(namespace, f"{all_of_us.name}.{number}")
    return Machine(address, ("nsenter", f"--net=/run/netns/{namespace}", "--"), wire)


def _remove(namespaces: list[str], *switches: Switch) -> None:
    """A namespace takes its wires along."""
    for gone in [*(f"netns del {name}" for name in namespaces), *(f"link del {s.name}" for s in switches)]:
        subprocess.run(["ip", *gone.split()], capture_output=True, check=False)


def _ip(command: str) -> None:
    done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {command}: {done.stderr}"
