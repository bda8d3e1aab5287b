"""`ciris-mesh` on a board without a battery clock: it woke up in 1970. Not a test itself."""

from __future__ import annotations

import time

from ciris_mesh.cli.main import main

if __name__ == "__main__":
    started_ns = time.time_ns()
    now_ns = time.time_ns
    time.time_ns = lambda: now_ns() - started_ns
    main()
