"""Where each item of the two checklists this node must meet is tested, by name.

The first is what CIRISEdge 1.6.3's own tests cover, module by module; the second is the twelve
lessons its later history taught. A renamed or deleted test makes this file fail.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

EDGE_1_6_3 = {
    "wire frame: wrap and unwrap": "test_wrap_unwrap_is_identity_with_magic_and_version",
    "wire frame: arbitrary bytes are not ours": "test_anything_without_the_magic_is_not_ours",
    "wire frame: magic and bad body": "test_magic_with_a_bad_body_is_a_decode_error",
    "wire frame: unknown version is typed": "test_an_unknown_version_is_typed",
    "wire frame: magic without version": "test_magic_without_version_is_a_decode_error",
    "wire frame: forged cross-version frame": "test_a_forged_version_is_read_as_what_it_says",
    "wire frame: four variants round-trip": "test_all_four_variants_round_trip",
    "wire frame: version by kind (v2)": "test_the_version_follows_the_kind",
    "wire frame: v2 accepts v1 kinds": "test_either_json_version_carries_every_kind",
    "protocol: JSON round-trips": "test_each_message_round_trips_through_json",
    "protocol: unknown type refused": "test_an_unknown_type_is_refused",
    "protocol: malformed JSON refused": "test_malformed_json_is_refused",
    "protocol: kind tokens": "test_the_kind_tokens_are_upstreams_in_their_order",
    "protocol: tokens unique": "test_the_kind_tokens_are_unique_and_round_trip",
    "summary: refs and counts": "test_holdings_are_newest_first",
    "summary: want keeps remote order": "test_a_registry_node_is_asked_in_the_order_it_offered",
    "session: disjoint nodes converge": "test_two_disjoint_nodes_converge_and_both_sides_report_it",
    "session: responder answers with two": "test_the_responder_answers_a_summary_with_two_messages",
    "session: partial overlap": "test_partial_overlap_delivers_only_what_is_missing",
    "session: second run": "test_a_second_round_moves_nothing_and_says_in_sync",
    "session: kind mismatch": "test_what_the_phase_does_not_allow_is_refused_and_changes_nothing",
    "session: fetch": "test_a_fetch_is_answered_in_any_phase_and_changes_nothing",
    "session: refused rows bound staleness": (
        "test_refused_records_count_as_missing_and_are_not_asked_for_again"
    ),
    "coordinator: pair converges, auto-resets": (
        "test_in_memory_pair_converges_both_ways_and_both_auto_reset"
    ),
    "coordinator: send to unknown peer": (
        "test_a_send_to_an_unknown_peer_surfaces_the_transport_error"
    ),
    "coordinator: initiator's first step": (
        "test_the_first_step_of_an_initiator_is_one_summary_with_its_refs"
    ),
    "coordinator: responder given a summary": (
        "test_a_responder_given_a_summary_emits_summary_and_diff"
    ),
    "coordinator: deliver without diff is Unknown": (
        "test_deliver_without_prior_diff_counts_admitted_and_leaves_staleness_unknown"
    ),
    "coordinator: want count survives": "test_the_want_survives_between_calls",
    "coordinator: starts again after complete": ("test_after_complete_the_session_can_start_again"),
    "coordinator: mismatched kind": "test_another_kind_is_refused",
    "scheduler: add_initiator": "test_add_initiator_len_and_is_empty",
    "scheduler: defaults": "test_defaults_are_30_s_and_10_s",
    "scheduler: scripted responder": "test_a_scripted_responder_completes_a_round",
    "scheduler: silent peer": "test_a_silent_peer_times_out_and_its_session_is_reset",
    "scheduler: cancel": "test_stop_starts_no_more_rounds",
    "registry: empty": "test_an_empty_registry_reports_not_a_replication_frame_for_other_bytes",
    "registry: register, lookup, keys": "test_register_shows_in_len_lookup_and_keys",
    "registry: deregister": "test_deregister_removes_and_the_second_time_returns_nothing",
    "registry: routed": "test_a_frame_is_routed_to_the_registered_coordinator",
    "registry: unregistered peer": (
        "test_an_unregistered_peer_has_no_coordinator_and_the_kind_is_told"
    ),
    "registry: wrong kind": "test_the_right_peer_with_another_kind_has_no_coordinator",
    "registry: malformed": "test_malformed_frames_raise",
    "registry: unknown version": "test_unknown_versions_raise_and_say_which",
    "registry: ninth": "test_the_ninth_undelivered_message_is_back_pressure_with_the_peer_id",
    "directory: fetch present, missing, wrong kind": "test_no_other_kind_answers_for_an_id",
    "directory: duplicate": "test_the_same_record_again_is_a_duplicate_whoever_brings_it",
    "bridge: empty cohort": "test_an_empty_cohort_offers_nothing_of_any_kind",
    "bridge: listed, fetched, decoded, re-applied": "test_key_listed_fetched_decoded_and_reapplied",
    "bridge: listed once": "test_a_record_listed_once_however_often_it_came",
    "bridge: garbage refused for every kind": "test_garbage_bytes_are_refused_for_every_kind",
    "bridge: local tier never listed": "test_local_tier_attestation_is_never_listed_nor_fetched",
    "bridge: federation tier listed": "test_federation_tier_attestation_is_listed",
    "property 1": "test_property_1_any_message_wraps_and_unwraps_equal",
    "property 2": "test_property_2_bytes_without_the_magic_are_not_ours",
    "property 3": "test_property_3_every_other_version_is_unknown",
    "property 4": "test_property_4_every_kind_tag_round_trips",
    "property 5": "test_property_5_wrap_is_wrap_at_the_current_version",
    "traces": "test_every_session_trace_is_reproduced",
    "single steps": "test_every_single_step_of_a_responder_is_reproduced",
    "decode cases": "test_upstream_decode_cases",
    "runtime: register_peer adds an active peer": "test_register_peer_hot_adds_an_active_peer",
    "runtime: shutdown twice": "test_shutdown_twice_is_fine",
}

LESSONS = {
    "1 list and fetch agree on ids": "test_what_is_listed_can_be_fetched_under_the_same_id",
    "2 every column signed, verified before any write": "test_an_altered_column_is_refused",
    "3 holdings are not the offer": "test_holdings_decide_what_is_asked_for_not_the_offer",
    "4 one outcome type": "test_outcomes_are_counted_by_path_outcome_and_reason",
    "5 refusals remembered by bytes": "test_refused_bytes_are_remembered_by_bytes_for_an_hour",
    "6 a pure responder answers": "test_a_pure_responder_answers",
    "7 byte budgets": "test_a_deliver_keeps_its_budget_but_carries_at_least_one",
    "8 a stalled send blocks nobody": "test_a_strand_that_is_stuck_holds_up_nobody_else",
    "9 reset on timeout, honest InSync": "test_a_timed_out_round_is_not_half_open_in_the_next",
    "10 counters both ways": "test_what_is_withheld_and_served_is_counted",
    "11 two empty nodes meet": "test_two_empty_nodes_can_meet",
    "12 seeded simulator": "test_all_nodes_settle_on_the_union_once_things_calm_down",
}


def all_test_names() -> frozenset[str]:
    found = (re.findall(r"def (test_\w+)", path.read_text()) for path in TESTS.rglob("test_*.py"))
    return frozenset(name for names in found for name in names)


NAMES = all_test_names()


@pytest.mark.parametrize("item", [*EDGE_1_6_3, *LESSONS])
def test_every_item_has_its_test(item: str) -> None:
    assert {**EDGE_1_6_3, **LESSONS}[item] in NAMES
