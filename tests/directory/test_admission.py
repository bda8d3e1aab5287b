"""Every outcome of `admit`, on both stores, each with the twin that comes in."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ciris_mesh.directory.admission import SKEW_MS
from ciris_mesh.directory.base import OWN, UNATTRIBUTED, Shelf, Source
from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.directory.judgement import Candidate, Judgement
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.records.authoring import author
from ciris_mesh.records.envelope import encode_base64, parse_envelope
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.records.kinds import KINDS, EnvelopeKind, SignatureStyle
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from ciris_mesh.records.tokens import key_token
from support import forge
from support.keys import alice, bob, carol
from support.records import AT_MS, columns, prerequisites, sample

K = EnvelopeKind
PEER = Source("peer", "hub")
OTHER = Source("peer", "relay")
IMPORT = Source("import")
REGISTRY = Source("registry", "ciris-registry-us")
SIGNED_BY_OTHERS = [kind for kind in EnvelopeKind if kind is not K.KEY]
SIGNED_BESIDE = [kind for kind in EnvelopeKind if KINDS[kind].style is SignatureStyle.AUTHORITY]


def admit(
    directory: DirectoryCore,
    kind: EnvelopeKind,
    raw: bytes,
    source: Source = PEER,
    now_ms: int = AT_MS,
) -> Verdict:
    return directory.admit(kind, raw, source, now_ms=now_ms)


def short(verdict: Verdict) -> tuple[Outcome, Reason]:
    return verdict.outcome, verdict.reason


def know(directory: DirectoryCore, *keys: FederationKey) -> None:
    """Put keys on the federation shelf."""
    for key in keys or (alice(),):
        assert admit(directory, K.KEY, sample(K.KEY, key)).outcome is Outcome.ADMITTED


def ready(directory: DirectoryCore, kind: EnvelopeKind, signer: FederationKey, n: int = 0) -> None:
    """All that the n-th sample needs, but for the signer's key."""
    for below, raw in prerequisites(kind, signer, n):
        assert admit(directory, below, raw).outcome is Outcome.ADMITTED


def local_attestation(pending: bool = False) -> bytes:
    given = columns(K.ATTESTATION, alice().key_id, 1) | {"tier": "local"}
    raw = author(K.ATTESTATION, given, alice(), at_ms=AT_MS)
    if not pending:
        return raw
    return forge.edited(
        K.ATTESTATION, raw, lambda wrapper: wrapper["attestation"].pop("scrub_signature_pqc")
    )


def key_signed_by(owner: FederationKey, signer: FederationKey) -> bytes:
    """`owner`'s key record with `signer` under it."""
    record = json.loads(sample(K.KEY, owner))["record"]
    own = ("key_id", "pubkey_ed25519_base64", "pubkey_ml_dsa_65_base64", "identity_type")
    given = {name: record[name] for name in own} | {"identity_ref": "vouched"}
    return author(K.KEY, given, signer, at_ms=AT_MS)


# -- what comes in -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EnvelopeKind)
@pytest.mark.parametrize("source", [PEER, OWN, IMPORT, REGISTRY], ids=lambda source: source.path)
def test_a_valid_record_of_every_kind_is_admitted(
    directory: DirectoryCore, kind: EnvelopeKind, source: Source
) -> None:
    know(directory, bob())
    ready(directory, kind, bob(), 1)
    verdict = admit(directory, kind, sample(kind, bob(), 1), source)
    assert short(verdict) == (Outcome.ADMITTED, Reason.NONE)
    assert verdict.envelope_id is not None
    row = directory.get(kind, verdict.envelope_id)
    assert row is not None
    assert (row.shelf, row.signers) == (Shelf.FEDERATION, (bob().key_id,))
    assert row.envelope == sample(kind, bob(), 1), "stored bytes are the received bytes"


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_the_same_record_again_is_a_duplicate_whoever_brings_it(
    directory: DirectoryCore, kind: EnvelopeKind
) -> None:
    know(directory, bob())
    ready(directory, kind, bob(), 1)
    raw = sample(kind, bob(), 1)
    admit(directory, kind, raw)
    generation, digest = directory.generation(kind), directory.digest(kind)
    for source in (PEER, OTHER, OWN, IMPORT, REGISTRY, UNATTRIBUTED):
        assert short(admit(directory, kind, raw, source)) == (Outcome.DUPLICATE, Reason.NONE)
    assert short(admit(directory, kind, forge.spaced(raw))) == (Outcome.DUPLICATE, Reason.NONE)
    assert (directory.generation(kind), directory.digest(kind)) == (generation, digest)


@pytest.mark.parametrize("kind", SIGNED_BESIDE)
def test_equality_comes_before_signatures(directory: DirectoryCore, kind: EnvelopeKind) -> None:
    """Garbage around a held record is a duplicate of it, not a reason to refuse the record.

    Of kinds whose signatures stand beside the record; the others' ids cover them.
    """
    know(directory)
    ready(directory, kind, alice())
    good = sample(kind, alice())
    bad = forge.signed(kind, alice(), spoil=forge.wrong_pqc)
    admit(directory, kind, good)
    assert admit(directory, kind, bad).outcome is Outcome.DUPLICATE


def test_a_batch_gets_one_verdict_each_in_order(directory: DirectoryCore) -> None:
    good, bad = sample(K.KEY, alice()), b"{}"
    verdicts = directory.admit_many(K.KEY, [bad, good, good, bad], PEER, now_ms=AT_MS)
    assert [verdict.outcome for verdict in verdicts] == [
        Outcome.MALFORMED,
        Outcome.ADMITTED,
        Outcome.DUPLICATE,
        Outcome.MALFORMED,
    ]
    assert directory.admit_many(K.KEY, [], PEER, now_ms=AT_MS) == []


def test_a_key_and_what_it_signed_may_come_in_one_batch_in_any_order(
    directory: DirectoryCore,
) -> None:
    child = key_signed_by(carol(), alice())
    batch = [child, child, sample(K.KEY, alice())]
    outcomes = [v.outcome for v in directory.admit_many(K.KEY, batch, PEER, now_ms=AT_MS)]
    assert outcomes == [Outcome.ADMITTED, Outcome.DUPLICATE, Outcome.ADMITTED]
    assert directory.public_key(carol().key_id) == carol().public


# -- what does not -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EnvelopeKind)
@pytest.mark.parametrize("source", [PEER, OWN, IMPORT], ids=lambda source: source.path)
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (forge.wrong_classical, Reason.CLASSICAL_SIGNATURE_INVALID),
        (forge.wrong_pqc, Reason.PQC_SIGNATURE_INVALID),
        (forge.no_pqc, Reason.PQC_SIGNATURE_MISSING),
    ],
    ids=["classical", "pqc", "no pqc"],
)
def test_both_halves_must_stand_by_every_path(
    directory: DirectoryCore,
    kind: EnvelopeKind,
    source: Source,
    spoil: Callable[[Any], Any],
    reason: Reason,
) -> None:
    know(directory)
    ready(directory, kind, alice(), 1)
    raw = forge.signed(kind, alice(), n=1, spoil=spoil)
    verdict = admit(directory, kind, raw, source)
    assert short(verdict) == (Outcome.REFUSED, reason)
    assert verdict.envelope_id is not None
    assert directory.unknown(kind, [verdict.envelope_id]) == [verdict.envelope_id], (
        "a failed signature makes no id known"
    )
    twin = admit(directory, kind, sample(kind, alice(), 1), source)
    assert twin.outcome is Outcome.ADMITTED, "the record itself still comes in"


@pytest.mark.parametrize("kind", SIGNED_BY_OTHERS)
def test_an_altered_column_is_refused(directory: DirectoryCore, kind: EnvelopeKind) -> None:
    know(directory)
    column = KINDS[kind].primary_key[0]

    def alter(wrapper: forge.Wrapper) -> None:
        wrapper[KINDS[kind].wrapper_field][column] = "00000000-0000-4000-8000-000000000001"

    verdict = admit(directory, kind, forge.edited(kind, sample(kind, alice()), alter))
    assert verdict.outcome is Outcome.REFUSED
    assert directory.counts() == {(K.KEY, Shelf.FEDERATION): 1}


@pytest.mark.parametrize("kind", EnvelopeKind)
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", Reason.NOT_JSON),
        (b"\xff\x00CRPL", Reason.NOT_JSON),
        (b"{}", Reason.WRONG_WRAPPER),
        (b"[" * 4000, Reason.TOO_DEEP),
        (b" " * (64 * 1024 + 1), Reason.TOO_LARGE),
    ],
    ids=["empty", "binary", "no wrapper", "deep", "large"],
)
def test_garbage_is_malformed_for_every_kind(
    directory: DirectoryCore, kind: EnvelopeKind, raw: bytes, reason: Reason
) -> None:
    verdict = admit(directory, kind, raw)
    assert short(verdict) == (Outcome.MALFORMED, reason)
    assert verdict.envelope_id is None
    assert admit(directory, kind, raw) == verdict, "remembered, and the same"


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_another_spelling_is_malformed(directory: DirectoryCore, kind: EnvelopeKind) -> None:
    know(directory)
    extra = forge.edited(kind, sample(kind, alice(), 1), lambda wrapper: wrapper.update(extra=1))
    assert short(admit(directory, kind, extra)) == (Outcome.MALFORMED, Reason.NOT_ONE_SPELLING)


def test_a_key_id_that_is_not_of_the_key_is_refused_unless_pinned(
    open_directory: Callable[..., DirectoryCore],
) -> None:
    named = {"key_id": "registry", "scrub_key_id": "registry"}
    given = columns(K.KEY, bob().key_id, 0) | named
    raw = author(K.KEY, given, bob(), at_ms=AT_MS)
    verdict = admit(open_directory(), K.KEY, raw)
    assert short(verdict) == (Outcome.REFUSED, Reason.KEY_ID_NOT_SELF_CERTIFYING)
    pinned = open_directory(pinned={"registry": bob().public.fingerprint})
    assert admit(pinned, K.KEY, raw).outcome is Outcome.ADMITTED
    assert pinned.public_key("registry") == bob().public
    other = open_directory(pinned={"registry": alice().public.fingerprint})
    assert admit(other, K.KEY, raw).outcome is Outcome.REFUSED


def test_refused_bytes_are_remembered_by_bytes_for_an_hour(
    directory: DirectoryCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(directory)
    looked_at: list[bytes] = []
    verify = directory._admission._verify

    def counting(envelope: Any, *rest: Any) -> Any:
        looked_at.append(envelope.raw)
        return verify(envelope, *rest)

    monkeypatch.setattr(directory._admission, "_verify", counting)
    bad = forge.signed(K.FAMILY, alice(), spoil=forge.wrong_pqc)
    first = admit(directory, K.FAMILY, bad)
    assert admit(directory, K.FAMILY, bad, OTHER) == first
    assert len(looked_at) == 1
    assert directory.pools().refused == 1
    admit(directory, K.FAMILY, bad, now_ms=AT_MS + 3_600_000)
    assert len(looked_at) == 2, "forgotten after its time"


# -- shelves and paths ---------------------------------------------------------------------------


def test_local_tier_stays_on_the_local_shelf_and_comes_from_here_only(
    directory: DirectoryCore,
) -> None:
    know(directory)
    raw = local_attestation()
    for source in (PEER, IMPORT, REGISTRY):
        assert short(admit(directory, K.ATTESTATION, raw, source)) == (
            Outcome.REFUSED,
            Reason.LOCAL_TIER,
        )
    verdict = admit(directory, K.ATTESTATION, raw, OWN)
    assert verdict.outcome is Outcome.ADMITTED
    assert directory.counts()[K.ATTESTATION, Shelf.LOCAL] == 1
    assert directory.holdings(K.ATTESTATION) == []
    assert directory.digest(K.ATTESTATION).count == 0
    assert admit(directory, K.ATTESTATION, raw, OWN).outcome is Outcome.DUPLICATE


def test_only_local_tier_may_wait_for_its_post_quantum_half(directory: DirectoryCore) -> None:
    know(directory)
    verdict = admit(directory, K.ATTESTATION, local_attestation(pending=True), OWN)
    assert verdict.outcome is Outcome.ADMITTED
    federation = forge.signed(K.ATTESTATION, alice(), spoil=forge.no_pqc)
    assert admit(directory, K.ATTESTATION, federation, OWN).outcome is Outcome.REFUSED


def test_what_a_registry_sends_without_our_signatures_is_bridged_and_can_be_upgraded(
    directory: DirectoryCore,
) -> None:
    know(directory)
    signed = sample(K.FAMILY, alice())
    bare = forge.unsigned(K.FAMILY, signed)
    assert short(admit(directory, K.FAMILY, bare)) == (Outcome.REFUSED, Reason.SIGNATURE_MISSING)
    verdict = admit(directory, K.FAMILY, bare, REGISTRY)
    assert verdict.outcome is Outcome.ADMITTED
    assert verdict.envelope_id is not None
    row = directory.get(K.FAMILY, verdict.envelope_id)
    assert row is not None
    assert (row.shelf, row.signers) == (Shelf.BRIDGED, ())
    assert directory.holdings(K.FAMILY) == []
    assert directory.signers(K.FAMILY) == {}
    assert directory.generation(K.FAMILY) == 0
    assert admit(directory, K.FAMILY, bare, REGISTRY).outcome is Outcome.DUPLICATE

    assert admit(directory, K.FAMILY, signed).outcome is Outcome.UPGRADED
    row = directory.get(K.FAMILY, verdict.envelope_id)
    assert row is not None
    assert (row.shelf, row.signers, row.envelope) == (
        Shelf.FEDERATION,
        (alice().key_id,),
        signed,
    )
    assert directory.digest(K.FAMILY).count == 1
    assert admit(directory, K.FAMILY, bare, REGISTRY).outcome is Outcome.DUPLICATE, "never down"
    row = directory.get(K.FAMILY, verdict.envelope_id)
    assert row is not None
    assert row.shelf is Shelf.FEDERATION


def test_a_registry_may_not_send_what_is_wrong(directory: DirectoryCore) -> None:
    know(directory)
    bad = forge.signed(K.FAMILY, alice(), spoil=forge.wrong_classical)
    assert admit(directory, K.FAMILY, bad, REGISTRY).outcome is Outcome.REFUSED
    assert admit(directory, K.FAMILY, b"{}", REGISTRY).outcome is Outcome.MALFORMED


def test_a_bridged_key_verifies_nothing(directory: DirectoryCore) -> None:
    """Trust comes from the federation shelf alone."""
    raw = author(
        K.KEY,
        {"key_id": "registry", "identity_type": "agent", "identity_ref": "r"},
        bob(),
        at_ms=AT_MS,
    )
    assert admit(directory, K.KEY, raw, REGISTRY).outcome is Outcome.ADMITTED
    assert directory.counts() == {(K.KEY, Shelf.BRIDGED): 1}
    assert directory.public_key("registry") is None


@pytest.mark.parametrize(
    "source",
    [UNATTRIBUTED, Source("peer"), Source("registry")],
    ids=["unattributed", "peer without a name", "registry without a name"],
)
@pytest.mark.parametrize("kind", EnvelopeKind)
def test_an_unattributed_source_may_bring_its_key_and_nothing_else(
    directory: DirectoryCore, kind: EnvelopeKind, source: Source
) -> None:
    expected = (
        (Outcome.DEFERRED, Reason.FIRST_CONTACT)
        if kind is K.KEY
        else (Outcome.REFUSED, Reason.UNATTRIBUTED)
    )
    assert short(admit(directory, kind, sample(kind, bob()), source)) == expected
    assert directory.counts() == {}
    know(directory)
    ready(directory, kind, alice())
    if kind is not K.KEY:
        verdict = admit(directory, kind, sample(kind, alice()), source)
        assert short(verdict) == (Outcome.REFUSED, Reason.UNATTRIBUTED), "though it would verify"
        assert admit(directory, kind, sample(kind, alice())).outcome is Outcome.ADMITTED


def test_an_unknown_path_is_a_bug_of_the_caller(directory: DirectoryCore) -> None:
    with pytest.raises(ValueError, match="backdoor"):
        admit(directory, K.KEY, sample(K.KEY, alice()), Source("backdoor", "x"))


# -- first contact -------------------------------------------------------------------------------


def test_two_empty_nodes_can_meet(directory: DirectoryCore) -> None:
    """A stranger's key proves who it is, without becoming federation truth."""
    verdict = admit(directory, K.KEY, sample(K.KEY, bob()), UNATTRIBUTED)
    assert verdict.outcome.is_held
    assert directory.public_key(bob().key_id) == bob().public
    assert directory.holdings(K.KEY) == []
    assert verdict.envelope_id is not None
    assert directory.unknown(K.KEY, [verdict.envelope_id]) == [verdict.envelope_id]
    again = admit(directory, K.KEY, sample(K.KEY, bob()), UNATTRIBUTED)
    assert again.outcome is Outcome.DUPLICATE

    occurrence = sample(K.IDENTITY_OCCURRENCE, bob())
    assert short(admit(directory, K.IDENTITY_OCCURRENCE, occurrence, UNATTRIBUTED)) == (
        Outcome.DEFERRED,
        Reason.FIRST_CONTACT,
    )
    assert directory.pools().first_contact == 2

    promoted = directory.promote_first_contact(bob().key_id, now_ms=AT_MS)
    assert promoted is not None
    assert promoted.outcome is Outcome.ADMITTED
    assert directory.counts() == {
        (K.KEY, Shelf.FEDERATION): 1,
        (K.IDENTITY_OCCURRENCE, Shelf.FEDERATION): 1,
    }
    assert directory.pools().first_contact == 0
    assert directory.promote_first_contact(bob().key_id, now_ms=AT_MS) is None


def test_a_first_contact_key_opens_nothing_for_others(directory: DirectoryCore) -> None:
    admit(directory, K.KEY, sample(K.KEY, bob()), UNATTRIBUTED)
    verdict = admit(directory, K.FAMILY, sample(K.FAMILY, bob()))
    assert short(verdict) == (Outcome.DEFERRED, Reason.SIGNER_UNKNOWN)
    directory.promote_first_contact(bob().key_id, now_ms=AT_MS)
    assert directory.counts()[K.FAMILY, Shelf.FEDERATION] == 1, "promotion releases it"


def test_a_stranger_must_sign_its_key_itself_and_correctly(directory: DirectoryCore) -> None:
    bad = forge.signed(K.KEY, bob(), spoil=forge.wrong_pqc)
    verdict = admit(directory, K.KEY, bad, UNATTRIBUTED)
    assert short(verdict) == (Outcome.REFUSED, Reason.PQC_SIGNATURE_INVALID)
    assert directory.public_key(bob().key_id) is None
    know(directory)
    verdict = admit(directory, K.KEY, key_signed_by(bob(), alice()), UNATTRIBUTED)
    assert short(verdict) == (Outcome.REFUSED, Reason.UNATTRIBUTED)


def test_a_stranger_vouches_for_nobody(directory: DirectoryCore) -> None:
    """A first-contact key may sign its own record and occurrence, not another's."""
    admit(directory, K.KEY, sample(K.KEY, bob()), UNATTRIBUTED)
    other_key = key_signed_by(carol(), bob())
    given = columns(K.IDENTITY_OCCURRENCE, carol().key_id, 0)
    other_occurrence = author(K.IDENTITY_OCCURRENCE, given, bob(), at_ms=AT_MS)
    for kind, raw in ((K.KEY, other_key), (K.IDENTITY_OCCURRENCE, other_occurrence)):
        verdict = admit(directory, kind, raw, UNATTRIBUTED)
        assert short(verdict) == (Outcome.REFUSED, Reason.UNATTRIBUTED)
    assert directory.pools().first_contact == 1
    assert directory.public_key(carol().key_id) is None


def test_a_key_a_peer_brings_leaves_first_contact(directory: DirectoryCore) -> None:
    admit(directory, K.KEY, sample(K.KEY, bob()), UNATTRIBUTED)
    assert admit(directory, K.KEY, sample(K.KEY, bob())).outcome is Outcome.ADMITTED
    assert directory.pools().first_contact == 0
    assert directory.public_key(bob().key_id) == bob().public


# -- deferred ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SIGNED_BY_OTHERS)
def test_an_unknown_signer_defers_and_its_key_releases(
    directory: DirectoryCore, kind: EnvelopeKind
) -> None:
    verdict = admit(directory, kind, sample(kind, bob()))
    assert short(verdict) == (Outcome.DEFERRED, Reason.SIGNER_UNKNOWN)
    assert verdict.waits_for == (key_token(bob().key_id),)
    assert verdict.envelope_id is not None
    assert directory.unknown(kind, [verdict.envelope_id]) == []
    assert directory.get(kind, verdict.envelope_id) is None
    assert directory.pools().deferred == 1
    again = admit(directory, kind, sample(kind, bob()), OTHER)
    assert again.outcome is Outcome.DEFERRED
    assert directory.pools().deferred == 1
    know(directory, alice())
    assert directory.pools().deferred == 1, "another's key releases nothing"
    know(directory, bob())
    ready(directory, kind, bob())
    assert directory.pools().deferred == 0
    row = directory.get(kind, verdict.envelope_id)
    assert row is not None
    assert row.shelf is Shelf.FEDERATION


def test_a_record_of_several_signers_stands_on_those_known_and_waits_for_the_rest(
    directory: DirectoryCore,
) -> None:
    kind = K.IDENTITY_OCCURRENCE_REVOCATION
    given = {"identity_key_id": alice().key_id, "occurrence_key_id": bob().key_id}
    raw = author(kind, given, alice(), at_ms=AT_MS, cosigners=[bob()])
    expected = {key_token(alice().key_id), key_token(bob().key_id)}
    assert set(admit(directory, kind, raw).waits_for) == expected
    know(directory, alice())
    assert directory.pools().deferred == 1
    assert list(directory.signers(kind).values()) == [(alice().key_id,)]
    know(directory, bob())
    assert directory.pools().deferred == 0
    assert list(directory.signers(kind).values()) == [tuple(sorted([alice().key_id, bob().key_id]))]


def test_what_was_deferred_with_a_bad_signature_is_refused_when_the_key_comes(
    directory: DirectoryCore,
) -> None:
    bad = forge.signed(K.FAMILY, bob(), spoil=forge.wrong_pqc)
    verdict = admit(directory, K.FAMILY, bad)
    assert verdict.outcome is Outcome.DEFERRED
    assert verdict.envelope_id is not None
    know(directory, bob())
    assert directory.pools().deferred == 0
    assert directory.unknown(K.FAMILY, [verdict.envelope_id]) == [verdict.envelope_id]
    assert directory.outcome_counts()["peer", "refused", "pqc_signature_invalid"] == 1
    assert admit(directory, K.FAMILY, sample(K.FAMILY, bob())).outcome is Outcome.ADMITTED


def test_keys_release_each_other_in_one_call(directory: DirectoryCore) -> None:
    """bob's second key record is signed by alice, carol's by bob: one arrival frees the chain."""

    admit(directory, K.KEY, key_signed_by(carol(), bob()))
    admit(directory, K.KEY, key_signed_by(bob(), alice()))
    admit(directory, K.ATTESTATION, sample(K.ATTESTATION, carol()))
    assert directory.pools().deferred == 3
    know(directory, alice())
    assert directory.pools().deferred == 0
    assert directory.counts() == {
        (K.KEY, Shelf.FEDERATION): 3,
        (K.ATTESTATION, Shelf.FEDERATION): 1,
    }


def test_what_is_dated_ahead_waits_for_its_time(directory: DirectoryCore) -> None:
    know(directory)
    late_ms = AT_MS + 3_600_000
    raw = sample(K.ATTESTATION, alice(), 1, late_ms)
    verdict = admit(directory, K.ATTESTATION, raw)
    assert short(verdict) == (Outcome.DEFERRED, Reason.TIME_AHEAD)
    assert directory.retry_due(late_ms - SKEW_MS - 1) == []
    assert [v.outcome for v in directory.retry_due(late_ms - SKEW_MS)] == [Outcome.ADMITTED]
    assert directory.pools().deferred == 0


def test_five_minutes_ahead_is_no_matter_and_own_clocks_are_not_judged(
    directory: DirectoryCore,
) -> None:
    know(directory)
    at_edge = sample(K.ATTESTATION, alice(), 1, AT_MS + SKEW_MS)
    assert admit(directory, K.ATTESTATION, at_edge).outcome is Outcome.ADMITTED
    own = sample(K.ATTESTATION, alice(), 2, AT_MS + SKEW_MS + 1)
    assert admit(directory, K.ATTESTATION, own, OWN).outcome is Outcome.ADMITTED


def test_any_later_admission_looks_at_what_is_due(directory: DirectoryCore) -> None:
    know(directory)
    raw = sample(K.ATTESTATION, alice(), 1, AT_MS + 3_600_000)
    verdict = admit(directory, K.ATTESTATION, raw)
    assert verdict.envelope_id is not None
    admit(directory, K.KEY, sample(K.KEY, bob()), now_ms=AT_MS + 3_600_000)
    assert directory.get(K.ATTESTATION, verdict.envelope_id) is not None


# -- what changes between judging and writing ----------------------------------------------------


class Meanwhile:
    """Lets something happen after the next judgement and before it is carried out."""

    def __init__(
        self, directory: DirectoryCore, monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]
    ) -> None:
        self._judge = directory._admission.judge_all
        self._then: Callable[[], object] | None = then
        monkeypatch.setattr(directory._admission, "judge_all", self)

    def __call__(self, asked: Sequence[Candidate], now_ms: int) -> list[Judgement]:
        judged = self._judge(asked, now_ms)
        if self._then is not None:
            then, self._then = self._then, None
            then()
        return judged


def test_a_key_that_arrives_meanwhile_is_not_waited_for(
    directory: DirectoryCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    Meanwhile(directory, monkeypatch, lambda: know(directory, bob()))
    assert admit(directory, K.FAMILY, sample(K.FAMILY, bob())).outcome is Outcome.ADMITTED
    assert directory.pools().deferred == 0


def test_the_same_record_that_arrives_meanwhile_makes_this_one_a_duplicate(
    directory: DirectoryCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(directory)
    raw = sample(K.FAMILY, alice())
    Meanwhile(directory, monkeypatch, lambda: admit(directory, K.FAMILY, raw, OTHER))
    assert admit(directory, K.FAMILY, raw).outcome is Outcome.DUPLICATE
    assert len(directory.holdings(K.FAMILY)) == 1


def test_a_stranger_whose_key_arrives_meanwhile_is_no_stranger(
    directory: DirectoryCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    Meanwhile(directory, monkeypatch, lambda: know(directory, bob()))
    verdict = admit(directory, K.KEY, sample(K.KEY, bob(), 1), UNATTRIBUTED)
    assert short(verdict) == (Outcome.REFUSED, Reason.UNATTRIBUTED)
    assert directory.pools().first_contact == 0


def test_an_occurrence_whose_stranger_left_meanwhile_is_refused(
    open_directory: Callable[..., DirectoryCore], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = open_directory(limits=PoolLimits(first_contact_keys=1))
    admit(directory, K.KEY, sample(K.KEY, bob()), UNATTRIBUTED)
    crowd = sample(K.KEY, carol())
    Meanwhile(directory, monkeypatch, lambda: admit(directory, K.KEY, crowd, UNATTRIBUTED))
    occurrence = sample(K.IDENTITY_OCCURRENCE, bob())
    verdict = admit(directory, K.IDENTITY_OCCURRENCE, occurrence, UNATTRIBUTED)
    assert short(verdict) == (Outcome.REFUSED, Reason.UNATTRIBUTED)
    assert directory.pools().first_contact == 1


def test_a_key_id_keeps_the_first_key_it_stood_for(
    directory: DirectoryCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if bob had found a key whose digest spells alice's id: 80 bits, so pretend."""
    know(directory)
    monkeypatch.setattr("ciris_mesh.records.checks.is_self_certifying", lambda *_: True)
    named = {"key_id": alice().key_id, "scrub_key_id": alice().key_id}
    raw = author(K.KEY, columns(K.KEY, alice().key_id, 0) | named, bob(), at_ms=AT_MS)
    verdict = admit(directory, K.KEY, raw)
    assert short(verdict) == (Outcome.REFUSED, Reason.KEY_CONFLICT)
    assert directory.public_key(alice().key_id) == alice().public
    assert len(directory.holdings(K.KEY)) == 1
    second = admit(directory, K.KEY, sample(K.KEY, alice(), 5))
    assert second.outcome is Outcome.ADMITTED, "another record of the same key is no conflict"


def test_outcomes_are_counted_by_path_outcome_and_reason(directory: DirectoryCore) -> None:
    know(directory)
    admit(directory, K.KEY, sample(K.KEY, alice()))
    admit(directory, K.FAMILY, b"{}", IMPORT)
    admit(directory, K.FAMILY, sample(K.FAMILY, bob()), UNATTRIBUTED)
    assert directory.outcome_counts() == {
        ("peer", "admitted", ""): 1,
        ("peer", "duplicate", ""): 1,
        ("import", "malformed", "wrong_wrapper"): 1,
        ("unattributed", "refused", "unattributed"): 1,
    }


def test_samples_are_what_these_tests_take_them_for() -> None:
    assert {parse_envelope(kind, sample(kind, alice())).signers for kind in EnvelopeKind} == {
        (alice().key_id,)
    }


def test_a_bridged_key_record_beside_the_true_one_conflicts_with_nothing(
    directory: DirectoryCore,
) -> None:
    """It says nothing here, whatever it says of an id that came in with the same batch."""
    theirs = columns(K.KEY, bob().key_id, 0) | {
        "key_id": alice().key_id,
        "pubkey_ed25519_base64": encode_base64(bob().public.ed25519),
        "pubkey_ml_dsa_65_base64": encode_base64(bob().public.mldsa65),
    }
    false = author(K.KEY, theirs, bob(), at_ms=AT_MS)
    batch = [sample(K.KEY, alice()), false]
    verdicts = directory.admit_many(K.KEY, batch, REGISTRY, now_ms=AT_MS)
    assert [verdict.outcome for verdict in verdicts] == [Outcome.ADMITTED] * 2
    assert directory.counts() == {(K.KEY, Shelf.FEDERATION): 1, (K.KEY, Shelf.BRIDGED): 1}
    assert directory.public_key(alice().key_id) == alice().public
