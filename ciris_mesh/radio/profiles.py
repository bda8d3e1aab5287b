"""Interface profiles that come along: files a person copies from, read where they lie.

In the repository they are the directory `interfaces`; an installed package carries the same files
as `ciris_mesh/_interfaces`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import ciris_mesh
from ciris_mesh.errors import ConfigError

_SUFFIX: Final = ".conf"


@dataclass(frozen=True, slots=True)
class Profile:
    """One file.

    Attributes:
        summary: its first line.
        shim: a module for the directory `interfaces` beside Reticulum's configuration, instead of
            a part of the configuration itself.
    """

    name: str
    summary: str
    text: str
    shim: bool = False


def interfaces_dir() -> Path:
    """Where the files lie.

    Raises:
        ConfigError: nowhere; the installation is damaged.
    """
    package = Path(ciris_mesh.__file__).parent
    for place in (package / "_interfaces", package.parent / "interfaces"):
        if (place / "profiles").is_dir():
            return place
    raise ConfigError("the interface profiles are missing: install ciris-mesh again")


def profiles() -> tuple[Profile, ...]:
    """All profiles by name, modules last.

    Raises:
        ConfigError: there are none.
    """
    place = interfaces_dir()
    files = (*sorted((place / "profiles").glob(f"*{_SUFFIX}")), *sorted(place.glob("*.py")))
    return tuple(map(_read, files))


def profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        ConfigError: there is none; the text lists those there are.
    """
    all_ = {each.name: each for each in profiles()}
    if name not in all_:
        raise ConfigError(f"there is no profile {name[:40]!r}; there are: {', '.join(all_)}")
    return all_[name]


def _read(path: Path) -> Profile:
    text = path.read_text()
    summary = text.partition("\n")[0].lstrip('#" ').rstrip(".")
    return Profile(path.stem, summary, text, shim=path.suffix != _SUFFIX)
