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
        "vouches_too_many": "A voucher made more vouches than are read; of those over, no rows are "
        "fetched. | ask its operator to withdraw some.",
        "registry_unknown": "A frame came from who is no registry here any more, or from where "
        "one was before.",
        "row": "A registry node's ids are of rows, as ours: before 14.1.",
        "bytes": "A registry node's ids are of the bytes it was sent: 14.1 and later.",
    }),
    Group("frames over HTTP", "nothing: the sender is told, and sends again or not at all.", {
        "http_credential": "A frame came with a token or a client certificate that is nobody's. | "
        "compare the file http-credentials with what the registry was given.",
        "http_body_too_large": "A body longer than its sender may send; it was not read further.",
        "http_body_slow": "A body that took too long; it was given up.",
        "http_body_cut": "A body whose sender went away in the middle.",
        "http_busy": "More bodies at a time than are read.",
        "http_strangers": "More frames of nobody than are looked at in a minute.",
        "http_unreachable": "A frame could not be posted: nobody answers there, or not in HTTP. | "
        "compare the URL in http-credentials with what the registry's operator gave you.",
        "http_timeout": "A frame could not be posted in time.",
        "http_tls": "A frame was not posted: the registry's certificate is not believed, or it "
        "asks for another of ours. | see server_ca in [registry], and http-credentials.",
        "http_refused": "A registry answered a posted frame with a status of no use.",
        "http_refused_credential": "A registry did not know us by what we showed. | ask its "
        "operator for a token that holds, and write it into http-credentials.",
        "http_refused_size": "A posted frame was longer than the registry takes.",
        "http_refused_busy": "A registry was too busy for a posted frame; it goes again later.",
    }),
)  # fmt: skip
