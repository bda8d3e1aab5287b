"""`resolve`: what counts, and why. Asked of the running node, else of the store itself."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator
from typing import Any, Final

import click

from ciris_mesh.cli.app import App, Failure, print_json
from ciris_mesh.cli.lookup import find_key, known_key_id, one_beginning, shown
from ciris_mesh.cli.node import ask, locked_home, open_directory
from ciris_mesh.cli.options import time_option
from ciris_mesh.cli.stored import (
    all_rows,
    envelope_text,
    envelope_texts,
    plain_record,
    stored_rows,
)
from ciris_mesh.cli.verbs import Verb
from ciris_mesh.errors import NodeNotRunning
from ciris_mesh.records.kinds import EnvelopeKind

#: As `records.resolve.table.QUESTIONS` has them, which would load the cryptography.
QUESTIONS: Final = (
    "key",
    "chain",
    "members",
    "occurrences",
    "org",
    "membership",
    "partner",
    "revoked",
    "attestations",
    "location",
)
#: Those about a key, so that an alias or the beginning of an id will do.
_ABOUT_KEYS: Final = ("key", "chain", "occurrences", "revoked", "attestations", "location")
#: What to look at when a name is not known.
_ELSEWHERE: Final = {
    "members": "records --kind family (or community)",
    "org": "records --kind organization",
    "membership": "records --kind org_membership",
    "partner": "records --kind partner_record",
}
#: As many digits of an envelope id as nobody mistakes.
_ID_DIGITS: Final = 12
#: A question may read thousands of records.
_ANSWER_TIMEOUT_S: Final = 60.0
#: Rosters looked through for a name that was taken for an id: each is a question to the node.
_GROUPS_READ_MAX: Final = 500
#: Groups named when several are called so.
_NAMED_MAX: Final = 3
#: An instant by which everything that is here was made.
_ANY_TIME: Final = "9999-12-31T23:59:59Z"

Answer = dict[str, Any]


@click.command(cls=Verb)
@click.argument("question", type=click.Choice(QUESTIONS), metavar="QUESTION")
@click.argument("name", required=False, default="")
@click.argument("member", required=False, default="")
@time_option("--at", "Answer for this time instead of now, such as 2027-06-01T00:00:00Z.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.pass_obj
def resolve(
    app: App, *, question: str, name: str, member: str, at: str | None, as_json: bool
) -> None:
    """Answer QUESTION about NAME from the records here, and say why.

    \b
    key NAME              is this key valid?
    chain NAME            to which configured root does it lead?
    members ID            who is in this family or community?
    occurrences NAME      which devices and services does it run as?
    org ID                which record of this organization counts?
    membership ID MEMBER  what is this key in the organization?
    partner ID            which record of this license counts?
    revoked [NAME]        is this key revoked? Without NAME: who is?
    attestations NAME     what is said about it, and still stands?
    location NAME         in which cell is it?

    NAME is a key id, the beginning of one, or what you call a peer; for members the beginning of
    the group's id will do.
    """
    if not name and question != "revoked":
        raise click.UsageError(f"{question} needs a name.")
    if bool(member) is not (question == "membership"):
        raise click.UsageError("membership, and it alone, takes two names: ORG_ID and MEMBER.")
    subject = (known_key_id(app, name) or name) if question in _ABOUT_KEYS else name
    more = (known_key_id(app, member) or member) if member else ""
    answer, is_running = _ask(app, question, subject, more, at)
    if answer["status"] == "unknown" and question in _ABOUT_KEYS:
        found = find_key(app, name, "", unknown=False).key_id
        if found != subject:
            answer, is_running = _ask(app, question, found, more, at)
    if answer["status"] == "unknown" and question == "members":
        group = one_beginning(name, _groups(app))
        if group is not None and group != name:
            answer, is_running = _ask(app, question, group, more, at)
    if answer["status"] == "unknown":
        raise Failure(_unknown(app, question, answer))
    if as_json:
        print_json(answer)
        return
    from ciris_mesh.ui.reasons import answer_lines

    click.echo("\n".join(answer_lines(answer, is_running=is_running)))


def what_counts(
    app: App, kind: EnvelopeKind, question: str, subject: str, more: str = ""
) -> dict[str, Any] | None:
    """The organization or membership that counts, as plain values; None when none does.

    One that is dated ahead of now counts as well: a new record has to come after it.

    Raises:
        Failure: it was ended for good, or there are too many records to tell.
    """
    answer = ever(app, question, subject, more)
    if answer["status"] == "too_many":
        raise Failure(f"too many records of {shown(subject)} are here to tell which one counts")
    found = answer["found"]
    if found["ended_by"]:
        whose = f"what {more} was in {subject}" if more else subject
        raise Failure(
            f"{whose} was ended, which is for good; nothing was signed. "
            f"See: ciris-mesh records {found['ended_by'][:_ID_DIGITS]}"
        )
    if found["winner"] is None:
        return None
    return plain_record(kind, envelope_text(app, kind.value, found["winner"]["record"]))


def at_present(app: App, question: str, subject: str) -> Answer:
    """The answer by what counts now."""
    answer, _ = _ask(app, question, subject, "", None)
    return answer


def ever(app: App, question: str, subject: str, more: str = "") -> Answer:
    """The answer by all that is here, whenever it was made."""
    answer, _ = _ask(app, question, subject, more, _ANY_TIME)
    return answer


def _groups(app: App) -> Iterator[str]:
    """Ids of families and communities here: too long to be typed."""
    for kind in (EnvelopeKind.FAMILY, EnvelopeKind.COMMUNITY):
        yield from (row["subject"] for row in all_rows(stored_rows(app), kind.value))


def _called(app: App, name: str) -> Iterator[str]:
    """Ids of families and communities here that say they are called so, by their own word."""
    for kind in (EnvelopeKind.FAMILY, EnvelopeKind.COMMUNITY):
        rows = itertools.islice(all_rows(stored_rows(app), kind.value), _GROUPS_READ_MAX)
        ours = (row for row in rows if row["shelf"] == "federation")
        wanted = [(kind.value, row["envelope_id"]) for row in ours]
        for text in filter(None, envelope_texts(app, wanted)):
            record = plain_record(kind, text)
            if str(record.get(f"{kind.value}_name", "")).casefold() == name.casefold():
                yield str(record[f"{kind.value}_key_id"])


def _ask(app: App, question: str, subject: str, more: str, at: str | None) -> tuple[Answer, bool]:
    """The answer, and whether a running node gave it."""
    asked = {"question": question, "subject": subject, "more": more, "at": at}
    try:
        answer = ask(app, "resolve", timeout_s=_ANSWER_TIMEOUT_S, **asked)
        assert isinstance(answer, dict)
        return answer, True
    except NodeNotRunning:
        return _ask_store(app, question, subject, more, at), False


def _ask_store(app: App, question: str, subject: str, more: str, at: str | None) -> Answer:
    from ciris_mesh.cli.plain import dump
    from ciris_mesh.runtime.clock import SystemClock
    from ciris_mesh.runtime.config import load_config
    from ciris_mesh.runtime.resolving import answer
    from ciris_mesh.runtime.trusting import trust_of

    with locked_home(app) as home, open_directory(home) as directory:
        config = load_config(home.config)
        told: Answer = dump(
            answer(
                directory,
                trust_of(config.trust),
                question,
                subject,
                more=more,
                at=at,
                now_ms=SystemClock().wall_ms(),
                tau_partial_s=config.rounds.tau_partial_s,
            )
        )
    return told


def _unknown(app: App, question: str, answer: Answer) -> str:
    from ciris_mesh.ui.words import plain

    if question == "members" and (called := sorted(set(_called(app, answer["subject"])))):
        # To be copied into a shell: a founder may put anything before the digest of an id.
        ids = "; or: ".join(
            f"ciris-mesh resolve members {shlex.quote(plain(group))}"
            for group in called[:_NAMED_MAX]
        )
        return f"{shown(answer['subject'])} is a name, which anybody may give; ask by id: {ids}"
    if any(step["rule"] == "set_aside" for step in answer["steps"]):
        return f"of {shown(answer['subject'])} only unverified copies are here; they decide nothing"
    advice = _ELSEWHERE.get(question, "records --kind key")
    return f"nothing here is called {shown(answer['subject'])}; see: ciris-mesh {advice}"
