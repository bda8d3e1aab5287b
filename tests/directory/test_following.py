"""Several nodes on one database: one truth, judged by each, and nobody waits for another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from ciris_mesh.directory.base import OWN, Source
from ciris_mesh.directory.buckets import digest_of
from ciris_mesh.directory.following import PostgresDirectory
from ciris_mesh.directory.pools import PoolLimits
from ciris_mesh.errors import DirectoryError
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.outcome import Outcome, Reason
from ciris_mesh.records.rules.base import Trust
from support import rulebook
from support.copies import copies_held
from support.keys import NAMES, alice, bob, key, steward
from support.postgres import lent_database, open_postgres
from support.records import AT_MS, sample, trust_in
from support.rulebook import really_signed
from support.vouching import bare
from support.waiting import wait_until

K = EnvelopeKind
PEER = Source("peer", "hub")
TRUST = trust_in(*map(key, NAMES))

Open = Callable[..., PostgresDirectory]


@pytest.fixture
def url() -> Iterator[str]:
    with lent_database() as lent:
        yield lent


@pytest.fixture
def open_node(url: str) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_one(node: str, **options: Any) -> PostgresDirectory:
            options.setdefault("trust", TRUST)
            options.setdefault("shared", True)
            options.setdefault("wall_ms", lambda: AT_MS)
            directory = open_postgres(url, node, **options)
            stack.callback(directory.close)
            return directory

        yield open_one


@pytest.fixture
def two(open_node: Open) -> tuple[PostgresDirectory, PostgresDirectory]:
    return open_node("one"), open_node("other")


def sql(url: str, text: str, *values: Any) -> list[tuple[Any, ...]]:
    """What somebody with the database's password does by hand."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(text, values)
        return list(cursor.fetchall()) if cursor.description else []


def fill(directory: PostgresDirectory, families: range = range(3)) -> None:
    directory.admit(K.KEY, sample(K.KEY, alice()), OWN, now_ms=AT_MS)
    raws = [sample(K.FAMILY, alice(), n) for n in families]
    directory.admit_many(K.FAMILY, raws, PEER, now_ms=AT_MS)


def ids(directory: PostgresDirectory, kind: EnvelopeKind = K.FAMILY) -> set[bytes]:
    return {ref.envelope_hash for ref in directory.holdings(kind)}


def check_digests(directory: PostgresDirectory) -> None:
    for kind in K:
        assert directory.digest(kind) == digest_of(copies_held(directory, kind))


# -- what others wrote ---------------------------------------------------------------------------


def test_what_one_admits_the_other_has_after_a_look(
    two: tuple[PostgresDirectory, PostgresDirectory],
) -> None:
    one, other = two
    before = other.generation(K.FAMILY)
    fill(one)
    assert ids(other) == set(), "not before it was judged"
    assert other.digest(K.FAMILY).count == 0
    assert (other.followed, one.followed) == (0, 0)
    assert other.follow() == 4
    assert (other.followed, one.followed) == (4, 0), "so that peers can be told"
    assert ids(other) == ids(one)
    assert other.digest(K.FAMILY) == one.digest(K.FAMILY)
    assert other.generation(K.FAMILY) > before, "what depends on it is computed anew"
    assert other.public_key(alice().key_id) == alice().public
    assert other.follow() == 0


def test_a_share_of_the_card_is_one_for_all_nodes_of_a_database(open_node: Open) -> None:
    """Between two looks, a second, each may take what it thinks is left; no more comes after."""
    limits = PoolLimits(bridged_rows_per_source=2)
    one, other = (open_node(name, limits=limits) for name in ("one", "other"))
    rows = [bare(K.FAMILY, "dave", n) for n in range(5)]

    def take(directory: PostgresDirectory, n: int) -> Outcome:
        source = Source("registry", "registry-eu")
        return directory.admit(K.FAMILY, rows[n].raw, source, now_ms=AT_MS).outcome

    assert take(one, 0) is Outcome.ADMITTED
    assert take(other, 1) is Outcome.ADMITTED
    assert take(other, 2) is Outcome.REFUSED, "the first node's row counts here as well"
    one.follow()
    assert take(one, 3) is Outcome.REFUSED


def test_a_thread_looks_by_itself(open_node: Open) -> None:
    one, other = open_node("one"), open_node("other", follow_interval_s=0.02)
    fill(one)
    wait_until(lambda: ids(other) == ids(one))


def test_what_fails_again_and_again_is_logged_once(
    open_node: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def fail(_: PostgresDirectory) -> int:
        calls.append(1)
        raise RuntimeError("odd")

    monkeypatch.setattr(PostgresDirectory, "follow", fail)
    node = open_node("one", follow_interval_s=0.01)
    wait_until(lambda: len(calls) > 4)
    assert "database_not_followed: RuntimeError: odd; see the log" in node.troubles()
    node.close()
    assert caplog.text.count("follow.failed") == 1
    assert "Traceback" in caplog.text


def test_two_writers_lose_and_double_nothing(open_node: Open, url: str) -> None:
    nodes = [open_node(name) for name in ("one", "other")]
    raws = [sample(K.FAMILY, alice(), n) for n in range(40)]
    for node in nodes:
        node.admit(K.KEY, sample(K.KEY, alice()), PEER, now_ms=AT_MS)
        node.follow()
    verdicts: list[list[Outcome]] = [[], []]

    def work(mine: int) -> None:
        for start in range(0, 40, 8):
            part = raws[start : start + 8] if mine == 0 else raws[32 - start : 40 - start]
            found = nodes[mine].admit_many(K.FAMILY, part, PEER, now_ms=AT_MS)
            verdicts[mine] += [verdict.outcome for verdict in found]

    threads = [threading.Thread(target=work, args=(mine,)) for mine in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = [outcome for both in verdicts for outcome in both]
    assert said.count(Outcome.ADMITTED) == 40, "each once"
    assert said.count(Outcome.DUPLICATE) == 40
    for node in nodes:
        node.follow()
        assert len(ids(node)) == 40
        check_digests(node)
    assert sql(url, "SELECT count(*) FROM ciris_mesh.record") == [(41,)]


def test_the_same_record_at_both_is_admitted_once(
    two: tuple[PostgresDirectory, PostgresDirectory],
) -> None:
    one, other = two
    fill(one)
    verdict = other.admit(K.KEY, sample(K.KEY, alice()), PEER, now_ms=AT_MS)
    assert verdict.outcome is Outcome.DUPLICATE, "though it has not looked yet"


def test_what_waited_at_one_is_released_by_what_the_other_admits(
    two: tuple[PostgresDirectory, PostgresDirectory],
) -> None:
    one, other = two
    raw = sample(K.FAMILY, alice())
    assert one.admit(K.FAMILY, raw, PEER, now_ms=AT_MS).outcome is Outcome.DEFERRED
    other.admit(K.KEY, sample(K.KEY, alice()), PEER, now_ms=AT_MS)
    assert one.pools().deferred == 1
    one.follow()
    one.retry_due(AT_MS)
    assert one.pools().deferred == 0
    assert len(ids(one)) == 1


def test_what_waits_is_each_ones_own(two: tuple[PostgresDirectory, PostgresDirectory]) -> None:
    one, other = two
    raw = sample(K.FAMILY, alice())
    for node in two:
        assert node.admit(K.FAMILY, raw, PEER, now_ms=AT_MS).outcome is Outcome.DEFERRED
    assert (one.pools().deferred, other.pools().deferred) == (1, 1)
    other.admit(K.KEY, sample(K.KEY, alice()), PEER, now_ms=AT_MS)
    one.follow()
    assert one.pools().deferred == 1, "until it is looked at"
    one.retry_due(AT_MS)
    assert (one.pools().deferred, other.pools().deferred) == (0, 0)


def test_digests_are_right_after_both_were_restarted(open_node: Open) -> None:
    one, other = open_node("one"), open_node("other")
    fill(one)
    other.follow()
    fill(other, range(3, 9))
    one.follow()
    check_digests(one)
    one.close()
    fill(other, range(9, 12))
    other.close()
    for name in ("one", "other"):
        again = open_node(name)
        again.follow()
        assert len(ids(again)) == 12
        check_digests(again)


def test_a_node_that_comes_later_judges_all_there_is(open_node: Open) -> None:
    one = open_node("one")
    fill(one, range(30))
    late = open_node("late")
    assert ids(late) == set()
    assert late.follow() == 31
    assert ids(late) == ids(one)


def test_looking_goes_on_in_steps(open_node: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ciris_mesh.directory.following.STEP_ROWS", 2)
    one, other = open_node("one"), open_node("other")
    fill(one, range(7))  # two changes, the second larger than a step
    for n in range(7, 10):
        one.admit(K.FAMILY, sample(K.FAMILY, alice(), n), PEER, now_ms=AT_MS)
    assert other.follow() == 11
    assert ids(other) == ids(one)
    check_digests(other)


def test_gaps_in_the_numbers_are_no_harm(
    two: tuple[PostgresDirectory, PostgresDirectory], url: str
) -> None:
    one, other = two
    fill(one)
    sql(url, "SELECT nextval('ciris_mesh.record_position_seq') FROM generate_series(1, 50)")
    one.admit(K.FAMILY, sample(K.FAMILY, alice(), 7), PEER, now_ms=AT_MS)
    assert other.follow() == 5
    assert ids(other) == ids(one)
    assert [row.kind for _, row in other.rows(limit=99)] == [K.KEY, *[K.FAMILY] * 4]


def test_a_key_that_comes_by_the_other_roots_what_it_signed(open_node: Open) -> None:
    trust = Trust(roots={steward().key_id: steward().public.fingerprint})
    one, other = open_node("one", trust=trust), open_node("other", trust=trust)
    for of, by, identity_type in (("steward", "", "steward"), ("alice", "steward", "agent")):
        raw = really_signed(rulebook.key_record(of, identity_type, by=by, ref=f"{of} by {by}"))
        one.admit(K.KEY, raw, PEER, now_ms=AT_MS)
    assert other.rooted() == frozenset()
    assert other.follow() == 2
    assert other.rooted() == one.rooted() == {steward().key_id, alice().key_id}


# -- what is not as it should be -----------------------------------------------------------------


def tamper(url: str, with_bytes: bytes = b'{"garbage": 1}') -> None:
    """Somebody changes one family's bytes by hand."""
    sql(
        url,
        "UPDATE ciris_mesh.envelope SET bytes = %s WHERE position = "
        "(SELECT max(position) FROM ciris_mesh.record WHERE kind = 5)",
        with_bytes,
    )


def test_a_row_changed_by_hand_is_noticed_and_does_not_count(
    two: tuple[PostgresDirectory, PostgresDirectory], url: str
) -> None:
    one, other = two
    fill(one)
    other.follow()
    whole = ids(one)
    tamper(url)
    for node in two:
        assert len(ids(node)) == 2, "nobody sees it before it is judged"
        node.follow()
        assert len(ids(node)) == 2
        assert node.get(K.FAMILY, (whole - ids(node)).pop()) is None
        check_digests(node)
        assert [line.partition(":")[0] for line in node.troubles()] == ["database_rows_hidden"]


def test_a_forged_row_keeps_the_true_record_out_of_nowhere(
    two: tuple[PostgresDirectory, PostgresDirectory], url: str
) -> None:
    one, other = two
    fill(one)
    other.follow()
    tamper(url)
    for node in two:
        node.follow()
    verdict = other.admit(K.FAMILY, sample(K.FAMILY, alice(), 2), PEER, now_ms=AT_MS)
    assert verdict.outcome is Outcome.ADMITTED, "in the place of the forged one"
    one.follow()
    for node in two:
        assert len(ids(node)) == 3
        check_digests(node)
    other.follow()
    assert sql(url, "SELECT count(*) FROM ciris_mesh.hidden") == [(0,)]


def test_what_a_hidden_row_carried_does_not_count_either(open_node: Open, url: str) -> None:
    """A record is as good as the key that signed it; a forged key is none."""
    one = open_node("one")
    fill(one)
    key_bytes = sample(K.KEY, alice()).replace(b'"algorithm"', b'"algorithn"', 1)
    sql(
        url,
        "UPDATE ciris_mesh.envelope SET bytes = %s WHERE position = "
        "(SELECT position FROM ciris_mesh.record WHERE kind = 1)",
        key_bytes,
    )
    late = open_node("late")
    assert late.follow() == 4
    assert sum(late.counts().values()) == 0
    assert late.public_key(alice().key_id) is None
    late.admit(K.KEY, sample(K.KEY, alice()), PEER, now_ms=AT_MS)
    one.follow()
    one.admit(K.FAMILY, sample(K.FAMILY, alice(), 9), PEER, now_ms=AT_MS)
    late.follow()
    assert len(ids(late)) == 4, "what was hidden for want of the key is looked at again"
    check_digests(late)


def test_a_node_that_trusts_less_does_not_take_over_what_others_may(open_node: Open) -> None:
    one = open_node("one")
    fill(one)
    one.admit(K.ORGANIZATION, sample(K.ORGANIZATION, alice()), PEER, now_ms=AT_MS)
    assert len(ids(one, K.ORGANIZATION)) == 1
    strict = open_node("strict", trust=None)
    strict.follow()
    assert ids(strict, K.ORGANIZATION) == set()
    assert len(ids(strict)) == 3


def test_a_row_on_a_better_shelf_than_it_earns_is_hidden(open_node: Open, url: str) -> None:
    one = open_node("one")
    registry = Source("registry", "registry")
    one.admit(K.FAMILY, sample(K.FAMILY, bob()), registry, now_ms=AT_MS)  # bob is not known
    sql(url, "UPDATE ciris_mesh.record SET shelf = 2")
    late = open_node("late")
    late.follow()
    assert ids(late) == set()
    reasons = sql(url, "SELECT reason FROM ciris_mesh.hidden")
    assert reasons == [(Reason.SIGNER_UNKNOWN.value,)]


def test_a_row_that_says_other_than_its_envelope_is_hidden(open_node: Open, url: str) -> None:
    fill(open_node("one"), range(1))
    sql(url, "UPDATE ciris_mesh.record SET subject = 'somebody else' WHERE kind <> 1")
    late = open_node("late")
    late.follow()
    assert ids(late) == set()
    assert sql(url, "SELECT reason FROM ciris_mesh.hidden") == [(Reason.ROW_DIFFERS.value,)]


# -- whose database it is ------------------------------------------------------------------------


def test_another_node_is_refused_unless_both_share(open_node: Open) -> None:
    open_node("one", shared=False).close()
    for shared in (False, True):
        with pytest.raises(DirectoryError, match=r"belongs to the node one; .* 'shared = yes'"):
            open_node("other", shared=shared)
    open_node("one", shared=True).close()
    with pytest.raises(DirectoryError, match="belongs to the node one"):
        open_node("other", shared=False)
    open_node("other", shared=True)


def test_one_process_at_a_time_is_this_node(open_node: Open) -> None:
    first = open_node("one")
    with pytest.raises(DirectoryError, match="in use by another process of this node; stop that"):
        open_node("one")
    first.close()
    open_node("one")
