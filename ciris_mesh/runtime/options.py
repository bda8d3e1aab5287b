"""Every option of the configuration, a row each. An option that is no row does not exist."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ciris_mesh.notify.alerts import LASTS_S
from ciris_mesh.records.kinds import EnvelopeKind
from ciris_mesh.records.scope import ALL, COMMUNITIES_MAX, TRUST, Scope, communities
from ciris_mesh.runtime import registrypins as pins
from ciris_mesh.runtime.keyids import (
    FINGERPRINT_BYTES,
    NAME_RULE,
    contradicts,
    is_key_id,
    is_name,
)
from ciris_mesh.runtime.radiosettings import (
    DUTY_ALLOWED,
    DUTY_OF_ALLOWED,
    POLICY_ALLOWED,
    QUIET_ALLOWED,
    read_duty,
    read_duty_of,
    read_policy,
    read_quiet,
)

#: Of a Reticulum identity's hash.
ADDRESS_BYTES: Final = 16
#: As many signatures as one envelope may carry (`records.envelope`, which loads cryptography).
PARTNER_STEWARDS_MAX: Final = 16
#: Reticulum's own levels: 0 critical, 3 notice, 4 info, 5 verbose, 6 debug, 7 everything.
LOG_LEVEL_MAX: Final = 7

#: Hashes of identities and destinations in Reticulum.
_HASH_BYTES: Final = 16

#: A reader takes the words of an option (ConfigObj splits at commas) and returns its value, or
#: raises ValueError saying what is allowed.
Reader = Callable[[tuple[str, ...]], object]


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        default: as it would be written in the file.
        allowed: what may be written, for people; ends the error and the help.
    """

    section: str
    name: str
    read: Reader
    default: str
    allowed: str
    help: str


def _one(words: tuple[str, ...]) -> str:
    if len(words) > 1:
        raise ValueError("one value")
    return words[0] if words else ""


def _number(low: float, high: float) -> Reader:
    def read(words: tuple[str, ...]) -> float:
        value = float(_one(words))
        if not low <= value <= high:  # also refuses NaN
            raise ValueError("out of range")
        return value

    return read


def _whole_number(low: int, high: int) -> Reader:
    def read(words: tuple[str, ...]) -> int:
        value = int(_one(words))
        if not low <= value <= high:
            raise ValueError("out of range")
        return value

    return read


def _frame(words: tuple[str, ...]) -> int:
    word = _one(words)
    if word not in ("81", "01"):
        raise ValueError("no frame version")
    return int(word, 16)


def _scope(words: tuple[str, ...]) -> Scope:
    if len(words) == 1 and words[0] in (ALL.word, TRUST.word):
        return Scope(words[0])
    return communities(words)


def _clock(words: tuple[str, ...]) -> str:
    word = _one(words)
    if word not in ("system", "assume-trusted"):
        raise ValueError("no such clock")
    return word


def _name(words: tuple[str, ...]) -> str:
    text = _one(words)
    if text and not is_name(text):
        raise ValueError("no name")
    return text


def _kinds(words: tuple[str, ...]) -> frozenset[EnvelopeKind]:
    if words == ("all",):
        return frozenset(EnvelopeKind)
    if not words:
        raise ValueError("none")
    return frozenset(EnvelopeKind(word) for word in words)


def _directory(words: tuple[str, ...]) -> Path | None:
    text = _one(words)
    if not text:
        return None
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise ValueError("relative")
    return path


def _texts(words: tuple[str, ...]) -> tuple[str, ...]:
    if not all(word.isprintable() for word in words):
        raise ValueError("unprintable")
    return words


def _group(words: tuple[str, ...]) -> str:
    return _one(_texts(words))


def _yes(words: tuple[str, ...]) -> bool:
    word = _one(words).lower()
    if word not in ("yes", "no"):
        raise ValueError("neither")
    return word == "yes"


def _destination(words: tuple[str, ...]) -> bytes | None:
    text = _one(words)
    address = bytes.fromhex(text)
    if text and len(address) != _HASH_BYTES:
        raise ValueError("no address")
    return address or None


def _listen(words: tuple[str, ...]) -> tuple[str, int]:
    host, _, port = _one(words).rpartition(":")
    number = int(port)
    if not 0 <= number <= 65_535:
        raise ValueError("no port")
    return str(ipaddress.ip_address(host.strip("[]"))), number


def _readers(words: tuple[str, ...]) -> frozenset[bytes] | None:
    if words == ("all",):
        return None
    hashes = frozenset(bytes.fromhex(word) for word in words)
    if any(len(each) != _HASH_BYTES for each in hashes):
        raise ValueError("no hash")
    return hashes


def _alerts(words: tuple[str, ...]) -> frozenset[str]:
    if words == ("all",):
        return frozenset(LASTS_S)
    if not words or not LASTS_S.keys() >= set(words):
        raise ValueError("no alert")
    return frozenset(words)


def _pins(words: tuple[str, ...]) -> Mapping[str, bytes]:
    pins: dict[str, bytes] = {}
    for word in words:
        key_id, _, digits = word.partition(" ")
        fingerprint = bytes.fromhex(digits)
        if len(fingerprint) != FINGERPRINT_BYTES or not is_key_id(key_id):
            raise ValueError("no pin")
        if contradicts(key_id, fingerprint) or pins.setdefault(key_id, fingerprint) != fingerprint:
            raise ValueError("two keys for one id")
    return MappingProxyType(pins)


def _addresses(words: tuple[str, ...]) -> frozenset[bytes]:
    found = frozenset(bytes.fromhex(word) for word in words)
    if any(len(each) != ADDRESS_BYTES for each in found):
        raise ValueError("no identity hash")
    return found


def _accept(words: tuple[str, ...]) -> tuple[str, int] | None:
    return _listen(words) if words else None


_file = _directory


def _key_ids(words: tuple[str, ...]) -> frozenset[str]:
    if not all(map(is_key_id, words)):
        raise ValueError("no key id")
    return frozenset(words)


def _store_url(words: tuple[str, ...]) -> str:
    text = _one(words)
    if text and not (text.startswith(("postgresql://", "postgres://")) and text.isprintable()):
        raise ValueError("no URL of a database")
    return text


_KINDS_ALLOWED: Final = "all, or of " + ", ".join(kind.value for kind in EnvelopeKind)
_PINS_ALLOWED: Final = (
    "entries of a key id, a space and 64 hex digits, separated by commas, one key for an id; empty"
)
_KEY_IDS_ALLOWED: Final = "key ids, separated by commas; empty for none"
_ADDRESSES_ALLOWED: Final = "identity hashes of 32 hex digits, separated by commas; empty for none"
_SCOPE_ALLOWED: Final = f"all, trust, or 1 to {COMMUNITIES_MAX} community ids, separated by commas"
_ALERTS_ALLOWED: Final = "all, or of " + ", ".join(LASTS_S)
_USERS_ALLOWED: Final = "names of this system, separated by commas; empty for none"

OPTIONS: Final = (
    Option(
        "node", "name", _name, "", f"{NAME_RULE}; empty",
        "What this node calls itself in its own output. Empty: the name in its federation key, "
        "which is the one other nodes see.",
    ),
    Option(
        "node", "kinds", _kinds, "all", _KINDS_ALLOWED,
        "The kinds of records this node keeps and exchanges.",
    ),
    Option(
        "node", "announce_interval_h", _number(0.01, 168), "6", "0.01 to 168",
        "Hours between announces. On radio never less than one hour, whatever is written here.",
    ),
    Option(
        "node", "log_level", _whole_number(0, LOG_LEVEL_MAX), "4", f"0 to {LOG_LEVEL_MAX}",
        "How much is logged: 0 critical, 1 errors, 2 warnings, 3 notices, 4 information, "
        "5 to 7 more and more detail.",
    ),
    Option(
        "node", "clock", _clock, "system", "system or assume-trusted",
        "When the clock may date signatures. system: while NTP, GPS or a battery-backed clock "
        "vouches for it, as the system says. assume-trusted: always after the build date; for a "
        "node whose clock you set by hand, and for containers.",
    ),
    Option(
        "reticulum", "config_dir", _directory, "", "an absolute path; empty",
        "Reticulum's configuration directory. Empty: where Reticulum itself looks. The option "
        "--rnsconfig comes before this. Nothing is ever written there.",
    ),
    Option(
        "reticulum", "announce_kinds", _texts, "", "interface names, separated by commas; empty",
        "Interfaces, by their name in Reticulum's configuration, on which each kind's own "
        "destination is announced too. Never on radio: thirteen announces fill its hour.",
    ),
    Option(
        "rounds", "cadence_s", _number(0.1, 86_400), "30", "0.1 to 86400",
        "Seconds from one look at a peer to the next.",
    ),
    Option(
        "rounds", "no_progress_timeout_s", _number(0.1, 3_600), "10", "0.1 to 3600",
        "Seconds without a byte moving after which a round is given up.",
    ),
    Option(
        "rounds", "tau_partial_s", _number(1, 2_592_000), "300", "1 to 2592000",
        "A kind counts as fresh when a peer confirmed it within so many seconds.",
    ),
    Option(
        "rounds", "frame", _frame, "81", "81 or 01",
        "How records travel between nodes of this project. 81: as compact as they get; 01: as "
        "JSON, several times longer, which other nodes speak in any case.",
    ),
    Option(
        "rounds", "symbols_max", _whole_number(32, 256), "256", "32 to 256",
        "How long a sketch of differences may get. 128 suits a small board.",
    ),
    Option(
        "rounds", "scope", _scope, "all", _SCOPE_ALLOWED,
        "What this node wants. trust: keys, occurrences, revocations, removals and their rosters. "
        "Communities: these, their members, and what records about them rely on. Nothing else is "
        "asked for, taken or offered, its own included. Example: scope = riverside-2abc...",
    ),
    Option(
        "radio", "duty", read_duty, "1%", DUTY_ALLOWED,
        "How much of each hour a radio may send, by law. EU: 1% in 868.0-868.6 MHz, 10% in "
        "869.4-869.65 MHz, 0.1% in 868.7-869.2 MHz. US and AU, 902-928 MHz: dwell, no frame over "
        "0.4 s. none: no limit, or one that the radio keeps by itself.",
    ),
    Option(
        "radio", "duty_of", read_duty_of, "", DUTY_OF_ALLOWED,
        "Interfaces for which it is different, by their name in Reticulum's configuration. "
        "Example: duty_of = RNode EU 10%, RNode roof none.",
    ),
    Option(
        "radio", "share", _number(0.1, 1), "0.8", "0.1 to 1",
        "The part of that this node uses for records. The rest is for what Reticulum sends by "
        "itself: announces, answers, packets of others. Less on a transport node.",
    ),
    Option(
        "radio", "peer_share", _number(0.05, 1), "0.5", "0.05 to 1",
        "The part of the records' air that one peer may have while there are others.",
    ),
    Option(
        "radio", "removal_share", _number(0, 0.5), "0.1", "0 to 0.5",
        "The part of it kept free for revocations and removals, which go before all else.",
    ),
    Option(
        "radio", "quiet", read_quiet, "", QUIET_ALLOWED,
        "Local time in which no records are sent by radio but revocations and removals. Without a "
        "clock that can be trusted there are no quiet hours.",
    ),
    Option(
        "radio", "policy", read_policy, "", POLICY_ALLOWED,
        "Which kinds are sent by radio: off, on, or peers: only to peers of this node. Default: on "
        "for keys, occurrences, revocations and removals, peers for the rest. Example: policy = "
        "attestation off, key peers.",
    ),
    Option(
        "store", "url", _store_url, "", "postgresql://user@host/name; empty",
        "A PostgreSQL database that keeps the records, for a registry with many peers. Empty: a "
        "file of this node's own, which needs no server. `ciris-mesh db copy` moves records from "
        "one to the other. In quotes when there is a comma or # in it.",
    ),
    Option(
        "store", "shared", _yes, "no", "yes or no",
        "Whether other nodes may keep their records in the same database. All of them must say so.",
    ),
    Option(
        "trust", "pinned", _pins, "", _PINS_ALLOWED,
        "Keys taken as they are, without an introduction: key id and fingerprint, learned by "
        "another way than the network. Example: pinned = registry-eu 9f2c...51, "
        "root-1-abcdefghijklmnop 00d1...7a.",
    ),
    Option(
        "trust", "roots", _pins, "", _PINS_ALLOWED,
        "Stewards at which chains of vouched keys must end for a key to count as rooted, with "
        "their fingerprints.",
    ),
    Option(
        "trust", "root_stewards", _key_ids, "", _KEY_IDS_ALLOWED,
        "Keys that may found organizations and appoint their first admins. Without one no "
        "organization is taken.",
    ),
    Option(
        "trust", "partner_stewards", _key_ids, "", _KEY_IDS_ALLOWED,
        "Keys whose signatures count under partner records. Without one none is taken.",
    ),
    Option(
        "trust", "partner_threshold", _whole_number(0, PARTNER_STEWARDS_MAX), "0",
        f"0 to {PARTNER_STEWARDS_MAX}",
        "How many of the partner stewards must sign a partner record, whatever the record says. "
        "0 takes none.",
    ),
    Option(
        "trust", "hardware_types", _texts, "", "words, separated by commas; empty",
        "Hardware in which an accord holder's key may live, as its evidence names it. Empty: no "
        "accord holder's key is taken.",
    ),
    Option(
        "trust", "registries", pins.read_registries, "", pins.REGISTRIES_ALLOWED,
        "Public registry nodes (CIRISEdge) this node exchanges with: key id and Ed25519 key, "
        "learned by another way than the network. What they deliver without the signatures asked "
        "for here is only bridged. row: their ids are of rows, before version 14.1; bytes: of "
        "bytes, from then on; neither: found out.",
    ),
    Option(
        "trust", "vouchers", pins.read_vouchers, "", pins.VOUCHERS_ALLOWED,
        "Keys of gateways whose word (`ciris-mesh vouch`) lets rows of their registries count "
        "here that are only bridged, where nothing else here answers. Empty: nobody's.",
    ),
    Option(
        "registry", "edge", _yes, "no", "yes or no",
        "Be there for registry nodes, at the destination ciris.edge. For gateways and nodes on "
        "the internet; never announced on radio.",
    ),
    Option(
        "registry", "accept", _accept, "", "ADDRESS:PORT; empty",
        "Where registry nodes may post frames over HTTP, for those that cannot use Reticulum; "
        "needs ciris-mesh[web]. Who may is in the file http-credentials beside this one. An "
        "address other than 127.0.0.1 needs a certificate.",
    ),
    Option(
        "registry", "tls_cert", _file, "", "an absolute path; empty",
        "The certificate to answer with, PEM.",
    ),
    Option(
        "registry", "tls_key", _file, "", "an absolute path; empty",
        "Its private key, PEM, readable by this user alone.",
    ),
    Option(
        "registry", "client_ca", _file, "", "an absolute path; empty",
        "Certificates by which those of clients are checked, PEM; a client's own, if it signed "
        "itself. Empty: none are asked for, tokens only.",
    ),
    Option(
        "registry", "server_ca", _file, "", "an absolute path; empty",
        "Certificates by which those of registries are checked when frames are posted to them. "
        "Empty: the system's.",
    ),
    Option(
        "control", "group", _group, "", "the name of a group; empty",
        "Members of this group may ask the running node, and change nothing. Empty: only the "
        "user it runs as. The group must be able to enter this directory: chgrp GROUP and "
        "chmod 710.",
    ),
    Option(
        "control", "acting_users", _texts, "", _USERS_ALLOWED,
        "Members of that group who may also act: sync, attest, revoke, add peers.",
    ),
    Option(
        "control", "remote_allowed", _addresses, "", _ADDRESSES_ALLOWED,
        "Identities that may ask this node over Reticulum (status, peers, budget, records), as "
        "rnid and `ciris-mesh status -R` show them. To all others it is silent.",
    ),
    Option(
        "control", "remote_acting", _addresses, "", _ADDRESSES_ALLOWED,
        "Identities that may also ask it over Reticulum to sync.",
    ),
    Option(
        "operator", "enabled", _yes, "no", "yes or no",
        "Answer people by LXMF message and send them alerts. Who they are: ciris-mesh operator.",
    ),
    Option(
        "operator", "propagation_node", _destination, "", "32 hex digits; empty",
        "An LXMF propagation node that keeps alerts for people who are off. Empty: direct only.",
    ),
    Option(
        "operator", "stale_h", _number(0.05, 720), "6", "0.05 to 720",
        "Hours without a word from a peer after which an alert says so.",
    ),
    Option(
        "operator", "alerts", _alerts, "all", _ALERTS_ALLOWED,
        "Which troubles are told.",
    ),
    Option(
        "page", "enabled", _yes, "no", "yes or no",
        "Serve a status page to NomadNet and MeshChat, at this node's nomadnetwork.node.",
    ),
    Option(
        "page", "allowed", _readers, "", "all, or identity hashes of 32 hex digits; empty for none",
        "Who may read the page: the hash of their Reticulum identity, as their app shows it.",
    ),
    Option(
        "web", "enabled", _yes, "no", "yes or no",
        "Serve a page for a browser: overview, map, airtime, records; /healthz and /metrics. It "
        "takes: pip install 'ciris-mesh[web,metrics]'.",
    ),
    Option(
        "web", "listen", _listen, "127.0.0.1:8390", "ADDRESS:PORT",
        "Where. Anything but loopback takes a token, or a certificate. From elsewhere without "
        "either: ssh -L 8390:127.0.0.1:8390 THIS-MACHINE.",
    ),
    Option(
        "web", "names", _texts, "", "host names, separated by commas; empty",
        "Names under which browsers ask for it, beside its addresses; any other name is refused.",
    ),
    Option(
        "web", "token_file", _directory, "", "an absolute path; empty",
        "A file with a token of 20 characters or more, mode 0600; whoever has it may read.",
    ),
    Option(
        "web", "tls_certificate", _directory, "", "an absolute path; empty",
        "A certificate in PEM.",
    ),
    Option(
        "web", "tls_key", _directory, "", "an absolute path; empty",
        "Its key in PEM.",
    ),
)  # fmt: skip

SECTION_HELP: Final = {
    "node": "This node.",
    "reticulum": "How it uses Reticulum. Interfaces are set in Reticulum's own configuration.",
    "rounds": "When it compares with its peers, and how patient it is.",
    "radio": "What it may send by radio. `ciris-mesh budget` shows what is used and what waits.",
    "store": "Where it keeps records.",
    "trust": "Whom it believes. Never learned from the network.",
    "registry": "Public registry nodes. Which ones is in [trust].",
    "operator": "Messages to and from the people who look after this node.",
    "page": "A status page over the mesh.",
    "web": "A page in the browser. Read only.",
    "control": "Who may talk to the running node on this machine.",
}
