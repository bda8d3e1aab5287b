"""Chains from a key to a pinned root: what makes one, and every way to fail."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciris_mesh.errors import LocalProtocolError
from ciris_mesh.records.checks import verify_bytes
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.hybrid import HybridPolicy
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome
from ciris_mesh.records.provenance import (
    CHAIN_LINKS_MAX,
    ChainLink,
    Provenance,
    ProvenanceReason,
    identity_types,
    link_of,
    root_of,
    verify_provenance_chain,
)
from support.chains import anchors, chain, chain_key, key_record, link, lookup_links
from support.forge import no_pqc, wrong_classical, wrong_pqc
from support.keys import alice
from support.records import sample

R = ProvenanceReason
PENDING = HybridPolicy.ALLOW_CLASSICAL_PENDING
CHAIN = chain("leaf", "middle", "root")
ROOTS = anchors("root")
IDS = tuple(it.key_id for it in CHAIN)


def judged(links: list[ChainLink], pins: dict[str, bytes] | None = None) -> ProvenanceReason:
    return verify_provenance_chain(links, ROOTS if pins is None else pins).reason


# -- what is rooted ------------------------------------------------------------------------------


def test_a_chain_to_a_pinned_steward_roots_its_leaf() -> None:
    answer = verify_provenance_chain(CHAIN, ROOTS)
    assert answer == Provenance(R.NONE, IDS)
    assert answer.root == chain_key("root").key_id


def test_a_root_is_rooted_in_itself() -> None:
    assert judged(CHAIN[2:]) is R.NONE


def test_every_link_is_a_record_admission_takes() -> None:
    raw = key_record("leaf", "middle")
    keys = {chain_key("middle").key_id: chain_key("middle").public}
    verdict = verify_bytes(EnvelopeKind.KEY, raw, keys.get).verdict
    assert verdict.outcome is Outcome.ADMITTED


@pytest.mark.parametrize("words", ["steward", "agent,steward", "partner,steward,witness"])
def test_steward_may_be_one_of_several_types(words: str) -> None:
    assert judged(chain("leaf", "root", root_type=words)) is R.NONE


@pytest.mark.parametrize(
    "words", ["agent", "", "stewards", "Steward", "agent, steward", "xsteward"]
)
def test_a_root_must_be_a_steward(words: str) -> None:
    assert judged(chain("leaf", "root", root_type=words)) is R.NOT_STEWARD


def test_identity_types_are_exact_words() -> None:
    assert identity_types("agent,steward") == {"agent", "steward"}
    assert identity_types("agent") == {"agent"}


# -- the shape -----------------------------------------------------------------------------------


def test_an_empty_chain_shows_nothing() -> None:
    assert verify_provenance_chain([], ROOTS) == Provenance(R.EMPTY)


def test_sixty_four_links_are_enough_and_sixty_five_too_many() -> None:
    names = [f"link{n}" for n in range(CHAIN_LINKS_MAX)]
    longest = chain(*names)
    pins = anchors(names[-1])
    assert verify_provenance_chain(longest, pins).reason is R.NONE
    assert root_of(longest[0].key_id, lookup_links(*longest), pins).reason is R.NONE
    longer = [link("leaf", "link0"), *longest]
    answer = verify_provenance_chain(longer, pins)
    assert answer.reason is R.TOO_LONG
    assert answer.at == longest[-1].key_id
    found = root_of(longer[0].key_id, lookup_links(*longer), pins)
    assert found.reason is R.TOO_LONG
    assert found.root is None


def test_a_link_signed_by_another_key_than_the_next_breaks_the_chain() -> None:
    answer = verify_provenance_chain([CHAIN[0], CHAIN[2]], ROOTS)
    assert answer == Provenance(R.BROKEN, (IDS[0], IDS[2]), IDS[0])


def test_a_self_signed_key_in_the_middle_is_refused() -> None:
    inner = link("middle", "middle", "steward")
    answer = verify_provenance_chain([CHAIN[0], inner, CHAIN[2]], ROOTS)
    assert answer.reason is R.SELF_SIGNED_INSIDE
    assert answer.at == inner.key_id


def test_a_chain_that_comes_back_is_a_cycle() -> None:
    one, other = link("leaf", "middle"), link("middle", "leaf")
    assert judged([one, other, one, other]) is R.CYCLE
    assert judged([CHAIN[0], CHAIN[0], *CHAIN[1:]]) is R.CYCLE


def test_a_chain_ends_self_signed() -> None:
    answer = verify_provenance_chain(CHAIN[:2], anchors("middle"))
    assert answer == Provenance(R.NOT_SELF_SIGNED, IDS[:2], IDS[1])


# -- the anchor ----------------------------------------------------------------------------------


def test_without_a_pin_no_chain_counts() -> None:
    for pins in ({}, anchors("leaf", "middle")):
        answer = verify_provenance_chain(CHAIN, pins)
        assert answer.reason is R.UNTRUSTED_ANCHOR
        assert answer.root is None


def test_the_pin_names_the_key_and_not_just_the_id() -> None:
    wrong = {chain_key("root").key_id: chain_key("middle").public.fingerprint}
    assert judged(CHAIN, wrong) is R.UNTRUSTED_ANCHOR


@pytest.mark.parametrize("half", ["ed25519", "mldsa65"])
def test_the_pin_covers_both_halves(half: str) -> None:
    other = getattr(chain_key("middle").public, half)
    impostor = replace(CHAIN[2], **{half: other})
    assert judged([*CHAIN[:2], impostor]) is R.UNTRUSTED_ANCHOR


@pytest.mark.parametrize("policy", list(HybridPolicy))
def test_a_root_without_a_post_quantum_key_is_no_anchor(policy: HybridPolicy) -> None:
    classical = replace(CHAIN[2], mldsa65=None)
    answer = verify_provenance_chain([*CHAIN[:2], classical], ROOTS, policy)
    assert answer.reason is R.UNTRUSTED_ANCHOR


def test_promoting_oneself_to_steward_leads_nowhere() -> None:
    mallory = link("mallory", "mallory", "steward")
    assert judged([mallory]) is R.UNTRUSTED_ANCHOR
    forged = replace(CHAIN[0], identity_type="steward")
    assert judged([replace(forged, is_bound=False), *CHAIN[1:]]) is R.COLUMNS_NOT_SIGNED


# -- signatures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (wrong_classical, R.LINK_SIGNATURE_INVALID),
        (wrong_pqc, R.LINK_SIGNATURE_INVALID),
        (no_pqc, R.LINK_NOT_HYBRID),
    ],
)
def test_every_link_needs_both_halves(at: int, spoil: object, expected: ProvenanceReason) -> None:
    assert callable(spoil)
    links = list(CHAIN)
    links[at] = replace(links[at], signature=spoil(links[at].signature))
    answer = verify_provenance_chain(links, ROOTS)
    assert answer == Provenance(expected, IDS, IDS[at])


@pytest.mark.parametrize("at", [0, 1, 2])
def test_pending_links_count_where_only_this_node_asks(at: int) -> None:
    links = list(CHAIN)
    links[at] = replace(links[at], signature=no_pqc(links[at].signature))
    assert verify_provenance_chain(links, ROOTS, PENDING).reason is R.NONE
    links[at] = replace(links[at], signature=wrong_classical(links[at].signature))
    assert verify_provenance_chain(links, ROOTS, PENDING).reason is R.LINK_SIGNATURE_INVALID


def test_a_parent_without_a_post_quantum_key_signs_nothing_hybrid() -> None:
    links = [CHAIN[0], replace(CHAIN[1], mldsa65=None), CHAIN[2]]
    assert judged(links) is R.LINK_NOT_HYBRID
    pending = verify_provenance_chain(links, ROOTS, PENDING)
    assert pending.reason is R.LINK_SIGNATURE_INVALID
    links[0] = replace(links[0], signature=no_pqc(links[0].signature))
    assert verify_provenance_chain(links, ROOTS, PENDING).reason is R.NONE


def test_a_signature_pasted_from_another_record_does_not_count() -> None:
    other = link("leaf2", "middle")
    links = [replace(CHAIN[0], signature=other.signature), *CHAIN[1:]]
    assert judged(links) is R.LINK_SIGNATURE_INVALID


def test_the_parents_key_verifies_not_the_childs() -> None:
    own = chain_key("leaf").sign(CHAIN[0].message)
    assert judged([replace(CHAIN[0], signature=own), *CHAIN[1:]]) is R.LINK_SIGNATURE_INVALID


def test_an_envelope_that_does_not_bind_its_columns_is_no_link() -> None:
    wrapper = json.loads(key_record("leaf", "middle"))
    wrapper["record"]["identity_type"] = "steward"
    altered = link_of(parse_envelope(EnvelopeKind.KEY, json.dumps(wrapper).encode()))
    assert not altered.is_bound
    answer = verify_provenance_chain([altered, *CHAIN[1:]], ROOTS)
    assert answer == Provenance(R.COLUMNS_NOT_SIGNED, IDS, IDS[0])


def test_a_link_is_a_key_record() -> None:
    raw = sample(EnvelopeKind.FAMILY, alice())
    with pytest.raises(LocalProtocolError):
        link_of(parse_envelope(EnvelopeKind.FAMILY, raw))


def test_a_key_without_a_post_quantum_half_reads_as_a_link() -> None:
    wrapper = json.loads(key_record("leaf", "middle"))
    del wrapper["record"]["pubkey_ml_dsa_65_base64"]
    assert link_of(parse_envelope(EnvelopeKind.KEY, json.dumps(wrapper).encode())).mldsa65 is None


# -- following a chain in the directory ----------------------------------------------------------


def test_the_directory_leads_to_the_root() -> None:
    answer = root_of(IDS[0], lookup_links(*CHAIN), ROOTS)
    assert answer == Provenance(R.NONE, IDS)


def test_an_unknown_key_is_named_and_waited_for() -> None:
    answer = root_of("nobody", lookup_links(*CHAIN), ROOTS)
    assert answer == Provenance(R.KEY_UNKNOWN, (), "nobody", ("nobody",))
    answer = root_of(IDS[0], lookup_links(CHAIN[0], CHAIN[2]), ROOTS)
    assert answer == Provenance(R.PARENT_UNKNOWN, IDS[:1], IDS[1], (IDS[1],))


def test_a_self_signed_key_nobody_pinned_is_not_rooted() -> None:
    fresh = link("fresh", "fresh")
    assert root_of(fresh.key_id, lookup_links(fresh), ROOTS).reason is R.NOT_STEWARD


def test_keys_that_sign_each_other_end_the_walk() -> None:
    ring = [link("leaf", "middle"), link("middle", "third"), link("third", "leaf")]
    answer = root_of(ring[0].key_id, lookup_links(*ring), ROOTS)
    assert answer.reason is R.CYCLE
    assert answer.path == tuple(it.key_id for it in ring)


def test_the_walk_is_bounded() -> None:
    asked: list[str] = []

    def endless(key_id: str) -> ChainLink:
        asked.append(key_id)
        return replace(CHAIN[0], key_id=key_id, scrub_key_id=f"{key_id}x")

    assert root_of("k", endless, ROOTS).reason is R.TOO_LONG
    assert len(asked) == CHAIN_LINKS_MAX


def test_a_directory_that_answers_with_another_key_is_not_followed() -> None:
    answer = root_of(IDS[0], lambda _: CHAIN[2], ROOTS)
    assert answer.reason is R.KEY_UNKNOWN


@given(st.permutations([*CHAIN, link("leaf2", "middle"), link("mallory", "mallory", "steward")]))
def test_only_the_set_of_records_matters(links: list[ChainLink]) -> None:
    assert root_of(IDS[0], lookup_links(*links), ROOTS) == Provenance(R.NONE, IDS)


@given(st.lists(st.sampled_from([*CHAIN, link("mallory", "mallory", "steward")]), max_size=6))
def test_no_other_arrangement_of_links_is_a_chain(links: list[ChainLink]) -> None:
    is_suffix = bool(links) and links == CHAIN[-len(links) :]
    assert (judged(links) is R.NONE) == is_suffix
