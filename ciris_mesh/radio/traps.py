"""Settings of Reticulum's interfaces that do not do what they seem to. Pure: a mapping in.

Each trap was run into with rns 1.5.7. Adding one is a function and its row in a table. Nothing is
ever changed here; whoever asked gets a name that stays the same and a line that says what to do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from ciris_mesh.radio.airtime import LoraSettings, nearest_bandwidth
from ciris_mesh.radio.bands import band_of, is_outside, longest_frame_s, safe_limit

RADIOS: Final = (
    "RNodeInterface",
    "RNodeMultiInterface",
    "KISSInterface",
    "AX25KISSInterface",
    "VirtualRNodeInterface",
)
_RNODES: Final = ("RNodeInterface", "RNodeMultiInterface", "VirtualRNodeInterface")
#: These take their MTU from the bitrate.
_TCP: Final = (
    "TCPClientInterface", "TCPServerInterface", "BackboneInterface", "BackboneClientInterface",
)  # fmt: skip
#: Reticulum gives these no MTU below this bitrate, and then fails at every frame.
_TCP_BITRATE_MIN_BPS: Final = 62_500
#: Share of a radio in percent that announces of others may take unless configured otherwise.
_ANNOUNCE_CAP_PERCENT: Final = 2.0
_FREQUENCIES_HZ: Final = (137_000_000, 3_000_000_000)
_BANDWIDTHS_HZ: Final = (7_800, 1_625_000)
_TXPOWERS_DBM: Final = (0, 37)

#: How modes may be spelled -> what they are.
MODES: Final[Mapping[str, str]] = {
    "full": "full",
    "access_point": "access_point", "accesspoint": "access_point", "ap": "access_point",
    "pointtopoint": "pointtopoint", "ptp": "pointtopoint",
    "roaming": "roaming",
    "boundary": "boundary",
    "gateway": "gateway", "gw": "gateway",
    "internal": "internal",
}  # fmt: skip
_YES: Final = ("yes", "true", "on", "1")


class Level(StrEnum):
    """How bad it is."""

    ERROR = "error"  # something does not work, or breaks the law
    WARNING = "warning"  # it works, and hardly as meant
    ADVICE = "advice"  # there is something better


@dataclass(frozen=True, slots=True)
class Finding:
    """One trap in one place. `name` is stable; scripts read it, not the text."""

    level: Level
    interface: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class _Interface:
    name: str
    type: str
    section: Mapping[str, Any]

    @property
    def is_radio(self) -> bool:
        return self.type in RADIOS

    @property
    def mode(self) -> str:
        """What Reticulum will take it for; unknown words become `full`."""
        key = "interface_mode" if "interface_mode" in self.section else "mode"
        return MODES.get(self.text(key).lower(), "full")

    def text(self, key: str) -> str:
        return str(self.section.get(key, "")).strip()

    def number(self, key: str) -> float | None:
        """A number, or None when there is none that can be read."""
        try:
            return float(self.text(key))
        except ValueError:
            return None

    def is_yes(self, key: str) -> bool:
        return self.text(key).lower() in _YES


_Said = tuple[Level, str, str]
_ERROR, _WARNING, _ADVICE = Level


def check(
    config: Mapping[str, Any],
    *,
    known_types: Container[str],
    port_exists: Callable[[str], bool],
) -> tuple[Finding, ...]:
    """Return what is wrong or unwise in a Reticulum configuration, interfaces in their order.

    Args:
        config: as ConfigObj reads it.
        known_types: interface types there are, those with a module of their own included.
        port_exists: says whether a serial port is there now.
    """
    enabled = list(_enabled(config))
    transport = str(config.get("reticulum", {}).get("enable_transport", "")).lower() in _YES
    found: list[Finding] = []
    for each in enabled:
        said: list[_Said] = [one for trap in _EACH for one in trap(each)]
        said += _type(each, known_types)
        said += _port(each, port_exists)
        said += _shared_port(each, enabled)
        if transport:
            said += _bridge(each, [other for other in enabled if other is not each])
        found += [Finding(level, each.name, name, text) for level, name, text in said]
    return tuple(found)


def _enabled(config: Mapping[str, Any]) -> Iterator[_Interface]:
    sections = config.get("interfaces", {})
    for name, section in sections.items() if isinstance(sections, Mapping) else ():
        if isinstance(section, Mapping):
            each = _Interface(str(name), str(section.get("type", "")), section)
            if each.is_yes("enabled") or each.is_yes("interface_enabled"):
                yield each


# -- modes ----------------------------------------------------------------------------------------


def _mode_words(each: _Interface) -> Iterator[_Said]:
    old, new = each.text("interface_mode").lower(), each.text("mode").lower()
    if MODES.get(old) in ("gateway", "internal") and "mode" not in each.section:
        yield (
            _ERROR,
            "interface_mode_crashes",
            f"interface_mode = {old} ends Reticulum at start (KeyError 'mode'): write mode = {old}",
        )
    if "interface_mode" in each.section and "mode" in each.section and old != new:
        yield (
            _WARNING,
            "interface_mode_hides_mode",
            f"interface_mode = {old} and mode = {new} differ: keep mode only",
        )
    for key, word in (("interface_mode", old), ("mode", new)):
        if key in each.section and word not in MODES:
            yield (
                _ERROR,
                "unknown_mode",
                f"{key} = {word[:40]} is none: Reticulum silently takes `full`",
            )


def _announces(each: _Interface) -> Iterator[_Said]:
    if not each.is_radio:
        return
    forced = (
        each.type in ("RNodeInterface", "RNodeMultiInterface")
        and each.is_yes("discoverable")
        and each.mode not in ("gateway", "access_point", "internal")
        and not each.is_yes("ignore_config_warnings")
    )
    if forced:
        yield (
            _WARNING,
            "discoverable_forces_access_point",
            "discoverable = yes makes this an access_point, which keeps this node's own announces "
            "off the air: set mode = gateway or internal",
        )
    elif each.mode == "access_point":
        yield (
            _WARNING,
            "own_announces_blocked",
            "mode = access_point keeps this node's own announces off the air too: nodes behind "
            "the radio find it by path request only; mode = internal announces",
        )
    cap = each.number("announce_cap")
    if cap is not None and cap > _ANNOUNCE_CAP_PERCENT:
        yield (
            _WARNING,
            "announce_cap_raised",
            f"announce_cap = {cap:g} gives announces of others more of the channel than the "
            f"usual {_ANNOUNCE_CAP_PERCENT:g} %",
        )


def _bridge(each: _Interface, others: list[_Interface]) -> Iterator[_Said]:
    """Traps of a radio beside the internet on a transport node."""
    wide = [other for other in others if not other.is_radio]
    if not each.is_radio or not wide:
        return
    open_ = ", ".join(other.name for other in wide if other.mode != "boundary")
    if each.mode in ("roaming", "boundary") and open_:
        yield (
            _ERROR,
            "uncapped_announces",
            f"mode = {each.mode} sends every announce from {open_} on the air, without the cap of "
            "2 %: set mode = internal here and mode = boundary there",
        )
    elif open_ and each.mode not in ("internal", "access_point"):
        yield (
            _ADVICE,
            "bridge_modes",
            f"announces from {open_} take up to 2 % of the channel and queue behind it: set mode = "
            "internal here and mode = boundary there",
        )


# -- numbers --------------------------------------------------------------------------------------


def _bitrate(each: _Interface) -> Iterator[_Said]:
    bitrate = each.number("bitrate")
    if bitrate is None:
        return
    fixed = each.type.startswith("TCP") and "fixed_mtu" in each.section
    if each.type in _TCP and bitrate < _TCP_BITRATE_MIN_BPS and not fixed:
        yield (
            _ERROR,
            "bitrate_breaks_tcp",
            f"bitrate = {bitrate:g} below {_TCP_BITRATE_MIN_BPS} leaves TCP without an MTU: the "
            "link opens and closes for ever; remove it (fixed_mtu = 500 makes small packets)",
        )
    elif each.type in _RNODES:
        yield (
            _WARNING,
            "bitrate_on_radio",
            f"bitrate = {bitrate:g} hides what the radio itself reports: remove it",
        )


def _backbone(each: _Interface) -> Iterator[_Said]:
    if not each.type.startswith("Backbone"):
        return
    yield (
        _ADVICE,
        "backbone_stalls",
        "under load what is sent may lie still for seconds (rns 1.5.7 forgets to wait for the "
        "socket); TCPServerInterface and TCPClientInterface speak the same and do not",
    )
    listens = not (each.text("target_host") or each.text("remote"))
    if listens and not (each.text("block_fast_flapping") or each.text("fast_flapping_grace")):
        yield (
            _WARNING,
            "locks_out_who_comes_back",
            "an address that connects six times for less than 20 s each is refused for 12 hours, "
            "be it a node with a bad battery: set fast_flapping_grace = 100",
        )


def _flow_control(each: _Interface) -> Iterator[_Said]:
    if each.type in _RNODES and each.is_yes("flow_control"):
        yield (
            _ERROR,
            "flow_control_wedges",
            "flow_control = yes stops after one packet: present firmware tells that it is ready "
            "only when asked, and the driver never asks; remove it",
        )


# -- the law --------------------------------------------------------------------------------------


def _radios_of(each: _Interface) -> Iterator[_Interface]:
    """The interface, or the radios a multi-interface is made of."""
    if each.type == "RNodeMultiInterface":
        for name, section in each.section.items():
            if isinstance(section, Mapping):
                yield _Interface(f"{each.name}/{name}", "RNodeInterface", section)
    elif each.type in _RNODES:
        yield each


def _airtime(each: _Interface) -> Iterator[_Said]:
    for radio in _radios_of(each):
        settings = _settings(radio)
        if settings is None:
            yield (
                _ERROR,
                "invalid_radio",
                "frequency, bandwidth, spreadingfactor (5-12), codingrate (5-8) and txpower (0-37) "
                "must all be there and possible: Reticulum leaves the interface out",
            )
        else:
            yield from _law(radio, settings)


def _settings(radio: _Interface) -> LoraSettings | None:
    keys = ("frequency", "bandwidth", "spreadingfactor", "codingrate", "txpower")
    numbers = [radio.number(key) for key in keys]
    if any(number is None or not number.is_integer() for number in numbers):
        return None
    frequency, bandwidth, sf, cr, txpower = (
        int(number) for number in numbers if number is not None
    )
    ranges = ((frequency, _FREQUENCIES_HZ), (bandwidth, _BANDWIDTHS_HZ), (txpower, _TXPOWERS_DBM))
    if not all(low <= value <= high for value, (low, high) in ranges):
        return None
    try:
        return LoraSettings(frequency, nearest_bandwidth(bandwidth), sf, cr)
    except ValueError:
        return None


def _law(radio: _Interface, settings: LoraSettings) -> Iterator[_Said]:
    band = band_of(settings)
    if is_outside(settings):
        yield (
            _ERROR,
            "outside_band",
            f"{settings.frequency_hz / 1e6:g} MHz with {settings.bandwidth_hz / 1000:g} kHz "
            "reaches outside the bands known here: `interfaces list` has channels that do not",
        )
    if band is None:
        return
    if settings.bandwidth_hz < band.bandwidth_hz_min:
        yield (
            _WARNING,
            "needs_500_khz",
            f"in {band.name} a radio that does not hop must be {band.bandwidth_hz_min // 1000} kHz "
            "wide",
        )
    if longest_frame_s(settings) > band.dwell_s:
        yield (
            _WARNING,
            "dwell_over_400_ms",
            f"the longest frame takes {longest_frame_s(settings):.2f} s; in {band.name} it should "
            "stay below 0.4 s: use a smaller spreading factor",
        )
    if band.duty is not None:
        yield from _duty(radio, settings, band.name, band.duty)


def _duty(radio: _Interface, settings: LoraSettings, band: str, duty: float) -> Iterator[_Said]:
    limit, legal = radio.number("airtime_limit_long"), 100 * duty
    safe = math.floor(10_000 * safe_limit(settings, duty)) / 100  # the line carries two digits
    if not safe:  # 0 would be no limit at all
        yield (
            _WARNING,
            "queue_over_band",
            f"at spreadingfactor = {settings.sf} a full queue alone takes more than the {legal:g} "
            f"% of an hour the law allows in {band}: use a smaller one, or a band that allows more",
        )
    elif not limit or limit >= 100:
        yield (
            _WARNING,
            "no_airtime_limit",
            f"the law allows {legal:g} % in {band}: set airtime_limit_long = {safe:g}",
        )
    elif limit > legal:
        yield (
            _ERROR,
            "airtime_limit_over_band",
            f"airtime_limit_long = {limit:g} exceeds the {legal:g} % of {band}: set {safe:g}",
        )
    elif limit > safe:
        yield (
            _ADVICE,
            "airtime_limit_without_room",
            f"airtime_limit_long = {limit:g} can be overshot by a full queue and by what the "
            f"firmware rounds off; {safe:g} surely stays within {legal:g} %",
        )


# -- places ---------------------------------------------------------------------------------------


def _type(each: _Interface, known: Container[str]) -> Iterator[_Said]:
    if each.type not in known:
        yield (
            _ERROR,
            "unknown_type",
            f"type = {each.type[:40]} is neither Reticulum's nor a file in the directory "
            "`interfaces` beside the configuration: Reticulum starts without it",
        )


def _port(each: _Interface, port_exists: Callable[[str], bool]) -> Iterator[_Said]:
    port = each.text("port")
    if not port.startswith("/"):
        return  # a number, or a tcp:// or ble:// address
    if port.startswith(("/dev/ttyUSB", "/dev/ttyACM")):
        yield (
            _ADVICE,
            "port_not_by_id",
            f"port = {port} changes when another device is plugged in: use its name in "
            "/dev/serial/by-id/",
        )
    if not port_exists(port):
        text = f"port = {port[:80]} is not there at the moment"
        if "CHANGE-ME" in port:
            text = "port is still the profile's CHANGE-ME: ls -l /dev/serial/by-id/ shows yours"
        yield (_WARNING, "port_not_there", text)


def _shared_port(each: _Interface, enabled: list[_Interface]) -> Iterator[_Said]:
    port = each.text("port")
    first = next(other for other in enabled if other is each or other.text("port") == port)
    if port.startswith("/") and first is not each:
        yield (
            _ERROR,
            "port_used_twice",
            f"port = {port[:80]} is {first.name[:40]}'s too: a radio has one interface",
        )


_EACH: Final[tuple[Callable[[_Interface], Iterator[_Said]], ...]] = (
    _mode_words,
    _announces,
    _bitrate,
    _backbone,
    _flow_control,
    _airtime,
)
