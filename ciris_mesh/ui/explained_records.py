"""What becomes of records and why: names of `records`, as `admit` and `resolve` use them."""

from __future__ import annotations

from typing import Final

from ciris_mesh.ui.explaining import Group

_SENDER: Final = (
    "nothing here: the record stays out. If its maker is yours, have it signed again by a "
    "program that follows the format."
)
_WAITS: Final = (
    "usually nothing: the record waits and is looked at again when what it lacks arrives."
)
_BOOK: Final = "see who signed: ciris-mesh records; the record stays out as it is."

RECORD_GROUPS: Final = (
    Group("outcomes of admission", "nothing: this is how things should go.", {
        "admitted": "The record was verified and stands on a shelf.",
        "upgraded": "A record held before came with what it lacked, and moved up a shelf.",
        "duplicate": "The record was here already, byte for byte.",
        "superseded": "The record is valid and kept, but a later one of its subject counts.",
        "deferred": "The record is valid as far as can be seen, and waits for another. | wait for "
        "peers to send what is missing; the reason beside it says what.",
        "refused": "The record is one, but not one this node takes. | the reason beside it says "
        "why: ciris-mesh explain REASON.",
        "malformed": "The bytes are no record of the kind they claim. | " + _SENDER,
    }),
    Group("records that are none", _SENDER, {
        "too_large": "Longer than anything of its kind may be.",
        "not_json": "Not JSON as the format has it.",
        "duplicate_member": "A member occurs twice, so two readers could read two things.",
        "too_deep": "Nested deeper than any record is.",
        "wrong_wrapper": "Wrapped as another kind is.",
        "unknown_member": "Has a member its kind does not have.",
        "missing_member": "Lacks a member its kind must have.",
        "wrong_type": "A member has a value of the wrong type.",
        "value_not_allowed": "A member has a value its kind does not allow.",
        "not_one_spelling": "A number, time or member is not spelled in the one way that counts, "
        "so the same content could have two ids.",
        "record_too_large": "A coded record would unpack to more than a record may have.",
    }),
    Group("records refused", _BOOK, {
        "unknown_kind": "Of a kind this version does not know. | update the older node; until then "
        "the kind travels among those that know it.",
        "key_id_not_self_certifying": "The key's id is not made from the key, and nobody here "
        "pinned it. | if you know the key by another way, pin it in [trust].",
        "content_hash_mismatch": "The hash it states is not that of its content.",
        "columns_not_signed": "The signature does not cover every column it shows.",
        "signature_missing": "It has no signature.",
        "pqc_signature_missing": "It lacks the post-quantum half of a signature; both halves are "
        "required here.",
        "classical_signature_invalid": "Its Ed25519 signature does not stand.",
        "pqc_signature_invalid": "Its ML-DSA signature does not stand.",
        "signer_not_allowed": "Who signed it may not say this.",
        "unattributed": "It came from somebody who is no peer, who may bring only key records and "
        "their occurrences. | if it is a friend, add it: ciris-mesh peer add INVITE.",
        "local_tier": "It says itself that it is for one node only.",
        "key_conflict": "Another key is known by this id, and stays. | compare fingerprints with "
        "the key's owner by another way, and pin the right one in [trust].",
        "pool_full": "No room is left for records that wait. | it is sent again later; if it "
        "stays so, somebody floods this node: see ciris-mesh status.",
        "signer_quota": "Its signer used up the room one signer has here.",
        "peer_quota": "The peer that brought it used up the room one peer has here.",
        "bridged_quota": "The registry node, or peer, that brought it used up the room for records "
        "that are only bridged. | ciris-mesh registries says which; unpin it if it floods.",
        "said_often_enough": "Its signer said the same of the same subject too often.",
        "row_differs": "Its row in the database says something else than its bytes do. | somebody "
        "changed the database by hand, or it is damaged; the bytes are what counts.",
        "binding_expired": "A node's binding of key and address ran out. | start that node once "
        "with a clock that is right: it signs a new one.",
    }),
    Group("records refused by the rules of their kind", _SENDER, {
        "identity_type_malformed": "A key's type is none there is.",
        "accord_evidence_missing": "An accord holder's key lacks the evidence of its hardware.",
        "accord_evidence_incomplete": "That evidence lacks a part.",
        "accord_evidence_stale": "That evidence is too old.",
        "hardware_type_not_accepted": "That hardware is not listed here. | list it in [trust] "
        "hardware_types, if you accept it.",
        "attestation_type_unknown": "An attestation of a type there is not.",
        "dimension_missing": "A score without what it scores.",
        "dimension_malformed": "A score of something that is not spelled as dimensions are.",
        "reference_missing": "Refers to another record, and does not say to which.",
        "scopes_malformed": "A delegation of scopes that are none.",
        "withdraws_rule_invalid": "Withdraws in a way its type does not allow.",
        "delegation_chain_malformed": "A chain of delegations that does not fit together.",
        "scope_private": "A delegation of what nobody may delegate.",
        "vouch_malformed": "An attestation that claims to vouch for a registry's records, and "
        "names none as it should. | make it with: ciris-mesh vouch.",
        "encryption_keys_malformed": "A key record with encryption keys of the wrong form.",
        "consensus_malformed": "A group's rule for decisions is none.",
        "consensus_out_of_reach": "A group's rule asks for more votes than it has members.",
        "members_not_unique": "A group that lists a member twice.",
        "founder_missing": "A group whose founder is no member of it.",
        "group_policy_malformed": "A group with a policy of the wrong form.",
        "group_id_not_self_certifying": "A group's id is not made from its founding.",
        "group_entrenched": "A group that was founded never to change.",
        "removal_in_advance": "A removal dated ahead of its time.",
        "cell_malformed": "No H3 cell.",
        "location_too_precise": "A place told more precisely than anybody's may be.",
        "payment_id": "Holds the id of somebody's payment. | leave it out: every node would see "
        "it.",
        "set_unsorted": "A list that must be sorted, and is not.",
        "root_stewards_unset": "This node names no root stewards, so it takes no organizations. | "
        "name them in [trust] root_stewards, if you have any.",
        "partner_stewards_unset": "This node names no partner stewards, so it takes no partner "
        "records. | name them in [trust] partner_stewards and partner_threshold.",
        "signer_not_steward": "Signed by somebody who is no steward here. | name the steward in "
        "[trust], if it is one.",
        "stewards_not_enough": "Signed by fewer of this node's stewards than it asks for.",
    }),
    Group("records that wait", _WAITS, {
        "signer_unknown": "No key record of its signer is here yet.",
        "time_ahead": "Dated ahead of this node's clock. | look at the clock: ciris-mesh doctor; "
        "if it is right, the record is taken when its time comes.",
        "first_contact": "A key nobody here vouches for yet, kept in a small pool. | add its owner "
        "as a peer, or vouch for it: ciris-mesh key sign.",
        "key_unknown": "The key it is about is not here yet.",
        "not_rooted": "Its signer has no chain to a root of this node's configuration.",
        "delegate_type_not_allowed": "The key it delegates to is of a type that may not get this.",
        "reference_unknown": "The record it refers to is not here yet.",
        "reference_not_entitled": "The record it refers to is another signer's.",
        "occurrence_not_vouched": "The device that vouches for another is not vouched for itself.",
        "founders_not_enough": "Too few founders of the group have signed so far.",
        "removal_not_vouched": "Who removes a device is none of its owner's.",
        "not_delegated": "Its signer acts for another who has not delegated that, as far as is "
        "known here.",
        "roster_unknown": "The list of members it goes by is not here yet.",
        "consensus_not_reached": "Too few members have signed so far.",
        "location_unproven": "Who tells a place may not tell it of this key, as far as is known.",
        "organization_unknown": "Its organization is not here yet.",
        "not_org_admin": "Its signer is no admin of the organization, as far as is known here.",
    }),
    Group("chains to a root", "see the chain and where it ends: ciris-mesh resolve chain KEY_ID.", {
        "chain_empty": "There is nothing to begin with.",
        "chain_too_long": "Longer than 64 keys.",
        "chain_cycle": "Keys vouch for each other in a circle.",
        "chain_broken": "Its links do not fit together.",
        "chain_self_signed_inside": "A key inside it vouches for itself.",
        "chain_not_self_signed": "Its last key does not vouch for itself.",
        "chain_root_not_steward": "It ends at a key that is no steward.",
        "chain_untrusted_anchor": "It ends at a steward that is no root here. | add the root to "
        "[trust] roots, if you know its fingerprint by another way.",
        "chain_columns_not_signed": "A record of it does not sign all it says.",
        "chain_link_not_hybrid": "A link lacks its post-quantum half.",
        "chain_link_signature_invalid": "A signature of it does not stand.",
        "chain_key_unknown": "No record of the key counts at that time.",
        "chain_parent_unknown": "The next key is not here or not in force.",
        "no_qualifying_grant": "No grant of that role counts.",
        "chain_not_anchored": "Who granted it has no chain to a root steward of this node.",
    }),
    Group("several signers", "see who signed and who is asked: ciris-mesh cosign show FILE.", {
        "zero_threshold": "A rule that asks for no signature at all.",
        "threshold_exceeds_members": "A rule that asks for more signatures than there are members.",
        "too_many_signatures": "More signatures than a record may carry.",
        "insufficient": "Too few valid signatures so far.",
        "quorum_policy_malformed": "A quorum's rule is none.",
        "deadlock_policy": "A rule by which nothing could ever be decided.",
        "roster_mismatch": "Signed for another list of members.",
    }),
    Group("licenses", "ask who issued the license for one that holds.", {
        "license_no_classical_key": "There is no Ed25519 key to verify it with.",
        "license_malformed": "Not in the form of a license.",
        "license_algorithm_not_allowed": "Signed by an algorithm that is not taken.",
        "license_classical_signature_invalid": "Its Ed25519 signature does not stand.",
        "license_pqc_signature_invalid": "Its post-quantum signature does not stand.",
        "license_not_yet_valid": "Its time has not come. | look at the clock: ciris-mesh doctor.",
        "license_expired": "Its time is over.",
        "license_pqc_half_missing": "It lacks its post-quantum half.",
        "license_pqc_key_missing": "There is no post-quantum key to verify it with.",
        "license_pqc_key_not_pinned": "That key is not the one pinned here.",
    }),
    Group("partnerships", "have both sides sign again, each naming the other.", {
        "partnership_wrong_sides": "Not one grant and one acceptance.",
        "partnership_pair_id_differs": "The two halves name different pairs.",
        "partnership_parties_differ": "The two halves name different parties.",
        "partnership_accepted_too_early": "Accepted before it was granted.",
        "partnership_signer_unknown": "No key of a signer is here.",
        "partnership_signature_invalid": "A signature does not stand.",
    }),
    Group("scopes of delegations", "delegate again with scopes as `delegate --help` has them.", {
        "scope_empty": "No scope is named.",
        "scope_too_many": "More scopes than one delegation may have.",
        "scope_unsorted": "Scopes out of order, so that one delegation could have two ids.",
        "scope_unknown": "A scope there is not.",
        "scope_agency_on_infra": "Scopes of people delegated to infrastructure.",
        "scope_node_infra_only": "A node may be given scopes of infrastructure only.",
    }),
    Group("traces", _SENDER, {
        "trace_malformed": "Not in the form of a trace.",
        "trace_schema_unknown": "Of a schema this version does not know.",
        "trace_signature_malformed": "Its signature has the wrong form.",
        "trace_classical_signature_missing": "It lacks its Ed25519 signature.",
        "trace_pqc_signature_missing": "It lacks its post-quantum signature.",
        "trace_pqc_key_missing": "There is no post-quantum key to verify it with.",
        "trace_pqc_key_not_bound": "That key is not bound to the signer.",
        "trace_signer_unknown": "No key of its signer is here.",
        "trace_classical_signature_invalid": "Its Ed25519 signature does not stand.",
        "trace_pqc_signature_invalid": "Its post-quantum signature does not stand.",
    }),
    Group("key exchange", "no key was made and nothing was sent; ask the other side to update.", {
        "hybrid_required_but_peer_lacks_mlkem": "The other side has no ML-KEM key, and half a key "
        "exchange is refused.",
        "kex_algorithm_not_allowed": "By an algorithm that is not taken.",
        "kex_wrong_size": "A key or ciphertext of the wrong size.",
        "kex_x25519_secret_zero": "The other side sent a key that makes the secret known to all.",
        "kex_key_not_valid": "A key that is none.",
        "kex_own_key_lacks_mlkem": "This node's own key has no ML-KEM half.",
        "kex_pubkeys_malformed": "Public keys of the wrong form.",
    }),
)  # fmt: skip
