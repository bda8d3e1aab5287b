"""The profiles: found, readable, legal, without traps; and what is written about them is true."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from configobj import ConfigObj

from ciris_mesh.errors import ConfigError
from ciris_mesh.radio import profiles as module
from ciris_mesh.radio.airtime import LoraSettings
from ciris_mesh.radio.bands import band_of, safe_limit
from ciris_mesh.radio.profiles import interfaces_dir, profile, profiles
from ciris_mesh.radio.traps import check
from ciris_mesh.transport.rns_config import TYPES

ROOT = Path(__file__).parent.parent.parent
CONFIGS = [each for each in profiles() if not each.shim]
RNODES = [each for each in CONFIGS if "RNodeInterface" in each.text]
TIMEOUT_S = 120.0


def parsed(text: str) -> ConfigObj:
    return ConfigObj(text.splitlines())


def test_those_that_are_promised_are_there() -> None:
    assert {each.name for each in CONFIGS} == {
        "rnode-eu868-m", "rnode-eu868-p", "rnode-us915", "rnode-au915", "rnode-433",
        "field", "gateway", "hub", "leaf", "serial", "auto-lan",
    }  # fmt: skip


@pytest.mark.parametrize("each", CONFIGS, ids=lambda each: each.name)
def test_no_profile_has_a_trap(each: module.Profile) -> None:
    found = check(parsed(each.text), known_types=TYPES, port_exists=lambda _port: True)
    assert found == ()
    assert all(section["enabled"] == "Yes" for section in parsed(each.text)["interfaces"].values())


@pytest.mark.parametrize("each", CONFIGS, ids=lambda each: each.name)
def test_every_profile_says_what_it_is_for(each: module.Profile) -> None:
    assert 10 < len(each.summary) < 80
    assert each.text.startswith(f"# {each.summary}\n#\n# ")


@pytest.mark.parametrize("each", RNODES, ids=lambda each: each.name)
def test_airtime_limits_are_legal_with_a_full_queue_on_top(each: module.Profile) -> None:
    for section in parsed(each.text)["interfaces"].values():
        if section["type"] != "RNodeInterface":
            continue
        settings = LoraSettings(
            int(section["frequency"]),
            int(section["bandwidth"]),
            int(section["spreadingfactor"]),
            int(section["codingrate"]),
        )
        band = band_of(settings)
        assert band is not None
        assert settings.bandwidth_hz >= band.bandwidth_hz_min
        limit = float(section["airtime_limit_long"]) / 100
        assert band.duty is None or 0 < limit <= safe_limit(settings, band.duty)
        assert 0 < float(section["airtime_limit_short"]) <= 50


def test_a_name_there_is_not_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match="rnode-eu868-p"):
        profile("../secrets")


def test_a_damaged_installation_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ciris_mesh.__file__", str(tmp_path / "ciris_mesh" / "__init__.py"))
    with pytest.raises(ConfigError, match="install ciris-mesh again"):
        profiles()


def test_the_repository_is_read_where_it_lies() -> None:
    assert interfaces_dir() == ROOT / "interfaces"


def test_the_manual_names_every_profile() -> None:
    manual = (ROOT / "interfaces" / "README.md").read_text()
    assert all(f"`{each.name}`" in manual for each in CONFIGS)


def test_the_figures_of_the_checklist_follow_from_the_formula() -> None:
    checklist = (ROOT / "interfaces" / "CHECKLIST.md").read_text()
    radios = [LoraSettings(869_525_000, 125_000, sf, 5) for sf in (7, 8, 9, 10)]
    rows = re.findall(r"^\| (\d+) B(.*?) \| (.*) \|$", checklist, re.MULTILINE)
    assert len(rows) == 4
    for size, _, cells in rows:
        packets = (86, 118, 83) if size == "287" else (int(size),)
        expected = [f"{sum(map(each.packet_s, packets)):.3f} s" for each in radios]
        assert cells.split(" | ") == expected
    rates = " | ".join(f"{each.bitrate_bps:.0f} bit/s" for each in radios)
    assert f"| rate | {rates} |" in checklist


def test_a_wheel_carries_the_profiles(tmp_path: Path) -> None:
    """Built, unpacked elsewhere and asked there, as after `pip install`."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=TIMEOUT_S,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = (
        "import ciris_mesh.radio.profiles as p; print(p.interfaces_dir()); "
        "print(*[each.name for each in p.profiles()])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
        check=True,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    place, found = done.stdout.splitlines()
    assert place == str(tmp_path / "site" / "ciris_mesh" / "_interfaces")
    assert found.split() == [each.name for each in profiles()]
