"""The table of commands and the global options. Commands are imported when called."""

from __future__ import annotations

from typing import Final

import click

from ciris_mesh import __version__
from ciris_mesh.cli.app import App
from ciris_mesh.cli.verbs import LazyGroup, common_options

_CLI: Final = "ciris_mesh.cli"

#: Command -> where it lives and its line in the list.
COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    "init": (f"{_CLI}.init", "init", "Create this node's keys, configuration and store."),
    "setup": (f"{_CLI}.setup", "setup", "Set up a node for a role, by a few questions."),
    "run": (f"{_CLI}.run", "run", "Run the node in the foreground."),
    "service": (f"{_CLI}.service", "service", "Let systemd start and watch this node."),
    "id": (f"{_CLI}.identity", "show_id", "Show who this node is."),
    "invite": (f"{_CLI}.identity", "invite", "Print the line another node adds as a peer."),
    "peer": (f"{_CLI}.peers", "peer", "Add, remove or list peers."),
    "peers": (f"{_CLI}.peers", "peers", "Show peers and how fresh this node is against each."),
    "registries": (
        f"{_CLI}.registries",
        "registries",
        "Show public registry nodes, and what they brought.",
    ),
    "status": (f"{_CLI}.status", "status", "Show how the running node is doing."),
    "doctor": (f"{_CLI}.doctor", "doctor", "Look for what is wrong, and say what helps."),
    "explain": (f"{_CLI}.explain", "explain", "Say what a name in a log or on a screen means."),
    "budget": (f"{_CLI}.budget", "budget", "Show airtime used and allowed, and what waits."),
    "wait": (f"{_CLI}.wait", "wait", "Wait until this node and its peers agree."),
    "sync": (f"{_CLI}.wait", "sync", "Ask the running node for a round with one peer now."),
    "announce": (f"{_CLI}.announce", "announce", "Say to all in reach that this node is here."),
    "records": (f"{_CLI}.records", "records", "List records, or show one."),
    "key": (f"{_CLI}.key", "key", "Say what a key is, as chains to a root do."),
    "resolve": (f"{_CLI}.resolve", "resolve", "Say what counts now, or at a time, and why."),
    "attest": (f"{_CLI}.sign", "attest", "Sign a score for another key."),
    "delegate": (f"{_CLI}.sign", "delegate", "Let another key act for this node."),
    "revoke": (f"{_CLI}.sign", "revoke", "Sign the revocation of a key."),
    "export": (f"{_CLI}.bundle", "export", "Write this node's records into one file."),
    "import": (f"{_CLI}.bundle", "import_", "Admit the records of such a file."),
    "db": (f"{_CLI}.db", "db", "Migrate, check or copy the record store."),
    "operator": (f"{_CLI}.operator", "operator", "Answer people by message; send them alerts."),
    "backup": (f"{_CLI}.backup", "backup", "Write this whole node into one file."),
    "restore": (f"{_CLI}.backup", "restore", "Make the node in such a file again."),
    "identity": (f"{_CLI}.identitygroup", "identity", "Keep this node's secrets, and change them."),
    "vouch": (f"{_CLI}.vouch", "vouch", "Let bridged records of a registry count elsewhere."),
    "withdraw": (f"{_CLI}.withdraw", "withdraw", "End what this node said earlier."),
    "family": (f"{_CLI}.group", "family", "Found a family of keys."),
    "community": (f"{_CLI}.group", "community", "Found a community of keys."),
    "occurrence": (f"{_CLI}.occurrence", "occurrence", "Vouch for a device or a service."),
    "remove": (f"{_CLI}.remove", "remove", "Remove a device, or a member of a group."),
    "location": (f"{_CLI}.location", "location", "Say where a key is, as an H3 cell."),
    "org": (f"{_CLI}.org", "org", "Create an organization, or change one."),
    "membership": (f"{_CLI}.membership", "membership", "Grant or end roles in organizations."),
    "partner": (f"{_CLI}.partner", "partner", "License a partner, signed by several stewards."),
    "cosign": (f"{_CLI}.cosign", "cosign", "Sign or assemble a record of several signers."),
    "demo": (f"{_CLI}.demo", "demo", "Start real nodes on this machine and watch them agree."),
    "sim": (f"{_CLI}.sim", "sim", "Simulate a federation of a thousand nodes."),
    "ether": (f"{_CLI}.ether", "ether", "Emulate LoRa radios for Reticulum's own driver."),
    "interfaces": (
        f"{_CLI}.interfaces",
        "interfaces",
        "Show interface profiles; check Reticulum's configuration.",
    ),
    "completion": (f"{_CLI}.completion", "completion", "Let a shell complete commands."),
    "schema": (f"{_CLI}.schema", "schema", "Print what --json prints, as JSON Schema."),
    "bench": (f"{_CLI}.bench", "bench", "Measure what things cost on this machine."),
    "frame": (f"{_CLI}.frame", "frame", "Filter: decode or encode replication frames."),
    "record": (f"{_CLI}.record", "record", "Filter: hash, canonicalize or verify records."),
}


def _example_config(ctx: click.Context, _param: click.Parameter, *, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from ciris_mesh.runtime.config import example_config

    click.echo(example_config(), nl=False)
    ctx.exit()


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    params=common_options(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(__version__, prog_name="ciris-mesh")
@click.option(
    "--exampleconfig",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, param, value: _example_config(ctx, param, value=value),
    help="Print a configuration file that explains every setting, and stop.",
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Keep a directory of signed federation records in step with other nodes over Reticulum.

    New here? `ciris-mesh demo` needs no hardware and touches nothing of yours. A node of your own
    starts with `ciris-mesh init --name NAME`.
    """
    ctx.ensure_object(App)
