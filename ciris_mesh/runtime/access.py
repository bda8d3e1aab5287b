"""Who on this machine may ask the running node what."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ciris_mesh.errors import ConfigError

if TYPE_CHECKING:
    from ciris_mesh.runtime.config import ControlSettings


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what. The node's own user and root may do everything.

    Attributes:
        group_id: members of this group may connect; None lets in nobody else.
        acting_uids: other users who may call every operation.
        read_ops: the operations every other user who can connect may call.
    """

    group_id: int | None = None
    acting_uids: frozenset[int] = frozenset()
    read_ops: frozenset[str] = frozenset()

    def allows(self, uid: int, op: str) -> bool:
        """True when the user `uid` may call `op`."""
        if uid in (0, os.geteuid()):
            return True
        if self.group_id is None:
            return False
        return op in self.read_ops or uid in self.acting_uids


OWNER_ONLY: Final = Access()


def access_from(settings: ControlSettings, read_ops: frozenset[str]) -> Access:
    """Look the configured names up on this system.

    Raises:
        ConfigError: a group or user does not exist here.
    """
    if not settings.group:
        return OWNER_ONLY
    return Access(
        _group_id(settings.group), frozenset(map(_user_id, settings.acting_users)), read_ops
    )


def _group_id(name: str) -> int:
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"[control] group = {name}: this system has no such group") from None


def _user_id(name: str) -> int:
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigError(f"[control] acting_users: this system has no user {name}") from None
