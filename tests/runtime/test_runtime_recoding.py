"""What goes as a Deliver to one peer goes as a Records to another, and comes out the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciris_mesh.errors import BatchRefused, LocalProtocolError
from ciris_mesh.protocol.limits import DELIVER_BUDGET_BYTES, DELIVER_ENVELOPES_MAX
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.recoding import NO_ROUND, batch_of, delivers_of, key_record_of, records_of
from ciris_mesh.wire.mesh_records import Records
from ciris_mesh.wire.messages import Deliver
from ciris_mesh.wire.transcode import LIMITS, encode_batch, plain_batch
from support.keys import alice, key
from support.records import sample
from support.transcode import valid_records

KEY, FAMILY = EnvelopeKind.KEY, EnvelopeKind.FAMILY


@given(st.sampled_from(EnvelopeKind), st.lists(st.binary(max_size=40), min_size=1), st.booleans())
@settings(max_examples=50)
def test_any_deliver_comes_out_as_it_went_in(
    kind: EnvelopeKind, envelopes: list[bytes], is_slow: bool
) -> None:
    deliver = Deliver(kind, tuple(envelopes))
    message = records_of(deliver, is_slow=is_slow)
    assert message is not None
    assert message.round_id == NO_ROUND
    assert delivers_of(message) == [deliver]


def test_bytes_are_saved_where_they_are_dear_and_time_where_not() -> None:
    deliver = Deliver(FAMILY, tuple(sample(FAMILY, alice(), n) for n in range(4)))
    slow, fast = (records_of(deliver, is_slow=is_slow) for is_slow in (True, False))
    assert slow is not None
    assert fast is not None
    given_bytes = sum(map(len, deliver.envelopes))
    assert len(fast.batch) < 0.8 * given_bytes, "letters that say six bits take six"
    assert len(slow.batch) < 0.7 * given_bytes


def test_nothing_stays_a_deliver_because_a_batch_cannot_name_its_kind() -> None:
    assert records_of(Deliver(KEY, ()), is_slow=False) is None


@pytest.mark.parametrize("code", [encode_batch, plain_batch])
def test_records_of_several_kinds_become_a_deliver_for_each_run(code: object) -> None:
    items = [(KEY, b"a"), (KEY, b"b"), (FAMILY, b"c"), (KEY, b"d")]
    assert delivers_of(Records(9, code(items))) == [  # type: ignore[operator]
        Deliver(KEY, (b"a", b"b")),
        Deliver(FAMILY, (b"c",)),
        Deliver(KEY, (b"d",)),
    ]


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (encode_batch([]), "truncated"),
        (b"\x02", "unknown_table"),
        (b"\x01\xff", "not_deflated"),
        (encode_batch(valid_records()[:3])[:-1], "truncated"),
        (encode_batch(valid_records()[:3]) + b"x", "trailing_bytes"),
    ],
)
def test_what_is_no_batch_or_holds_nothing_is_refused_by_name(batch: bytes, reason: str) -> None:
    with pytest.raises(BatchRefused) as caught:
        delivers_of(Records(0, batch))
    assert caught.value.reason == reason


def test_what_a_coordinator_serves_fits_one_batch() -> None:
    assert LIMITS.records >= DELIVER_ENVELOPES_MAX
    assert LIMITS.decoded_bytes >= DELIVER_BUDGET_BYTES + LIMITS.record_bytes


def test_more_than_a_batch_holds_is_our_own_mistake() -> None:
    too_many = Deliver(KEY, (b"x",) * (LIMITS.records + 1))
    for is_slow in (False, True):
        with pytest.raises(LocalProtocolError):
            records_of(too_many, is_slow=is_slow)


def test_a_key_record_of_a_handshake_comes_as_it_is_or_coded() -> None:
    record = sample(EnvelopeKind.KEY, key("alice"))
    coded = batch_of([(EnvelopeKind.KEY, record)], is_slow=True)
    assert len(coded) < 0.7 * len(record)
    assert key_record_of(record) == key_record_of(coded) == record


def test_what_is_no_key_record_is_refused_in_a_handshake() -> None:
    record, other = sample(EnvelopeKind.KEY, key("alice")), sample(EnvelopeKind.FAMILY, key("bob"))
    for items in ([(EnvelopeKind.FAMILY, other)], [(EnvelopeKind.KEY, record)] * 2):
        with pytest.raises(BatchRefused):
            key_record_of(batch_of(items, is_slow=True))
    with pytest.raises(BatchRefused):
        key_record_of(b"\x01garbage")
