"""Key records signed by other keys, and the chains they make."""

from __future__ import annotations

from functools import cache

from ciris_mesh.records.authoring import author
from ciris_mesh.records.envelope import encode_base64, parse_envelope
from ciris_mesh.records.hybrid import FederationKey
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.provenance import ChainLink, LinkLookup, link_of
from support.records import AT_MS


@cache
def chain_key(name: str) -> FederationKey:
    """A key from a fixed seed, for names beyond the four of `support.keys`."""
    padded = name.encode("ascii")
    return FederationKey.from_seeds(name, padded.ljust(32, b"\x01"), padded.ljust(32, b"\x02"))


@cache
def key_record(name: str, signer: str, identity_type: str = "agent") -> bytes:
    """The key record of `name`, signed by `signer`'s key."""
    owner = chain_key(name)
    columns = {
        "key_id": owner.key_id,
        "pubkey_ed25519_base64": encode_base64(owner.public.ed25519),
        "pubkey_ml_dsa_65_base64": encode_base64(owner.public.mldsa65),
        "identity_type": identity_type,
        "identity_ref": name,
    }
    return author(EnvelopeKind.KEY, columns, chain_key(signer), at_ms=AT_MS)


@cache
def link(name: str, signer: str, identity_type: str = "agent") -> ChainLink:
    """That record as a link of a chain."""
    raw = key_record(name, signer, identity_type)
    return link_of(parse_envelope(EnvelopeKind.KEY, raw))


def chain(*names: str, root_type: str = "steward") -> list[ChainLink]:
    """Leaf first, each key record signed by the next name; the last is self-signed."""
    signers = [*names[1:], names[-1]]
    types = ["agent"] * (len(names) - 1) + [root_type]
    return [link(*row) for row in zip(names, signers, types, strict=True)]


def lookup_links(*links: ChainLink) -> LinkLookup:
    """A `LinkLookup` that knows `links`."""
    return {it.key_id: it for it in links}.get


def anchors(*names: str) -> dict[str, bytes]:
    """`names` pinned by their fingerprints."""
    return {chain_key(name).key_id: chain_key(name).public.fingerprint for name in names}
