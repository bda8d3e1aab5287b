"""Vouched rows in a directory: who keeps them, in which order they come, and how many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.directory import reading
from ciris_mesh.directory import vouches as vouches_module
from ciris_mesh.directory.base import COPIED, OWN, Shelf, Source
from ciris_mesh.directory.bridge import FederationDirectoryReplicationBridge
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.directory.vouches import Vouches, vouchers_of
from ciris_mesh.records.authoring import author
from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.names import name
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from ciris_mesh.records.timestamps import from_unix_ms
from ciris_mesh.records.vouches import VOUCH_DIMENSION
from support.attacks import signed
from support.federation import TRUST
from support.keys import alice, key
from support.records import AT_MS, sample
from support.rulebook import K, key_id, key_record
from support.vouching import bare, vouch_columns, vouch_raw

PEER, EU = Source("peer", "somebody"), Source("registry", "registry-eu")
NOW_MS = AT_MS + 600_000
OpenDirectory = Callable[..., DirectoryCore]
GATEWAY = key_id("hub")
LISTING = replace(TRUST, vouchers=frozenset({GATEWAY}))
ROW = bare(K.FAMILY, "dave")
NAME = (K.FAMILY, ROW.envelope_id)


def admit(
    directory: DirectoryCore, kind: K, raw: bytes, source: Source = PEER
) -> tuple[Outcome, Reason]:
    verdict = directory.admit(kind, raw, source, now_ms=NOW_MS)
    return verdict.outcome, verdict.reason


def know(directory: DirectoryCore, *owners: str) -> DirectoryCore:
    for owner in owners:
        kind, raw = signed(key_record(owner))
        assert directory.admit(kind, raw, OWN, now_ms=NOW_MS).outcome is Outcome.ADMITTED
    return directory


def give_vouch(directory: DirectoryCore, *rows: Envelope, by: str = "hub") -> Verdict:
    return directory.admit(K.ATTESTATION, vouch_raw(by, *rows), PEER, now_ms=NOW_MS)


def shelf(directory: DirectoryCore, row: Envelope = ROW) -> Shelf | None:
    held = directory.get(row.kind, row.envelope_id)
    return None if held is None else held.shelf


# -- who keeps them --------------------------------------------------------------------------------


def test_a_node_that_lists_the_voucher_keeps_the_row_and_another_refuses_it(
    open_directory: OpenDirectory,
) -> None:
    listing, other = (know(open_directory(trust=it), "hub") for it in (LISTING, TRUST))
    for directory in (listing, other):
        assert give_vouch(directory, ROW).outcome is Outcome.ADMITTED
    bridged = Outcome.ADMITTED, Reason.SIGNATURE_MISSING
    assert admit(listing, *signed_bare()) == bridged
    assert admit(other, *signed_bare()) == (Outcome.REFUSED, Reason.SIGNATURE_MISSING)
    assert (shelf(listing), shelf(other)) == (Shelf.BRIDGED, None)
    assert vouchers_of(listing, *NAME) == [GATEWAY]
    assert vouchers_of(other, *NAME) == []


def signed_bare(row: Envelope = ROW) -> tuple[K, bytes]:
    return row.kind, row.raw


def test_only_what_was_named_by_whom_is_listed_is_kept(open_directory: OpenDirectory) -> None:
    directory = know(open_directory(trust=LISTING), "hub", "mallory")
    other = bare(K.FAMILY, "dave", 1)
    give_vouch(directory, ROW, by="mallory")
    give_vouch(directory, other)
    assert admit(directory, *signed_bare())[0] is Outcome.REFUSED
    assert admit(directory, *signed_bare(other))[0] is Outcome.ADMITTED


def test_a_vouch_opens_no_other_door(open_directory: OpenDirectory) -> None:
    """A signature that does not stand is refused from everybody, vouched for or not."""
    directory = know(open_directory(trust=LISTING), "hub", "alice")
    raw = bytearray(sample(K.FAMILY, alice()))
    at = raw.index(b"ed25519_signature_base64") + 40
    raw[at] = ord("A") if raw[at] != ord("A") else ord("B")
    forged = replace(ROW, raw=bytes(raw))
    give_vouch(directory, replace(bare(K.FAMILY, "alice")))
    outcome, reason = admit(directory, K.FAMILY, forged.raw)
    assert (outcome, reason) == (Outcome.REFUSED, Reason.CLASSICAL_SIGNATURE_INVALID)
    assert admit(directory, K.FAMILY, forged.raw, Source("unattributed"))[0] is Outcome.REFUSED


def test_the_real_record_takes_the_place_of_the_vouched_one(open_directory: OpenDirectory) -> None:
    directory = know(open_directory(trust=LISTING), "hub", "dave")
    give_vouch(directory, ROW)
    admit(directory, *signed_bare())
    assert directory.brought_by(*NAME) == "somebody"
    full = sample(K.FAMILY, key("dave"))
    assert admit(directory, K.FAMILY, full) == (Outcome.UPGRADED, Reason.NONE)
    assert shelf(directory) is Shelf.FEDERATION
    assert directory.brought_by(*NAME) == ""
    assert admit(directory, *signed_bare())[0] is Outcome.DUPLICATE


@given(order=st.permutations(range(4)))
def test_vouch_row_and_voucher_may_come_in_any_order(order: list[int]) -> None:
    """The row comes again at the end, as whoever lists the voucher fetches it."""
    directory = MemoryDirectory(trust=LISTING)
    try:
        gateway, mallory = (signed(key_record(name)) for name in ("hub", "mallory"))
        steps = [gateway, mallory, (K.ATTESTATION, vouch_raw("hub", ROW)), signed_bare()]
        for place in order:
            directory.admit(*steps[place], PEER, now_ms=NOW_MS)
        missing = Vouches(directory, listed=LISTING.vouchers).missing(NOW_MS)
        if shelf(directory) is not Shelf.BRIDGED:
            assert missing == {K.FAMILY: [ROW.envelope_id]}
            directory.admit(*signed_bare(), PEER, now_ms=NOW_MS)
        assert shelf(directory) is Shelf.BRIDGED
        assert Vouches(directory, listed=LISTING.vouchers).missing(NOW_MS) == {}
    finally:
        directory.close()


ROWS = [bare(kind, name, n) for kind in (K.FAMILY, K.LOCATION_PROOF) for name in ("dave", "carol")
        for n in range(2)]  # fmt: skip
VOUCHES = [vouch_raw(by, ROWS[n], ROWS[n + 1]) for by in ("hub", "mallory") for n in (0, 2, 4, 6)]
COMING = st.lists(
    st.one_of(
        st.sampled_from([(row.kind, row.raw) for row in ROWS]),
        st.sampled_from([(K.ATTESTATION, raw) for raw in VOUCHES]),
        st.just(signed(key_record("dave"))),
        st.sampled_from([(K.FAMILY, sample(K.FAMILY, key("dave"), n)) for n in range(2)]),
    ),
    max_size=12,
)


@given(coming=COMING)
def test_two_nodes_of_which_one_lists_the_voucher_hold_the_same_federation_shelf(
    coming: list[tuple[K, bytes]],
) -> None:
    """Whatever comes in whatever order: vouches change nothing but one node's bridged shelf."""
    nodes = [MemoryDirectory(trust=trust) for trust in (LISTING, TRUST)]
    try:
        for directory in nodes:
            know(directory, "hub", "mallory")
            for kind, raw in coming:
                directory.admit(kind, raw, PEER, now_ms=NOW_MS)
        listing, other = nodes
        for kind in K:
            assert listing.digest(kind) == other.digest(kind)
            assert listing.holdings(kind) == other.holdings(kind)
        assert not any(one is Shelf.BRIDGED for _, one in other.counts())
        for _, row in listing.rows(limit=100):
            if row.shelf is Shelf.BRIDGED:
                assert vouchers_of(listing, row.kind, row.envelope_id) == [GATEWAY]
    finally:
        for directory in nodes:
            directory.close()


# -- who is given them -----------------------------------------------------------------------------


def bridge_of(directory: DirectoryCore, *vouchers: str) -> FederationDirectoryReplicationBridge:
    return FederationDirectoryReplicationBridge(
        directory,
        lambda: frozenset({GATEWAY}),
        vouches=Vouches(directory, frozenset(vouchers)),
    )


def test_a_vouched_row_is_served_to_who_asks_and_offered_to_nobody(
    open_directory: OpenDirectory,
) -> None:
    directory = know(open_directory(), "hub")
    admit(directory, *signed_bare(), EU)
    bridge, ids = bridge_of(directory, GATEWAY), [ROW.envelope_id]
    before = bridge.serve("leaf", K.FAMILY, ids, budget_bytes=1 << 20)
    assert before.envelopes == ()
    give_vouch(directory, ROW)
    assert bridge.serve("leaf", K.FAMILY, ids, budget_bytes=1 << 20).envelopes == (ROW.raw,)
    assert bridge.offer("leaf", K.FAMILY) == ()
    assert bridge.view_ids("leaf", K.FAMILY) == frozenset()
    deaf = bridge_of(directory)
    assert deaf.serve("leaf", K.FAMILY, ids, budget_bytes=1 << 20).envelopes == ()


def test_what_is_missing_is_what_listed_vouchers_named_and_is_not_here(
    open_directory: OpenDirectory,
) -> None:
    directory = know(open_directory(trust=LISTING), "hub", "mallory")
    vouches = Vouches(directory, listed=LISTING.vouchers)
    assert vouches.missing(NOW_MS) == {}
    other = bare(K.FAMILY, "dave", 1)
    give_vouch(directory, ROW, other)
    give_vouch(directory, bare(K.LOCATION_PROOF, "dave"), by="mallory")
    assert {kind: set(ids) for kind, ids in vouches.missing(NOW_MS).items()} == {
        K.FAMILY: {ROW.envelope_id, other.envelope_id}
    }
    admit(directory, *signed_bare())
    assert vouches.missing(NOW_MS) == {K.FAMILY: [other.envelope_id]}
    admit(directory, *signed_bare(other))
    assert vouches.missing(NOW_MS) == {}
    assert Vouches(directory).missing(NOW_MS) == {}


@pytest.mark.parametrize("source", [PEER, Source("import")], ids=["peer", "import"])
def test_what_waits_for_a_signer_stands_once_it_is_vouched_for(
    open_directory: OpenDirectory, source: Source
) -> None:
    """Nobody has to bring it again, and the signature counts as soon as its key comes."""
    directory = know(open_directory(trust=LISTING), "hub", "mallory")
    full = sample(K.FAMILY, key("dave"))
    assert admit(directory, K.FAMILY, full, source) == (Outcome.DEFERRED, Reason.SIGNER_UNKNOWN)
    give_vouch(directory, ROW, by="mallory")
    assert shelf(directory) is None, "nobody here lists that voucher"
    give_vouch(directory, ROW)
    assert shelf(directory) is Shelf.BRIDGED
    assert Vouches(directory, listed=LISTING.vouchers).missing(NOW_MS) == {}
    know(directory, "dave")
    assert shelf(directory) is Shelf.FEDERATION
    assert directory.pools().deferred == 0


def test_however_much_else_is_bridged_under_a_name_what_was_vouched_for_is_found(
    open_directory: OpenDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a registry brings, it silences nobody else's rows, nor those of its own."""
    monkeypatch.setattr(reading, "IDS_PAGE", 3)
    directory = know(open_directory(trust=LISTING), "hub")
    rows = [bare(K.LOCATION_PROOF, "dave", n) for n in range(8)]
    where = name("location", key_id("dave"))
    for row in rows:
        assert admit(directory, *signed_bare(row), EU)[0] is Outcome.ADMITTED
    give_vouch(directory, rows[6], rows[1])
    everybody = [GATEWAY, key_id("mallory")]
    found = directory.vouched_rows(where, everybody, limit=9)
    assert [row.envelope_id for row in found] == [rows[1].envelope_id, rows[6].envelope_id]
    assert directory.vouched_rows(where, everybody, limit=1) == found[:1]
    assert directory.vouched_rows(where, everybody[1:], limit=9) == []
    assert directory.vouched_rows(name("location", key_id("carol")), everybody, limit=9) == []


def test_of_a_voucher_that_never_ends_the_newest_vouches_are_read_and_it_is_told(
    directory: DirectoryCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vouches_module, "VOUCHES_MAX", 1)
    know(directory, "hub")
    rows = [bare(K.FAMILY, "dave", n) for n in range(2)]
    for n, row in enumerate(rows):
        raw = vouch_raw("hub", row, at_ms=AT_MS + n)
        directory.admit(K.ATTESTATION, raw, PEER, now_ms=NOW_MS)
    vouches = Vouches(directory, listed=frozenset({GATEWAY}))
    assert vouches.missing(NOW_MS) == {K.FAMILY: [rows[1].envelope_id]}
    assert vouches.too_many == 1


def taken_back(said: bytes, by: str, type_: str) -> bytes:
    """`by` takes an attestation back in one of the ways there are."""
    record = parse_envelope(K.ATTESTATION, said).record
    columns: dict[str, object] = {
        "attested_key_id": record["attested_key_id"],
        "attestation_type": type_,
        "attestation_envelope": {
            "dimension": VOUCH_DIMENSION,
            "references_attestation_id": record["attestation_id"],
        },
    }
    if type_ == "withdraws":
        columns["withdraws_admission_rule"] = 1
    return author(K.ATTESTATION, columns, key(by), at_ms=AT_MS + 5)


@pytest.mark.parametrize("type_", ["withdraws", "recants", "supersedes"])
def test_rows_of_a_vouch_that_was_taken_back_are_not_asked_for(
    open_directory: OpenDirectory, type_: str
) -> None:
    directory = know(open_directory(trust=LISTING), "hub", "mallory")
    vouches = Vouches(directory, listed=LISTING.vouchers)
    other = bare(K.FAMILY, "dave", 1)
    said = vouch_raw("hub", ROW)
    for raw in (said, vouch_raw("hub", other)):
        assert admit(directory, K.ATTESTATION, raw)[0] is Outcome.ADMITTED
    # Mallory says something under the same id, about the same key, and takes that back.
    same = {"attestation_id": parse_envelope(K.ATTESTATION, said).record["attestation_id"]}
    columns = vouch_columns("hub", K.FAMILY, [ROW.envelope_id], **same)
    columns["attestation_envelope"] = {"dimension": "some:thing"}
    own = author(K.ATTESTATION, columns, key("mallory"), at_ms=AT_MS)
    for raw in (own, taken_back(own, "mallory", type_)):
        assert admit(directory, K.ATTESTATION, raw)[0] is Outcome.ADMITTED
    assert set(vouches.missing(NOW_MS)[K.FAMILY]) == {ROW.envelope_id, other.envelope_id}
    assert admit(directory, K.ATTESTATION, taken_back(said, "hub", type_))[0] is Outcome.ADMITTED
    assert vouches.missing(NOW_MS) == {K.FAMILY: [other.envelope_id]}


def test_rows_of_a_vouch_are_asked_for_until_it_expires(open_directory: OpenDirectory) -> None:
    """Also when nothing came in the meantime."""
    directory = know(open_directory(trust=LISTING), "hub")
    vouches = Vouches(directory, listed=LISTING.vouchers)
    until_ms = NOW_MS + 1_000
    said = vouch_raw("hub", ROW, expires_at=from_unix_ms(until_ms))
    assert admit(directory, K.ATTESTATION, said)[0] is Outcome.ADMITTED
    assert vouches.missing(until_ms - 1) == {K.FAMILY: [ROW.envelope_id]}
    assert vouches.missing(until_ms) == {}
    assert vouches.missing(until_ms - 1) == {K.FAMILY: [ROW.envelope_id]}, "the clock was ahead"


# -- how many --------------------------------------------------------------------------------------


def test_each_registry_has_a_share_of_the_bridged_shelf(open_directory: OpenDirectory) -> None:
    directory = open_directory(limits=PoolLimits(bridged_rows_per_source=2))
    rows = [bare(K.FAMILY, name, n) for name in ("dave", "carol") for n in range(2)]
    outcomes = [admit(directory, *signed_bare(row), EU) for row in rows[:3]]
    full = Outcome.REFUSED, Reason.BRIDGED_QUOTA
    assert [one for one, _ in outcomes[:2]] == [Outcome.ADMITTED] * 2
    assert outcomes[2] == full
    assert directory.outcome_counts()["registry", "refused", "bridged_quota"] == 1
    other = Source("registry", "registry-us")
    assert admit(directory, *signed_bare(rows[2]), other)[0] is Outcome.ADMITTED
    assert admit(directory, *signed_bare(rows[3]), EU) == full
    assert directory.brought_by(K.FAMILY, rows[0].envelope_id) == "registry-eu"
    assert directory.brought_by(K.FAMILY, rows[2].envelope_id) == "registry-us"


def test_who_is_upgraded_makes_room_and_a_copy_of_the_store_needs_none(
    open_directory: OpenDirectory,
) -> None:
    directory = know(open_directory(limits=PoolLimits(bridged_rows_per_source=1)), "dave")
    first, second, third = (bare(K.FAMILY, "dave", n) for n in range(3))
    assert admit(directory, *signed_bare(first), EU)[0] is Outcome.ADMITTED
    assert admit(directory, *signed_bare(second), EU)[1] is Reason.BRIDGED_QUOTA
    assert admit(directory, K.FAMILY, sample(K.FAMILY, key("dave")))[0] is Outcome.UPGRADED
    assert admit(directory, *signed_bare(second), EU)[0] is Outcome.ADMITTED
    assert admit(directory, *signed_bare(third), COPIED)[0] is Outcome.ADMITTED
    assert admit(directory, *signed_bare(bare(K.FAMILY, "carol")), COPIED)[0] is Outcome.ADMITTED


def test_a_share_outlives_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    from ciris_mesh.directory.sqlite import SqliteDirectory

    path = tmp_path_factory.mktemp("share") / "records.db"
    limits = PoolLimits(bridged_rows_per_source=1)
    for expected in (Outcome.ADMITTED, Outcome.REFUSED):
        directory = SqliteDirectory(path, limits=limits)
        number = 0 if expected is Outcome.ADMITTED else 1
        assert admit(directory, *signed_bare(bare(K.FAMILY, "dave", number)), EU)[0] is expected
        directory.close()
