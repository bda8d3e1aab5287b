"""What `doctor` judges: plain values, gathered elsewhere, so that each verdict can be tested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ciris_mesh.radio.traps import Finding as Trap
from ciris_mesh.runtime.timesource import TimeFacts
from ciris_mesh.transport.rns_shared import SharedInstance
from ciris_mesh.transport.serialports import SerialPort

Answer = Mapping[str, Any]


class Word(StrEnum):
    """How a check came out. Only FAIL and WARN make a node unhealthy."""

    OK = "ok"
    NOTE = "note"  # nothing is wrong, and something is worth knowing
    WARN = "warn"  # it works, and not as well or as long as it should
    FAIL = "fail"  # something does not work, or is not safe
    SKIP = "skip"  # there is nothing to look at, or no way to


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One file or directory of the home.

    Attributes:
        secret: nobody else may read it; otherwise nobody else may change it.
        mode: None when it is not there.
        problem: why it cannot be used, in one line; empty when it can.
    """

    path: str
    secret: bool
    mode: int | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """The file system the store is on. `problem`: why it could not be looked at."""

    path: str
    free_bytes: int = 0
    total_bytes: int = 0
    free_inodes: int | None = None
    read_only: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """The record store.

    Attributes:
        problem: what is wrong with it; empty when nothing was found.
        looked_at_all: False when there was no time for all of it.
        backup: the newest copy beside it; empty without one.
        is_server: a PostgreSQL database, of which only is known whether it answers.
    """

    path: str
    exists: bool
    size_bytes: int = 0
    problem: str = ""
    looked_at_all: bool = True
    backup: str = ""
    is_server: bool = False


@dataclass(frozen=True, slots=True)
class ReticulumFacts:
    """Reticulum on this machine, as this node would meet it.

    Attributes:
        problem: why its configuration cannot be read; empty when it can.
        version: of the installed package.
        shared: the instance that would be joined; None when this node starts its own.
    """

    config: str = ""
    problem: str = ""
    version: str = ""
    transport: bool = False
    traps: tuple[Trap, ...] = ()
    ports: tuple[SerialPort, ...] = ()
    shared: SharedInstance | None = None


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """The running node's own answers.

    Attributes:
        why: why nobody answered; empty when the node did.
        status, budget: as `status --json` and `budget --json` have them; None without an answer.
    """

    pid: int = 0
    why: str = ""
    status: Answer | None = None
    budget: Answer | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it.

    Attributes:
        version: of this program.
        user: who asks; commands name it.
        home: the node's directory.
        home_problem: why there is no node there; empty when there is one.
        config_problem: why its configuration cannot be used.
        warnings: what in the configuration had no effect.
        clock: what the system says of it; `clock_source` as `Clock.source` has it, and
            `clock_assumed_by` as `SystemClock.assumed_by`.
        python: the interpreter that runs this.
    """

    version: str
    user: str
    home: str
    home_problem: str
    config_problem: str
    warnings: tuple[str, ...]
    files: tuple[FileFacts, ...]
    clock: TimeFacts
    clock_source: str
    disk: DiskFacts
    database: DatabaseFacts
    reticulum: ReticulumFacts
    node: NodeFacts
    python: str = "python3"
    clock_assumed_by: str = ""
