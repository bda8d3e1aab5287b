"""What people get of a node whose operator book is damaged: all but the book."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ciris_mesh.errors import ConfigError
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.operatorparts import People
from support.website import Site, site_in


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as made:
        yield made


def test_a_damaged_book_keeps_no_node_from_starting_that_answers_nobody(
    site: Site, tmp_path: Path
) -> None:
    home = Home(tmp_path / "a")
    home.operators.write_text("{")
    home.operators.chmod(0o600)
    people = People(home, site.config, site.operations)
    with pytest.raises(ConfigError, match="damaged"):
        people.table()["operators"]({})
    home.operators.unlink()
    accepted = people.table()["operator_accept"]({"address": "aa" * 16, "name": "Ana"})
    assert accepted == people.table()["operators"]({})[0]  # type: ignore[index]
    people.stop()
    home.operators.write_text("{")
    answering = replace(site.config, operator=replace(site.config.operator, enabled=True))
    with pytest.raises(ConfigError, match="damaged"):
        People(home, answering, site.operations)
