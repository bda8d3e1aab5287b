"""What `status` and `registries` say of public registry nodes. Reads, changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ciris_mesh.records.outcome import Outcome
from ciris_mesh.runtime.registries import Registries
from ciris_mesh.runtime.runtime import ReplicationRuntime
from ciris_mesh.runtime.status import ReasonCount, RegistryStatus

#: What a person can do, by the reason shown.
ADVICE = {
    "not_heard": "no attested announce of it was heard yet: is it running, is there a common "
    "network, and are key id and key in [trust] registries right?",
    "no_path": "is it running, and is there a common Reticulum network?",
    "timeout": "the path is known but nobody answers: is it running?",
    "edge_off": "this node has no ciris.edge: set edge = yes in [registry]",
}


def registry_rows(runtime: ReplicationRuntime) -> tuple[RegistryStatus, ...]:
    """One row for each registry node of the configuration."""
    registries = runtime.registries
    if registries is None:
        return tuple(
            RegistryStatus(each.key_id, "", "not heard", "edge_off", None, "row", "assumed", 0, {})
            for each in runtime.config.registries.peers
        )
    return tuple(_row(runtime, registries, key_id) for key_id in sorted(registries.peers))


def _row(runtime: ReplicationRuntime, registries: Registries, key_id: str) -> RegistryStatus:
    registry = registries.peers[key_id]
    address = registries.bindings.address(key_id)
    basis, by, changes = registries.bridge.basis(key_id)
    known = "known" if address is not None else "not heard"
    heard_s = registry.heard_s
    bridged, refused = [], []
    for (outcome, reason), count in sorted(registries.bridge.outcomes(key_id).items()):
        row = ReasonCount(outcome.value, reason.value, count)
        if outcome is Outcome.ADMITTED and reason.value:
            bridged.append(row)
        elif outcome in (Outcome.REFUSED, Outcome.MALFORMED, Outcome.DEFERRED):
            refused.append(row)
    return RegistryStatus(
        key_id=key_id,
        address=address.hex() if address is not None else "",
        state="connected" if registries.is_linked(key_id) else known,
        reason=registry.reason,
        last_heard_s=None if heard_s is None else round(runtime.clock() - heard_s, 1),
        basis=basis.value,
        basis_by=by,
        basis_changes=changes,
        rounds=runtime.events.outcomes(key_id),
        bridged=tuple(bridged),
        refused=tuple(refused),
        declined=registries.bridge.declined(key_id),
    )


def registry_health(rows: Sequence[RegistryStatus]) -> Iterator[str]:
    """One sentence for each problem, saying what helps."""
    for row in rows:
        if row.reason and row.state != "connected":
            advice = ADVICE.get(row.reason, "it is tried again at the next cadence")
            yield f"registry {row.key_id}: {row.reason}; {advice}"
        if row.basis_changes:
            yield (
                f"registry {row.key_id}: its ids are of {row.basis}, not as expected; write "
                f"{row.basis} behind its key in [trust] registries"
            )
