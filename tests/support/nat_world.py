"""Hosts behind routers: network namespaces made and removed by the test itself.

    inner "alice"  192.168.7.2 -- 192.168.7.1  router  203.0.113.10 --+
                                                                      +-- 203.0.113.1  public
    inner "bob"    192.168.7.2 -- 192.168.7.1  router  203.0.113.11 --+

Each router masquerades under a random port and drops whatever comes in by itself; both sides use
the same private addresses, as homes do. Needs root, iproute2 and nftables, and touches no network
of the machine's own.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from ciris_mesh.radio.profiles import profile
from support.node_processes import IMPATIENT, TESTS, Mesh, NodeProcess, environment

PUBLIC: Final = "203.0.113.1"
PORT: Final = 4242
INNER: Final = "192.168.7.2"
_ROUTER: Final = "192.168.7.1"

#: A router: connections from inside only, and nobody can guess the port they leave by.
_MASQUERADE: Final = """
table ip nat {
  chain out {
    type nat hook postrouting priority srcnat
    oifname "wan" masquerade random
  }
}
table inet guard {
  chain input {
    type filter hook input priority filter
    iifname "wan" ct state established,related accept
    iifname "wan" drop
  }
  chain forward {
    type filter hook forward priority filter
    iifname "wan" ct state established,related accept
    iifname "wan" drop
  }
}
"""
_LOSS: Final = """
table inet loss {
  chain incoming {
    type filter hook prerouting priority raw
    iifname != "lo" numgen random mod 100 < PERCENT counter drop
  }
  chain outgoing {
    type filter hook output priority raw
    oifname != "lo" numgen random mod 100 < PERCENT counter drop
  }
}
"""
#: ctnetlink "delete" without a filter empties the table of the namespace it is sent in.
_FLUSH: Final = """
import socket, struct
link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
link.send(struct.pack("=IHHIIBBH", 20, 1 << 8 | 2, 5, 1, 0, 2, 0, 0))
(error,) = struct.unpack("=i", link.recv(64)[16:20])
raise SystemExit(error)
"""
_numbers = itertools.count(1)


def why_not() -> str:
    """Say why namespaces can't be made here; "" when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in ("ip", "nft") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: iproute2, nftables)"
    probe = Host(f"cm{os.getpid()}-probe")
    try:
        probe.make()
        probe.nft(_MASQUERADE)
    except subprocess.CalledProcessError as error:
        return f"this kernel does not let us: {error.stderr}"
    finally:
        probe.remove()
    return ""


def need_namespaces() -> None:
    """Skip with the reason where they can't be made; fail where all checks are to be run."""
    reason = why_not()
    if reason and os.environ.get("CI"):
        pytest.fail(f"{reason}; with CI set this is not skipped")
    if reason:
        pytest.skip(reason)


@dataclass
class Host:
    """One namespace."""

    name: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands before a command that is to run there."""
        return ("ip", "netns", "exec", self.name)

    def make(self) -> None:
        _run("ip", "netns", "add", self.name)
        _run("ip", "-n", self.name, "link", "set", "lo", "up")

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)

    def ip(self, *words: str) -> None:
        _run("ip", "-n", self.name, *words)

    def nft(self, rules: str) -> None:
        _run(*self.prefix, "nft", "-f", "-", given=rules)

    def run(self, *words: str) -> str:
        return _run(*self.prefix, *words)

    def python(self, program: str) -> str:
        return self.run(sys.executable, "-c", program)


@dataclass
class Router(Host):
    """A router of somebody's home."""

    address: str = ""

    def forget_mappings(self) -> None:
        """Lose every connection it knows, as after a power cut."""
        self.python(_FLUSH)

    def move(self, address: str) -> None:
        """Get another public address, as some providers give each night."""
        self.ip("addr", "flush", "dev", "wan")
        self.ip("addr", "add", f"{address}/24", "dev", "wan")
        self.address = address


@dataclass
class NatWorld:
    """One public host, and any number behind routers of their own."""

    public: Host
    routers: dict[str, Router] = field(default_factory=dict)
    inner: dict[str, Host] = field(default_factory=dict)

    def build(self, names: Sequence[str]) -> None:
        self.public.make()
        self.public.ip("link", "add", "net", "type", "bridge")
        self.public.ip("addr", "add", f"{PUBLIC}/24", "dev", "net")
        self.public.ip("link", "set", "net", "up")
        for number, name in enumerate(names):
            self._add(name, f"203.0.113.{10 + number}")

    def _add(self, name: str, address: str) -> None:
        base = self.public.name
        router = self.routers[name] = Router(f"{base}-r{name}", address)
        inner = self.inner[name] = Host(f"{base}-{name}")
        router.make()
        inner.make()
        port = f"p{len(self.routers)}"
        self.public.ip("link", "add", port, "type", "veth", "peer", "wan", "netns", router.name)
        self.public.ip("link", "set", port, "master", "net", "up")
        router.ip("link", "add", "lan", "type", "veth", "peer", "eth0", "netns", inner.name)
        for host, device, own in (
            (router, "wan", address), (router, "lan", _ROUTER), (inner, "eth0", INNER),
        ):  # fmt: skip
            host.ip("addr", "add", f"{own}/24", "dev", device)
            host.ip("link", "set", device, "up")
        inner.ip("route", "add", "default", "via", _ROUTER)
        router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        router.nft(_MASQUERADE)

    def lose(self, percent: int) -> None:
        """Let the public host lose packets, each way."""
        self.public.nft(_LOSS.replace("PERCENT", str(percent)))

    def lost(self) -> int:
        """Packets lost so."""
        words = self.public.run("nft", "list", "table", "inet", "loss").split()
        return sum(int(words[at + 1]) for at, word in enumerate(words) if word == "packets")

    def remove(self) -> None:
        for host in (*self.inner.values(), *self.routers.values(), self.public):
            host.remove()


@contextmanager
def nat_world(*names: str) -> Iterator[NatWorld]:
    """The hosts, removed at the end whatever happened."""
    world = NatWorld(Host(f"cm{os.getpid()}x{next(_numbers)}"))
    try:
        world.build(names)
        yield world
    finally:
        world.remove()


def hub_config() -> str:
    """The profile of a public node."""
    return profile("hub").text.replace("share_instance = Yes", "share_instance = No")


def leaf_config() -> str:
    """The profile of a node behind a router: it names the public host and nothing else."""
    text = profile("leaf").text.replace("hub.example.org", PUBLIC)
    return text.replace("share_instance = Yes", "share_instance = No")


@dataclass
class NatMesh(Mesh):
    """Nodes in the hosts of a world: one called "public", the others by the hosts' names."""

    world: NatWorld = field(kw_only=True)

    def adopt(self, name: str) -> NodeProcess:
        node = super().adopt(name)
        host = self.world.public if name == "public" else self.world.inner[name]
        node.prefix = host.prefix
        return node

    def reticulum(self, name: str) -> Path:
        rns = self.root / f"{name}-reticulum"
        rns.mkdir()
        (rns / "config").write_text(hub_config() if name == "public" else leaf_config())
        return rns


@contextmanager
def nat_mesh(*names: str, settings: dict[tuple[str, str], str] | None = None) -> Iterator[NatMesh]:
    """A public node that is nobody's peer, and nodes behind routers; none started."""
    from support.node_processes import made_mesh

    with nat_world(*names) as world:
        given = {**IMPATIENT, **(settings or {})}
        with made_mesh(lambda root: NatMesh(root, given, world=world)) as made:
            for name in ("public", *names):
                made.make(name)
            yield made


@contextmanager
def sniffing(host: Host, file: Path, interface: str = "net") -> Iterator[None]:
    """Write all that passes an interface of a host into a file, meanwhile."""
    command = [*host.prefix, sys.executable, "-m", "support.sniffer", interface, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), cwd=TESTS) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"listening\n"
            yield
        finally:
            child.terminate()


def _run(*words: str, given: str = "") -> str:
    done = subprocess.run(words, input=given, capture_output=True, text=True, check=True)
    return done.stdout
