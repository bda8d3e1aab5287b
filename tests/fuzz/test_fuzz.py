"""Fuzzing: the corpus always, seconds of coverage guidance in the slow group, minutes in soak.

Coverage guidance needs atheris, which has wheels for Linux on x86-64 only; elsewhere those tests
are skipped, and mutations of the corpus by a seeded generator are what remains.
"""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.targets import TARGETS

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
SECONDS = 10
SOAK_S = 600
#: Longer inputs say nothing that shorter ones can't, but for limits, which have tests.
INPUT_BYTES_MAX = 8192
MUTATIONS = 300
CORPUS_BYTES_MAX = 300_000

needs_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this machine"
)
each_target = pytest.mark.parametrize("name", TARGETS)


def seeds(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@each_target
def test_the_corpus_passes(name: str) -> None:
    for seed in seeds(name):
        TARGETS[name](seed)


def test_the_corpus_stays_small() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file() and path.parent != CORPUS]
    assert {path.parent.name for path in files} == set(TARGETS)
    assert sum(path.stat().st_size for path in files) <= CORPUS_BYTES_MAX


@each_target
def test_mutations_of_the_corpus_pass(name: str) -> None:
    mutate(name, MUTATIONS, random.Random(name))


@pytest.mark.slow
@each_target
def test_many_mutations_of_the_corpus_pass(name: str) -> None:
    mutate(name, 20 * MUTATIONS, random.Random(f"{name} slow"))


def mutate(name: str, count: int, rng: random.Random) -> None:
    """Splice, damage, repeat and cut seeds as a fuzzer without eyes does."""
    pool = seeds(name)
    for _ in range(count):
        data = bytearray(rng.choice(pool)[:INPUT_BYTES_MAX])
        for _ in range(rng.randint(1, 4)):
            at = rng.randint(0, len(data))
            end = min(len(data), at + rng.randint(0, 8))
            other = rng.choice(pool)
            start = rng.randint(0, len(other))
            data[at:end] = rng.choice(
                (
                    rng.randbytes(rng.randint(0, 4)),
                    other[start : start + rng.randint(0, 64)],
                    bytes(data[at:end]) * rng.randint(0, 5),
                    bytes([rng.choice((0x00, 0x01, 0x7F, 0x80, 0xFF))]),
                )
            )
        TARGETS[name](bytes(data))


@needs_atheris
@pytest.mark.slow
@each_target
def test_seconds_of_fuzzing_find_nothing(name: str, tmp_path: Path) -> None:
    fuzz(name, SECONDS, tmp_path)


@needs_atheris
@pytest.mark.soak
@each_target
def test_ten_minutes_of_fuzzing_find_nothing(name: str, tmp_path: Path) -> None:
    fuzz(name, SOAK_S, tmp_path)


def fuzz(name: str, seconds: int, tmp_path: Path) -> None:
    found = tmp_path / "found"
    found.mkdir()
    command = [
        sys.executable,
        str(HERE / "run.py"),
        f"-max_total_time={seconds}",
        f"-max_len={INPUT_BYTES_MAX}",
        "-timeout=10",
        "-rss_limit_mb=1024",
        f"-artifact_prefix={tmp_path}/",
        str(found),
        str(CORPUS / name),
    ]
    ran = subprocess.run(
        command,
        env={**os.environ, "FUZZ_TARGET": name},
        capture_output=True,
        text=True,
        timeout=2 * seconds + 600,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert "DONE" in ran.stderr, ran.stderr[-4000:]
