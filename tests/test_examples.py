"""Every example runs as a person would run it, ends well, and says what its docstring promises."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

#: An example takes a few seconds; this is for a machine that runs the rest of the suite beside it.
TIMEOUT_S = 600.0
#: By radio an exchange that failed is tried again after a minute, and the example itself gives up.
RADIO_TIMEOUT_S = 900.0

#: Of examples that start Reticulum, and of those that take their time.
MARKS = {
    "03_two_nodes_rns.py": [pytest.mark.rns],
    "04_virtual_lora.py": [pytest.mark.rns, pytest.mark.slow],
    "06_behind_nat_rns.py": [pytest.mark.rns],
}

#: File -> patterns that lines of its output match whole, in this order.
TELLING = {
    "01_session_by_hand.py": (
        "alice -> Summary: I hold 3",
        "bob -> Diff: I lack 2",
        "alice -> Deliver: one, two",
        "bob finished: InSync, admitted=2",
        "alice finished: InSync, admitted=1",
        "both hold 4: four, one, three, two",
    ),
    "02_two_nodes_loopback.py": (
        "alice signed an attestation: admitted",
        r"both agree after \d+\.\d s",
        "bob holds [0-9a-f]{16} on the federation shelf",
        r"signed by alice-[a-z2-7]{16}, \d{4} bytes as alice wrote them",
        "bob is fresh for attestations: True",
    ),
    "03_two_nodes_rns.py": (
        r"alice listens on 127\.0\.0\.1:\d+, bob is process \d+",
        r"converged: \d+ bytes sent, \d+ received",
        r"bob verified an attestation of \d{4} bytes by alice-[a-z2-7]{16}",
    ),
    "04_virtual_lora.py": (
        r"one channel at SF8, 3125 bit/s, 32 x as fast",
        r"bob verified an attestation of \d{4} bytes by alice-[a-z2-7]{16}",
        r"alice was on air for \d+\.\d s, \d+ bytes in \d+ frames: \d+\.\d h at 1 %",
        r"bob was on air for \d+\.\d s, \d+ bytes in \d+ frames: \d+\.\d h at 1 %",
    ),
    "05_watch_staleness.py": (
        "before anything was compared",
        " *attestation +Unknown +never confirmed +not fresh",
        " *round of revocation: completed, 1 admitted",
        "after a first exchange",
        r" *attestation +InSync +confirmed \d\.\d s ago +fresh",
        "bob silent for longer than tau_partial",
        r" *attestation +InSync +confirmed \d\.\d s ago +not fresh",
        "bob is back",
        r" *attestation +InSync +confirmed \d\.\d s ago +fresh",
    ),
    "06_behind_nat_rns.py": (
        r"the public node listens on 127\.0\.0\.1:\d+ and has no peers",
        "alice hears the other, 2 hops away",
        "bob hears the other, 2 hops away",
        r"alice: records held 4, bytes received \d+",
        r"bob: records held 4, bytes received \d+",
        r"public: records held 1, bytes received \d+",
    ),
}


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(TELLING)


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a path short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="cm-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=MARKS.get(name, [])) for name in TELLING],
)
def test_example(name: str, short: Path) -> None:
    """The home is an empty one: no example needs, reads or leaves anything in the user's."""
    home = short / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=RADIO_TIMEOUT_S if "lora" in name else TIMEOUT_S,
        env={**os.environ, "HOME": str(home), "TMPDIR": str(short)},
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    lines = iter(done.stdout.splitlines())
    for pattern in TELLING[name]:
        assert any(re.fullmatch(pattern, line) for line in lines), f"{pattern!r}\n{done.stdout}"
    assert list(short.iterdir()) == [home]
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("name", TELLING)
def test_example_says_what_to_look_at(name: str) -> None:
    """The docstring's first line is a title; the rest tells a reader where to look, and why."""
    title, _, rest = (EXAMPLES / name).read_text().removeprefix('"""').partition("\n\n")
    assert title[-1] in ".?"
    assert rest.startswith("Look at ")
