"""What a node says of itself is made once and kept; a bad clock or another key changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ciris_mesh.errors import ClockUntrusted, KeyFileError
from ciris_mesh.records.binding import verify_binding
from ciris_mesh.records.checks import verify_bytes
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason
from ciris_mesh.runtime.clock import BUILD_DATE_MS, ManualClock
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.ownself import (
    BINDING_LIFE_S,
    BINDING_RENEWAL_S,
    own_binding,
    own_key_record,
)
from support.keys import alice, bob, lookup

RNS_KEY, OTHER_RNS_KEY = b"r" * 64, b"o" * 64
PAST_MS = BUILD_DATE_MS - 1


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.storage.mkdir(parents=True)
    return made


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


# --- the key record -------------------------------------------------------------------------------


def test_the_key_record_is_valid_and_the_same_bytes_for_ever(
    home: Home, clock: ManualClock
) -> None:
    made = own_key_record(home, alice(), clock)
    assert verify_bytes(EnvelopeKind.KEY, made, lookup).verdict.outcome is Outcome.ADMITTED
    clock.advance(1e6)
    assert own_key_record(home, alice(), clock) == made
    clock.set_wall_ms(PAST_MS)
    assert own_key_record(home, alice(), clock) == made, "reading needs no clock"


def test_no_key_record_is_signed_with_a_clock_before_the_build_date(
    home: Home, clock: ManualClock
) -> None:
    clock.set_wall_ms(PAST_MS)
    with pytest.raises(ClockUntrusted):
        own_key_record(home, alice(), clock)
    assert list(home.storage.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_damaged_key_record_is_made_anew(home: Home, clock: ManualClock, content: bytes) -> None:
    (home.storage / "own-key-record").write_bytes(content)
    made = own_key_record(home, alice(), clock)
    assert own_key_record(home, alice(), clock) == made


def test_the_key_record_of_another_key_is_not_ours(home: Home, clock: ManualClock) -> None:
    """The federation key was replaced: the old record would get every handshake refused."""
    bobs = own_key_record(home, bob(), clock)
    assert own_key_record(home, alice(), clock) != bobs


def test_a_file_that_cannot_be_read_is_a_matter_for_a_person(
    home: Home, clock: ManualClock
) -> None:
    (home.storage / "own-key-record").mkdir()
    with pytest.raises(KeyFileError, match="own-key-record"):
        own_key_record(home, alice(), clock)


# --- the binding ----------------------------------------------------------------------------------


def test_the_binding_holds_for_a_year_and_survives_restarts(home: Home, clock: ManualClock) -> None:
    made = own_binding(home, alice(), RNS_KEY, clock)
    now_s = clock.wall_ms() // 1000
    assert verify_binding(made, alice().public, now_s=now_s) is Reason.NONE
    assert made.expiry_s == now_s + BINDING_LIFE_S
    clock.advance(BINDING_LIFE_S - BINDING_RENEWAL_S - 1)
    assert own_binding(home, alice(), RNS_KEY, clock) == made


def test_the_binding_is_renewed_in_time_with_a_higher_epoch(home: Home, clock: ManualClock) -> None:
    made = own_binding(home, alice(), RNS_KEY, clock)
    clock.advance(BINDING_LIFE_S - BINDING_RENEWAL_S + 1)
    renewed = own_binding(home, alice(), RNS_KEY, clock)
    assert renewed.epoch > made.epoch
    assert renewed.expiry_s > made.expiry_s


def test_a_clock_before_the_build_date_keeps_the_old_binding_and_signs_no_new_one(
    home: Home, clock: ManualClock
) -> None:
    clock.set_wall_ms(PAST_MS)
    with pytest.raises(ClockUntrusted):
        own_binding(home, alice(), RNS_KEY, clock)
    clock.set_wall_ms(BUILD_DATE_MS)
    made = own_binding(home, alice(), RNS_KEY, clock)
    clock.set_wall_ms(PAST_MS)
    assert own_binding(home, alice(), RNS_KEY, clock) == made


def test_a_new_identity_gets_a_higher_epoch_even_when_the_clock_was_set_back(
    home: Home, clock: ManualClock
) -> None:
    """Peers refuse a lower epoch; a node with a hasty clock once would be shut out for years."""
    clock.set_wall_ms(BUILD_DATE_MS + 10**10)
    first = own_binding(home, alice(), RNS_KEY, clock)
    clock.set_wall_ms(BUILD_DATE_MS)
    moved = own_binding(home, alice(), OTHER_RNS_KEY, clock)
    assert moved.rns_public_key == OTHER_RNS_KEY
    assert moved.epoch == first.epoch + 1
    assert own_binding(home, alice(), OTHER_RNS_KEY, clock) == moved


def test_another_key_gets_a_binding_of_its_own(home: Home, clock: ManualClock) -> None:
    own_binding(home, bob(), RNS_KEY, clock)
    assert own_binding(home, alice(), RNS_KEY, clock).key_id == alice().key_id


def test_a_damaged_binding_is_signed_anew(
    home: Home, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    made = own_binding(home, alice(), RNS_KEY, clock)
    path = home.storage / "own-binding"
    path.write_bytes(path.read_bytes()[:-1])
    assert own_binding(home, alice(), RNS_KEY, clock).rns_public_key == made.rns_public_key
    assert "binding.damaged" in caplog.text
