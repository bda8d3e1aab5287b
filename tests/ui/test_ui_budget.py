"""The screen of `budget`."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import RenderableType

from ciris_mesh.runtime.budget import BudgetStatus, InterfaceBudget, PeerOwed
from ciris_mesh.ui.budget import budget_view
from ciris_mesh.ui.console import make_console

LORA = InterfaceBudget(
    name="RNodeInterface[LoRa]",
    online=True,
    duty="1%",
    counted=True,
    limit_s=36.0,
    used_s=22.46,
    own_s=8.0,
    forwarded_s=1.0,
    reticulum_s=0.5,
    handed_s=12.96,
    free_s=7.8,
    owed_records=38,
    owed_bytes=129_200,
    owed_airtime_s=424.0,
    drain_h=16.4,
)
OWED = PeerOwed("bob-abcdefghijklmnop", "bob", "attestation", 38, 129_200, 0)
STATUS = BudgetStatus(1, (), (), "", (LORA,), (OWED,), {})


def shown(view: RenderableType) -> str:
    out = io.StringIO()
    make_console(out).print(view)
    return out.getvalue()


def lines(status: BudgetStatus) -> list[list[str]]:
    return [line.split() for line in below_health(shown(budget_view(status)))]


def below_health(text: str) -> list[str]:
    return text.partition("\n\n")[2].splitlines()


def test_one_line_says_what_a_radio_used_may_use_and_is_to_send() -> None:
    text = lines(STATUS)
    assert text[1] == [
        "interface",
        "duty",
        "used",
        "s",
        "of",
        "s",
        "own",
        "others",
        "owed",
        "sent",
        "in",
    ]
    assert text[2] == [
        "RNodeInterface[LoRa]",
        "1%",
        "22.5",
        "36",
        "21.0",
        "1.5",
        "129.2",
        "kB",
        "16",
        "h",
    ]
    assert ["bob", "attestation", "38", "129.2", "kB"] in text


def test_it_fits_80_columns_in_ascii() -> None:
    long = replace(LORA, name="RNodeInterface[" + "long" * 20 + "]", duty="0.1%", drain_h=9_999.0)
    status = replace(
        STATUS,
        interfaces=(long,),
        owed=(replace(OWED, alias="", kind="identity_occurrence_revocation", never_fits=3),),
    )
    text = shown(budget_view(status))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert text.isascii()
    assert "417 d" in text


def test_no_radio_is_said_plainly() -> None:
    text = shown(budget_view(BudgetStatus(1, (), (), "", (), (), {})))
    assert below_health(text)[0] == "No radio interface here: nothing is limited."
    assert "Nothing waits for the radio." in text
    assert "!" not in text


def test_what_is_owed_without_a_radio_is_shown_too() -> None:
    text = shown(budget_view(replace(STATUS, interfaces=())))
    assert "No radio interface here" in text
    assert "bob" in text


def test_nothing_counted_is_no_zero() -> None:
    blank = replace(LORA, counted=False, used_s=None, owed_records=0, drain_h=None)
    text = shown(budget_view(replace(STATUS, interfaces=(blank,), owed=())))
    assert below_health(text)[2].split()[1:] == ["1%", "?", "36", "?", "?", "?", "?"]
    assert "nothing is counted there yet" in text


def test_without_a_limit_and_without_an_end() -> None:
    free = replace(LORA, duty="none", limit_s=None, free_s=None)
    assert lines(replace(STATUS, interfaces=(free,)))[2][1:4] == ["none", "22.5", "-"]
    never = replace(LORA, drain_h=None)
    assert lines(replace(STATUS, interfaces=(never,)))[2][-1] == "never"
    done = replace(LORA, owed_records=0, owed_bytes=0, drain_h=0.0)
    assert lines(replace(STATUS, interfaces=(done,)))[2][-1] == "0"


def test_problems_advice_quiet_hours_and_counts_are_there() -> None:
    status = replace(
        STATUS,
        health=("too much",),
        advice=("carry it",),
        quiet="22:00-06:00",
        counts={"queue_full": 2, "displaced": 1},
    )
    text = shown(budget_view(status))
    assert "Quiet hours 22:00-06:00: only removals." in text
    assert text.startswith("# Health\n! too much\n\n")
    assert text.endswith("\ncarry it\ndisplaced 1, queue_full 2\n")


def test_names_of_others_can_not_play_tricks() -> None:
    status = replace(
        STATUS,
        interfaces=(replace(LORA, name="\x1b[2Jx"),),
        owed=(replace(OWED, alias="\x1b[31mbob"),),
        health=("\x07bell",),
    )
    assert "\x1b[2J" not in shown(budget_view(status))
    assert "\x07" not in shown(budget_view(status))
