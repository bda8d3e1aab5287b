"""How commands reach a node: over its control socket, or its home when nothing runs there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ciris_mesh.cli.app import App
from ciris_mesh.errors import AlreadyRunning, NodeNotRunning
from ciris_mesh.runtime.asking import call
from ciris_mesh.runtime.home import Home, HomeLock, find_home

if TYPE_CHECKING:
    from ciris_mesh.directory.base import ReplicationDirectory


def node_home(app: App) -> Home:
    """Return the home the options name.

    Raises:
        ConfigError: there is none; the text says how to create it.
    """
    return find_home(app.config_dir).require()


def ask(app: App, op: str, *, timeout_s: float = 10.0, **arguments: Any) -> Any:
    """Ask the running node.

    Raises:
        NodeNotRunning: none answers.
        ControlError: it answered with an error.
        Failure: a node elsewhere was to be asked (-R), and that failed.
    """
    if app.remote is not None:
        return app.remote.ask(app, op, arguments)
    return call(node_home(app).find_socket(), op, timeout_s=timeout_s, **arguments)


def node_health(app: App) -> tuple[tuple[str, ...], bool]:
    """What the node complains of, and whether one runs. Without one, that is the complaint."""
    try:
        return tuple(map(app.hinted, ask(app, "status")["health"])), True
    except NodeNotRunning:
        text = "no node runs here: this is read from its store; start it with: ciris-mesh run"
        return (app.hinted(text),), False


@contextmanager
def locked_home(app: App) -> Iterator[Home]:
    """Hold the home while no node runs in it.

    Raises:
        NodeNotRunning: a node holds it, though it did not answer.
    """
    home = node_home(app)
    lock = HomeLock(home)
    try:
        lock.acquire()
    except AlreadyRunning as exc:
        raise NodeNotRunning(
            f"a node runs in {home.path}, and this needs it stopped; should it run and not answer, "
            "look at its log"
        ) from exc
    try:
        yield home
    finally:
        lock.release()


def pinned_keys(home: Home) -> dict[str, bytes]:
    """Return key id -> fingerprint of the keys pinned in the configuration.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    from ciris_mesh.runtime.config import load_config

    return dict(load_config(home.config).trust.pinned)


@contextmanager
def open_directory(home: Home) -> Iterator[ReplicationDirectory]:
    """Open the record store of a home that is held."""
    from ciris_mesh.runtime.config import load_config
    from ciris_mesh.runtime.stores import open_home_store
    from ciris_mesh.runtime.trusting import trust_of

    config = load_config(home.config)
    directory = open_home_store(home, config, trust=trust_of(config.trust), follow=False)
    try:
        yield directory
    finally:
        directory.close()
