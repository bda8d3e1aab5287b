"""Screens read well at 80 columns, without colour, in ASCII."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import RenderableType

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.status import (
    CandidateStatus,
    InterfaceStatus,
    KindCounts,
    KindFreshness,
    NodeStatus,
    PeerStatus,
    PendingRemoval,
)
from ciris_mesh.ui.console import make_console
from ciris_mesh.ui.tables import (
    RecordRow,
    freshness_table,
    kinds_table,
    pairs,
    peers_table,
    record_table,
    records_table,
    status_view,
)

STALE = KindFreshness("key", "bounded", 3, 400.0, fresh=False)
FRESH = KindFreshness("attestation", "in_sync", 0, 5.0, fresh=True)
PEER = PeerStatus(
    key_id="bob-abcdefghijklmnop",
    alias="",
    address="00" * 16,
    state="unreachable",
    medium="tcp",
    reason="no_path",
    last_heard_s=None,
    fresh=False,
    missing=3,
    rounds={"completed": 2},
    kinds=(STALE, FRESH),
)
STATUS = NodeStatus(
    schema=1,
    version="0.1.0",
    key_id="alice-abcdefghijklmnop",
    address="11" * 16,
    fingerprint="22" * 32,
    uptime_s=200.0,
    clock="trusted",
    health=("Interface lab is down: check the cable.",),
    peers=(PEER,),
    candidates=(),
    kinds=(KindCounts("key", 3, 1, 0),),
    deferred=4,
    first_contact=1,
    refused_remembered=0,
    outcomes=(),
    interfaces=(
        InterfaceStatus(
            "lab",
            "tcp",
            online=False,
            bitrate_bps=None,
            rx_bytes=1500,
            tx_bytes=7,
            link_class="tcp",
            mode="boundary",
        ),
    ),
    drops={"unattributed": 9},
    rss_bytes=41_000_000,
)


def text_of(view: RenderableType) -> str:
    out = io.StringIO()
    make_console(out).print(view)
    return out.getvalue()


@pytest.mark.parametrize(
    "words",
    [
        "alice-abcdefghijklmnop",
        "! Interface lab is down: check the cable.",
        "waiting for other records: 4, first contact: 1",
        "bob-abcdefghijklmnop  unreachable: no_path  tcp",
        "stale: 1 kind",
        "lab        tcp    boundary  down     1.5 kB   7 B",
        "unattributed      9",
        "41.0 MB in memory",
    ],
)
def test_status_says(words: str) -> None:
    assert words in text_of(status_view(STATUS))


def test_a_radio_says_whether_it_is_fast_and_fits_80_columns() -> None:
    radio = InterfaceStatus(
        "RNodeInterface[LoRa roof]", "radio", True, 976, 123_456_789, 123_456_789, 30.0,
        "radio slow", "access point",
    )  # fmt: skip
    peer = replace(PEER, state="connected", reason="", medium="radio", link_class="radio slow")
    lines = text_of(status_view(replace(STATUS, interfaces=(radio,), peers=(peer,)))).splitlines()
    (line,) = [line for line in lines if line.startswith("RNodeInterface[LoRa roof]  radio slow")]
    assert "access point" in line
    assert "up" in line
    assert max(map(len, lines)) <= 80
    assert any("bob-abcdefghijklmnop  connected  radio slow" in line for line in lines)


def test_what_an_older_node_does_not_say_is_left_out() -> None:
    older = InterfaceStatus("lab", "radio", True, None, 1, 2)
    text = text_of(status_view(replace(STATUS, interfaces=(older,))))
    assert "lab        radio        up          1 B   2 B" in text


def test_an_announced_removal_is_pending_and_its_subject_suspect() -> None:
    key = PendingRemoval(
        "revocation", "lost-aaaaaaaaaaaaaaaa", "", ("root-aaaaaaaaaaaaaaaa",), "ab" * 32, "bob"
    )
    member = PendingRemoval(
        "family_membership_revocation", "family-1", "eve", ("mum", "dad"), "cd" * 32, "bob"
    )
    text = text_of(status_view(replace(STATUS, pending_removals=(key, member))))
    assert max(map(len, text.splitlines())) <= 80
    text = " ".join(text.split())
    assert "2 removals pending: announced by radio, the record is not here yet." in text
    assert "revocation of lost-aaaaaaaaaaaaaaaa, signed by root-aaaaaaaaaaaaaaaa" in text
    assert "family membership revocation of eve from family-1, signed by mum, dad" in text
    assert "takes their subjects for suspect" in text


def test_status_works_without_peers_and_says_the_next_step() -> None:
    text = text_of(status_view(replace(STATUS, peers=(), health=(), interfaces=(), drops={})))
    assert "healthy" in text
    assert "ciris-mesh invite" in text


def test_nodes_heard_are_counted() -> None:
    heard = CandidateStatus("33" * 16, "", 1, 3.0)
    assert "1 node heard that are not peers" in text_of(
        status_view(replace(STATUS, candidates=(heard,)))
    )


def test_an_alias_stands_for_the_key_id_and_a_fresh_peer_is_called_so() -> None:
    peer = replace(PEER, alias="bob", fresh=True, reason="", state="connected", missing=None)
    text = text_of(status_view(replace(STATUS, peers=(peer,))))
    assert "bob   connected  tcp   never        ?  fresh" in text


@pytest.mark.parametrize(
    "view",
    [
        status_view(STATUS),
        status_view(replace(STATUS, peers=(replace(PEER, alias="x" * 120),) * 3)),
        freshness_table(PEER),
        records_table([RecordRow(1, "key", "ab" * 32, "federation", 0, "s" * 99, ("a", "b"))]),
        pairs([("key id", "k" * 200)]),
    ],
)
def test_every_view_is_ascii_within_80_columns_and_plain(view: RenderableType) -> None:
    text = text_of(view)
    assert text.isascii()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_nothing_is_missing_where_both_are_in_sync() -> None:
    in_sync = replace(FRESH, missing=None)
    peer = replace(PEER, missing=None, kinds=(in_sync, in_sync))
    assert text_of(freshness_table(peer)).splitlines()[1].split()[3] == "0"
    assert " 0  stale" in text_of(
        peers_table([replace(peer, kinds=(replace(in_sync, fresh=False), in_sync))])
    )
    unsure = replace(in_sync, staleness="unknown")
    assert " ?  " in text_of(peers_table([replace(peer, kinds=(unsure, in_sync))]))
    assert (
        text_of(freshness_table(replace(peer, kinds=(unsure,)))).splitlines()[1].split()[2] == "?"
    )


def test_freshness_of_each_kind() -> None:
    lines = text_of(freshness_table(PEER)).splitlines()
    assert lines[1].split() == ["key", "bounded", "3", "7", "min"]
    assert lines[2].split() == ["attestation", "in", "sync", "0", "5", "s"]


def test_records_from_strangers_cannot_move_the_cursor_or_use_markup() -> None:
    row = RecordRow(1, "key", "ab" * 32, "federation", 0, "\x1b[2Jx[red]", ("[bold]y\n",))
    text = text_of(records_table([row]))
    assert "\x1b" not in text
    assert "[red]" in text
    assert "[bold]y?" in text


def test_long_values_are_shown_whole() -> None:
    text = text_of(pairs([("key id", "k" * 200)]))
    assert text.count("k") == 201


def test_kinds_without_records_are_left_out() -> None:
    empty = KindCounts("family", 0, 0, 0)
    assert "family" not in text_of(kinds_table([KindCounts("key", 1, 0, 0), empty]))
    assert text_of(kinds_table([empty])) == "No records yet.\n"


def test_only_other_shelves_than_the_usual_are_named() -> None:
    rows = [
        RecordRow(1, "key", "ab" * 32, shelf, 1_795_335_302_999, "s", ("a",))
        for shelf in ("federation", "bridged")
    ]
    lines = text_of(records_table(rows)).splitlines()
    assert lines[1].split() == ["abababab..", "2026-11-22", "key", "a", "s"]
    assert "(bridged) s" in lines[2]


@pytest.mark.parametrize("kind", list(EnvelopeKind))
@pytest.mark.parametrize("signers", [("a" * 99,), ("b" * 99,) * 16])
def test_every_record_is_one_line_of_80_columns(kind: str, signers: tuple[str, ...]) -> None:
    long = "x" * 99
    for score in ("", "=0.12345678901234567"):
        row = RecordRow(
            1, kind, "ab" * 32, "federation", 0, long, signers, "delegates_to", long, long, score
        )
        lines = text_of(records_table([row])).splitlines()
        assert len(lines) == 2
        assert len(lines[1]) <= 80


def test_a_long_dimension_gives_way_to_the_score() -> None:
    row = RecordRow(
        1, "attestation", "ab" * 32, "federation", 0, "id", ("alice-abcdefghijklmnop",),
        "scores", "bob-abcdefghijklmnop", "identity:continuity:v1", "=0.5",
    )  # fmt: skip
    line = text_of(records_table([row])).splitlines()[1]
    assert line.split()[3:] == ["alice-ab..", "scores", "bob-abcd..", "identi..=0.5"]
    out = io.StringIO()
    console = make_console(out)
    console.width = 500
    console.print(records_table([row], wide=True))
    whole = out.getvalue().splitlines()[1]
    assert "ab" * 32 in whole
    assert "scores bob-abcdefghijklmnop identity:continuity:v1=0.5" in whole


def test_one_record() -> None:
    record = {
        "kind": "key",
        "envelope_id": "ab" * 32,
        "shelf": "federation",
        "seq": 0,
        "admitted_at_ms": 0,
        "subject": "alice\x1b",
        "signers": ["alice", "bob"],
    }
    lines = text_of(record_table(record)).splitlines()
    assert lines[0].split() == ["id", "ab" * 32]
    assert lines[5].split() == ["subject", "alice?"]
    assert lines[6].split() == ["signed", "by", "alice,", "bob"]
