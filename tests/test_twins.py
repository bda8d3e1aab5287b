"""Every reason has a record that gets it, and a twin that is admitted: no gate is closed for all.

Both go through `admit` of a directory. The pairs are in `support.twins`; a reason that admission
does not give is listed here with the test that shows it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ciris_mesh.directory.base import OWN
from ciris_mesh.directory.memory import MemoryDirectory
from ciris_mesh.records.checks import outcome_of
from ciris_mesh.records.outcome import Outcome, Reason, Verdict
from support.attacks import signed
from support.rulebook import key_record
from support.twins import NOW_MS, Case, Twins, twins

#: Reasons given elsewhere: the test that shows it, with its own twin beside it.
ELSEWHERE = {
    Reason.UNKNOWN_KIND: (
        "test_unknown_kinds.py::test_an_import_refuses_them_by_name_and_takes_the_rest"
    ),
    Reason.UNKNOWN_MEMBER: "records/test_partnership.py::test_none_may_be_added",
    Reason.ROW_DIFFERS: (
        "directory/test_following.py::test_a_row_that_says_other_than_its_envelope_is_hidden"
    ),
    Reason.BRIDGED_QUOTA: (
        "directory/test_vouches.py::test_each_registry_has_a_share_of_the_bridged_shelf"
    ),
    Reason.BINDING_EXPIRED: "records/test_binding.py::test_a_binding_ends_at_its_expiry",
}

PAIRS = twins()
TESTS = Path(__file__).parent


def verdict_on(case: Case) -> Verdict:
    """What becomes of the first record sent."""
    directory = MemoryDirectory(trust=case.trust, limits=case.limits)
    try:
        for name in case.knows:
            kind, raw = signed(key_record(name))
            verdict = directory.admit(kind, raw, OWN, now_ms=NOW_MS)
            assert verdict.outcome is Outcome.ADMITTED, verdict
        for kind, raw in case.before:
            verdict = directory.admit(kind, raw, case.source, now_ms=NOW_MS)
            assert verdict.outcome.is_change, verdict
        before = directory.counts()
        (kind, _), *_ = case.sends
        raws = [raw for _, raw in case.sends]
        verdict = directory.admit_many(kind, raws, case.source, now_ms=NOW_MS)[0]
        is_written = verdict.outcome is Outcome.ADMITTED
        assert (directory.counts() != before) is is_written
        counted = directory.outcome_counts()
        path = "pool" if verdict.reason is Reason.POOL_FULL else case.source.path
        assert counted[path, verdict.outcome.value, verdict.reason.value] >= 1
        return verdict
    finally:
        directory.close()


@pytest.mark.parametrize(("reason", "pair"), PAIRS.items(), ids=PAIRS)
def test_a_record_gets_the_reason_and_its_twin_is_admitted(reason: Reason, pair: Twins) -> None:
    bad, good = verdict_on(pair.bad), verdict_on(pair.good)
    assert (bad.outcome, bad.reason) == (outcome_of(reason), reason)
    assert bad.outcome is not Outcome.ADMITTED
    assert (good.outcome, good.reason) == (Outcome.ADMITTED, Reason.NONE), good


def test_every_reason_has_twins_or_is_shown_elsewhere() -> None:
    assert PAIRS.keys() | ELSEWHERE.keys() == set(Reason) - {Reason.NONE}
    assert PAIRS.keys().isdisjoint(ELSEWHERE)


@pytest.mark.parametrize(("reason", "place"), ELSEWHERE.items(), ids=ELSEWHERE)
def test_the_test_that_shows_it_elsewhere_exists(reason: Reason, place: str) -> None:
    file, _, name = place.partition("::")
    source = (TESTS / file).read_text()
    assert re.search(rf"^def {re.escape(name)}\(", source, re.MULTILINE), place
    assert f"Reason.{reason.name}" in source
