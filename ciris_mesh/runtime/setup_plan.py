"""What `setup` would write for a role: two texts, made from profiles and answers. Pure.

This node's own configuration gets a few settings; Reticulum's gets interface blocks, which are
shown to be copied and written only when a person says so. A text that is there is changed where
it must be, and nowhere else: people's comments stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ciris_mesh.errors import ConfigError
from ciris_mesh.radio.profiles import profile

Settings = Mapping[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class Region:
    """Where a radio is used: the profile of its band, and the duty by law as [radio] has it."""

    name: str
    profile: str
    duty: str
    about: str


REGIONS: Final = (
    Region("eu868-p", "rnode-eu868-p", "10%", "Europe, 869.4-869.65 MHz, 10 % duty"),
    Region("eu868-m", "rnode-eu868-m", "1%", "Europe, 868.0-868.6 MHz, 1 % duty"),
    Region("us915", "rnode-us915", "dwell", "United States, Canada, 902-928 MHz"),
    Region("au915", "rnode-au915", "dwell", "Australia, New Zealand, 915-928 MHz"),
    Region("433", "rnode-433", "10%", "433.05-434.79 MHz, where it is allowed, 10 % duty"),
)


@dataclass(frozen=True, slots=True)
class Role:
    """What a node is for.

    Attributes:
        profile: Reticulum's configuration for it, `interfaces` has it.
        radio, hub, listens: what it needs to be told.
        settings: of this node's own configuration.
    """

    name: str
    profile: str
    about: str
    radio: bool
    hub: bool
    listens: bool
    settings: Settings


#: By radio a round a quarter of an hour is much; agreement within six hours is fresh.
_BY_RADIO: Final = {("rounds", "tau_partial_s"): "21600"}

ROLES: Final = (
    Role("field", "field", "a radio, nothing else", True, False, False, _BY_RADIO),  # noqa: FBT003
    Role("gateway", "gateway", "a radio and the internet", True, True, False, _BY_RADIO),  # noqa: FBT003
    Role("registry", "hub", "a server others connect to", False, False, True, {}),  # noqa: FBT003
    Role("laptop", "leaf", "connects to a hub", False, True, False, {}),  # noqa: FBT003
)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a person was asked, or said by options.

    Attributes:
        port: of the radio; empty for none.
        hub, listen: "host:port"; empty for none.
        clock: "system" or "assume-trusted".
    """

    role: Role
    region: Region | None = None
    port: str = ""
    hub: str = ""
    listen: str = ""
    clock: str = "system"


def role_of(name: str) -> Role:
    """The role of that name."""
    return next(each for each in ROLES if each.name == name)


def region_of(name: str) -> Region:
    """The region of that name."""
    return next(each for each in REGIONS if each.name == name)


def own_settings(answers: Answers) -> dict[tuple[str, str], str]:
    """What differs from the defaults in this node's configuration."""
    said = dict(answers.role.settings)
    if answers.region is not None:
        said["radio", "duty"] = answers.region.duty
    if answers.clock != "system":
        said["node", "clock"] = answers.clock
    return said


def reticulum_text(answers: Answers) -> str:
    """A whole configuration for Reticulum: the role's, with the region's radio and the answers.

    Raises:
        ConfigError: an address is none.
    """
    text = profile(answers.role.profile).text
    if answers.region is not None:
        radio = _radio_lines(profile(answers.region.profile).text)
        for name, value in {**radio, "port": answers.port}.items():
            text = _set_line(text, name, value, within="RNode")
        text = text.replace("elsewhere take your region's", f"set for {answers.region.about}")
    if answers.hub:
        host, port = host_and_port(answers.hub)
        text = _set_line(_set_line(text, "target_host", host), "target_port", port)
    if answers.listen:
        host, port = host_and_port(answers.listen)
        text = _set_line(_set_line(text, "listen_ip", host), "listen_port", port)
    return text


def host_and_port(text: str) -> tuple[str, str]:
    """Split "host:port".

    Raises:
        ConfigError: it is none.
    """
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not re.fullmatch(r"[\w.:-]+", host):
        raise ConfigError(f"{text[:60]!r} is no address: write HOST:PORT, such as example.org:4242")
    if not port.isascii() or not port.isdecimal() or not 0 < int(port) <= 65_535:
        raise ConfigError(f"{text[:60]!r} has no port: write HOST:PORT, such as example.org:4242")
    return host, port


def interface_blocks(text: str) -> dict[str, str]:
    """Name -> the lines of each interface in a Reticulum configuration, heading included."""
    section = re.split(r"^\[(?!\[)", text.partition("[interfaces]")[2], flags=re.MULTILINE)[0]
    parts = re.split(r"^ *(?=\[\[)", section, flags=re.MULTILINE)
    blocks = (part.rstrip() for part in parts if part.startswith("[["))
    return {block.partition("]]")[0].strip("[ "): f"  {block}" for block in blocks}


def with_interfaces(before: str, ours: str) -> str:
    """Reticulum's configuration `before` with the interfaces of `ours` added.

    `enable_transport` is switched on where ours has it on.

    Raises:
        ConfigError: an interface of that name is there already, or no place for it.
    """
    if not before.strip():
        return ours
    blocks, there = interface_blocks(ours), interface_blocks(before)
    blocks = {name: block for name, block in blocks.items() if there.get(name) != block}
    for name in blocks:
        if name in there:
            raise ConfigError(
                f"Reticulum's configuration has an interface {name} already: change that one, the "
                "block above shows what to write"
            )
    if re.search(r"enable_transport *= *yes", ours, re.IGNORECASE):
        before = with_settings(before, {("reticulum", "enable_transport"): "Yes"})
    added = "\n\n".join(blocks.values())
    if not added:
        return before
    heading = re.search(r"^\[interfaces\][^\n]*(\n|\Z)", before, re.MULTILINE)
    if heading is None:
        return f"{before.rstrip()}\n\n[interfaces]\n{added}\n"
    behind = re.search(r"^\[(?!\[)", before[heading.end() :], re.MULTILINE)
    at = len(before) if behind is None else heading.end() + behind.start()
    return f"{before[:at].rstrip()}\n\n{added}\n\n{before[at:]}".rstrip() + "\n"


def with_settings(before: str, settings: Settings) -> str:
    """A configuration text with these options set: their lines changed, or added to the section."""
    for (section, name), value in settings.items():
        before = _set_in_section(before, section, name, value)
    return before


def _set_in_section(text: str, section: str, name: str, value: str) -> str:
    heading = re.search(rf"^\[{re.escape(section)}\][^\n]*\n", text, re.MULTILINE)
    if heading is None:
        return f"{text.rstrip()}\n\n[{section}]\n{name} = {value}\n".lstrip()
    start = heading.end()
    behind = re.search(r"^ *\[", text[start:], re.MULTILINE)
    end = len(text) if behind is None else start + behind.start()
    body, hits = re.subn(
        rf"^( *){re.escape(name)} *=.*$",
        lambda found: f"{found[1]}{name} = {value}",
        text[start:end],
        flags=re.MULTILINE,
    )
    if not hits:
        body = f"{name} = {value}\n{body}"
    return text[:start] + body + text[end:]


def _radio_lines(text: str) -> dict[str, str]:
    """What a region's profile sets of its one radio."""
    pairs = re.findall(r"^ +(\w+) *= *(.*)$", text, re.MULTILINE)
    return {name: value for name, value in pairs if name not in ("type", "enabled", "port", "mode")}


def _set_line(text: str, name: str, value: str, *, within: str = "") -> str:
    """Change the line of an option, in the block `within` if given, adding it where it is not."""
    start = text.index(f"[[{within}]]") if within else text.index("[interfaces]")
    behind = text.find("[[", start + 2) if within else -1
    end = len(text) if behind < 0 else text.rindex("\n", 0, behind) + 1
    pattern = rf"^( +){name} *=.*$"
    body, hits = re.subn(
        pattern, lambda found: f"{found[1]}{name} = {value}", text[start:end], flags=re.MULTILINE
    )
    if not hits:
        body = f"{body.rstrip()}\n    {name} = {value}\n" + ("\n" if behind >= 0 else "")
    return text[:start] + body + text[end:]
