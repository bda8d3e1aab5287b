"""Passphrases: asked for without showing them, or read from a file only its owner may read."""

from __future__ import annotations

import getpass
import sys
import warnings
from pathlib import Path
from typing import Any

import click

from ciris_mesh.cli.app import Failure


def passphrase_option(command: Any) -> Any:
    """Add --passphrase-file to a command."""
    return click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Read the passphrase from this file's first line, for scripts; else you are asked.",
    )(command)


def read_passphrase(file: Path | None, *, new: bool) -> str:
    """Return the passphrase.

    Args:
        new: asked for twice, and held to a length.

    Raises:
        Failure: there is nobody to ask, or the file cannot be used.
        BackupError: a new one is too short.
    """
    from ciris_mesh.runtime.sealed import check_passphrase

    passphrase = _ask(new=new) if file is None else _from_file(file)
    if new:
        check_passphrase(passphrase)
    return passphrase


def _ask(*, new: bool) -> str:
    from ciris_mesh.runtime.sealed import PASSPHRASE_CHARS_MIN

    words = f"Passphrase, at least {PASSPHRASE_CHARS_MIN} characters" if new else "Passphrase"
    try:
        with warnings.catch_warnings():
            # Without a terminal it would warn, go on, and show what is typed.
            warnings.simplefilter("error", getpass.GetPassWarning)
            answer: str = click.prompt(words, hide_input=True, confirmation_prompt=new, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise _nobody_to_ask() from None
    except getpass.GetPassWarning:
        raise _nobody_to_ask() from None
    return answer


def _nobody_to_ask() -> Failure:
    return Failure(
        "there is no terminal to ask for the passphrase on; write it into a file of mode 0600 and "
        "add --passphrase-file FILE"
    )


def _from_file(file: Path) -> str:
    from ciris_mesh.runtime.files import PRIVATE, TooLarge, UnsafeMode, read_bounded, why
    from ciris_mesh.runtime.sealed import PASSPHRASE_CHARS_MAX

    try:
        data = read_bounded(file, bytes_max=4 * PASSPHRASE_CHARS_MAX, guard=PRIVATE)
        return data.decode().split("\n", 1)[0].rstrip("\r")
    except (UnsafeMode, TooLarge) as error:
        raise Failure(str(error)) from None
    except UnicodeDecodeError:
        raise Failure(f"{file} is no text in UTF-8") from None
    except OSError as error:
        raise Failure(f"cannot read {file}: {why(error)}") from None
