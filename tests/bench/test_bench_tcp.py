"""The TCP bench replicates between real node processes and leaves none behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ciris_mesh.bench.floor import signatures, verification_s
from ciris_mesh.bench.pool import all_cores
from ciris_mesh.bench.records import Plan
from ciris_mesh.bench.tcp import LIMITS
from ciris_mesh.errors import OperatorError

TIMEOUT_S = 500.0
RECORDS = 40
BENCH = (sys.executable, "-m", "ciris_mesh", "bench", "tcp")


@pytest.fixture
def tmp() -> Iterator[Path]:
    """A directory with a path short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="cm-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def test_every_signature_is_part_of_the_floor() -> None:
    plan = Plan(RECORDS, 1)
    signed = signatures([plan.make(number) for number in range(RECORDS)])
    assert len(signed) == RECORDS, "each record has one signer"
    with all_cores() as pool:
        assert verification_s(pool, signed) > 0
        forged = [*signed[:-1], type(signed[0])(signed[0].public, b"x", signed[0].signature)]
        with pytest.raises(OperatorError, match="1 signatures"):
            verification_s(pool, forged)


@pytest.mark.rns
@pytest.mark.parametrize("frame", LIMITS)
def test_the_bench_runs_end_to_end(tmp: Path, frame: str) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp), "HOME": str(tmp)}
    done = subprocess.run(
        [*BENCH, "--records", str(RECORDS), "--frame", frame, "--json"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env=environment,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    (row,) = answer["rows"]
    assert answer["bench"] == "tcp"
    assert set(row) == {"quantity", "measured", "floor", "ratio", "limit", "ok"}
    assert row["quantity"] == f"{RECORDS} records to an empty node in {frame}, s"
    assert row["limit"] == LIMITS[frame]
    # A ratio is rounded to be shown: one that is shown as the limit may be a little above it.
    assert row["ok"] is (row["ratio"] <= LIMITS[frame]) or row["ratio"] == LIMITS[frame]
    assert done.returncode == (0 if row["ok"] else 1)
    assert os.listdir(tmp) == [], "nodes, sockets and stores are gone"
