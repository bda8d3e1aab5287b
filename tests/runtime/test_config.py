"""Settings: the table is the truth, and whatever is wrong in the file is said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ciris_mesh.errors import ConfigError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.config import (
    CONFIG_BYTES_MAX,
    Config,
    example_config,
    load_config,
    parse_config,
)
from ciris_mesh.runtime.keyids import suffix
from ciris_mesh.runtime.options import OPTIONS

DEFAULTS = parse_config(b"")
PRINT = bytes(range(32))


def setting(section: str, line: str) -> Config:
    config = parse_config(f"[{section}]\n{line}\n".encode())
    assert config.warnings == ()
    return config


def refusal(data: bytes | str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(data if isinstance(data, bytes) else data.encode(), "/srv/x/config")
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("/srv/x/config")
    return text


def test_the_example_is_the_defaults_without_a_warning() -> None:
    assert parse_config(example_config().encode()) == DEFAULTS
    assert DEFAULTS.warnings == ()


def test_the_example_explains_every_option() -> None:
    text = example_config()
    flat = " ".join(line.removeprefix("# ") for line in text.splitlines())
    for option in OPTIONS:
        assert f"\n{option.name} =" in text
        assert option.help in flat
        assert f"Allowed: {option.allowed}." in flat
    assert all(len(line) <= 100 for line in text.splitlines())


def test_every_option_is_one_row_and_reaches_the_settings() -> None:
    assert len({(option.section, option.name) for option in OPTIONS}) == len(OPTIONS)
    for option in OPTIONS:
        assert hasattr(getattr(DEFAULTS, option.section), option.name)


def test_the_defaults_are_pinned() -> None:
    assert DEFAULTS.node.kinds == frozenset(EnvelopeKind)
    assert DEFAULTS.node.announce_interval_h == 6
    assert DEFAULTS.reticulum.config_dir is None
    assert DEFAULTS.reticulum.announce_kinds == ()
    assert (DEFAULTS.rounds.cadence_s, DEFAULTS.rounds.no_progress_timeout_s) == (30, 10)
    assert (DEFAULTS.rounds.tau_partial_s, DEFAULTS.rounds.frame) == (300, 0x81)
    assert (dict(DEFAULTS.trust.pinned), dict(DEFAULTS.trust.roots)) == ({}, {})
    assert DEFAULTS.trust.root_stewards == DEFAULTS.trust.partner_stewards == frozenset()
    assert (DEFAULTS.trust.partner_threshold, DEFAULTS.trust.hardware_types) == (0, ())
    assert DEFAULTS.control.group == ""


def test_values_can_be_given_to_a_new_file() -> None:
    text = example_config({("node", "name"): "field-3", ("rounds", "cadence_s"): "60"})
    config = parse_config(text.encode())
    assert (config.node.name, config.rounds.cadence_s) == ("field-3", 60)
    assert config.warnings == ()


def test_each_sort_of_value_is_read() -> None:
    assert setting("node", "name = field-3  # mine").node.name == "field-3"
    assert setting("node", "kinds = key, revocation,").node.kinds == {
        EnvelopeKind.KEY,
        EnvelopeKind.REVOCATION,
    }
    assert setting("node", "announce_interval_h = 0.5").node.announce_interval_h == 0.5
    assert setting("reticulum", "config_dir = /etc/reticulum").reticulum.config_dir == Path(
        "/etc/reticulum"
    )
    assert setting("reticulum", "config_dir = ~/rns").reticulum.config_dir == Path.home() / "rns"
    assert setting("reticulum", 'announce_kinds = "Hub, one", LAN').reticulum.announce_kinds == (
        "Hub, one",
        "LAN",
    )
    assert setting("control", "acting_users = ann, bob").control.acting_users == ("ann", "bob")


def test_pins_are_read() -> None:
    own = f"root-{suffix(PRINT)}"
    config = setting("trust", f"pinned = registry-eu {PRINT.hex()}, {own} {PRINT.hex().upper()}")
    assert dict(config.trust.pinned) == {"registry-eu": PRINT, own: PRINT}


@pytest.mark.parametrize(
    "value",
    [
        "registry-eu",
        "registry-eu 00ff",
        f"registry-eu {'zz' * 32}",
        f"registry-eu{PRINT.hex()}",
        f"root-{suffix(bytes(32))} {PRINT.hex()}",
        f"a {PRINT.hex()}, a {bytes(32).hex()}",
    ],
)
def test_a_pin_that_could_be_wrong_is_refused(value: str) -> None:
    assert "64 hex digits" in refusal(f"[trust]\npinned = {value}")


def test_a_radio_never_announces_more_than_once_an_hour() -> None:
    often = setting("node", "announce_interval_h = 0.1").node
    assert often.announce_interval_s(radio=True) == 3600
    assert often.announce_interval_s(radio=False) == 360
    assert DEFAULTS.node.announce_interval_s(radio=True) == 6 * 3600


def test_log_levels_follow_reticulum() -> None:
    levels = [setting("node", f"log_level = {n}").node.logging_level for n in range(8)]
    assert levels == sorted(levels, reverse=True)
    assert (levels[0], levels[1], levels[2], levels[4], levels[7]) == (50, 40, 30, 20, 10)


@pytest.mark.parametrize(
    ("section", "line", "allowed"),
    [
        ("node", "name = Field 3", "1 to 32 of a-z"),
        ("node", "name = a, b", "1 to 32 of a-z"),
        ("node", "kinds = key, notes", "all, or of key, attestation"),
        ("node", "kinds =", "all, or of key"),
        ("node", "announce_interval_h = 0", "0.01 to 168"),
        ("node", "announce_interval_h = 6h", "0.01 to 168"),
        ("node", "log_level = 8", "0 to 7"),
        ("node", "log_level = 2.5", "0 to 7"),
        ("node", "log_level = 1, 2", "0 to 7"),
        ("reticulum", "config_dir = rns", "an absolute path"),
        ("rounds", "cadence_s = -1", "0.1 to 86400"),
        ("rounds", "cadence_s = nan", "0.1 to 86400"),
        ("rounds", "cadence_s = inf", "0.1 to 86400"),
        ("rounds", "cadence_s =", "0.1 to 86400"),
        ("rounds", "no_progress_timeout_s = soon", "0.1 to 3600"),
        ("rounds", "tau_partial_s = 0", "1 to 2592000"),
        ("rounds", "frame = 1", "81 or 01"),
        ("rounds", "frame = 81, 01", "81 or 01"),
        ("rounds", "[[cadence_s]]", "0.1 to 86400"),
    ],
)
def test_a_bad_value_names_its_place_and_what_is_allowed(
    section: str, line: str, allowed: str
) -> None:
    text = refusal(f"[{section}]\n{line}\n")
    assert f"[{section}] {line.partition(' ')[0].strip('[]')} = " in text
    assert f"allowed is {allowed}" in text


def test_a_long_or_wild_value_does_not_flood_the_terminal() -> None:
    text = refusal("[node]\nlog_level = \x1b[2J" + "x" * 5000)
    assert text.isprintable()
    assert len(text) < 200


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[node]\nnmae = x", ("[node] nmae is unknown and has no effect; did you mean name?",)),
        ("[rounds]\ncadence = 5", ("[rounds] cadence is unknown", "did you mean cadence_s?")),
        ("[nodes]\nname = x\n[node]", ("section [nodes] is unknown", "did you mean node?")),
        ("name = x\n[node]", ("name stands before any [section]",)),
        ("[rounds]\nkinds = all", ("[rounds] kinds is unknown",)),
        ("[node]\n[[extra]]\na = 1", ("[node] extra is unknown",)),
        ("[zzz]\na = 1\n[node]", ("section [zzz] is unknown and has no effect",)),
    ],
)
def test_what_has_no_effect_is_warned_of(text: str, says: tuple[str, ...]) -> None:
    config = parse_config(text.encode(), "/srv/x/config")
    (warning,) = config.warnings
    assert warning.startswith("/srv/x/config: ")
    assert "\n" not in warning
    for part in says:
        assert part in warning
    assert (
        Config(
            config.node,
            config.reticulum,
            config.rounds,
            config.trust,
            config.control,
            config.radio,
            config.operator,
            config.page,
            config.store,
            config.web,
        )
        == DEFAULTS
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[node]\nname = a\nname = b", "line 3: an option or section for the second time"),
        ("[node]\n[rounds]\n[node]", "line 3: an option or section for the second time"),
        ("[node]\r\n\r\nname", "line 3: neither a [section] nor option = value"),
        ("[node\nname = a", "line 1: neither"),
        ('[node]\nname = "a', "line 2: neither"),
        ("[[node]]", "line 1: neither"),
        ("node = 5", "node is a section, write [node]"),
    ],
)
def test_a_malformed_file_names_the_line(text: str, says: str) -> None:
    assert says in refusal(text)


def test_a_file_that_is_not_utf_8_names_the_line() -> None:
    assert "line 2: not UTF-8" in refusal(b"[node]\nname = \xff\n")
    assert "not UTF-8" in refusal("[node]".encode("utf-16"))


@pytest.mark.parametrize("text", ["[nodes]\nname = x", "name = x", "[a]\n[b]\nc = 1", "x ="])
def test_a_file_with_nothing_of_ours_is_no_configuration(text: str) -> None:
    line = refusal(text)
    assert "none of [node], [reticulum], " in line
    assert "--exampleconfig" in line
    assert line.isprintable()


@pytest.mark.parametrize("text", ["", "\n", "# name = x\n"])
def test_a_file_that_sets_nothing_means_the_defaults(text: str) -> None:
    assert parse_config(text.encode()) == DEFAULTS


def test_a_byte_order_mark_does_no_harm() -> None:
    assert parse_config(b"\xef\xbb\xbf[node]\nname = a\n").node.name == "a"


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@example(b"%(x)s\n[node]\nname = %(x)s")
@example(b"[node]\nname = '''\n\n")
@example(b"[" * 100)
@example(b"a = \x00\n[\x0b]\x85=\xc2\x85")
def test_hostile_files_raise_only_config_error(data: bytes) -> None:
    try:
        said = parse_config(data).warnings
    except ConfigError as error:
        said = (str(error),)
    assert all(line.isprintable() for line in said)


lines = st.sampled_from(
    [f"{option.name} = {value}" for option in OPTIONS for value in ("", "1", "x", "all", "1, 2")]
)


@given(st.lists(lines, max_size=6, unique_by=lambda line: line.split(" ")[0]))
def test_every_mix_of_options_is_settings_or_one_refusal(chosen: list[str]) -> None:
    text = "".join(
        f"[{section}]\n" + "".join(line + "\n" for line in chosen)
        for section in ("node", "rounds", "control", "radio")
    )
    try:
        config = parse_config(text.encode())
    except ConfigError as error:
        refused = str(error)
    else:
        refused = ""
        assert 0.1 <= config.rounds.cadence_s <= 86_400
    assert not refused or "allowed is" in refused


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(example_config({("node", "name"): "field-3"}))
    path.chmod(0o644)
    assert load_config(path).node.name == "field-3"


def test_files_that_cannot_be_used_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "config"
    with pytest.raises(ConfigError, match=r"is missing; create it with: ciris-mesh init"):
        load_config(path)
    path.write_bytes(b"#" * (CONFIG_BYTES_MAX + 1))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="longer than"):
        load_config(path)
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="chmod go-w"):
        load_config(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(path)
