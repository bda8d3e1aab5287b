"""Every number that bounds a round, with its reason. Measured in the unit its name ends in."""

from __future__ import annotations

from typing import Final

#: Envelopes in one Deliver. CIRISEdge's own budget since 15.2: one frame then stays far below the
#: 8 MiB frame limit even in JSON, where a byte costs up to four characters. The rest spills.
DELIVER_BUDGET_BYTES: Final = 512 * 1024

#: Envelopes in one Deliver between mesh nodes: what one batch of a Records holds.
DELIVER_ENVELOPES_MAX: Final = 256

#: Envelopes in one batch on a slow link, before they are coded: about a dozen hybrid records, two
#: minutes of LoRa at SF8, after which what is more urgent gets its turn.
SLOW_BATCH_BYTES: Final = 64 * 1024

#: Refs in one Summary, newest first. A ref of a random id is 154 characters of JSON on average, so
#: 50,000 make 7.7 MB: just under the 8 MiB frame limit.
SUMMARY_REFS_MAX: Final = 50_000

#: Ids asked for in one Diff between mesh nodes. Signatures alone are 4.5 kB in a record, so a
#: Deliver holds at most 115; more names would only be said again with the next Diff. So many are
#: 15 kB of JSON, one packet on TCP instead of a Resource.
DIFF_ASKED_MAX: Final = 128

#: Diffs out at once, in a round with a mesh node where air is no matter. With one, whoever is done
#: with an answer mostly waits for the next.
DIFFS_AHEAD: Final = 2

#: Ids a peer may ask for in one Diff: what earlier builds ask for.
DIFF_WANT_MAX: Final = 1024

#: Diffs a peer may send in one round. The largest Summary names 50,000 records; one alone in a
#: Deliver is the worst case.
DIFFS_PER_ROUND_MAX: Final = SUMMARY_REFS_MAX

#: Seconds without any progress after which a round is given up (design: CIRISEdge's 10 s).
NO_PROGRESS_TIMEOUT_S: Final = 10.0

#: Seconds between rounds with one peer.
CADENCE_S: Final = 30.0

#: A confirmation older than this no longer counts as fresh on TCP (tau_partial of CEG).
TAU_PARTIAL_S: Final = 300.0

#: Messages one coordinator holds before its peer is told to wait (CIRISEdge's channel size).
INBOUND_QUEUE_MESSAGES: Final = 8
