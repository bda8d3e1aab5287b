"""`run`: the node itself, in the foreground."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import click

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.cli.verbs import Verb

if TYPE_CHECKING:
    from ciris_mesh.runtime.config import Config
    from ciris_mesh.runtime.daemon import Service
    from ciris_mesh.runtime.operations import Operations


@click.command(cls=Verb)
@click.pass_context
def run(ctx: click.Context) -> None:
    """Run the node until Ctrl-C or SIGTERM.

    It joins the Reticulum that runs on this machine, or starts its own. A missing radio or hub
    does not stop it: `ciris-mesh status` says what is missing.
    """
    from ciris_mesh.transport.rns_later import defer_i2p

    defer_i2p()
    from ciris_mesh.cli.verbs import set_up_logging
    from ciris_mesh.runtime.daemon import RunOptions
    from ciris_mesh.runtime.daemon import run as run_node
    from ciris_mesh.runtime.home import find_home

    app: App = ctx.obj
    set_up_logging(app.verbosity)
    home = find_home(app.config_dir)
    ctx.exit(run_node(home, RunOptions(app.rns_config_dir, app.verbosity), [_web, _inbound]))


def _web(config: Config, operations: Operations) -> Service | None:
    """The page in the browser, found by name: it is beside these commands, not below them."""
    if not config.web.enabled:
        return None
    try:
        module = importlib.import_module("ciris_mesh.web.service")
    except ImportError as error:
        raise Failure(
            f"the web page needs {error.name}: pip install 'ciris-mesh[web,metrics]', or write "
            "enabled = no under [web]"
        ) from None
    service: Service = module.web_service(config, operations)
    return service


def _inbound(config: Config, operations: Operations) -> Service | None:
    """What registry nodes post frames to, found in the same way."""
    if config.registry.accept is None:
        return None
    try:
        module = importlib.import_module("ciris_mesh.web.inbound")
    except ImportError as error:
        raise Failure(
            f"accept in [registry] needs {error.name}: pip install 'ciris-mesh[web]', or leave it "
            "empty"
        ) from None
    service: Service = module.inbound_service(config.registry, operations.node.runtime)
    return service
