"""A node on a disk that fills up: run inside a mount namespace, on the RAM disk given."""

from __future__ import annotations

import sys
from pathlib import Path

from ciris_mesh.errors import ControlError
from ciris_mesh.records.kinds import EnvelopeKind
from support.node_processes import IMPATIENT, PATIENCE_S, Mesh, NodeProcess

KIND = EnvelopeKind.ATTESTATION
#: A store grows by some 8 kB a record: the disk is full long before.
TRIES = 5_000
REFUSALS = 3


def fill(path: Path) -> None:
    """Use up the disk to its last byte."""
    with path.open("wb", buffering=0) as file:
        for chunk in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(chunk))
            except OSError:
                continue


def end(node: NodeProcess) -> None:
    """SIGTERM, and an exit code of 0. Reticulum logs tracebacks of its own on a full disk."""
    assert node.process is not None
    process, node.process = node.process, None
    process.terminate()
    assert process.wait(PATIENCE_S) == 0, node.output


def sign_until_refused(node: NodeProcess, first: int) -> set[str]:
    """Hand records in until three are refused for want of room; returns those acknowledged."""
    acknowledged, said = set[str](), list[str]()
    for number in range(first, TRIES):
        try:
            acknowledged.add(node.sign(number))
        except ControlError as error:
            said.append(str(error))
            if len(said) == REFUSALS:
                break
    assert len(said) == REFUSALS, "the disk never was full"
    assert all("no room left" in each for each in said), said
    return acknowledged


def main(place: Path) -> None:
    """AssertionError when anything that was acknowledged is lost, or the node does not start."""
    made = Mesh(place, IMPATIENT)
    (node,) = made.make_peers("field")
    # What the node says goes to the journal in the field, not to the disk that is full.
    (place / "field.output").symlink_to(place.with_suffix(".output"))
    made.start(node)
    acknowledged = {node.sign(number) for number in range(20)}
    fill(place / "filler")
    acknowledged |= sign_until_refused(node, 20)
    assert acknowledged <= node.ids(KIND), "a node that can't write still answers"
    end(node)
    node.start()
    node.wait_ready()
    assert acknowledged <= node.ids(KIND), "lost over a start on a full disk"
    end(node)
    (place / "filler").unlink()
    node.start()
    node.wait_ready()
    acknowledged.add(node.sign(TRIES))
    assert acknowledged <= node.ids(KIND)
    end(node)
    sys.stdout.write("nothing lost\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
