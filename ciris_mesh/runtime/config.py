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
from ciris_mesh.runtime.radiosettings import (
    DUTY_ALLOWED,
    DUTY_OF_ALLOWED,
    POLICY_ALLOWED,
    QUIET_ALLOWED,
    RadioSettings,
    read_duty,
    read_duty_of,
    read_policy,
    read_quiet,
)

#: The example with every pin a registry could have is well below this.
CONFIG_BYTES_MAX: Final = 256 << 10
#: Reticulum's manual: announcing more than once an hour means doing something wrong.
RADIO_ANNOUNCE_INTERVAL_MIN_H: Final = 1.0
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
    """[rounds]"""

    cadence_s: float
    no_progress_timeout_s: float
    tau_partial_s: float


@dataclass(frozen=True, slots=True)
class TrustSettings:
    """[trust]. `pinned`: key id -> 32-byte fingerprint."""

    pinned: Mapping[str, bytes]


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
    radio: RadioSettings
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


_KINDS_ALLOWED: Final = "all, or of " + ", ".join(kind.value for kind in EnvelopeKind)
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
        "radio", "duty", read_duty, "1%", DUTY_ALLOWED,
        "How much of each hour a radio may send, by law. EU: 1% in 868.0-868.6 MHz, 10% in "
        "869.4-869.65 MHz, 0.1% in 868.7-869.2 MHz. US and AU, 902-928 MHz: dwell, no frame over "
        "0.4 s. none: no limit, or one that the radio keeps by itself.",
    ),
    Option(
        "radio", "duty_of", read_duty_of, "", DUTY_OF_ALLOWED,
        "Interfaces for which it is different, by their name in Reticulum's configuration. "
        "Example: duty_of = RNode EU 10%, RNode roof none.",
    ),
    Option(
        "radio", "share", _number(0.1, 1), "0.8", "0.1 to 1",
        "The part of that this node uses for records. The rest is for what Reticulum sends by "
        "itself: announces, answers, packets of others. Less on a transport node.",
    ),
    Option(
        "radio", "peer_share", _number(0.05, 1), "0.5", "0.05 to 1",
        "The part of the records' air that one peer may have while there are others.",
    ),
    Option(
        "radio", "removal_share", _number(0, 0.5), "0.1", "0 to 0.5",
        "The part of it kept free for revocations and removals, which go before all else.",
    ),
    Option(
        "radio", "quiet", read_quiet, "", QUIET_ALLOWED,
        "Local time in which no records are sent by radio but revocations and removals. Without a "
        "clock that can be trusted there are no quiet hours.",
    ),
    Option(
        "radio", "policy", read_policy, "", POLICY_ALLOWED,
        "Which kinds are sent by radio: off, on, or peers: only to peers of this node. Default: on "
        "for keys, occurrences, revocations and removals, peers for the rest. Example: policy = "
        "attestation off, key peers.",
    ),
    Option(
        "trust", "pinned", _pins, "",
        "entries of a key id, a space and 64 hex digits, separated by commas, one key for an id; "
        "empty",
        "Keys taken as they are, without an introduction: key id and fingerprint, learned by "
        "another way than the network. Example: pinned = registry-eu 9f2c...51, "
        "root-1-abcdefghijklmnop 00d1...7a.",
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
    "radio": "What it may send by radio. `ciris-mesh budget` shows what is used and what waits.",
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
        RadioSettings(**values["radio"]),
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
