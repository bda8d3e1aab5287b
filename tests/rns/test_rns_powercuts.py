"""What a node acknowledged is there afterwards: power cuts in mid-write, and a full disk.

A power cut is a `kill -9` at a moment nobody chose, or an image of the files taken while the
process stands still in the middle of its work: what a disk would hold had the power gone then.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.errors import OperatorError
from ciris_mesh.records.kinds import EnvelopeKind
from support.node_processes import PATIENCE_S, TESTS, NodeProcess, environment, mesh, wait_until

pytestmark = pytest.mark.rns

KIND = EnvelopeKind.ATTESTATION
#: A node signs and stores some dozens a second: these moments fall between and within commits.
MOMENTS_S = (0.02, 0.4)


class Writer:
    """Hands records in, one after the other, and notes what was acknowledged.

    Owns the thread "ciris-test-writer".
    """

    def __init__(self, node: NodeProcess, first: int) -> None:
        self.node = node
        self.acknowledged: list[str] = []
        self.next = first
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, name="ciris-test-writer")
        self._thread.start()

    def _write(self) -> None:
        while not self._over.is_set():
            number, self.next = self.next, self.next + 1
            try:
                self.acknowledged.append(self.node.sign(number))
            except OperatorError:
                return  # the node is gone

    def stop(self) -> int:
        """End; returns the number of the next record."""
        self._over.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.next


def held(home: Path) -> set[str]:
    """What a store holds, opened as a node would: whatever has to be recovered is."""
    with closing(SqliteDirectory(home / "storage" / "directory.db")) as directory:
        return {ref.envelope_hash.hex() for ref in directory.holdings(KIND)}


def cut_by_kill(node: NodeProcess, first: int, moment_s: float) -> tuple[set[str], int]:
    """One kill -9 while the node writes, and its next start. Returns what was acknowledged."""
    writer = Writer(node, first)
    wait_until(lambda: writer.acknowledged, "a first record")
    threading.Event().wait(moment_s)  # not to wait for anything: the moment is the experiment
    node.kill()
    following = writer.stop()
    node.start()
    node.wait_ready()
    return set(writer.acknowledged), following


def cut_by_image(node: NodeProcess, first: int, moment_s: float, to: Path) -> tuple[set[str], int]:
    """An image of the files at one moment while the node writes."""
    writer = Writer(node, first)
    wait_until(lambda: writer.acknowledged, "a first record")
    threading.Event().wait(moment_s)
    node.freeze()
    acknowledged = set(writer.acknowledged)
    shutil.copytree(node.home.path, to, ignore=shutil.ignore_patterns("*.sock"))
    node.thaw()
    return acknowledged, writer.stop()


def kills(times: int) -> None:
    moments, number, all_ = random.Random(times), 0, set[str]()
    with mesh() as made:
        (node,) = made.make_peers("field")
        made.start(node)
        for _ in range(times):
            acknowledged, number = cut_by_kill(node, number, moments.uniform(*MOMENTS_S))
            all_ |= acknowledged
            assert all_ <= node.ids(KIND)
        node.stop()
        assert all_ <= held(node.home.path)


def images(times: int) -> None:
    moments, number, all_ = random.Random(-times), 0, set[str]()
    with mesh() as made:
        (node,) = made.make_peers("field")
        made.start(node)
        for cut in range(times):
            to = made.root / f"image-{cut}"
            acknowledged, number = cut_by_image(node, number, moments.uniform(*MOMENTS_S), to)
            all_ |= acknowledged
            assert all_ <= held(to), f"image {cut}"
        node.stop()
        made.nodes.remove(node)
        restored = made.adopt(f"image-{times - 1}")
        made.start(restored)
        assert all_ <= restored.ids(KIND)


def test_a_kill_and_an_image_lose_nothing() -> None:
    kills(1)
    images(1)


@pytest.mark.slow
def test_twenty_kills_lose_nothing() -> None:
    kills(20)


@pytest.mark.slow
def test_twenty_images_lose_nothing() -> None:
    images(20)


@pytest.mark.soak
def test_two_hundred_cuts_lose_nothing() -> None:
    kills(100)
    images(100)


@pytest.mark.skipif(
    os.geteuid() != 0
    or subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0,
    reason="needs root and mount namespaces",
)
def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """In a mount namespace with a small RAM disk, by `support.full_disk_child`."""
    place = Path(f"/tmp/cm-full-{os.getpid()}")  # short enough for sockets
    place.mkdir()
    child = f"exec {sys.executable} -m support.full_disk_child {place}"
    script = f"mount -t tmpfs -o size=16m none {place} && {child}"
    try:
        out = subprocess.run(
            ["unshare", "-m", "sh", "-c", script],
            capture_output=True, text=True, timeout=240, cwd=TESTS, env=environment(), check=False,
        )  # fmt: skip
    finally:
        place.rmdir()
        place.with_suffix(".output").unlink(missing_ok=True)
    assert out.returncode == 0, out.stderr
    assert out.stdout.splitlines()[-1] == "nothing lost"
