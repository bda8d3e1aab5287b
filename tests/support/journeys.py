"""What the journeys share: the other side of a conversation, as its files tell."""

from __future__ import annotations

from pathlib import Path

from ciris_mesh.runtime.home import Home
from ciris_mesh.runtime.setup import node_identity
from support.screen import Machine, Screen


def node_home(home: Path) -> Home:
    """The node of the person whose home this is."""
    return Home(home / ".ciris-mesh")


def invite_of(home: Path) -> str:
    """The line its operator gives to others."""
    return node_identity(node_home(home)).invite


def key_of(home: Path) -> str:
    """The key id of its node."""
    return node_identity(node_home(home)).key_id


def own_reticulum(home: Path) -> None:
    """Let it be as on another machine: one machine has one shared Reticulum."""
    config = home / ".reticulum" / "config"
    text = config.read_text()
    assert "share_instance = Yes" in text
    config.write_text(text.replace("share_instance = Yes", "share_instance = No"))


def base_on_radio(machine: Machine, port: str, name: str = "base") -> Screen:
    """Another person's node behind an emulated radio, as `setup` makes it; it runs."""
    screen = machine.person(name)
    words = f"--name {name} --region eu868-p --port {port} --yes --write-rns"
    screen.run(f"ciris-mesh setup field {words}")
    own_reticulum(machine.home(screen))
    runs = machine.another(screen, f"{name}-2")
    runs.begin("ciris-mesh run")
    runs.wait(f"ready {name}-")
    return screen
