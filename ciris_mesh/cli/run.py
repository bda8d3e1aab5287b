"""`run`: the node itself, in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ciris_mesh.cli.app import App
from ciris_mesh.cli.verbs import Verb

if TYPE_CHECKING:
    from ciris_mesh.runtime.inbound import HttpInbound, InboundServer, Listen


@click.command(cls=Verb)
@click.pass_context
def run(ctx: click.Context) -> None:
    """Run the node until Ctrl-C or SIGTERM.

    It joins the Reticulum that runs on this machine, or starts its own. A missing radio or hub
    does not stop it: `ciris-mesh status` says what is missing.
    """
    from ciris_mesh.cli.verbs import set_up_logging
    from ciris_mesh.runtime.daemon import RunOptions
    from ciris_mesh.runtime.daemon import run as run_node
    from ciris_mesh.runtime.home import find_home

    app: App = ctx.obj
    set_up_logging(app.verbosity)
    home = find_home(app.config_dir)
    ctx.exit(run_node(home, RunOptions(app.rns_config_dir, app.verbosity, _http_server)))


def _http_server(inbound: HttpInbound, listen: Listen) -> InboundServer:
    """Loaded when the configuration asks for it: the packages it needs are optional."""
    from ciris_mesh.errors import ConfigError

    try:
        from ciris_mesh.web.inbound import Server
    except ImportError:
        raise ConfigError(
            "[registry] accept needs another package: pip install 'ciris-mesh[web]'"
        ) from None
    return Server(inbound, listen)
