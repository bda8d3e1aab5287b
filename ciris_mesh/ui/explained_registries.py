"""What is said of public registry nodes: the names, and what helps."""

from __future__ import annotations

from typing import Final

from ciris_mesh.ui.explaining import Group

_PINS: Final = "compare key id and key in [trust] registries with what its operator publishes."
_OTHERS: Final = "nothing, unless one of your registry nodes is missing in: ciris-mesh registries."

REGISTRY_GROUPS: Final = (
    Group("announces of registry nodes", _OTHERS, {
        "edge_unreadable": "An announce of ciris.edge carries no attestation this version reads; "
        "registry nodes before 12.0 announce in another way.",
        "edge_unpinned": "A node attested itself that is no registry in the configuration.",
        "edge_other_key": "An announce names a registry of yours with another key: an impostor, or "
        "its key was changed. | " + _PINS,
        "edge_signature_invalid": "An announce in a registry's name was not signed by its key: "
        "somebody copied or made it up.",
        "edge_rolled_back": "An announce of a registry is older than one heard before. | if the "
        "registry was set up again from an old copy, its operator must raise its epoch.",
        "edge_epoch_reused": "Two identities announce for one registry with the same epoch; the "
        "first counts. | if the registry was set up anew, its operator must raise its epoch, or "
        "you stop the node and delete storage/registries in its home.",
        "edge_address_taken": "Two registries announce with one identity; the first counts.",
        "not_heard": "No attested announce of this registry was heard since it was configured. | "
        "is it running, and is there a common network? " + _PINS.capitalize(),
        "edge_off": "Registries are configured, and the node does not listen for them. | set "
        "edge = yes in [registry].",
        "edge_radio": "ciris.edge is not announced: this node shares a Reticulum that has a "
        "radio, which would announce it there. | run the gateway with a Reticulum of its own.",
    }),
    Group("links and frames of registry nodes", "nothing: the next round repairs it.", {
        "edge_stranger": "Bytes came to ciris.edge from who is no verified registry node. | "
        + _OTHERS,
        "edge_unidentified": "A link to ciris.edge was closed because its end did not identify.",
        "edge_overstayed": "A link to ciris.edge of who is no registry node was closed in time.",
        "registry_no_room": "A registry node sent more than may wait here; it comes again.",
        "registry_unknown": "A frame came from an address that is no registry's any more.",
        "row": "A registry node's ids are of rows, as ours: before 14.1.",
        "bytes": "A registry node's ids are of the bytes it was sent: 14.1 and later.",
    }),
)  # fmt: skip
