"""Which store a home's records are in: its own file, or a PostgreSQL database it names.

An engine is loaded when it is the one: most nodes never load a client for a server.
"""

from __future__ import annotations

from pathlib import Path

from ciris_mesh.directory.core import DirectoryCore
from ciris_mesh.records.rules.base import Trust
from ciris_mesh.runtime.config import Config
from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.keyfiles import read_key_file


def open_store(
    place: str | Path,
    *,
    node: str,
    trust: Trust | None = None,
    shared: bool = False,
    follow: bool = True,
) -> DirectoryCore:
    """The directory at a path or in a database.

    Args:
        node: the name of this node in a database.
        shared: other nodes may use that database.
        follow: look by itself for what they write.

    Raises:
        DirectoryError: it cannot be used; the text says what to do.
    """
    if isinstance(place, str) and "://" in place:
        from ciris_mesh.directory.following import FOLLOW_INTERVAL_S, PostgresDirectory

        interval_s = FOLLOW_INTERVAL_S if follow else 0.0
        return PostgresDirectory(
            place, node=node, shared=shared, trust=trust, follow_interval_s=interval_s
        )
    from ciris_mesh.directory.sqlite import SqliteDirectory

    return SqliteDirectory(Path(place), trust=trust)


def place_of(home: Home, config: Config) -> str | Path:
    """Where this home's records are: a URL or a path."""
    return config.store.url or home.database


def open_home_store(
    home: Home, config: Config, *, trust: Trust | None = None, follow: bool = True
) -> DirectoryCore:
    """The directory of a home, as its configuration says.

    Raises:
        DirectoryError: it cannot be used; the text says what to do.
        KeyFileError: a database is named and the key that names the node in it cannot be read.
    """
    place = place_of(home, config)
    node = read_key_file(home.federation_key).key().key_id if isinstance(place, str) else ""
    return open_store(place, node=node, trust=trust, shared=config.store.shared, follow=follow)
