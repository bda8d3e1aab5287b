"""An invite survives what people and programs do to a line, or says what is wrong with it."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ciris_mesh.errors import InviteError
from ciris_mesh.runtime.invite import Invite, make_invite, parse_invite
from ciris_mesh.runtime.keyids import suffix
from support import keys

FINGERPRINT = bytes(range(32))
ADDRESS = bytes(range(100, 116))
KEY_ID = f"field-3-{suffix(FINGERPRINT)}"
LINE = make_invite(KEY_ID, FINGERPRINT, ADDRESS)

fingerprints = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=16, max_size=16)
names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True)
other_ids = st.sampled_from(["registry-eu", "ciris-steward-production", "R", "x" * 128])


def sealed(payload: bytes) -> str:
    """An invite line around any payload, with the right length and checksum."""
    body = bytes([(len(payload) + 4) & 0xFF]) + payload
    body += hashlib.sha256(b"ciris-mesh/invite/v1" + body).digest()[:4]
    return "ciris-mesh:1:" + base64.b32encode(body).decode().rstrip("=").lower()


def refusal(text: str) -> InviteError:
    with pytest.raises(InviteError) as caught:
        parse_invite(text)
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_line_is_pinned() -> None:
    """Golden text: invites are kept in mail for years."""
    assert LINE == (
        "ciris-mesh:1:hqaaaaicamcakbqhbaequcymbuha6earcijrifiwc4mbsgq3dqor4h3em"
        "vtgo2djnjvwy3lon5yhc4ttmzuwk3defuz2jgx4je"
    )


@given(names, fingerprints, addresses)
def test_every_invite_round_trips(name: str, fingerprint: bytes, address: bytes) -> None:
    key_id = f"{name}-{suffix(fingerprint)}"
    line = make_invite(key_id, fingerprint, address)
    assert parse_invite(line) == Invite(key_id, fingerprint, address)
    assert line.startswith("ciris-mesh:1:")
    assert line == line.lower().strip()
    assert len(line) <= 160


@given(other_ids, fingerprints, addresses)
def test_ids_of_other_forms_round_trip(key_id: str, fingerprint: bytes, address: bytes) -> None:
    line = make_invite(key_id, fingerprint, address)
    assert parse_invite(line) == Invite(key_id, fingerprint, address)


def test_the_invite_of_a_real_key_names_it() -> None:
    key = keys.alice()
    line = make_invite(key.key_id, key.public.fingerprint, ADDRESS)
    assert parse_invite(line).key_id == key.key_id


@pytest.mark.parametrize("position", range(len(LINE)))
def test_no_single_changed_character_goes_unnoticed(position: int) -> None:
    for other in "abcdefghijklmnopqrstuvwxyz0123456789:-=+_ \n'":
        if other != LINE[position]:
            refusal(LINE[:position] + other + LINE[position + 1 :])


@pytest.mark.parametrize("position", range(len(LINE)))
def test_no_lost_doubled_or_swapped_character_goes_unnoticed(position: int) -> None:
    before, char, after = LINE[:position], LINE[position], LINE[position + 1 :]
    refusal(before + after)
    refusal(before + char + char + after)
    if after and after[0] != char:
        refusal(before + after[0] + char + after[1:])


@pytest.mark.parametrize("length", range(1, len(LINE)))
def test_every_cut_says_it_is_cut_short(length: int) -> None:
    error = refusal(LINE[:length])
    assert error.reason == "truncated"
    assert "whole line" in str(error)


@pytest.mark.parametrize(
    "pasted",
    [
        f"  {LINE}\n",
        f'"{LINE}"',
        f"'{LINE}'",
        f"`{LINE}`",
        f"<{LINE}>",
        f"\u201c{LINE}\u201d",
        f"\ufeff{LINE}\u200b",
        LINE.upper(),
        LINE.capitalize(),
        LINE.replace(":1:", ": 1 :"),
        "\r\n".join(LINE[at : at + 20] for at in range(0, len(LINE), 20)),
        "\n> ".join(LINE[at : at + 30] for at in range(0, len(LINE), 30)),
        " ".join(LINE),
    ],
)
def test_what_programs_put_around_a_line_does_not_matter(pasted: str) -> None:
    assert parse_invite(pasted) == Invite(KEY_ID, FINGERPRINT, ADDRESS)


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        ("", "not_an_invite", "ciris-mesh:1:"),
        ("hello", "not_an_invite", "ciris-mesh:1:"),
        ("lxma://0011:2233", "not_an_invite", "ciris-mesh invite"),
        ("ciris-mesh:2:abc", "newer_version", "upgrade"),
        ("ciris-mesh:17:", "newer_version", "version 17"),
        ("ciris-mesh:0:abc", "mistyped", "copy it again"),
        ("ciris-mesh:\u0662:abc", "mistyped", "copy it again"),
        ("ciris-mesh:x:abc", "mistyped", "copy it again"),
        (LINE + LINE, "mistyped", "'c'|':'|'-'"),
        (LINE + "aaaa", "mistyped", "copy it again"),
        (LINE[:40] + "8" + LINE[41:], "mistyped", "'8'"),
        ("x" * 5000, "too_long", "5000 characters"),
        (LINE + " " * 5000, "too_long", "one line"),
    ],
)
def test_each_mistake_has_its_name_and_advice(text: str, reason: str, says: str) -> None:
    error = refusal(text)
    assert error.reason == reason
    assert any(part in str(error) for part in says.split("|"))


@given(st.text(max_size=200) | st.text(max_size=200).map("ciris-mesh:1:".__add__))
@example("ciris-mesh:1:")
@example("ciris-mesh:1:aa")
@example("ciris-mesh:1:7777777777777777")
@example("ciris-mesh:" + "9" * 4000 + ":")
def test_hostile_text_raises_only_invite_error(text: str) -> None:
    refusal(text)


@given(st.binary(max_size=120))
def test_a_right_checksum_does_not_make_a_payload_right(payload: bytes) -> None:
    """Whoever can compute a checksum still gets nothing in but an id that fits its key."""
    line = sealed(payload)
    try:
        invite = parse_invite(line)
    except InviteError:
        return
    assert make_invite(invite.key_id, invite.fingerprint, invite.address) == line


@pytest.mark.parametrize(
    "ident", [b"\x00", b"", b"a b", b"\xff", b"x" * 129, f"bob-{suffix(bytes(32))}".encode()]
)
@pytest.mark.parametrize("form", [0, 1, 2])
def test_a_payload_with_a_wrong_id_is_refused(form: int, ident: bytes) -> None:
    if form == 0 and ident.startswith(b"bob-"):
        ident = ident.upper()  # else it is a name like any other
    error = refusal(sealed(bytes([form]) + FINGERPRINT + ADDRESS + ident))
    assert error.reason in {"mistyped", "truncated"}


def test_an_id_written_out_where_the_name_is_enough_is_another_spelling() -> None:
    """One node, one line: two invites can be compared by eye."""
    refusal(sealed(bytes([1]) + FINGERPRINT + ADDRESS + KEY_ID.encode()))


@pytest.mark.parametrize("key_id", [f"bob-{suffix(bytes(32))}", "", "two words"])
def test_no_invite_is_made_for_an_id_that_does_not_fit(key_id: str) -> None:
    with pytest.raises(InviteError):
        make_invite(key_id, FINGERPRINT, ADDRESS)
