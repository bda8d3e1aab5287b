"""Nodes of different scopes and clocks come to one view as well, and nothing leaves its scope.

As `test_view_laws`, which draws what two nodes of one scope are given and what befalls them. Here
each wants another part of the federation, rosters decide who is a member while records are under
way, and records end: some long ago by one node's clock and not by the other's.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ciris_mesh.directory.base import OWN, RowHead, Source, StoredRow
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.protocol.limits import CADENCE_S
from ciris_mesh.protocol.report import BoundedBy, InSync
from ciris_mesh.records.authoring import author
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.names import last_day
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.scope import ALL, DAYS_KEPT, TRUST, Scope, communities
from ciris_mesh.records.timestamps import from_unix_ms
from support.keys import key
from support.records import AT_MS, columns, group_columns, member, sample
from support.sim_exchange import DAY_MS, SimExchange, SimNode
from support.sim_network import PERFECT, Record

K = EnvelopeKind
KINDS = tuple(kind for kind in EnvelopeKind if kind is not K.PARTNER_RECORD)
NODES = ("one", "two")
PEOPLE = ("alice", "bob", "carol", "dave")
TRUSTED = frozenset(key(name).key_id for name in PEOPLE)
TODAY = AT_MS // DAY_MS


def _made(kind: EnvelopeKind, by: str, given: dict[str, Any], at_ms: int = AT_MS) -> Record:
    return kind, author(kind, given, key(by), at_ms=at_ms)


def _community(label: str, by: str, *others: str) -> dict[str, Any]:
    members = [member(key(by).key_id, founder=True), *(member(key(it).key_id) for it in others)]
    return group_columns(K.COMMUNITY, label, {"members": members})


RIVER, HILL = _community("river", "alice", "bob"), _community("hill", "carol")
RIVER_ID, HILL_ID = str(RIVER["community_key_id"]), str(HILL["community_key_id"])
SCOPES = (
    ALL,
    TRUST,
    communities([RIVER_ID]),
    communities([HILL_ID]),
    communities([RIVER_ID, HILL_ID]),
)


def _ends(days: int) -> str:
    return from_unix_ms(AT_MS + days * DAY_MS)


def _score(by: str, about: str, n: int, **more: Any) -> Record:
    given = columns(K.ATTESTATION, key(by).key_id, n)
    return _made(K.ATTESTATION, by, {**given, "attested_key_id": key(about).key_id, **more})


@cache
def pool() -> tuple[Record, ...]:
    """Of every kind the scopes look at; of some that end; and what makes others members."""
    grown = {**RIVER, "members": [*RIVER["members"], member(key("dave").key_id, AT_MS + 1000)]}
    grown["founded_at"] = RIVER["founded_at"]
    gone = {"community_key_id": RIVER_ID, "removed_identity_key_id": key("bob").key_id}
    made = [(K.KEY, sample(K.KEY, key(name))) for name in PEOPLE]
    made += [_made(K.COMMUNITY, "alice", RIVER), _made(K.COMMUNITY, "carol", HILL)]
    made += [_made(K.COMMUNITY, "alice", grown, AT_MS + 1000)]
    made += [_made(K.COMMUNITY_MEMBERSHIP_REVOCATION, "alice", gone, AT_MS + 2000)]
    made += [(K.FAMILY, sample(K.FAMILY, key(name))) for name in ("alice", "dave")]
    removal = K.FAMILY_MEMBERSHIP_REVOCATION
    made += [(removal, sample(removal, key(name))) for name in ("alice", "dave")]
    for name in PEOPLE:
        made += [
            (K.REVOCATION, sample(K.REVOCATION, key(name))),
            (K.IDENTITY_OCCURRENCE, sample(K.IDENTITY_OCCURRENCE, key(name))),
            (K.LOCATION_PROOF, sample(K.LOCATION_PROOF, key(name))),
            _score("carol", name, 1, expires_at=_ends(-40)),
            _score("dave", name, 2, expires_at=_ends(10)),
            _score("alice", name, 3),
        ]
        occurrence = columns(K.IDENTITY_OCCURRENCE, key(name).key_id, 7)
        made.append(_made(K.IDENTITY_OCCURRENCE, name, {**occurrence, "valid_until": _ends(-35)}))
    given = {"identity_type": "agent", "identity_ref": "short", "valid_until": _ends(-50)}
    made.append(_made(K.KEY, "dave", given))
    return tuple(made)


_node = st.sampled_from(NODES)
_record = st.integers(0, len(pool()) - 1)
_events = st.one_of(
    *[st.tuples(st.just("own"), _node, _record)] * 3,
    st.tuples(st.just("registry"), _node, _record),
    st.tuples(st.just("import"), _node, _record),
    st.tuples(st.just("trust"), _node, st.frozensets(st.sampled_from(PEOPLE))),
    st.tuples(st.just("scope"), _node, st.sampled_from(SCOPES)),
    st.tuples(st.just("days"), _node, st.sampled_from([0, 25, 45, 90])),
    st.tuples(st.just("lose"), _node, st.floats(0.1, 20)),
    st.tuples(st.just("wait"), _node, st.floats(0.0, 45)),
)


def begun(scopes: tuple[Scope, Scope], days: tuple[int, int]) -> SimExchange:
    mesh = SimExchange(
        NODES,
        seed=1,
        faults=PERFECT,
        kinds=KINDS,
        trusted=TRUSTED,
        epoch_ms=AT_MS + 5000,
        directories={name: MemoryDirectory(trust=Trust(root_stewards=TRUSTED)) for name in NODES},
    )
    for name, scope, ahead in zip(NODES, scopes, days, strict=True):
        configured(mesh, name, scope=scope, days=ahead)
    return mesh


def configured(
    mesh: SimExchange, name: str, *, scope: Scope | None = None, days: int | None = None
) -> None:
    """Start a node anew with another scope or day."""
    node = mesh.nodes[name]
    if not mesh.is_up(name):
        return
    node.scope = node.scope if scope is None else scope
    node.ahead_days = node.ahead_days if days is None else days
    mesh.crash(name, for_s=0.5)


def happens(mesh: SimExchange, what: str, name: str, value: Any) -> None:
    node = mesh.nodes[name]
    sources = {"own": OWN, "import": Source("import"), "registry": Source("registry", "r")}
    match what:
        case "trust":
            node.trusted = frozenset(key(it).key_id for it in value)
        case "scope":
            configured(mesh, name, scope=value)
        case "days":
            configured(mesh, name, days=value)
        case "lose":
            if mesh.is_up(name):
                trust = Trust(root_stewards=TRUSTED)
                mesh.crash(name, for_s=value, directory=MemoryDirectory(trust=trust))
        case "wait":
            mesh.run_s(value)
        case _:
            kind, raw = pool()[value]
            node.directory.admit(kind, raw, sources[what], now_ms=node.wall_ms())
            if mesh.is_up(name):
                node.exchange.spread()


def everything(name: str) -> list[tuple[str, str, Any]]:
    return [("own", name, number) for number in range(len(pool()))]


@given(
    scopes=st.tuples(st.sampled_from(SCOPES), st.sampled_from(SCOPES)),
    days=st.tuples(st.sampled_from([0, 25, 90]), st.sampled_from([0, 25, 90])),
    history=st.lists(_events, max_size=24),
)
@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@example((ALL, TRUST), (0, 0), everything("one"))
@example((TRUST, ALL), (0, 90), everything("one"))
@example((ALL, communities([RIVER_ID])), (90, 90), everything("one"))
@example((communities([HILL_ID]), communities([RIVER_ID])), (0, 0), everything("two"))
@example(
    (ALL, communities([RIVER_ID])),
    (0, 0),
    [*everything("one"), ("wait", "one", 40.0), ("scope", "two", TRUST), ("lose", "one", 1.0)],
)
@example(
    (ALL, ALL),
    (0, 0),
    [
        *everything("one"),
        ("wait", "one", 40.0),
        ("days", "one", 90),
        ("wait", "one", 9.0),
        ("days", "two", 90),
    ],
)
def test_two_nodes_of_any_scopes_and_days_end_in_one_view_and_stay_silent(
    scopes: tuple[Scope, Scope], days: tuple[int, int], history: list[tuple[str, str, Any]]
) -> None:
    mesh = begun(scopes, days)
    for event in history:
        happens(mesh, *event)
    mesh.run_s(10 * CADENCE_S)
    for node in mesh.nodes.values():
        node.said.clear()
    mesh.run_s(4 * CADENCE_S)
    one, two = mesh.nodes.values()
    common = one.scope.kinds & two.scope.kinds & set(KINDS)
    for mine, theirs in ((one, two), (two, one)):
        assert set(mine.said) <= {"Digests"}, f"{mine.name} keeps saying {dict(mine.said)}"
        assert not mine.is_active()
        assert mine.counts.snapshot() == {}, "nobody did wrong, and no exchange came to nothing"
        for kind in KINDS:
            view = mine.bridge.view_ids(theirs.name, kind)
            if kind in common:
                assert view == theirs.bridge.view_ids(mine.name, kind), kind
                signal = mine.board.standing(theirs.name, kind).signal
                waiting = mine.bridge.waiting(theirs.name, kind)
                assert signal == (BoundedBy(waiting) if waiting else InSync()), kind
            else:
                assert not view, "nothing outside both scopes is compared"
        assert_within(mine, theirs)


def assert_within(mine: SimNode, theirs: SimNode) -> None:
    """What is offered is in both scopes as a person would read them, and not too old."""
    day = min(TODAY + mine.ahead_days, TODAY + theirs.ahead_days)
    kinds = mine.scope.kinds & theirs.scope.kinds
    held = [row for _, row in mine.directory.rows(limit=1000) if row.kind in kinds]
    offered = {ref.envelope_hash for kind in KINDS for ref in mine.bridge.offer(theirs.name, kind)}
    heads = [RowHead(row.kind, row.envelope_id, 0, "", (), introduced=False) for row in held]
    relied = {head.envelope_id for head in mine.directory.heads_relied(heads)}
    assert offered <= {row.copy_id for row in held}, "offers name copies"
    for row in held:
        if row.copy_id not in offered:
            continue
        if row.envelope_id in relied:
            continue
        ended = last_day(parse_envelope(row.kind, row.envelope))
        assert ended is None or ended >= day - DAYS_KEPT
        for scope in (mine.scope, theirs.scope):
            assert _is_within(mine, row, scope), f"{row.kind} is not in {scope}"


def _is_within(node: SimNode, row: StoredRow, scope: Scope) -> bool:
    if scope == ALL:
        return True
    record = parse_envelope(row.kind, row.envelope).record
    if scope == TRUST:
        removed_from = (K.FAMILY, K.COMMUNITY)
        is_roster = row.kind in removed_from and record.get("community_key_id") != HILL_ID
        return row.kind in TRUST.whole or is_roster
    if "community_key_id" in record:
        return record["community_key_id"] in scope.ids
    people = {member["key_id"] for one in _rosters(node, scope) for member in one["members"]}
    subjects = ("key_id", "attested_key_id", "revoked_key_id", "identity_key_id", "subject_key_id")
    return any(record.get(column) in people for column in subjects)


def _rosters(node: SimNode, scope: Scope) -> list[Any]:
    held = node.directory.rows(K.COMMUNITY, limit=1000)
    records: list[Any] = [parse_envelope(row.kind, row.envelope).record for _, row in held]
    return [one for one in records if one["community_key_id"] in scope.ids]


@pytest.mark.parametrize("scope", SCOPES[1:], ids=lambda scope: f"{scope.word}-{len(scope.ids)}")
def test_a_leaf_gets_all_of_its_scope_and_nothing_else(scope: Scope) -> None:
    mesh = begun((ALL, scope), (0, 0))
    for event in everything("one"):
        happens(mesh, *event)
    mesh.run_s(10 * CADENCE_S)
    full, leaf = mesh.nodes.values()
    held = {(kind, one) for kind, ids in leaf.held().items() for one in ids}
    offered = {
        (kind, ref.envelope_hash) for kind in KINDS for ref in full.bridge.offer("two", kind)
    }
    assert {(row.kind, row.copy_id) for _, row in leaf.directory.rows(limit=1000)} == offered
    assert len(held) >= 8
    assert len(held) < sum(map(len, full.held().values()))
    for kind in KINDS:
        for envelope_id in full.held()[kind]:
            row = full.directory.get(kind, envelope_id)
            assert row is not None
            ended = last_day(parse_envelope(kind, row.envelope))
            if _is_within(full, row, scope) and (ended is None or ended >= TODAY - DAYS_KEPT):
                assert (kind, envelope_id) in held, "all of the scope came"
    assert leaf.directory.pools().deferred == 0, "and all of it could be admitted"
