"""Answers in plain words: a headline, the reasoning step by step, and how fresh it is.

Pure, ASCII, 80 columns. Works on the JSON of an answer, so that an answer from a running node and
one made here read the same. What strangers wrote is shown with everything unprintable escaped.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ciris_mesh.ui.words import age, ascii_text, printable
from ciris_mesh.ui.words import count as counted

COLUMNS: Final = 80

#: Steps shown without being asked for all: three screens.
STEPS_MAX: Final = 60

#: As many digits of an envelope id as `records` takes for one and nobody mistakes.
_ID_DIGITS: Final = 12

#: (question, status) -> the headline. `{more}` is the second subject.
_HEADLINES: Final[Mapping[tuple[str, str], str]] = {
    ("key", "valid"): "{subject} is valid.",
    ("key", "not_yet_valid"): "{subject} is not valid yet.",
    ("key", "expired"): "{subject} has expired.",
    ("key", "revoked"): "{subject} is REVOKED.",
    ("key", "suspect"): "{subject} is SUSPECT: do not rely on it.",
    ("chain", "rooted"): "{subject} is rooted.",
    ("chain", "not_rooted"): "{subject} is not rooted here.",
    ("members", "answered"): "{subject} has active members.",
    ("members", "empty"): "{subject} has no active member.",
    ("occurrences", "answered"): "{subject} has active occurrences.",
    ("occurrences", "empty"): "{subject} has no active occurrence.",
    ("org", "valid"): "The organization {subject} stands.",
    ("org", "suspended"): "The organization {subject} is suspended.",
    ("org", "expired"): "What was said of the organization {subject} has expired.",
    ("org", "ended"): "The organization {subject} was ended, for good.",
    ("org", "empty"): "No record of the organization {subject} counts.",
    ("membership", "valid"): "{more} is a member of {subject}.",
    ("membership", "expired"): "The membership of {more} in {subject} has expired.",
    ("membership", "ended"): "The membership of {more} in {subject} was ended, for good.",
    ("membership", "empty"): "No membership of {more} in {subject} counts.",
    ("partner", "valid"): "The license {subject} is active.",
    ("partner", "suspended"): "The license {subject} is suspended.",
    ("partner", "revoked"): "The license {subject} is REVOKED.",
    ("partner", "expired"): "The license {subject} has expired.",
    ("partner", "ended"): "The license {subject} was withdrawn, for good.",
    ("partner", "empty"): "No record of the license {subject} counts.",
    ("revoked", "revoked"): "{subject} is REVOKED.",
    ("revoked", "not_revoked"): "{subject} is not revoked.",
    ("revoked", "suspect"): "SUSPECT: a revocation was announced and has not come yet.",
    ("revoked", "answered"): "Revoked keys, as far as records here tell:",
    ("revoked", "empty"): "No key is revoked, as far as records here tell.",
    ("attestations", "answered"): "What is said about {subject}:",
    ("attestations", "empty"): "Nothing current is said about {subject}.",
    ("location", "answered"): "It is known where {subject} is.",
    ("location", "empty"): "It is not known where {subject} is.",
}
_ANY_HEADLINES: Final = {
    "suspect": "{subject} is SUSPECT: a removal was announced and has not come yet.",
    "unknown": "{subject} is not known here.",
    "too_many": "Not answered: there is more to read than one answer may.",
}

#: Rule -> a sentence over the members of a step.
SENTENCES: Final[Mapping[str, str]] = {
    "removal_pending": "A removal of {about} by {by} was announced, from {at} on ({note}). Only "
    "its first half is here: record {record} has not come yet.",
    "self_signed": "It speaks for itself by record {record}, signed {at}.",
    "vouched_only": "It has no record of its own; {by} vouched for it by {record} at {at}.",
    "key_unknown": "No record of the key {about} counts here.",
    "in_force": "It is valid from {at} on{until}.",
    "valid_later": "It is valid only from {at} on.",
    "expired": "It was valid until {at}.",
    "revoked_by": "Revoked from {at} on by {by}: {note}. Record {record}.",
    "revoked_later": "Will be revoked from {at} on by {by}: {note}. Record {record}.",
    "not_revoked": "No revocation that counts is in effect.",
    "weight": "Observed in {count} of 3 regions ({note}); the quorum of regions is {needed}. One "
    "revocation that counts is enough.",
    "claim": "Only a claim: {by} says it is revoked from {at} on, but {note}. Record {record}.",
    "claims_unread": "There are more claims than are read; none of those is listed.",
    "claims_quorum": "Claims by several keys that are rooted or configured here come from {count} "
    "regions, the quorum is {needed}.",
    "key_collision": "{count} different keys go by this id.",
    "is_revoked": "{about}: revoked from {at} on by {by}, weight {count}.",
    "only_claimed": "{about}: only claimed by keys that have no say over it.",
    "link": "{about} was vouched for by {by}.",
    "link_signed_before_revocation": "{by} was revoked later, after it had vouched for {about}.",
    "root": "{about} is a root of this node's configuration; the chain has {count} keys.",
    "no_chain": "No chain: {note}{at_key}.",
    "founded": "Founded {at} by {by}, deciding by {note}. Record {record}.",
    "founding_missing": "Its founding record is not here, or too few founders' signatures count.",
    "roster_before_founding": "Passed over roster {record} of {at}: nothing decided before it.",
    "roster_changed": "Changed {at} by {by}, deciding by {note} from then on. Record {record}.",
    "roster_entrenched": "Passed over roster {record} of {at}: the group cannot be changed.",
    "roster_not_decided": "Passed over roster {record} of {at}: {by} were not enough of the "
    "members of that time.",
    "roster_tie": "Passed over roster {record} of {at}: another of the same time counts, the one "
    "with the smaller id.",
    "member_left": "{about} left from {at} on. Record {record}.",
    "member_removed": "{about} was removed from {at} on by {by}. Record {record}.",
    "removal_not_decided": "Passed over a removal of {about} by {by}: not enough of the members "
    "of that time. Record {record}.",
    "removal_of_nobody": "Passed over a removal of {about}: no member at that time. Record "
    "{record}.",
    "member_active": "Member {about}, since {at}{flag}.",
    "occurrence": "{about}, vouched for by {by} at {at}{until}. Record {record}.",
    "occurrence_not_in_force": "{about} is not in force at that time.",
    "occurrence_unvouched": "Passed over {about}: {by} was no occurrence when it vouched at {at}. "
    "Record {record}.",
    "occurrence_removal_unvouched": "Passed over a removal of {about}: {by} was no occurrence when "
    "it signed at {at}. Record {record}.",
    "occurrence_removed": "{about} was removed from {at} on by {by}, for good. Record {record}.",
    "occurrence_removed_later": "{about} will be removed from {at} on by {by}. Record {record}.",
    "root_steward": "{about} is a root steward of this node's configuration.",
    "admin_by": "{about} was made an admin by {by}.",
    "not_entitled": "Passed over {record} of {at}: {by} could not say this then.",
    "latest_wins": "Of {count} records that count the latest wins: {record}, {at}, by {by}. It "
    "says: {note}.",
    "only_record": "One record counts: {record}, {at}, by {by}. It says: {note}.",
    "suspended": "It is suspended by {record}.",
    "ended_for_good": "Ended by {by} at {at}; no later record brings it back. Record {record}.",
    "organization_ended": "The organization was ended by {by} at {at}. Record {record}.",
    "stewards_enough": "{count} of this node's partner stewards signed, {needed} are needed.",
    "stewards_short": "Passed over {record}: too few of this node's partner stewards signed.",
    "revision_wins": "Revision {count} is the highest that counts: {note}. Record {record}.",
    "partner_revoked": "That revision revokes it.",
    "withdrawn_for_good": "Withdrawn by {record}; no later revision brings it back.",
    "attestation_current": "{by} at {at}: {note}. Record {record}.",
    "attestation_superseded": "No longer: {note} by {by} at {at}, superseded. Record {record}.",
    "attestation_withdrawn": "No longer: {note} by {by} at {at}, withdrawn. Record {record}.",
    "attestation_recanted": "No longer: {note} by {by} at {at}, recanted. Record {record}.",
    "attestation_expired": "No longer: {note} by {by}, expired {at}. Record {record}.",
    "attestation_duplicate": "Said again: {note} by {by} at {at}; the latest counts. Record "
    "{record}.",
    "attestation_not_entitled": "Passed over: {note} by {by} at {at}, who may not say this as "
    "things stand. Record {record}.",
    "attestation_undecided": "Not decided: {note} by {by} at {at}; more refers to it than is read. "
    "Record {record}.",
    "place": "Cell {about}, told by {by} at {at}. Record {record}.",
    "place_withdrawn": "Cell {about} of {at} was withdrawn. Record {record}.",
    "place_over": "Cell {about} of {at} held only for a time that is over. Record {record}.",
    "place_not_entitled": "Passed over cell {about} of {at}: {by} may not say where it is. Record "
    "{record}.",
    "signer_revoked": "Passed over {record} of {at}: {by} was revoked by then.",
    "revoked_too_often": "{by} revoked it over {count} times, which counts as revoked since ever.",
    "set_aside": "Set aside as unverified or local, deciding nothing: {records}.",
    "vouched_for": "VOUCHED ONLY: {about} of the registry {note} counts here by the word of {by}, "
    "given {at}. Record {record}.",
    "strangers_unread": "There is more than is read: what keys say that are neither configured "
    "nor rooted here is left out.",
    "made_later": "Made later than the time asked about: {records}.",
    "nothing_counts": "There are records, but none counts.",
    "too_many": "{note}.",
}

#: Notes that are words of a closed set.
_NOTES: Final[Mapping[str, str]] = {
    "self": "the key itself",
    "steward": "a root or root steward of this node's configuration",
    "ancestor": "a key above it in its rooting chain",
    "vouched": "by a record that is only vouched for",
    "no_say": "it has no say over this key here",
    "revoker_revoked": "it had been revoked itself by then",
    "chain_empty": "there is nothing to begin with",
    "chain_too_long": "it would be longer than 64 keys",
    "chain_cycle": "keys vouch for each other in a circle",
    "chain_broken": "its links do not fit together",
    "chain_self_signed_inside": "a key inside it vouches for itself",
    "chain_not_self_signed": "its last key does not vouch for itself",
    "chain_root_not_steward": "it ends at a key that is no steward; see roots in the configuration",
    "chain_untrusted_anchor": "it ends at a steward that is no root here",
    "chain_columns_not_signed": "a record does not sign all it says",
    "chain_link_not_hybrid": "a link lacks its post-quantum half",
    "chain_link_signature_invalid": "a signature does not stand",
    "chain_key_unknown": "no record of the key counts at that time",
    "chain_parent_unknown": "the next key is not here or not in force",
}


def headline(answer: Mapping[str, Any]) -> str:
    """The answer in one sentence."""
    question, status = str(answer["question"]), str(answer["status"])
    form = _ANY_HEADLINES.get(status) or _HEADLINES.get((question, status))
    form = form or f"{{subject}}: {_safe(status)}."  # of a newer node
    return form.format(subject=_safe(answer["subject"]), more=_safe(answer["more"]))


def sentence(step: Mapping[str, Any]) -> str:
    """One step of the reasoning."""
    note = str(step["note"])
    named = {
        "about": _safe(step["about"]),
        "by": _names(str(step["by"])),
        "at": _safe(step["at"]),
        "record": str(step["record"])[:_ID_DIGITS],
        "count": step["count"],
        "records": counted(step["count"] or 0, "record"),
        "needed": step["needed"],
        "note": _NOTES.get(note) or _safe(note),
        "until": f", until {_safe(note)}" if note else "",
        "flag": "; its key is REVOKED" if note == "revoked" else "",
        "at_key": f", at {_safe(step['about'])}" if step["about"] else "",
    }
    form = SENTENCES.get(str(step["rule"]))
    if form is None:  # of a newer node
        return f"{_safe(step['rule'])}: {named['about']} {named['note']}."
    return form.format(**named)


def freshness_line(freshness: Mapping[str, Any], *, is_running: bool) -> str:
    """How much can be missing."""
    limit, behind = age(freshness["tau_partial_s"]), ", ".join(freshness["behind"])
    match freshness["word"]:
        case "fresh":
            return f"Fresh: a peer confirmed all of it {age(freshness['age_s'])} ago."
        case "partial":
            return f"Partly fresh: no peer confirmed {behind} within {limit}; some may be missing."
        case "stale":
            return f"Stale: no peer confirmed any of it within {limit}; much may be missing."
        case _:
            why = "this node has no peer" if is_running else "no node runs here"
            return f"Alone: {why}; told from what is here."


def answer_lines(answer: Mapping[str, Any], *, is_running: bool) -> Iterator[str]:
    """The whole answer, each line at most 80 columns."""
    yield from _wrapped(headline(answer), "")
    yield ""
    steps = answer["steps"]
    for step in steps[:STEPS_MAX]:
        yield from _wrapped(sentence(step), "  - ")
    if len(steps) > STEPS_MAX:
        yield f"  - {len(steps) - STEPS_MAX} more; --json has all."
    if steps:
        yield ""
    yield f"As of {answer['as_of']}."
    yield from _wrapped(freshness_line(answer["freshness"], is_running=is_running), "")


def _wrapped(text: str, mark: str) -> list[str]:
    return textwrap.wrap(
        text, COLUMNS, initial_indent=mark, subsequent_indent=" " * len(mark),
        break_on_hyphens=False,
    )  # fmt: skip


def _names(key_ids: str) -> str:
    *others, last = key_ids.split(" ")
    return _safe(f"{', '.join(others)} and {last}" if others else last)


def _safe(text: Any) -> str:
    return ascii_text(printable(str(text)))
