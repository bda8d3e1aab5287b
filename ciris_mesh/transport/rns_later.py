"""Lets Reticulum's I2P interface be loaded when it is used, not when Reticulum is.

It brings asyncio and ssl along, 3 MB of the 60 an idle node may have, and hardly a node has an I2P
interface. Nothing of Reticulum's is changed: the module is there, and reads its file when somebody
first asks it for anything. Written against rns 1.5.7, which imports all its interfaces at once.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Final

DEFERRED: Final = "RNS.Interfaces.I2PInterface"


class _Later(ModuleType):
    """A module that is loaded by the first question for something it does not have yet."""

    def __getattr__(self, name: str) -> Any:
        loader = self.__spec__.loader if self.__spec__ is not None else None
        if name.startswith("__") or not isinstance(loader, _LaterLoader):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        loader.load(self)
        return object.__getattribute__(self, name)


class _LaterLoader(Loader):
    """Loads once, when told to."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._lock = threading.RLock()  # guards what follows; held while the file is run
        self._is_loaded = False

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The empty module."""
        return _Later(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Not yet."""

    def load(self, module: ModuleType) -> None:
        """Run the file in the module."""
        with self._lock:
            if not self._is_loaded:
                self._is_loaded = True
                self._loader.exec_module(module)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != DEFERRED:
            return None
        found = PathFinder.find_spec(fullname, path, target)
        if found is not None and found.loader is not None:
            found.loader = _LaterLoader(found.loader)
        return found


def defer_i2p() -> None:
    """Call it before Reticulum is imported; afterwards it does nothing."""
    if "RNS" not in sys.modules and not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
