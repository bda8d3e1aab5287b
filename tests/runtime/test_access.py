"""Who may ask the node what: its own user everything, a group to look, listed users to act."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from ciris_mesh.errors import ConfigError
from ciris_mesh.runtime.access import OWNER_ONLY, Access, access_from
from ciris_mesh.runtime.config import ControlSettings

READ = frozenset({"status"})
STRANGER, MEMBER, ACTOR = 60_001, 60_002, 60_003
GROUP = Access(group_id=50, acting_uids=frozenset({ACTOR}), read_ops=READ)


@pytest.mark.parametrize("access", [OWNER_ONLY, GROUP])
@pytest.mark.parametrize("op", ["status", "sync"])
def test_the_nodes_own_user_and_root_may_do_everything(access: Access, op: str) -> None:
    assert access.allows(os.geteuid(), op)
    assert access.allows(0, op)


def test_without_a_group_nobody_else_may_do_anything() -> None:
    alone = Access(acting_uids=frozenset({ACTOR}), read_ops=READ)
    for uid in (STRANGER, MEMBER, ACTOR):
        assert not alone.allows(uid, "status")
        assert not alone.allows(uid, "sync")


def test_members_look_and_listed_ones_act() -> None:
    assert GROUP.allows(MEMBER, "status")
    assert not GROUP.allows(MEMBER, "sync")
    assert GROUP.allows(ACTOR, "status")
    assert GROUP.allows(ACTOR, "sync")


def test_names_are_looked_up_on_this_system() -> None:
    group, user = grp.getgrgid(os.getegid()), pwd.getpwuid(os.geteuid())
    access = access_from(ControlSettings(group.gr_name, (user.pw_name,)), READ)
    assert access == Access(group.gr_gid, frozenset({user.pw_uid}), READ)


def test_no_group_means_the_owner_alone_whoever_is_listed() -> None:
    assert access_from(ControlSettings("", ("root",)), READ) == OWNER_ONLY


def test_an_unknown_group_or_user_is_one_line() -> None:
    with pytest.raises(ConfigError, match="no such group"):
        access_from(ControlSettings("no-such-group-here", ()), READ)
    name = grp.getgrgid(os.getegid()).gr_name
    with pytest.raises(ConfigError, match="no user nobody-of-that-name"):
        access_from(ControlSettings(name, ("nobody-of-that-name",)), READ)
