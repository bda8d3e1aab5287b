"""The Micron page: what it says, and that nobody's name draws on it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.notify.page import ROWS_MAX, plain, status_page
from ciris_mesh.notify.texts import Overview, PeerLine, RadioLine

VIEW = Overview(
    name="field-3",
    version="0.1",
    uptime_s=3600,
    health=("interface RNode is down; records wait until it is back",),
    records=5,
    deferred=1,
    peers=(PeerLine("hut", True, 0, 5.0), PeerLine("ridge", False, 2, None)),
    radios=(RadioLine("RNode", False, 3.0, 36.0),),
)


def test_the_page_reads_so() -> None:
    assert status_page(VIEW) == (
        ">field-3\n"
        "ciris-mesh 0.1, up 1 h 0 min\n"
        "\n"
        ">>Health\n"
        "interface RNode is down; records wait until it is back\n"
        "\n"
        ">>Records\n"
        "5 here, 1 waiting for what they need\n"
        "\n"
        ">>Peers\n"
        "hut: fresh, heard 5 s ago\n"
        "ridge: `!stale`!, never heard, 2 missing\n"
        "\n"
        ">>Radio\n"
        "RNode: 3 s used, 36 s an hour allowed, `!down`!\n"
    )


def test_a_node_alone_says_that_this_is_fine() -> None:
    page = status_page(replace(VIEW, health=(), peers=(), radios=()))
    assert "Well: nothing to look at." in page
    assert "None yet." in page
    assert "None here." in page


@given(st.text(max_size=300))
def test_no_name_draws_on_the_page(name: str) -> None:
    shown = plain(name)
    assert not set(shown) & {"`", "\\", "\n"}
    assert not shown or shown[0] not in "><-#"
    page = status_page(replace(VIEW, name="x", peers=(PeerLine(name, True, 0, 1.0),)))
    line = page.split(">>Peers\n")[1].splitlines()[0]
    assert "`" not in line


def test_a_long_list_is_cut_and_says_so() -> None:
    peers = tuple(PeerLine(f"p{n}", True, 0, 1.0) for n in range(ROWS_MAX + 5))
    page = status_page(replace(VIEW, peers=peers))
    assert "and 5 more\n" in page
    assert f"p{ROWS_MAX}:" not in page
