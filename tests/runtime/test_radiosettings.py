"""[radio]: limits by interface, quiet hours, policy by kind, shares."""

from __future__ import annotations

import pytest

from ciris_mesh.errors import ConfigError
from ciris_mesh.protocol import ledger, radioplan
from ciris_mesh.protocol.duty import DWELL, FREE, Rule
from ciris_mesh.protocol.radioplan import POLICY, KindPolicy, QuietHours, RadioPlan
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.runtime.config import parse_config
from ciris_mesh.runtime.radiosettings import RadioSettings

K = EnvelopeKind
DEFAULTS = parse_config(b"").radio


def radio(*lines: str) -> RadioSettings:
    config = parse_config("\n".join(("[radio]", *lines)).encode())
    assert config.warnings == ()
    return config.radio


def test_the_defaults_are_the_most_restrictive_common_law() -> None:
    assert (DEFAULTS.duty, dict(DEFAULTS.duty_of)) == (Rule(0.01), {})
    assert DEFAULTS.quiet is None
    assert DEFAULTS.policy == POLICY
    assert DEFAULTS.share == ledger.OWN_SHARE
    assert DEFAULTS.peer_share == radioplan.PEER_SHARE
    assert DEFAULTS.removal_share == radioplan.REMOVAL_SHARE
    assert DEFAULTS.plan() == RadioPlan()


def test_a_duty_for_all_and_for_some() -> None:
    found = radio("duty = 10%", 'duty_of = RNode EU 0.1%, roof none, "Field, two dwell"')
    assert found.rule_for("RNode EU") == Rule(0.001)
    assert found.rule_for("RNodeInterface[RNode EU]") == Rule(0.001)
    assert found.rule_for("roof") == FREE
    assert found.rule_for("RNodeInterface[Field, two]") == DWELL
    assert found.rule_for("RNodeInterface[other]") == Rule(0.1)
    assert found.rule_for("") == Rule(0.1)


def test_an_interface_may_have_brackets_in_its_name() -> None:
    found = radio("duty_of = LoRa [mast] 10%")
    assert found.rule_for("RNodeInterface[LoRa [mast]]") == Rule(0.1)


def test_policy_changes_what_it_names() -> None:
    found = radio("policy = attestation off, key peers, partner_record on")
    assert found.policy == {
        **POLICY,
        K.ATTESTATION: KindPolicy.OFF,
        K.KEY: KindPolicy.PEERS,
        K.PARTNER_RECORD: KindPolicy.ON,
    }


def test_the_plan_is_what_was_written() -> None:
    found = radio("quiet = 22:00-06:00", "peer_share = 0.25", "removal_share = 0", "share = 0.6")
    assert found.plan() == RadioPlan(POLICY, QuietHours(1_320, 360), 0.25, 0.0)
    assert found.share == 0.6


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("duty = 1", "a percentage above 0"),
        ("duty =", "a percentage above 0"),
        ("duty = EU", "a percentage above 0"),
        ("duty = 0%", "a percentage above 0"),
        ("duty = 120%", "a percentage above 0"),
        ("duty = 1%, 2%", "a percentage above 0"),
        ("duty_of = 10%", "entries of an interface name"),
        ("duty_of = RNode", "entries of an interface name"),
        ("duty_of = RNode 10", "entries of an interface name"),
        ("duty_of = RNode 1%, RNode 10%", "entries of an interface name"),
        ("quiet = 22-6", "two times of the day"),
        ("quiet = 22:00-06:00, 12:00-13:00", "two times of the day"),
        ("quiet = 06:00-06:00", "two times of the day"),
        ("policy = notes off", "entries of a kind"),
        ("policy = key", "entries of a kind"),
        ("policy = key sometimes", "entries of a kind"),
        ("policy = key on, key off", "entries of a kind"),
        ("policy = key on, key on", "entries of a kind"),
        ("share = 0", "0.1 to 1"),
        ("share = 1.1", "0.1 to 1"),
        ("peer_share = nan", "0.05 to 1"),
        ("removal_share = 0.6", "0 to 0.5"),
        ("[[duty]]", "a percentage above 0"),
    ],
)
def test_a_bad_value_names_its_place_and_what_is_allowed(line: str, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(f"[radio]\n{line}\n".encode(), "/srv/x/config")
    text = str(caught.value)
    name = line.partition(" ")[0].strip("[]")
    assert text.startswith(f"/srv/x/config, [radio] {name} = ")
    assert f"allowed is {allowed}" in text
    assert "\n" not in text


def test_what_is_no_option_is_warned_of() -> None:
    config = parse_config(b"[radio]\ndutty = 1%\n[rdio]\nduty = 1%\n")
    assert config.radio == DEFAULTS
    assert any("did you mean duty?" in line for line in config.warnings)
    assert any("did you mean radio?" in line for line in config.warnings)
