"""The settings of a node, read from its file.

Reading, ranges, unknown-option warnings and the text of `--exampleconfig` come from the table in
`options`. What cannot be used is refused with the file, section, option and what is allowed; what
is not known is only warned of, since a newer program wrote it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ciris_mesh.errors import ConfigError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.scope import Scope
from ciris_mesh.runtime.files import UNALTERED, read_if_there
from ciris_mesh.runtime.options import OPTIONS, SECTION_HELP, Option
from ciris_mesh.runtime.radiosettings import RadioSettings
from ciris_mesh.runtime.registrypins import RegistryPin

#: The example with every pin a registry could have is well below this.
CONFIG_BYTES_MAX: Final = 256 << 10
#: Reticulum's manual: announcing more than once an hour means doing something wrong.
RADIO_ANNOUNCE_INTERVAL_MIN_H: Final = 1.0
_LOGGING_LEVELS: Final = (50, 40, 30, 20, 20, 10, 10, 10)
_SHOWN_CHARS_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """[node]"""

    name: str
    kinds: frozenset[EnvelopeKind]
    announce_interval_h: float
    log_level: int
    clock: str

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
    """[rounds]. `frame`: version byte, 0x81 or 0x01. `scope`: what the node wants.

    Attributes:
        symbols_max: of one sketch; see `protocol.sizing.Limits`.
    """

    cadence_s: float
    no_progress_timeout_s: float
    tau_partial_s: float
    frame: int
    symbols_max: int
    scope: Scope


@dataclass(frozen=True, slots=True)
class TrustSettings:
    """[trust]. `pinned` and `roots`: key id -> 32-byte fingerprint. See `records.rules.Trust`."""

    pinned: Mapping[str, bytes]
    roots: Mapping[str, bytes]
    root_stewards: frozenset[str]
    partner_stewards: frozenset[str]
    partner_threshold: int
    hardware_types: tuple[str, ...]
    registries: tuple[RegistryPin, ...] = ()
    vouchers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """[registry]. `edge`: whether registry nodes can link to this one; `accept`: host and port."""

    edge: bool = False
    accept: tuple[str, int] | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    server_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """[control]. Names as the system's user database has them; identity hashes of 16 bytes."""

    group: str
    acting_users: tuple[str, ...]
    remote_allowed: frozenset[bytes] = frozenset()
    remote_acting: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """[operator]. `propagation_node`: 16 bytes. `alerts`: of `notify.alerts.LASTS_S`."""

    enabled: bool
    propagation_node: bytes | None
    stale_h: float
    alerts: frozenset[str]


@dataclass(frozen=True, slots=True)
class PageSettings:
    """[page]. `allowed`: identity hashes, 16 bytes each; None for everybody."""

    enabled: bool
    allowed: frozenset[bytes] | None


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """[store]. `url`: of a PostgreSQL database; empty for the file in the home."""

    url: str
    shared: bool


@dataclass(frozen=True, slots=True)
class WebSettings:
    """[web]. `listen`: address and port; 0 is any free one."""

    enabled: bool
    listen: tuple[str, int]
    names: tuple[str, ...]
    token_file: Path | None
    tls_certificate: Path | None
    tls_key: Path | None


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
    operator: OperatorSettings
    page: PageSettings
    store: StoreSettings
    web: WebSettings
    registry: EdgeSettings = EdgeSettings()
    warnings: tuple[str, ...] = ()


def load_config(path: Path) -> Config:
    """Read the file.

    Raises:
        ConfigError: missing, unreadable, changeable by others, not UTF-8, not in the format, or
            a value out of its range. One line that names the place.
    """
    data = read_if_there(path, bytes_max=CONFIG_BYTES_MAX, guard=UNALTERED)
    if data is None:
        raise ConfigError(f"{path} is missing; create it with: ciris-mesh init")
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
    values: dict[str, dict[str, Any]] = {name: {} for name in SECTION_HELP}
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
        OperatorSettings(**values["operator"]),
        PageSettings(**values["page"]),
        StoreSettings(**values["store"]),
        WebSettings(**values["web"]),
        EdgeSettings(**values["registry"]),
        tuple(warnings),
    )


def example_config(given: Mapping[tuple[str, str], str] = MappingProxyType({})) -> str:
    """The text of a configuration file that explains every option and sets its default.

    Args:
        given: (section, option) -> what to write instead of the default.
    """
    lines = ["# ciris-mesh. Lines that start with # have no effect.", ""]
    for section, about in SECTION_HELP.items():
        lines += [f"[{section}]", *_comment(about), ""]
        for option in OPTIONS:
            if option.section == section:
                text = given.get((section, option.name), option.default)
                lines += _comment(f"{option.help} Allowed: {option.allowed}.")
                lines += [f"{option.name} = {text}".rstrip(), ""]
    return "\n".join(lines)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text, 78, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )


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
        if name in SECTION_HELP and not isinstance(value, dict):
            raise ConfigError(f"{label}: {name} is a section, write [{name}] on a line of its own")
    found: dict[str, dict[str, Any]] = parsed.dict()
    if found and not found.keys() & SECTION_HELP.keys():
        names = ", ".join(f"[{name}]" for name in SECTION_HELP)
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
        elif section not in SECTION_HELP:
            hint = _did_you_mean(section, SECTION_HELP)
            yield f"section [{_one_line(section)}] is unknown and has no effect{hint}"
        else:
            known = [option.name for option in OPTIONS if option.section == section]
            for name in options:
                if name not in known:
                    hint = _did_you_mean(name, known)
                    yield f"[{section}] {_one_line(name)} is unknown and has no effect{hint}"


def _did_you_mean(name: str, known: Mapping[str, str] | list[str]) -> str:
    import difflib  # for typing errors alone

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _one_line(text: str) -> str:
    line = "".join(char if char.isprintable() else " " for char in text).strip()
    return line if len(line) <= _SHOWN_CHARS_MAX else line[: _SHOWN_CHARS_MAX - 3] + "..."
