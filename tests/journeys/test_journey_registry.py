"""Journey (d): a registry on a server, its records in PostgreSQL, watched by HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.postgres import lent_database
from support.screen import Machine, a_machine, fits, needs_a_machine

pytestmark = [pytest.mark.rns, pytest.mark.slow, needs_a_machine]

PAGE = "python -c 'import urllib.request as u; print(u.urlopen(\"http://localhost:8390{}\").read().decode())'"


@pytest.fixture
def machine() -> Iterator[Machine]:
    with a_machine() as made:
        yield made


def test_a_registry_from_nothing_to_a_bundle_elsewhere(machine: Machine) -> None:
    with lent_database() as url:
        serves_and_is_watched(machine, url)
    ben = machine.person("ben")
    ben.run("ciris-mesh init --name ben")
    said = ben.run(f"ciris-mesh import {machine.root}/all.cmb")
    assert " ".join(said.split()).startswith("2 records read. What became of them:")
    assert " ".join(said.split()).endswith("admitted 2")
    assert "scores" in ben.run("ciris-mesh records")


def serves_and_is_watched(machine: Machine, url: str) -> None:
    ana = machine.person("ana")
    said = ana.run(
        "ciris-mesh setup registry --name ana --listen 127.0.0.1:4242 --yes --write-rns "
        f"--set web.enabled=yes --set 'store.url={url}'"
    )
    assert "announce_rate_target = 3600" in said
    assert "+enabled = yes" in said
    said = ana.run("ciris-mesh doctor")
    fits(said)
    assert "1 failed." in said, "it does not run yet, and that is all"
    ana.begin("ciris-mesh service install --system")
    ana.answer("Write it? [y/N]:", "n")
    said = ana.finish(code=1)
    assert "/etc/systemd/system/ciris-mesh.service" in said
    assert "WatchdogSec=" in said

    runs = machine.another(ana, "ana-2")
    runs.begin("ciris-mesh run")
    runs.wait("ready ana-", "web.ready url=http://127.0.0.1:8390/")
    me = ana.run("ciris-mesh id --json | grep -o 'ana-[a-z2-7]*' | head -1").strip()
    ana.run(f"ciris-mesh attest {me} --dimension a:b:v1 --score 1 --yes")
    assert '"healthy":true' in ana.run(PAGE.format("/healthz"))
    assert "ciris_mesh_healthy 1.0" in ana.run(PAGE.format("/metrics"))
    said = ana.run("ciris-mesh status")
    fits(said)
    assert "+ healthy: 0 peers, nothing to complain of" in said
    assert f"{machine.root}/all.cmb" in ana.run(f"ciris-mesh export {machine.root}/all.cmb")
    ana.until("ciris-mesh doctor", "Nothing is wrong.")
    assert "needs it stopped" in " ".join(ana.run("ciris-mesh db check", 1).split())
    runs.press("C-c")
    assert "ERROR" not in runs.finish(), "looking at a node leaves no trace in its log"
    assert "2 rows verified" in ana.run("ciris-mesh db check")
