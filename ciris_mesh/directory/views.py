"""What rules look at of many records, read once each.

A group may have thousands of rosters, and each judgement about it asks for all of them. Reading one
from its bytes takes half a millisecond; what rules need of it is small, and never changes under an
envelope id. So that is kept here, beside the rules, which stay plain functions of what they are
told.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar, cast

from ciris_mesh.directory.base import StoredRow
from ciris_mesh.directory.store import Name, Store
from ciris_mesh.records.envelope import Envelope, parse_envelope
from ciris_mesh.records.kinds import EnvelopeKind

#: Text of the records behind what is kept: views of it take up to three times as much memory.
#: Enough for some thousand rosters of a few members each.
VIEWED_BYTES_MAX: Final = 4 << 20
#: Both halves of a signature as text, with what names its signer: no view holds it.
SIGNATURE_BYTES: Final = 4_600
#: A view costs this much however short its record.
VIEW_BYTES_MIN: Final = 512

#: Ids read at a time: 20 kB.
IDS_PAGE: Final = 256

_View = TypeVar("_View")
_Read = Callable[[Envelope], Any]
_Place = tuple[_Read, EnvelopeKind, bytes]


class Views:
    """Views of federation-shelf records. Thread-safe; the least used make room."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()  # guards what is kept; never held while reading
        self._kept: OrderedDict[_Place, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def of(self, token: str, read: Callable[[Envelope], _View]) -> Iterator[tuple[Name, _View]]:
        """Each record that answers to `token`, and what `read` makes of it, in admission order."""
        after = 0
        while page := self._store.ids(token, limit=IDS_PAGE, after=after):
            for after, kind, envelope_id in page:  # noqa: B007 (the last one begins the next page)
                place = read, kind, envelope_id
                with self._lock:
                    kept = self._kept.get(place)
                    if kept is not None:
                        self._kept.move_to_end(place)
                if kept is not None:
                    yield (kind, envelope_id), cast(_View, kept[0])
                elif (row := self._store.get(kind, envelope_id)) is not None:
                    view = read(parse_envelope(kind, row.envelope))
                    self._keep(place, view, row)
                    yield (kind, envelope_id), view
            if len(page) < IDS_PAGE:
                return

    def _keep(self, place: _Place, view: Any, row: StoredRow) -> None:
        size_bytes = max(VIEW_BYTES_MIN, len(row.envelope) - SIGNATURE_BYTES * len(row.signers))
        with self._lock:
            _, before = self._kept.pop(place, (None, 0))
            self._kept[place] = view, size_bytes
            self._bytes += size_bytes - before
            while self._bytes > VIEWED_BYTES_MAX:
                _, (_, freed) = self._kept.popitem(last=False)
                self._bytes -= freed
