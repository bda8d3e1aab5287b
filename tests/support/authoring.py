"""A node that takes what verifies and no more: signing commands against it, rules left aside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ciris_mesh.cli.plain import dump
from ciris_mesh.directory.base import Source
from ciris_mesh.directory.sqlite import SqliteDirectory
from ciris_mesh.records.authoring import author_key
from ciris_mesh.records.checks import Verification, verify_bytes
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.hybrid import FederationKey, HybridPublicKey
from ciris_mesh.records.kinds import KINDS, EnvelopeKind
from ciris_mesh.records.resolve.base import Row, RowSet
from ciris_mesh.records.resolve.table import resolve
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.records.timestamps import to_unix_ns
from ciris_mesh.runtime.clock import BUILD_DATE_MS
from ciris_mesh.runtime.keyfiles import read_key_file
from support.cli import Shell, answering, shell


@dataclass(frozen=True)
class Held:
    """One record the node took."""

    kind: EnvelopeKind
    envelope: bytes
    verification: Verification

    @property
    def record(self) -> dict[str, Any]:
        wrapper: dict[str, Any] = json.loads(self.envelope)
        record: dict[str, Any] = wrapper[KINDS[self.kind].wrapper_field]
        return record

    @property
    def envelope_id(self) -> str:
        assert self.verification.verdict.envelope_id is not None
        return self.verification.verdict.envelope_id.hex()


@dataclass
class TakingNode:
    """Answers for one home, knowing that home's key and others.

    Attributes:
        lists: how often it was asked for a list of what it holds.
    """

    sh: Shell
    others: tuple[FederationKey, ...] = ()
    held: list[Held] = field(default_factory=list)
    lists: int = 0

    def key(self, key_id: str) -> HybridPublicKey | None:
        keys = {each.key_id: each.public for each in (key_of(self.sh), *self.others)}
        return keys.get(key_id)

    @property
    def last(self) -> Held:
        return self.held[-1]

    @contextmanager
    def running(self) -> Iterator[None]:
        handlers = {"admit": self._admit, "records": self._records, "record": self._record}
        handlers["resolve"] = self._resolve
        with answering(self.sh.home, handlers):
            yield

    def take(self, kind: EnvelopeKind, envelope: bytes) -> Held:
        verification = verify_bytes(kind, envelope, self.key)
        held = Held(kind, envelope, verification)
        if verification.verdict.outcome.value == "admitted":
            self.held.append(held)
        return held

    def _admit(self, asked: dict[str, Any]) -> Mapping[str, object]:
        held = self.take(EnvelopeKind(asked["kind"]), bytes.fromhex(asked["envelope_hex"]))
        verdict = held.verification.verdict
        return {
            "outcome": verdict.outcome.value,
            "reason": verdict.reason.value,
            "envelope_id": verdict.envelope_id.hex() if verdict.envelope_id else None,
            "detail": verdict.detail,
        }

    def _records(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        self.lists += 1
        rows = [
            {
                "position": position,
                "kind": held.kind.value,
                "envelope_id": held.envelope_id,
                "subject": parse_envelope(held.kind, held.envelope).subject,
                "shelf": "federation",
            }
            for position, held in enumerate(self.held, 1)
            if asked.get("kind") in (None, held.kind.value) and position > asked["after"]
        ]
        keys = [] if asked.get("kind") != "key" or asked["after"] else self._keys()
        return (rows + keys)[: asked["limit"]]

    def _resolve(self, asked: dict[str, Any]) -> Any:
        """What counts, when this node's own key is the only root steward."""
        rows = RowSet(Row(parse_envelope(it.kind, it.envelope)) for it in self.held)
        trust = Trust(root_stewards=frozenset([key_of(self.sh).key_id]))
        at_ns = to_unix_ns(asked["at"])
        answer = resolve(
            asked["question"], asked["subject"], rows, trust, at_ns,
            more=asked["more"], tau_partial_s=300.0,
        )  # fmt: skip
        return dump(answer)

    def _keys(self) -> list[dict[str, Any]]:
        return [
            {
                "position": 1000 + number,
                "shelf": "federation",
                "kind": "key",
                "subject": key.key_id,
                "envelope_id": f"{number:064x}",
            }
            for number, key in enumerate(self.others)
        ]

    def _record(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["kind"] == "key":
            return {"envelope": key_envelope(self.others[int(asked["envelope_id"], 16)]).decode()}
        (held,) = (each for each in self.held if each.envelope_id == asked["envelope_id"])
        return {"envelope": held.envelope.decode()}


def key_of(sh: Shell) -> FederationKey:
    """The key of a shell's node."""
    return read_key_file(sh.home.federation_key).key()


def key_envelope(key: FederationKey) -> bytes:
    """A key record of `key`."""
    return author_key(key, identity_ref=key.key_id, at_ms=BUILD_DATE_MS)


def introduce(sh: Shell, *others: Shell) -> None:
    """Let the stopped node of `sh` know the keys of the others, as an import would."""
    with_directory = SqliteDirectory(sh.home.database)
    try:
        for other in (sh, *others):
            raw = key_envelope(key_of(other))
            verdict = with_directory.admit(
                EnvelopeKind.KEY, raw, Source("own"), now_ms=BUILD_DATE_MS
            )
            assert verdict.outcome.value == "admitted", verdict
    finally:
        with_directory.close()


def shells(path: Path, *names: str) -> tuple[Shell, ...]:
    """A new home for each name."""
    return tuple(shell(path / name, name) for name in names)


def previewed(stderr: str) -> dict[str, Any]:
    """The JSON object that was shown before signing."""
    shown, _ = json.JSONDecoder().raw_decode(stderr, stderr.index("{\n"))
    assert isinstance(shown, dict)
    return shown
