#!/usr/bin/env python3
"""Fuzz one target with atheris: `FUZZ_TARGET=streams tests/fuzz/run.py [libFuzzer arguments]`.

    FUZZ_TARGET=streams tests/fuzz/run.py -max_total_time=600 /tmp/work tests/fuzz/corpus/streams

New inputs go to the first directory. To keep what they reach, merge it into the corpus; libFuzzer
runs this file by itself then, which is why the target is no argument:

    FUZZ_TARGET=streams tests/fuzz/run.py -merge=1 tests/fuzz/corpus/streams /tmp/work
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

with atheris.instrument_imports(include=["ciris_mesh", "msgpack"]):
    from fuzz.targets import TARGETS


def main() -> None:
    """Run libFuzzer; it ends the process itself, with an exit code above 0 for a finding."""
    atheris.Setup(sys.argv, TARGETS[os.environ["FUZZ_TARGET"]])
    atheris.Fuzz()


main()
