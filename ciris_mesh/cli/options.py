"""Options and arguments that the signing commands share, and what they turn into."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ciris_mesh.cli.app import App, Failure

#: A name or a reason is a line on a screen, not a document.
TEXT_BYTES_MAX: Final = 200
#: A date further ahead than this is a slip of the pen.
AHEAD_MAX_MS: Final = 366 * 86_400_000

_Command = Callable[..., None]

if TYPE_CHECKING:
    _TextType = click.ParamType[str]
else:  # generic only in newer releases
    _TextType = click.ParamType


@dataclass(frozen=True, slots=True)
class Manner:
    """How the person wants a record signed.

    Attributes:
        yes: don't ask before signing.
        as_json: tell the outcome as one JSON object.
        cosign_file: write the record here for several to sign, instead of signing it alone.
        threshold: how many of them; None leaves it to the command.
        cosigners: key ids asked to sign; empty leaves it to the command.
    """

    yes: bool = False
    as_json: bool = False
    cosign_file: Path | None = None
    threshold: int | None = None
    cosigners: tuple[str, ...] = ()


class Id(_TextType):
    """A key id, or another id written like one: printable ASCII without spaces.

    Args:
        problem: what is said of a text that is none.
    """

    name = "id"

    def __init__(self, problem: str) -> None:
        self._problem = problem

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, or end with wrong usage."""
        from ciris_mesh.runtime.keyids import is_key_id

        if not is_key_id(value):
            self.fail(f"{value!r} is {self._problem}", param, ctx)
        return str(value)


class KeyId(Id):
    """A key id, or what stands for that of a peer or this node: its alias or its beginning.

    What is shown before anything is signed is the whole id.
    """

    name = "key id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return a key id, or end with wrong usage."""
        from ciris_mesh.cli.lookup import known_key_id

        app = ctx.find_object(App) if ctx is not None else None
        known = known_key_id(app, str(value)) if app is not None else None
        return known or super().convert(value, param, ctx)


class Line(_TextType):
    """A name or a reason: one printable line."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, or end with wrong usage."""
        text = str(value)
        is_line = text.isprintable() and text == text.strip()
        if not is_line or not 0 < len(text.encode()) <= TEXT_BYTES_MAX:
            self.fail(
                f"write 1 to {TEXT_BYTES_MAX} bytes in one line; a letter with an accent is two",
                param,
                ctx,
            )
        return text


KEY_ID: Final = KeyId("no key id, and no peer has this alias")
#: A key by what people here call it; `lookup.find_key` makes a key id of it.
KEY_NAME: Final = Line()
#: Of an organization, a family, a license: people choose these.
CHOSEN_ID: Final = Id("no id: 1 to 128 characters without spaces")
LINE: Final = Line()

FILE: Final[Any] = click.Path(dir_okay=False, path_type=Path)


def moment(text: str) -> str:
    """Give a time a person wrote the form records have.

    Raises:
        Failure: it is no time; the text shows one.
    """
    from ciris_mesh.records.timestamps import normalize

    try:
        return normalize(text)
    except ValueError:
        raise Failure(f"{text!r} is no time; write it like 2027-06-01T00:00:00Z") from None


def ensure_future(option: str, time: str | None, now_ms: int) -> None:
    """Refuse an end that is over.

    Raises:
        Failure: `time`, as columns have it, is not after `now_ms`.
    """
    from ciris_mesh.records.timestamps import to_unix_ms

    if time is not None and to_unix_ms(time) <= now_ms:
        raise Failure(f"{option} {time} is over already; name a time to come")


def ensure_near(option: str, time: str | None, now_ms: int) -> None:
    """Refuse a beginning that nobody can mean.

    Raises:
        Failure: `time`, as columns have it, is more than a year after `now_ms`.
    """
    from ciris_mesh.records.timestamps import to_unix_ms

    if time is not None and to_unix_ms(time) > now_ms + AHEAD_MAX_MS:
        raise Failure(f"{option} {time} is more than a year ahead; say it when the time is nearer")


def finite(option: str, number: float | None) -> None:
    """Refuse what JSON has no number for.

    Raises:
        Failure: not a number, or infinite.
    """
    if number is not None and not math.isfinite(number):
        raise Failure(
            f"{option} {number} is no number that can be signed; write one like 0.5 or -1"
        )


def time_option(name: str, help_: str) -> Callable[[_Command], _Command]:
    """An option whose value is a time in the form records have, or None."""

    def read(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
        return None if value is None else moment(value)

    return click.option(name, metavar="TIME", callback=read, help=help_)


def takes_unknown(function: _Command) -> _Command:
    """Add --unknown: a whole key id, a scope or a removal is taken though nothing here knows it."""
    option = click.option(
        "--unknown",
        is_flag=True,
        help="Take what is given as it is, though nothing here knows it.",
    )
    return option(function)


def takes_manner(function: _Command) -> _Command:
    """Add --yes and --json, and hand them over as `manner`, with what `takes_cosigners` added."""

    @wraps(function)
    def call(
        *args: Any,
        yes: bool,
        as_json: bool,
        cosign_file: Path | None = None,
        threshold: int | None = None,
        cosigner: tuple[str, ...] = (),
        **rest: Any,
    ) -> None:
        manner = Manner(yes, as_json, cosign_file, threshold, tuple(cosigner))
        if cosign_file is None and (threshold is not None or cosigner):
            raise click.UsageError("--threshold and --cosigner go with --cosign-file FILE.")
        function(*args, manner=manner, **rest)

    yes_option = click.option("-y", "--yes", is_flag=True, help="Go ahead without asking.")
    json_option = click.option(
        "--json", "as_json", is_flag=True, help="Print the outcome as one JSON object."
    )
    return yes_option(json_option(call))


def takes_cosigners(function: _Command) -> _Command:
    """Add the options of a record that several may have to sign. Goes above `takes_manner`."""
    options = (
        click.option(
            "--cosign-file",
            type=FILE,
            metavar="FILE",
            help="Sign nothing yet: write FILE, which others sign with `ciris-mesh cosign`.",
        ),
        click.option(
            "--threshold",
            type=click.IntRange(1, 16),
            metavar="N",
            help="How many signatures FILE needs; what the rules ask for, or 2, if absent.",
        ),
        click.option(
            "--cosigner",
            type=KEY_ID,
            multiple=True,
            metavar="KEY_ID",
            help="Who is asked to sign FILE, once for each; others are then refused.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function
