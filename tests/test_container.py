"""What `examples/Containerfile` runs is run here, without a container: there is no engine in CI."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.waiting import wait_until

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "examples" / "Containerfile").read_text()
PLACE = "/var/lib/ciris-mesh"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEADLINE_S = 240.0


def instructions() -> dict[str, str]:
    """Instruction -> its text, lines joined; each stands there once."""
    lines = [line for line in TEXT.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n *", "", "\n".join(lines))
    pairs = [line.split(" ", 1) for line in joined.splitlines()]
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def words(name: str) -> list[str]:
    """The JSON list of an instruction."""
    text = instructions()[name]
    found: list[str] = json.loads(text[text.index("[") :])
    return found


def test_the_base_has_a_python_that_is_supported() -> None:
    base = re.search(r"python:(\d+)\.(\d+)-slim", instructions()["FROM"])
    least = re.search(r">=(\d+)\.(\d+)", PROJECT["requires-python"])
    assert base is not None
    assert least is not None
    assert tuple(map(int, base.groups())) >= tuple(map(int, least.groups()))


def test_the_extras_are_there_and_metrics_have_a_page_to_stand_on() -> None:
    found = re.search(r"/src\[([\w,]+)\]", instructions()["RUN"])
    assert found is not None
    extras = set(found[1].split(","))
    assert extras <= set(PROJECT["optional-dependencies"])
    assert {"web", "metrics"} <= extras


def test_what_no_image_needs_is_not_copied() -> None:
    left_out = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".git", ".venv"} <= set(left_out)
    assert instructions()["COPY"] == ". /src"


def test_the_user_owns_the_volume() -> None:
    user = instructions()["USER"]
    assert f"--home-dir {PLACE} --create-home {user}" in instructions()["RUN"]
    assert instructions()["VOLUME"] == PLACE
    assert instructions()["STOPSIGNAL"] == "SIGTERM"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What RUN installs, beside the packages of this environment instead of an index's."""
    target = tmp_path_factory.mktemp("image")
    command = shlex.split(instructions()["RUN"].split("&&")[0])
    assert command[:2] == ["pip", "install"]
    source = tmp_path_factory.mktemp("src") / "src"
    packed = (".git", ".venv", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*packed))
    given = [word.replace("/src", str(source)) for word in command[2:]]
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--target", target)
    pip = [sys.executable, "-m", "pip", "install", *map(str, offline), *given]
    subprocess.run(pip, check=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL)
    yield target
    shutil.rmtree(target)


def in_image(image: Path, volume: Path, command: list[str]) -> tuple[list[str], dict[str, str]]:
    """(command, environment) as they would be in the container, with the volume elsewhere."""
    moved = [word.replace(PLACE, str(volume)) for word in command]
    kept = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    assert moved[0] == "ciris-mesh"
    program = [sys.executable, "-m", "ciris_mesh", *moved[1:]]
    return program, {**kept, "PYTHONPATH": str(image), "HOME": str(volume)}


def run(image: Path, volume: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    program, environment = in_image(image, volume, command)
    return subprocess.run(
        program, env=environment, cwd=volume,
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip


def commands() -> list[list[str]]:
    """What the heading tells people to run in it, after the entry point."""
    lines = re.findall(
        r"^#   podman (?:run|exec) .*?ciris-mesh ciris-mesh (.+)$", TEXT, re.MULTILINE
    )
    return [shlex.split(line) for line in lines]


def test_the_program_is_installed_with_what_it_needs(image: Path, tmp_path: Path) -> None:
    assert (image / "bin" / "ciris-mesh").exists()
    done = run(image, tmp_path, ["ciris-mesh", "interfaces", "list"])
    assert done.returncode == 0, done.stderr
    code = "import ciris_mesh; print(ciris_mesh.__file__)"
    found = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "PYTHONPATH": str(image)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.startswith(str(image)), "not the source, which the image has not"


def test_what_the_heading_says_works(image: Path, tmp_path: Path) -> None:
    assert [line[0] for line in commands()] == ["init", "status"]
    init = run(image, tmp_path, [*words("ENTRYPOINT"), *commands()[0]])
    assert init.returncode == 0, init.stderr
    assert (tmp_path / "node" / "federation.key").exists()
    unwell = run(image, tmp_path, words("HEALTHCHECK"))
    assert unwell.returncode == 1, "nothing runs yet"
    assert "no node is running" in " ".join(unwell.stdout.split())


@pytest.mark.rns
@pytest.mark.slow
def test_it_runs_is_well_and_ends(image: Path, tmp_path: Path) -> None:
    """CMD until it is ready, HEALTHCHECK beside it, STOPSIGNAL."""
    entry = words("ENTRYPOINT")
    run(image, tmp_path, [*entry, *commands()[0]])
    registry = ["setup", "registry", "--listen", "127.0.0.1:4242", "--write-rns", "--yes"]
    made = run(image, tmp_path, [*entry, *registry])
    assert made.returncode == 0, made.stderr
    config = tmp_path / "reticulum" / "config"
    assert "[[Public]]" in config.read_text()
    # A container has a network of its own; here that port and name may be somebody else's.
    config.write_text("[reticulum]\n  share_instance = No\n[interfaces]\n")
    program, environment = in_image(image, tmp_path, [*entry, *words("CMD")])
    log = tmp_path / "log"
    with log.open("wb") as output:
        node = subprocess.Popen(
            program, env=environment, cwd=tmp_path, stdout=output, stderr=output,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        wait_until(lambda: "\nready field-3-" in log.read_text(), log.read_text, DEADLINE_S)
        well = run(image, tmp_path, words("HEALTHCHECK"))
        assert well.returncode == 0, well.stdout
        node.terminate()
        assert node.wait(DEADLINE_S) == 0, log.read_text()
    finally:
        node.kill()
        node.wait()
