"""The settings of a node: one table row per option, and everything else follows from the table.

Reading, ranges, unknown-option warnings and the text of `--exampleconfig` come from `OPTIONS`; an
option that is not a row does not exist. What cannot be used is refused with the file, section,
option and what is allowed; what is not known is only warned of, since a newer program wrote it.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ciris_mesh.errors import ConfigError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.files import UNALTERED, TooLarge, UnsafeMode, read_bounded, why
from ciris_mesh.runtime.keyids import (
    FINGERPRINT_BYTES,
    NAME_RULE,
    contradicts,
    is_key_id,
    is_name,
)

#: The example with every pin a registry could have is well below this.
CONFIG_BYTES_MAX: Final = 256 << 10
#: Reticulum's manual: announcing more than once an hour means doing something wrong.
RADIO_ANNOUNCE_INTERVAL_MIN_H: Final = 1.0
#: As many signatures as one envelope may carry (`records.envelope`, which loads cryptography).
PARTNER_STEWARDS_MAX: Final = 16
#: Reticulum's own levels: 0 critical, 3 notice, 4 info, 5 verbose, 6 debug, 7 everything.
LOG_LEVEL_MAX: Final = 7
_LOGGING_LEVELS: Final = (50, 40, 30, 20, 20, 10, 10, 10)
_SHOWN_CHARS_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """[node]"""

    name: str
    kinds: frozenset[EnvelopeKind]
    announce_interval_h: float
    log_level: int

    @property
    def logging_level(self) -> int:
        """`log_level` as the standard library counts."""
        return _LOGGING_LEVELS[self.log_level]

    def announce_interval_s(self, *, radio: bool) -> float:
        """Seconds between announces on an interface of that sort."""
        floor_h = RADIO_ANNOUNCE_INTERVAL_MIN_H if radio else 0.0
        return max(self.announce_interval_h, floor_h) * 3600


@dataclass(frozen=True, slots=True)
class ReticulumSettings:
    """[reticulum]"""

    config_dir: Path | None
    announce_kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoundSettings:
    """[rounds]. `frame`: version byte, 0x81 or 0x01."""

    cadence_s: float
    no_progress_timeout_s: float
    tau_partial_s: float
    frame: int


@dataclass(frozen=True, slots=True)
class TrustSettings:
    """[trust]. `pinned` and `roots`: key id -> 32-byte fingerprint. See `records.rules.Trust`."""

    pinned: Mapping[str, bytes]
    roots: Mapping[str, bytes]
    root_stewards: frozenset[str]
    partner_stewards: frozenset[str]
    partner_threshold: int
    hardware_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """[control]. Names as the system's user database has them."""

    group: str
    acting_users: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, every one within its range.

    Attributes:
        warnings: one line for each thing in the file that had no effect.
    """

    node: NodeSettings
    reticulum: ReticulumSettings
    rounds: RoundSettings
    trust: TrustSettings
    control: ControlSettings
    warnings: tuple[str, ...] = ()


#: A reader takes the words of an option (ConfigObj splits at commas) and returns its value, or
#: raises ValueError saying what is allowed.
Reader = Callable[[tuple[str, ...]], object]


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        default: as it would be written in the file.
        allowed: what may be written, for people; ends the error and the help.
    """

    section: str
    name: str
    read: Reader
    default: str
    allowed: str
    help: str


def _one(words: tuple[str, ...]) -> str:
    if len(words) > 1:
        raise ValueError("one value")
    return words[0] if words else ""


def _number(low: float, high: float) -> Reader:
    def read(words: tuple[str, ...]) -> float:
        value = float(_one(words))
        if not low <= value <= high:  # also refuses NaN
            raise ValueError("out of range")
        return value

    return read


def _whole_number(low: int, high: int) -> Reader:
    def read(words: tuple[str, ...]) -> int:
        value = int(_one(words))
        if not low <= value <= high:
            raise ValueError("out of range")
        return value

    return read


def _frame(words: tuple[str, ...]) -> int:
    word = _one(words)
    if word not in ("81", "01"):
        raise ValueError("no frame version")
    return int(word, 16)


def _name(words: tuple[str, ...]) -> str:
    text = _one(words)
    if text and not is_name(text):
        raise ValueError("no name")
    return text


def _kinds(words: tuple[str, ...]) -> frozenset[EnvelopeKind]:
    if words == ("all",):
        return frozenset(EnvelopeKind)
    if not words:
        raise ValueError("none")
    return frozenset(EnvelopeKind(word) for word in words)


def _directory(words: tuple[str, ...]) -> Path | None:
    text = _one(words)
    if not text:
        return None
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise ValueError("relative")
    return path


def _texts(words: tuple[str, ...]) -> tuple[str, ...]:
    if not all(word.isprintable() for word in words):
        raise ValueError("unprintable")
    return words


def _group(words: tuple[str, ...]) -> str:
    return _one(_texts(words))


def _pins(words: tuple[str, ...]) -> Mapping[str, bytes]:
    pins: dict[str, bytes] = {}
    for word in words:
        key_id, _, digits = word.partition(" ")
        fingerprint = bytes.fromhex(digits)
        if len(fingerprint) != FINGERPRINT_BYTES or not is_key_id(key_id):
            raise ValueError("no pin")
        if contradicts(key_id, fingerprint) or pins.setdefault(key_id, fingerprint) != fingerprint:
            raise ValueError("two keys for one id")
    return MappingProxyType(pins)


def _key_ids(words: tuple[str, ...]) -> frozenset[str]:
    if not all(map(is_key_id, words)):
        raise ValueError("no key id")
    return frozenset(words)


_KINDS_ALLOWED: Final = "all, or of " + ", ".join(kind.value for kind in EnvelopeKind)
_PINS_ALLOWED: Final = (
    "entries of a key id, a space and 64 hex digits, separated by commas, one key for an id; empty"
)
_KEY_IDS_ALLOWED: Final = "key ids, separated by commas; empty for none"
_USERS_ALLOWED: Final = "names of this system, separated by commas; empty for none"

OPTIONS: Final = (
    Option(
        "node", "name", _name, "", f"{NAME_RULE}; empty",
        "What this node calls itself in its own output. Empty: the name in its federation key, "
        "which is the one other nodes see.",
    ),
    Option(
        "node", "kinds", _kinds, "all", _KINDS_ALLOWED,
        "The kinds of records this node keeps and exchanges.",
    ),
    Option(
        "node", "announce_interval_h", _number(0.01, 168), "6", "0.01 to 168",
        "Hours between announces. On radio never less than one hour, whatever is written here.",
    ),
    Option(
        "node", "log_level", _whole_number(0, LOG_LEVEL_MAX), "4", f"0 to {LOG_LEVEL_MAX}",
        "How much is logged: 0 critical, 1 errors, 2 warnings, 3 notices, 4 information, "
        "5 to 7 more and more detail.",
    ),
    Option(
        "reticulum", "config_dir", _directory, "", "an absolute path; empty",
        "Reticulum's configuration directory. Empty: where Reticulum itself looks. The option "
        "--rnsconfig comes before this. Nothing is ever written there.",
    ),
    Option(
        "reticulum", "announce_kinds", _texts, "", "interface names, separated by commas; empty",
        "Interfaces, by their name in Reticulum's configuration, on which each kind's own "
        "destination is announced too. Never on radio: thirteen announces fill its hour.",
    ),
    Option(
        "rounds", "cadence_s", _number(0.1, 86_400), "30", "0.1 to 86400",
        "Seconds from one look at a peer to the next.",
    ),
    Option(
        "rounds", "no_progress_timeout_s", _number(0.1, 3_600), "10", "0.1 to 3600",
        "Seconds without a byte moving after which a round is given up.",
    ),
    Option(
        "rounds", "tau_partial_s", _number(1, 2_592_000), "300", "1 to 2592000",
        "A kind counts as fresh when a peer confirmed it within so many seconds.",
    ),
    Option(
        "rounds", "frame", _frame, "81", "81 or 01",
        "How records travel between nodes of this project. 81: as compact as they get; 01: as "
        "JSON, several times longer, which other nodes speak in any case.",
    ),
    Option(
        "trust", "pinned", _pins, "", _PINS_ALLOWED,
        "Keys taken as they are, without an introduction: key id and fingerprint, learned by "
        "another way than the network. Example: pinned = registry-eu 9f2c...51, "
        "root-1-abcdefghijklmnop 00d1...7a.",
    ),
    Option(
        "trust", "roots", _pins, "", _PINS_ALLOWED,
        "Stewards at which chains of vouched keys must end for a key to count as rooted, with "
        "their fingerprints.",
    ),
    Option(
        "trust", "root_stewards", _key_ids, "", _KEY_IDS_ALLOWED,
        "Keys that may found organizations and appoint their first admins. Without one no "
        "organization is taken.",
    ),
    Option(
        "trust", "partner_stewards", _key_ids, "", _KEY_IDS_ALLOWED,
        "Keys whose signatures count under partner records. Without one none is taken.",
    ),
    Option(
        "trust", "partner_threshold", _whole_number(0, PARTNER_STEWARDS_MAX), "0",
        f"0 to {PARTNER_STEWARDS_MAX}",
        "How many of the partner stewards must sign a partner record, whatever the record says. "
        "0 takes none.",
    ),
    Option(
        "trust", "hardware_types", _texts, "", "words, separated by commas; empty",
        "Hardware in which an accord holder's key may live, as its evidence names it. Empty: no "
        "accord holder's key is taken.",
    ),
    Option(
        "control", "group", _group, "", "the name of a group; empty",
        "Members of this group may ask the running node, and change nothing. Empty: only the "
        "user it runs as. The group must be able to enter this directory: chgrp GROUP and "
        "chmod 710.",
    ),
    Option(
        "control", "acting_users", _texts, "", _USERS_ALLOWED,
        "Members of that group who may also act: sync, attest, revoke, add peers.",
    ),
)  # fmt: skip

_SECTION_HELP: Final = {
    "node": "This node.",
    "reticulum": "How it uses Reticulum. Interfaces are set in Reticulum's own configuration.",
    "rounds": "When it compares with its peers, and how patient it is.",
    "trust": "Whom it believes. Never learned from the network.",
    "control": "Who may talk to the running node on this machine.",
}


def load_config(path: Path) -> Config:
    """Read the file.

    Raises:
        ConfigError: missing, unreadable, changeable by others, not UTF-8, not in the format, or
            a value out of its range. One line that names the place.
    """
    try:
        data = read_bounded(path, bytes_max=CONFIG_BYTES_MAX, guard=UNALTERED)
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing; create it with: ciris-mesh init") from None
    except (UnsafeMode, TooLarge) as error:
        raise ConfigError(str(error)) from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {why(error)}") from None
    return parse_config(data, str(path))


def parse_config(data: bytes, label: str = "config") -> Config:
    """Read the bytes of a configuration file.

    Args:
        label: how errors and warnings call the file.

    Raises:
        ConfigError: as `load_config`.
    """
    sections = _sections(data, label)
    warnings: list[str] = []
    values: dict[str, dict[str, Any]] = {name: {} for name in _SECTION_HELP}
    for option in OPTIONS:
        written = sections.get(option.section, {})
        values[option.section][option.name] = _value(option, written, label)
    for complaint in _unknown(sections):
        warnings.append(f"{label}: {complaint}")
    return Config(
        NodeSettings(**values["node"]),
        ReticulumSettings(**values["reticulum"]),
        RoundSettings(**values["rounds"]),
        TrustSettings(**values["trust"]),
        ControlSettings(**values["control"]),
        tuple(warnings),
    )


def example_config(given: Mapping[tuple[str, str], str] = MappingProxyType({})) -> str:
    """The text of a configuration file that explains every option and sets its default.

    Args:
        given: (section, option) -> what to write instead of the default.
    """
    lines = ["# ciris-mesh. Lines that start with # have no effect.", ""]
    for section, about in _SECTION_HELP.items():
        lines += [f"[{section}]", *_comment(about), ""]
        for option in OPTIONS:
            if option.section == section:
                text = given.get((section, option.name), option.default)
                lines += _comment(f"{option.help} Allowed: {option.allowed}.")
                lines += [f"{option.name} = {text}".rstrip(), ""]
    return "\n".join(lines)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 78, initial_indent="# ", subsequent_indent="# ")


def _sections(data: bytes, label: str) -> dict[str, dict[str, Any]]:
    from configobj import ConfigObj, ConfigObjError, DuplicateError

    try:
        lines = data.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{label}, line {line}: not UTF-8; save the file as UTF-8") from None
    try:
        parsed = ConfigObj(lines, interpolation=False, raise_errors=True)
    except ConfigObjError as error:
        wrong = (
            "an option or section for the second time; remove one"
            if isinstance(error, DuplicateError)
            else "neither a [section] nor option = value; correct it or start it with #"
        )
        raise ConfigError(f"{label}, line {error.line_number}: {wrong}") from None
    for name, value in parsed.items():
        if name in _SECTION_HELP and not isinstance(value, dict):
            raise ConfigError(f"{label}: {name} is a section, write [{name}] on a line of its own")
    found: dict[str, dict[str, Any]] = parsed.dict()
    if found and not found.keys() & _SECTION_HELP.keys():
        names = ", ".join(f"[{name}]" for name in _SECTION_HELP)
        raise ConfigError(
            f"{label}: {next(_unknown(found))}, and none of {names} is in it; "
            "see: ciris-mesh --exampleconfig"
        )
    return found


def _value(option: Option, written: Mapping[str, Any], label: str) -> object:
    raw = written.get(option.name)
    if raw is None:
        return option.read(_words(option.default))
    try:
        if isinstance(raw, dict):
            raise ValueError("a section")
        return option.read(_words(raw))
    except ValueError:
        shown = _one_line(raw if isinstance(raw, str) else ", ".join(map(str, raw)))
        raise ConfigError(
            f"{label}, [{option.section}] {option.name} = {shown}: allowed is {option.allowed}"
        ) from None


def _words(raw: str | list[str]) -> tuple[str, ...]:
    words = [raw] if isinstance(raw, str) else raw
    return tuple(word.strip() for word in words if word.strip())


def _unknown(sections: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each thing that is no row of the table."""
    for section, options in sections.items():
        if not isinstance(options, dict):
            yield f"{_one_line(section)} stands before any [section] and has no effect"
        elif section not in _SECTION_HELP:
            hint = _did_you_mean(section, _SECTION_HELP)
            yield f"section [{_one_line(section)}] is unknown and has no effect{hint}"
        else:
            known = [option.name for option in OPTIONS if option.section == section]
            for name in options:
                if name not in known:
                    hint = _did_you_mean(name, known)
                    yield f"[{section}] {_one_line(name)} is unknown and has no effect{hint}"


def _did_you_mean(name: str, known: Mapping[str, str] | list[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _one_line(text: str) -> str:
    line = "".join(char if char.isprintable() else " " for char in text).strip()
    return line if len(line) <= _SHOWN_CHARS_MAX else line[: _SHOWN_CHARS_MAX - 3] + "..."
