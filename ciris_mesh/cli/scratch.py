"""What commands that start something of their own share: a scratch directory, and a clean end."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from ciris_mesh.cli.app import App

#: Sockets need short paths, so a deep TMPDIR is passed over.
_PLAIN_TMP: Final = Path("/tmp")
_TMP_CHARS_MAX: Final = 40
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def scratch_directory(app: App, name: str, *, keep: bool) -> Iterator[Path]:
    """An empty directory, removed at the end unless it is to be kept."""
    base = Path(tempfile.gettempdir())
    parent = _PLAIN_TMP if len(str(base)) > _TMP_CHARS_MAX and _PLAIN_TMP.is_dir() else base
    root = Path(tempfile.mkdtemp(prefix=f"ciris-mesh-{name}-", dir=parent))
    try:
        yield root
    finally:
        if keep:
            app.talk(f"Kept in {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP end the work once; cleaning up is not interrupted again."""
    ending = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal ending
        if not ending:
            ending = True
            raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
