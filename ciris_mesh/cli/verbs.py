"""Command classes: global options on both sides of the verb, lazy loading, one-line errors."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import re
import sys
import traceback
from pathlib import Path
from typing import Any, Final

import click

from ciris_mesh.cli.app import App, Failure
from ciris_mesh.errors import MeshError

#: Not the dots after FILE...
_SENTENCE_END: Final = re.compile(r"(?<!\.)\.(?=\s)")
#: -v twice shows where an error came from.
TRACEBACK_VERBOSITY: Final = 2
#: What shells say of a command that Ctrl-C ended: 128 and the number of SIGINT.
INTERRUPTED: Final = 130


def _set_config(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(App).config_dir = value


def _set_rns_config(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(App).rns_config_dir = value


def _louder(ctx: click.Context, _param: click.Parameter, value: int) -> None:
    ctx.ensure_object(App).verbosity += value


def _quieter(ctx: click.Context, _param: click.Parameter, value: int) -> None:
    ctx.ensure_object(App).verbosity -= value


def common_options() -> list[click.Parameter]:
    """The options every verb takes, before or after its name."""
    directory: Any = click.Path(path_type=Path)
    return [
        click.Option(
            ["--config"],
            type=directory,
            metavar="DIR",
            expose_value=False,
            callback=_set_config,
            help="Use this directory as the node's home.",
        ),
        click.Option(
            ["--rnsconfig"],
            type=directory,
            metavar="DIR",
            expose_value=False,
            callback=_set_rns_config,
            help="Use this Reticulum configuration directory.",
        ),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            callback=_louder,
            help="Say more; -vv also shows where an error came from.",
        ),
        click.Option(
            ["-q", "--quiet"],
            count=True,
            expose_value=False,
            callback=_quieter,
            help="Say less.",
        ),
    ]


class Verb(click.Command):
    """A command that also takes the global options after its name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(common_options())

    def get_short_help_str(self, limit: int = 45) -> str:
        """The whole first sentence, for lists of commands: they wrap, nothing need be cut."""
        first = " ".join((self.help or "").partition("\n\n")[0].split())
        return _SENTENCE_END.split(first, maxsplit=1)[0].rstrip(".") + "."


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is called.

    Args:
        lazy: command name -> (module, attribute, one-line help shown in the list).
    """

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table: the order a person meets them."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command."""
        if cmd_name not in self._lazy:
            return None
        module, attribute, _ = self._lazy[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), f"{module}.{attribute} is no command"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, row[2]) for name, row in self._lazy.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever goes wrong becomes one line and an exit code."""
        try:
            return super().invoke(ctx)
        except Failure as exc:
            text = ctx.ensure_object(App).hinted(exc.message)
            raise Failure(text, exc.exit_code) from exc
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except (MeshError, OSError) as exc:
            if isinstance(exc, OSError) and exc.errno == errno.EPIPE:
                raise  # the reader went away: click ends quietly
            raise _failure(ctx, exc, _text(exc)) from exc
        except Exception as exc:
            raise _failure(ctx, exc, f"internal error: {type(exc).__name__}: {exc}") from exc


def _text(exc: Exception) -> str:
    if isinstance(exc, FileNotFoundError) and isinstance(exc.filename, str):
        folder = Path(exc.filename).parent
        if not folder.is_dir():  # the name is often that of a staged file nobody typed
            return f"there is no directory {folder}"
    if isinstance(exc, OSError) and exc.strerror:
        return f"{exc.strerror}: {exc.filename}" if exc.filename else exc.strerror
    return str(exc) or type(exc).__name__


def _failure(ctx: click.Context, exc: Exception, text: str) -> Failure:
    if ctx.ensure_object(App).verbosity >= TRACEBACK_VERBOSITY:
        click.echo("".join(traceback.format_exception(exc)), err=True, nl=False)
    elif text.startswith("internal error"):
        text += " (run again with -vv to see where)"
    return Failure(ctx.ensure_object(App).hinted(text))


def set_up_logging(verbosity: int) -> None:
    """Send log lines to stderr: warnings and worse, unless asked for more or less."""
    levels = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
    level = levels.get(max(-1, verbosity), logging.DEBUG)
    handler = logging.StreamHandler()
    if _is_journal(sys.stderr):
        from ciris_mesh.runtime.systemd import JournalFormatter

        handler.setFormatter(JournalFormatter("%(name)s %(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


def _is_journal(stream: Any) -> bool:
    """Does `stream` lead to the journal? JOURNAL_STREAM names its device and inode."""
    named = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return named == f"{found.st_dev}:{found.st_ino}"
