"""Which keys `record verify` knows: those of this node's own store, and those of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.cli.node import ask, locked_home, open_directory, pinned_keys
from ciris_mesh.directory.base import ReplicationDirectory, Shelf
from ciris_mesh.errors import MalformedRecord, NodeNotRunning
from ciris_mesh.records.checks import public_key_of
from ciris_mesh.records.envelope import parse_envelope
from ciris_mesh.records.hybrid import HybridPublicKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.home import find_home

_PAGE: Final = 500
#: A file of 10,000 hybrid keys has 60 MB; more is no list of keys a person keeps.
KEYS_FILE_BYTES_MAX: Final = 64 * 1024 * 1024

Lookup = Callable[[str], HybridPublicKey | None]


class Keyring:
    """Keys from a file and, behind them, from this node.

    The node's keys are read when the first signer is looked up, so a filter without a home, or
    with records that fail earlier, opens nothing. The home is not held while the filter waits.
    """

    def __init__(self, app: App, keys_file: Path | None) -> None:
        self._app = app
        self._from_file = {} if keys_file is None else read_keys(keys_file)
        self._from_node: Lookup | None = None
        home = find_home(app.config_dir)
        self._has_home = home.exists
        self.pinned = pinned_keys(home) if self._has_home else {}

    def lookup(self, key_id: str) -> HybridPublicKey | None:
        """Return the key behind `key_id`, or None.

        Raises:
            OperatorError: the node's store cannot be read.
        """
        found = self._from_file.get(key_id)
        if found is not None or not self._has_home:
            return found
        if self._from_node is None:
            self._from_node = self._open()
        return self._from_node(key_id)

    def _open(self) -> Lookup:
        try:
            return _RunningNode(self._app).lookup
        except NodeNotRunning:
            with locked_home(self._app) as home, open_directory(home) as directory:
                keys = _keys_of(list(_stored(directory)))
            return keys.get


def _stored(directory: ReplicationDirectory) -> Iterator[bytes]:
    after = 0
    while page := list(directory.rows(EnvelopeKind.KEY, limit=_PAGE, after=after)):
        yield from (row.envelope for _, row in page if row.shelf is Shelf.FEDERATION)
        after = page[-1][0]


class _RunningNode:
    """Keys fetched one by one from the node; only the list of their ids is read at once."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._ids = {row["subject"]: row["envelope_id"] for row in self._rows()}
        self._known: dict[str, HybridPublicKey] = {}

    def _rows(self) -> Iterator[dict[str, Any]]:
        after = 0
        while page := ask(self._app, "records", kind="key", limit=_PAGE, after=after):
            yield from (row for row in page if row["shelf"] == "federation")
            after = page[-1]["position"]

    def lookup(self, key_id: str) -> HybridPublicKey | None:
        if key_id not in self._known and key_id in self._ids:
            row = ask(self._app, "record", kind="key", envelope_id=self._ids[key_id])
            self._known |= _keys_of([row["envelope"].encode()])
        return self._known.get(key_id)


def read_keys(path: Path) -> dict[str, HybridPublicKey]:
    """Read key envelopes, one a line. The file is the operator's word: nothing is verified.

    Raises:
        Failure: too long, or a line is no key record; the text names the line.
    """
    if path.stat().st_size > KEYS_FILE_BYTES_MAX:
        raise Failure(f"{path} is longer than {KEYS_FILE_BYTES_MAX} bytes")
    keys: dict[str, HybridPublicKey] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                keys |= _keys_of([line.strip()])
            except MalformedRecord as exc:
                raise Failure(f"{path} line {number} is no key record: {exc}") from exc
    return keys


def _keys_of(envelopes: list[bytes]) -> dict[str, HybridPublicKey]:
    keys: dict[str, HybridPublicKey] = {}
    for raw in envelopes:
        envelope = parse_envelope(EnvelopeKind.KEY, raw)
        public = public_key_of(envelope)
        if public is not None:
            keys[str(envelope.record["key_id"])] = public
    return keys
