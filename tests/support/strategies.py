"""Hypothesis strategies for everything that can be said on the wire.

Sizes are those of upstream's own property tests: up to 15 refs, 31 wants, 7 envelopes of 255 bytes.
"""

from __future__ import annotations

from hypothesis import strategies as st

from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.wire.frame import AnyMessage
from ciris_mesh.wire.mesh import (
    BindingOffer,
    BindingWanted,
    Digests,
    Hello,
    KindDigest,
    MeshMessage,
    Refusal,
)
from ciris_mesh.wire.messages import (
    SEQ_MAX,
    Deliver,
    Diff,
    EnvelopeRef,
    Fetch,
    ReplicationMessage,
    Summary,
)

kinds = st.sampled_from(tuple(EnvelopeKind))
envelope_ids = st.binary(min_size=32, max_size=32)
seqs = st.integers(0, SEQ_MAX)
refs = st.builds(EnvelopeRef, envelope_ids, seqs)
envelopes = st.binary(max_size=255)
_wants = st.lists(envelope_ids, max_size=31).map(tuple)

summaries = st.builds(Summary, kinds, st.lists(refs, max_size=15).map(tuple))
diffs = st.builds(Diff, kinds, _wants)
fetches = st.builds(Fetch, kinds, _wants)
delivers = st.builds(Deliver, kinds, st.lists(envelopes, max_size=7).map(tuple))
replication_messages: st.SearchStrategy[ReplicationMessage] = st.one_of(
    summaries, diffs, fetches, delivers
)

short_hashes = st.binary(min_size=8, max_size=8)
#: Any subset of the kinds, in wire order.
kind_sets = st.sets(kinds).map(
    lambda chosen: tuple(kind for kind in EnvelopeKind if kind in chosen)
)
wire_versions = st.sets(st.integers(0, 0xFF), min_size=1, max_size=8).map(
    lambda chosen: tuple(sorted(chosen))
)
hellos = st.builds(
    Hello,
    wire_versions,
    st.integers(0, 2**16 - 1),
    kind_sets,
    short_hashes,
    short_hashes,
    st.integers(0, 2**16 - 1),
    short_hashes,
    short_hashes,
)
binding_offers = st.builds(BindingOffer, st.binary(max_size=300), st.binary(max_size=300))
_counts = st.integers(0, 2**32 - 1)


def _with_entries(chosen: tuple[EnvelopeKind, ...]) -> st.SearchStrategy[Digests]:
    entries = st.tuples(
        *(st.builds(KindDigest, st.just(kind), _counts, short_hashes) for kind in chosen)
    )
    return st.builds(Digests, entries, st.booleans())


digests = kind_sets.flatmap(_with_entries)
refusals = st.builds(
    Refusal, st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=32)
)
mesh_messages: st.SearchStrategy[MeshMessage] = st.one_of(
    hellos, st.just(BindingWanted()), binding_offers, digests, refusals
)

messages: st.SearchStrategy[AnyMessage] = st.one_of(replication_messages, mesh_messages)
