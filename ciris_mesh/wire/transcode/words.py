"""What deflate knows before the first byte of a batch: part of table 1, frozen with it.

Words of the record vocabulary, each ended as the text stream ends it. The likeliest come last,
because a short distance costs fewer bits.
"""

from __future__ import annotations

from typing import Final

#: Ends a text in the text stream; no UTF-8 contains it.
TEXT_END: Final = b"\xff"

#: For records that are sent as they are: how JSON around the values reads.
_JSON: Final = (
    b'{"partner_record":{"attestation_id":"","license_id":"","partner_id":"","license_type":"',
    b'","max_autonomy_tier":"A","requires_supervisor":true,"deployment_limit":,',
    b'"offline_grace_hours":72,"revision":1,"issued_at":"2026-","threshold":,',
    b'{"org_membership":{"user_id":"","org_id":"","role":"operator","status":"active",',
    b'{"organization":{"attestation_id":"","org_id":"","name":"","org_type":"community",',
    b'"parent_org_id":"","attesting_key_id":"","signed_envelope":{"record_kind":"',
    b'{"location_proof":{"subject_key_id":"","cell_id":"87ffffff","cell_resolution":7,',
    b'{"community_membership_revocation":{"community_key_id":"","removed_identity_key_id":"',
    b'{"family_membership_revocation":{"family_key_id":"","removed_at":"2026-',
    b'","witness_set":[""],"reason":"',
    b'{"community":{"community_key_id":"","community_name":"","policy_blob":{"cohort_subkind":"',
    b'geographic","geographic_constraint":{"cell_id":"","cell_resolution":',
    b'{"family":{"family_key_id":"","family_name":"","members":[{"key_id":"","joined_at":"",',
    b'"role":"founder"},{"founded_at":"","consensus_protocol":"founder_only",',
    b'"consensus_protocol_entrenched":false,"persist_row_hash":"',
    b'{"identity_occurrence_revocation":{"identity_key_id":"","occurrence_key_id":"",',
    b'{"identity_occurrence":{"device_class":"laptop","hardware_attestation":"","valid_until":"',
    b'","encryption_pubkeys":{"x25519_base64":"","ml_kem_768_base64":"","asserted_at":"2026-',
    b'"},"authority":[{"key_id":"","ed25519_signature_base64":"","mldsa65_signature_base64":"',
    b'"}],"steward_signatures":[{"member_id":"',
    b'{"revocation":{"revocation_id":"","revoked_key_id":"","revoking_key_id":"","reason":"',
    b'","revoked_at":"2026-","effective_at":"2026-","revocation_envelope":{',
    b'{"record":{"key_id":"","pubkey_ed25519_base64":"","pubkey_ml_dsa_65_base64":"',
    b'","algorithm":"hybrid","identity_type":"agent","identity_ref":"","valid_from":"2026-',
    b'","registration_envelope":{},"roles":[],"attestation_evidence":{',
    b'{"attestation":{"attestation_id":"","attesting_key_id":"","attested_key_id":"',
    b'","attestation_type":"scores","weight":1.0,"asserted_at":"2026-","expires_at":"',
    b'","attestation_envelope":{"dimension":"","score":1,"original_content_hash":"',
    b'","scrub_signature_classical":"","scrub_signature_pqc":"","scrub_key_id":"',
    b'","scrub_timestamp":"2026-","pqc_completed_at":"2026-","subject_key_ids":[],',
    b'"cohort_scope":"federation","tier":"federation","persist_row_hash":"',
)

_WORDS: Final = (
    "accord_holder|primitive|steward|partner|substrate_persist|trusted_publisher|witness|node|"
    "platform_attestation|nonce_captured_at|weighted:|custom:|quorum:2/3|unanimous|majority|"
    "self|family|community|affiliations|species|biosphere|federation|local|eu|apac|us|"
    "phone|embedded|server|service|agent|laptop|internal|licensee|suspended|deactivated|revoked|"
    "org_admin|key_manager|viewer|operator|admin|A0|A1|A2|A3|A4|demo|std|"
    "cohort_subkind|infrastructure|geographic|geographic_constraint|cell_id|cell_resolution|"
    "allowed_identity_templates|capabilities_denied|capabilities_granted|geographic_restrictions|"
    "x25519_base64|ml_kem_768_base64|label|notes|comment|context|details|description|"
    "evidence_refs|sha256:|references_attestation_id|delegated_scope|infra:|scope|purpose|expires|"
    "trust:|role:|credits:|consent:|location:|hard_case:|transparency_log:|identity:|"
    "supersedes|recants|withdraws|delegates_to|vouches|confidence|subject|version|value|type|"
    "compromised|superseded|moved|retired|lost|stolen|left|founder|member|founder_only|"
    "scores|trust:field:v1|dimension|identity:continuity:v1|score"
)

#: zlib's preset dictionary of table 1.
DICTIONARY: Final = (
    TEXT_END.join(_JSON)
    + TEXT_END
    + b"".join(word.encode("ascii") + TEXT_END for word in _WORDS.split("|"))
)
