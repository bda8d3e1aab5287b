"""Map, history and metrics: from the JSON of `status` and `budget` alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.web.history import PEERS_MAX, POINTS_MAX, UNKNOWN, History
from ciris_mesh.web.metrics import exposition
from ciris_mesh.web.topology import CANDIDATES_MAX, topology
from ciris_mesh.web.topology import PEERS_MAX as DRAWN_MAX


def peer(name: str, **more: Any) -> dict[str, Any]:
    return {
        "key_id": f"{name}-id", "alias": name, "address": "00" * 16, "state": "connected",
        "medium": "tcp", "reason": "", "last_heard_s": 5.0, "fresh": True, "missing": 0,
        "kinds": [{"kind": "key", "missing": 0}], **more,
    }  # fmt: skip


def status(*peers: dict[str, Any], candidates: int = 0) -> dict[str, Any]:
    return {
        "peers": list(peers),
        "candidates": [
            {"address": f"{n:032x}", "key_id": "", "hops": 2, "last_heard_s": 1.0}
            for n in range(candidates)
        ],
        "uptime_s": 10.0, "health": [], "deferred": 1, "rss_bytes": 5, "drops": {"no_path": 2},
        "kinds": [{"kind": "key", "federation": 3, "bridged": 1, "local": 0}],
        "outcomes": [{"path": "peer", "outcome": "admitted", "reason": "", "count": 7}],
    }  # fmt: skip


def radio(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "used_s": 3.0, "limit_s": 36.0, "owed_records": 2, **more}


def test_the_map_has_the_node_in_the_middle_and_peers_behind_what_carries() -> None:
    found = topology(
        status(peer("bob"), peer("carol", medium="radio", fresh=False), candidates=1), "field-3"
    )
    by_id = {spot.id: spot for spot in found.spots}
    assert (by_id["self"].x, by_id["self"].y) == (0.0, 0.0)
    assert {spot.label for spot in found.spots if spot.sort == "medium"} == {"tcp", "radio"}
    assert by_id["bob-id"].state == "fresh"
    assert by_id["carol-id"].state == "stale"
    assert {(line.a, line.b) for line in found.lines} == {
        ("self", "medium-tcp"), ("self", "medium-radio"),
        ("medium-tcp", "bob-id"), ("medium-radio", "carol-id"),
    }  # fmt: skip
    assert "2 hops away" in by_id["candidate-" + "0" * 32].detail


def test_a_peer_that_is_not_connected_is_down_and_says_why() -> None:
    found = topology(status(peer("bob", fresh=False, state="idle", reason="no_path")), "x")
    (spot,) = [spot for spot in found.spots if spot.sort == "peer"]
    assert spot.state == "down"
    assert "no_path" in spot.detail


@given(st.integers(0, 200), st.integers(0, 60))
def test_everything_drawn_is_inside_and_apart(peers: int, candidates: int) -> None:
    media = ("tcp", "radio", "serial")
    many = [peer(f"p{n:03d}", medium=media[n % 3]) for n in range(peers)]
    found = topology(status(*many, candidates=candidates), "x")
    places = [(spot.x, spot.y) for spot in found.spots]
    assert len(set(places)) == len(places)
    assert all(math.hypot(x, y) <= 1.0 for x, y in places)
    drawn = sum(spot.sort in ("peer", "candidate") for spot in found.spots)
    assert drawn == min(peers, DRAWN_MAX) + min(candidates, CANDIDATES_MAX)
    assert drawn + found.left_out == peers + candidates


def test_history_keeps_rows_of_one_length_whoever_comes_and_goes() -> None:
    history = History()
    bob, carol = peer("bob"), peer("carol", kinds=[{"kind": "key", "missing": None}])
    history.add(0.0, status(bob), {"interfaces": []})
    history.add(300.0, status(bob, carol), {"interfaces": [radio("RNode")]})
    history.add(600.0, status(carol), {"interfaces": [radio("RNode", used_s=None, limit_s=None)]})
    series = history.series()
    assert series["times"] == [0.0, 300.0, 600.0]
    (row,) = series["missing"]
    assert (row["name"], row["kind"]) == ("carol", "key")
    assert row["values"] == [UNKNOWN, UNKNOWN, UNKNOWN]
    (air,) = series["air"]
    assert air["used_s"] == [UNKNOWN, 3.0, UNKNOWN]
    assert air["limit_s"] == [UNKNOWN, 36.0, UNKNOWN]


def test_history_is_bounded_in_points_and_in_peers() -> None:
    history = History()
    many = status(*(peer(f"p{n}") for n in range(PEERS_MAX + 10)))
    for n in range(POINTS_MAX + 5):
        history.add(float(n), many, {"interfaces": []})
    series = history.series()
    assert len(series["times"]) == POINTS_MAX
    assert series["times"][0] == 5.0
    assert len(series["missing"]) == PEERS_MAX
    assert {len(row["values"]) for row in series["missing"]} == {POINTS_MAX}


def test_metrics_are_what_prometheus_reads() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    text = exposition(
        status(peer("bob"), peer("carol", last_heard_s=None, missing=None, fresh=False)),
        {"interfaces": [radio("RNode"), radio("spare", used_s=None, limit_s=None)]},
    ).decode()
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["ciris_mesh_healthy",] == 1
    assert found["ciris_mesh_records", "federation", "key"] == 3
    assert found["ciris_mesh_peer_fresh", "bob-id"] == 1
    assert found["ciris_mesh_peer_fresh", "carol-id"] == 0
    assert ("ciris_mesh_peer_heard_seconds", "carol-id") not in found
    assert found["ciris_mesh_drops_total", "no_path"] == 2
    assert found["ciris_mesh_air_used_seconds", "RNode"] == 3
    assert ("ciris_mesh_air_used_seconds", "spare") not in found
    assert found["ciris_mesh_air_owed_records", "spare"] == 2


@pytest.mark.parametrize("name", ['quote"d', "new\nline", "back\\slash", "ünïcode"])
def test_no_name_breaks_the_metrics(name: str) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    text = exposition(status(), {"interfaces": [radio(name)]}).decode()
    labels = [
        sample.labels["radio"]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name == "ciris_mesh_air_used_seconds"
    ]
    assert labels == [name]
