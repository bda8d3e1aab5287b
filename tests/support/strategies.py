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
from ciris_mesh.wire.mesh_reconcile import (
    PRIMES,
    WIDTHS,
    BucketDigests,
    Extend,
    Failed,
    IdList,
    More,
    Narrow,
    ReconcileMessage,
    Sketch,
    Symbols,
    Turn,
    Wants,
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

# --- reconciliation ---

rounds = st.integers(0, 2**16 - 1)
salts = st.binary(min_size=4, max_size=4)
widths = st.sampled_from(WIDTHS)


def _symbols(width: int, *, multiple: int = 1) -> st.SearchStrategy[tuple[int, ...]]:
    one = st.integers(0, PRIMES[width] - 1)
    return st.integers(1, max(1, 8 // multiple)).flatmap(
        lambda each: st.tuples(*[one] * (each * multiple))
    )


@st.composite
def sketches(draw: st.DrawFn) -> Sketch:
    width, cells = draw(widths), draw(st.sampled_from((1, 1, 2, 4, 8)))
    count = st.integers(0, 2**32 - 1 if cells == 1 else 255)
    return Sketch(
        draw(rounds),
        draw(salts),
        width,
        draw(st.booleans()) if cells == 1 else False,
        draw(st.tuples(*[count] * cells)),
        draw(_symbols(width, multiple=cells)),
    )


def _ascending(below: int, *, least: int = 0) -> st.SearchStrategy[tuple[int, ...]]:
    numbers = st.lists(st.integers(0, below - 1), min_size=least, max_size=20, unique=True)
    return numbers.map(sorted).map(tuple)


more_symbols = widths.flatmap(
    lambda width: st.builds(Symbols, rounds, st.just(width), st.integers(0, 255), _symbols(width))
)
id_lists = widths.flatmap(
    lambda width: st.builds(
        IdList,
        rounds,
        salts,
        st.just(width),
        st.lists(st.integers(0, PRIMES[width] - 1), max_size=20).map(sorted).map(tuple),
    )
)
reconcile_messages: st.SearchStrategy[ReconcileMessage] = st.one_of(
    sketches(),
    st.builds(More, rounds, st.one_of(st.just(b""), st.binary(min_size=64, max_size=64))),
    st.builds(Extend, rounds, st.integers(1, 256), _ascending(256, least=1)),
    more_symbols,
    st.builds(Wants, rounds, salts, st.binary(min_size=1, max_size=20)),
    id_lists,
    st.builds(Turn, rounds),
    st.builds(Narrow, rounds, st.integers(0, 2**32 - 1), _ascending(3_328)),
    st.builds(
        BucketDigests, rounds, st.lists(st.binary(min_size=3, max_size=3), min_size=1).map(b"".join)
    ),
    st.builds(Failed, rounds),
)

mesh_messages: st.SearchStrategy[MeshMessage] = st.one_of(
    hellos, st.just(BindingWanted()), binding_offers, digests, refusals, reconcile_messages
)

messages: st.SearchStrategy[AnyMessage] = st.one_of(replication_messages, mesh_messages)
