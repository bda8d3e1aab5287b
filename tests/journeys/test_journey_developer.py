"""Journey (f): a developer runs the examples README names, and reads what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.screen import a_machine, fits, needs_a_machine

pytestmark = [pytest.mark.rns, pytest.mark.slow, needs_a_machine]

ROOT = Path(__file__).parent.parent.parent


def test_the_examples_by_hand() -> None:
    with a_machine() as machine:
        dev = machine.person("dev")
        for name, last in (
            ("01_session_by_hand.py", "both hold 4: four, one, three, two"),
            ("02_two_nodes_loopback.py", "bob is fresh for attestations: True"),
            ("03_two_nodes_rns.py", "bob verified an attestation of"),
            ("05_watch_staleness.py", "bob is back"),
        ):
            said = dev.run(f"python {ROOT}/examples/{name}")
            assert last in said
            fits(said)
        assert dev.run("ls -A") == "", "no example leaves anything in a home"
        code = "from ciris_mesh.runtime.node import Node; help(Node.put)"
        assert "Traceback" not in dev.run(f"python -c '{code}' | cat")
