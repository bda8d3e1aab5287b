"""Which announce makes whom a registry node, and what becomes of all others."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.runtime.edgebindings import EdgeBindings
from ciris_mesh.transport.base import Address, EdgeHeard
from ciris_mesh.wire.edge_announce import EdgeAttestation, attest, encode_attestation
from support.keys import alice, bob, carol

PINNED = {alice().key_id: alice().public.ed25519, bob().key_id: bob().public.ed25519}


def rns_key(name: str) -> bytes:
    return hashlib.sha512(name.encode()).digest()


def at(name: str) -> Address:
    return Address(hashlib.sha256(rns_key(name)).digest()[:16])


def heard(key: FederationKey, epoch: int = 5, host: str = "one") -> EdgeHeard:
    data = encode_attestation(attest(key, rns_key(host), epoch))
    return EdgeHeard(at(host), rns_key(host), data, 1)


@pytest.fixture
def bindings() -> EdgeBindings:
    return EdgeBindings(PINNED)


def test_a_pinned_node_is_found_by_its_announce(bindings: EdgeBindings) -> None:
    assert bindings.address(alice().key_id) is None
    judged = bindings.judge(heard(alice()))
    assert (judged.reason, judged.key_id) == ("", alice().key_id)
    assert bindings.address(alice().key_id) == at("one")
    assert bindings.addresses() == {at("one"): alice().key_id}


def test_who_is_not_pinned_is_nobody(bindings: EdgeBindings) -> None:
    judged = bindings.judge(heard(carol()))
    assert (judged.reason, judged.key_id) == ("edge_unpinned", carol().key_id)
    assert bindings.addresses() == {}


def test_bytes_that_are_no_attestation(bindings: EdgeBindings) -> None:
    assert bindings.judge(EdgeHeard(at("one"), rns_key("one"), b"{}", 1)).reason == (
        "edge_unreadable"
    )


def test_another_key_under_a_pinned_name(bindings: EdgeBindings) -> None:
    """Self-consistent, and signed by somebody else."""
    own = attest(carol(), rns_key("one"), 5)
    lie = EdgeAttestation(alice().key_id, carol().public.ed25519, 5, own.signature)
    said = EdgeHeard(at("one"), rns_key("one"), encode_attestation(lie), 1)
    assert bindings.judge(said).reason == "edge_other_key"


def test_an_attestation_taken_from_another_identity(bindings: EdgeBindings) -> None:
    """Whoever copies what it heard cannot sign for the identity it announces with."""
    copied = heard(alice()).app_data
    said = EdgeHeard(at("thief"), rns_key("thief"), copied, 1)
    assert bindings.judge(said).reason == "edge_signature_invalid"


def test_a_wrong_epoch_is_not_signed(bindings: EdgeBindings) -> None:
    own = attest(alice(), rns_key("one"), 5)
    lie = EdgeAttestation(own.key_id, own.ed25519, 6, own.signature)
    said = EdgeHeard(at("one"), rns_key("one"), encode_attestation(lie), 1)
    assert bindings.judge(said).reason == "edge_signature_invalid"


def test_the_epoch_only_goes_up(bindings: EdgeBindings) -> None:
    assert bindings.judge(heard(alice(), 5, "one")).reason == ""
    assert bindings.judge(heard(alice(), 5, "one")).reason == "", "the same again is no replay"
    assert bindings.judge(heard(alice(), 5, "two")).reason == "edge_epoch_reused"
    assert bindings.judge(heard(alice(), 6, "two")).reason == ""
    assert bindings.judge(heard(alice(), 5, "one")).reason == "edge_rolled_back"
    assert bindings.addresses() == {at("two"): alice().key_id}


def test_one_identity_speaks_for_one_registry(bindings: EdgeBindings) -> None:
    assert bindings.judge(heard(alice())).reason == ""
    assert bindings.judge(heard(bob())).reason == "edge_address_taken"


def test_what_was_verified_outlives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "registries"
    EdgeBindings(PINNED, path).judge(heard(alice(), 6, "two"))
    again = EdgeBindings(PINNED, path)
    assert again.address(alice().key_id) == at("two")
    assert again.judge(heard(alice(), 5, "one")).reason == "edge_rolled_back"
    assert EdgeBindings({}, path).addresses() == {}, "who is pinned no more is nobody"


def said_by(key_id: str, by: FederationKey, epoch: int, host: str) -> EdgeHeard:
    """An announce in a registry's name, attested by the key that is, or was, pinned for it."""
    signature = attest(by, rns_key(host), epoch).signature
    own = EdgeAttestation(by.key_id, by.public.ed25519, epoch, signature)
    data = encode_attestation(dataclasses.replace(own, key_id=key_id))
    return EdgeHeard(at(host), rns_key(host), data, 1)


@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_what_an_old_key_attested_is_nothing_to_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, restarts: bool
) -> None:
    """Not the address, and not the epoch, however high who stole the key had set it."""
    monkeypatch.setattr(EdgeAttestation, "is_signed", lambda *_: True)
    path = tmp_path / "registries"
    name, new = alice().key_id, carol().public.ed25519
    bindings = EdgeBindings(PINNED, path)
    assert bindings.judge(heard(alice(), 2**60, "old")).reason == ""
    if restarts:
        bindings = EdgeBindings({name: new}, path)
    else:
        bindings.unpin(name)
        assert name not in path.read_text(), "the file forgets as well"
        bindings.pin(name, new)
    assert bindings.addresses() == {}
    assert bindings.judge(said_by(name, carol(), 7, "new")).reason == ""
    assert bindings.addresses() == {at("new"): name}


def test_a_row_left_in_the_file_counts_for_its_key_alone(tmp_path: Path) -> None:
    path = tmp_path / "registries"
    EdgeBindings(PINNED, path).judge(heard(alice(), 6, "two"))
    bindings = EdgeBindings({}, path)
    bindings.pin(alice().key_id, carol().public.ed25519)
    assert bindings.addresses() == {}
    bindings = EdgeBindings({}, path)
    bindings.pin(alice().key_id, alice().public.ed25519)
    assert bindings.addresses() == {at("two"): alice().key_id}


def test_an_address_that_was_taken_meanwhile_is_not_given_back(tmp_path: Path) -> None:
    path = tmp_path / "registries"
    EdgeBindings(PINNED, path).judge(heard(alice(), 6, "two"))
    kept = path.read_bytes()
    bindings = EdgeBindings({bob().key_id: PINNED[bob().key_id]}, path)
    assert bindings.judge(heard(bob(), 1, "two")).reason == ""
    path.write_bytes(kept)
    bindings.pin(alice().key_id, PINNED[alice().key_id])
    assert bindings.addresses() == {at("two"): bob().key_id}


def test_a_file_that_does_not_say_whose_key_it_was_waits_for_an_announce(tmp_path: Path) -> None:
    path = tmp_path / "registries"
    row = {"address": at("two").hex(), "epoch": 6}
    path.write_text(json.dumps({"schema": 1, "known": {alice().key_id: row}}))
    bindings = EdgeBindings(PINNED, path)
    assert bindings.addresses() == {}
    assert bindings.judge(heard(alice(), 5)).reason == ""


def test_who_is_unpinned_while_its_announce_is_verified_stays_so(
    bindings: EdgeBindings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpins(*_: object) -> bool:
        bindings.unpin(alice().key_id)
        return True

    monkeypatch.setattr(EdgeAttestation, "is_signed", unpins)
    assert bindings.judge(heard(alice())).reason == "edge_unpinned"
    assert bindings.addresses() == {}


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"known":{"a":{}}}', b'{"known":{"a":{"address":"00","epoch":1}}}'],
)
def test_a_damaged_file_only_costs_an_announce(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "registries"
    path.write_bytes(content)
    bindings = EdgeBindings(PINNED, path)
    assert bindings.addresses() == {}
    assert bindings.judge(heard(alice())).reason == ""
    assert json.loads(path.read_bytes())["known"][alice().key_id]["epoch"] == 5


def test_a_disk_that_is_full_stops_nobody(tmp_path: Path) -> None:
    bindings = EdgeBindings(PINNED, tmp_path / "missing" / "registries")
    assert bindings.judge(heard(alice())).reason == ""
    assert bindings.address(alice().key_id) == at("one")
