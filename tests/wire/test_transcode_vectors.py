"""Table 1 is frozen: pinned bytes both ways, pinned sizes, and a digest over the table itself.

`pytest tests/wire/test_transcode_vectors.py --rewrite -n 0` codes the records of the golden file
anew; the records themselves stay. The very first time they come from `mesh_records.json`.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from base64 import b64decode, b64encode
from typing import Any

import pytest

from ciris_mesh.errors import BatchRefused
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.wire.transcode import TABLE_VERSION, decode_batch, encode_batch
from ciris_mesh.wire.transcode.grammar import Mirror, Op, Shape, Slot
from ciris_mesh.wire.transcode.shapes import KIND_NUMBERS, WRAPPERS
from ciris_mesh.wire.transcode.words import DICTIONARY
from support import crpl
from support.golden import vectors
from support.transcode import Item, inflated

FILE = "mesh_transcode.json"

#: What each signed record of the golden file measures alone, and all of them in one batch. Their
#: JSON is 5 to 11 kB each; families and the like have two signers here.
ALONE = {
    "key": 5380,
    "attestation": 3427,
    "revocation": 3422,
    "identity_occurrence": 6749,
    "family": 6801,
    "community": 6805,
    "identity_occurrence_revocation": 6776,
    "family_membership_revocation": 6788,
    "community_membership_revocation": 6785,
    "location_proof": 6766,
    "organization": 3426,
    "org_membership": 3424,
    "partner_record": 6867,
}
TOGETHER = 72884


def first_records() -> list[dict[str, str]]:
    signed = [
        {"kind": one["kind"], "envelope": one["envelope"]}
        for one in vectors("mesh_records")["records"]
    ]
    others = [
        {"kind": one["kind"], "envelope": one["envelope_bytes_utf8"]}
        for one in vectors("records_admitted_by_edge_13.15.0")["records"]
        if len(one["envelope_bytes_utf8"]) < 1000
    ]
    return signed + others + [{"kind": kind, "envelope": text} for kind, text in ODD]


#: Spellings nobody would choose.
ODD = (
    ("key", '{"record":{"valid_from":"2026-01-01 00:00:00.50-08:30","scrub_key_id":1E5},"a":[-0]}'),
    ("attestation", '{"attestation":{"weight":0.50,"roles":[0,255],"tier":null,"x":{"y":[]}}}'),
    ("family", '{"family": {}}'),
    ("community", "no JSON at all"),
    ("location_proof", ""),
    ("organization", '{"organization":{"name":"sha256:00112233445566778899aabb","org_id":"é\\n"}}'),
)


def items_of(names: list[int], records: list[dict[str, str]]) -> list[Item]:
    return [
        (EnvelopeKind(records[n]["kind"]), records[n]["envelope"].encode("utf-8")) for n in names
    ]


def batches(count: int) -> list[list[int]]:
    """Each record without a signature alone, then all in one."""
    return [*([n] for n in range(len(KINDS), count)), list(range(count))]


def golden_file(records: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "provenance": "Made by ciris_mesh (tests/wire/test_transcode_vectors.py --rewrite)."
        " records: envelopes as UTF-8. batches: which of them in which order, and the coded bytes"
        " in base64. Deflate has many spellings: a decoder must take these bytes, an encoder may"
        " write others that a decoder takes.",
        "table_version": TABLE_VERSION,
        "records": records,
        "batches": [
            {"records": names, "batch_base64": b64encode(encoded).decode()}
            for names in batches(len(records))
            for encoded in [encode_batch(items_of(names, records))]
        ],
    }


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest) -> Any:
    path = crpl.VECTORS / FILE
    if request.config.getoption("--rewrite"):
        records = json.loads(path.read_bytes())["records"] if path.exists() else first_records()
        path.write_text(json.dumps(golden_file(records), indent=1, ensure_ascii=False) + "\n")
    return json.loads(path.read_bytes())


def test_the_golden_batches_are_read_byte_for_byte(golden: Any) -> None:
    assert [case["records"] for case in golden["batches"]] == batches(len(golden["records"]))
    for case in golden["batches"]:
        items = items_of(case["records"], golden["records"])
        assert decode_batch(b64decode(case["batch_base64"])) == tuple(items), case["records"]


def test_the_golden_batches_are_written_stream_for_stream(golden: Any) -> None:
    for case in golden["batches"]:
        written = encode_batch(items_of(case["records"], golden["records"]))
        golden_bytes = b64decode(case["batch_base64"])
        assert inflated(written) == inflated(golden_bytes), case["records"]
        if "ng" not in zlib.ZLIB_RUNTIME_VERSION:  # zlib-ng deflates otherwise
            assert written == golden_bytes, case["records"]


def test_signed_records_measure_what_they_did(golden: Any) -> None:
    signed = items_of(list(range(len(KINDS))), golden["records"])
    assert {kind.value: len(encode_batch([(kind, raw)])) for kind, raw in signed} == ALONE
    assert len(encode_batch(signed)) == TOGETHER


def test_every_kind_is_in_the_golden_file_signed(golden: Any) -> None:
    assert [one["kind"] for one in golden["records"][:13]] == [kind.value for kind in EnvelopeKind]
    for one in golden["records"][:13]:
        assert len(one["envelope"]) > 4400, "an ML-DSA-65 signature"


# --- the table ---


def spelled(shape: Shape) -> Any:
    return [[slot.name, int(slot.op), argument(slot)] for slot in shape.slots]


def argument(slot: Slot) -> Any:
    match slot.arg:
        case Shape():
            return spelled(slot.arg)
        case Mirror(column, is_time, is_float):
            return [column, is_time, is_float]
        case None | bool() | int() | str():
            return slot.arg
        case other:
            return repr(other)


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def test_table_1_is_what_it_was() -> None:
    """A change here is a change of bytes on the air: it needs a new table version."""
    assert TABLE_VERSION == 1
    assert (
        digest({kind.value: spelled(shape) for kind, shape in WRAPPERS.items()})
        == "43805de73a695aa9"
    )
    assert hashlib.sha256(DICTIONARY).hexdigest()[:16] == "8a4a51e537f403e6"
    assert digest({op.name: int(op) for op in Op}) == "a727df1376947af0"


def test_the_table_numbers_and_names_kinds_as_the_records_do() -> None:
    for kind, spec in KINDS.items():
        assert KIND_NUMBERS[kind] == spec.number
        wrapper = WRAPPERS[kind]
        record = wrapper.slots[0]
        assert record.name == spec.wrapper_field
        assert isinstance(record.arg, Shape)
        assert [slot.name for slot in record.arg.slots] == [field.name for field in spec.fields]


def test_no_prediction_rests_on_one_that_comes_later() -> None:
    """Copies are of columns that are said; only mirrors and hashes may follow from copies."""
    for wrapper in WRAPPERS.values():
        record = wrapper.slots[0].arg
        assert isinstance(record, Shape)
        said = {slot.name: slot.op for slot in record.slots}
        for slot in [*record.slots, *nested(record)]:
            if slot.op is Op.COPY:
                assert said[str(slot.arg)] in (Op.KEY, Op.TIME, Op.OWN_ID), slot.name


def nested(shape: Shape) -> list[Slot]:
    return [
        inner for slot in shape.slots if isinstance(slot.arg, Shape) for inner in slot.arg.slots
    ]


def test_another_table_is_not_guessed_at(golden: Any) -> None:
    batch = bytearray(b64decode(golden["batches"][0]["batch_base64"]))
    for version in (0, 2, 255):
        batch[0] = version
        with pytest.raises(BatchRefused) as caught:
            decode_batch(bytes(batch))
        assert caught.value.reason == "unknown_table"


# --- by hand ---


def test_a_batch_spelt_by_hand() -> None:
    """The layout byte by byte, so that it does not rest on the encoder's word alone."""
    envelope = (
        b'{"location_proof":{"subject_key_id":"alice","cell_id":"872830828ffffff",'
        b'"cell_resolution":7,"asserted_at":"2026-01-01T00:00:01.500Z"}}'
    )
    ops = [
        10,  # a location proof, shaped
        1,  # its wrapper: the record is as predicted
        *[1, 1, 1, 1],  # subject, cell, resolution, time
        *[1, 1, 1],  # no valid_until, attestation_evidence, withdrawn_at
        2,  # no row hash, which is unusual
        0,  # end of the record
        2,  # no authority
        0,  # end of the wrapper
    ]
    nums = [1]  # the subject is an id of no particular form
    text = b"alice\xff"
    raw = bytes.fromhex("872830828ffffff0") + b"\xb8\x17"  # 1,500 ms after 2026 began, zigzag
    low = bytes([len(ops), len(nums), *ops, *nums]) + text
    written = encode_batch([(EnvelopeKind.LOCATION_PROOF, envelope)])
    assert inflated(written) == (low, raw)
    assert written[0] == 1
    assert decode_batch(written) == ((EnvelopeKind.LOCATION_PROOF, envelope),)
