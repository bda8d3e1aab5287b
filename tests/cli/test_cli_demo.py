"""The `demo` command around the engine: options, output, exit codes, where it works."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner, Result

from ciris_mesh.cli.commands import cli
from ciris_mesh.demo import engine
from ciris_mesh.demo.network import VirtualLora
from ciris_mesh.demo.progress import Airtime, Channel, DemoResult, NodeProgress, Phase, Progress
from ciris_mesh.errors import OperatorError

GOOD = DemoResult(converged=True, nodes=3, kinds=13, records=39, seconds=4.5, bytes=7)


AIR = Channel(8, 125_000, 3125, 16.0, 900.0, (Airtime("alice", 7, 1_000, 3.5),))


class FakeDemo:
    """In place of the engine: notes how it was called."""

    calls: ClassVar[list[dict[str, Any]]]
    act: Callable[[Path], DemoResult]

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.show: Callable[[Progress], None] = options.pop("show")
        self.calls.append({"root": root, **options})
        self.network: VirtualLora | None = options["network"]

    def run(self) -> DemoResult:
        assert self.root.is_dir()
        self.show(Progress(Phase.CONVERGING, 1.0, 3, (NodeProgress("alice", {"key": 3}),)))
        if self.network is not None:
            self.network.stop()
        return type(self).act(self.root)


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeDemo]:
    class Fresh(FakeDemo):
        calls: ClassVar[list[dict[str, Any]]] = []
        act = staticmethod(lambda root: GOOD)

    monkeypatch.setattr(engine, "Demo", Fresh)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return Fresh


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["demo", *arguments])


def test_defaults_are_three_nodes_and_one_record_of_each_kind(demo: type[FakeDemo]) -> None:
    assert run().exit_code == 0
    (call,) = demo.calls
    assert (call["nodes"], call["records"]) == (3, 13)
    assert call["timeout_s"] >= 60


def test_the_time_limit_grows_with_the_work_or_is_what_was_said(demo: type[FakeDemo]) -> None:
    for arguments in ([], ["--nodes", "9"], ["--records", "900"], ["--timeout", "7"]):
        assert run(*arguments).exit_code == 0
    limits = [call["timeout_s"] for call in demo.calls]
    assert limits[0] < limits[1]
    assert limits[0] < limits[2]
    assert limits[3] == 7


def test_json_is_one_last_line_on_stdout(demo: type[FakeDemo]) -> None:
    assert demo
    result = run("--json")
    assert result.stdout == (
        '{"converged": true, "nodes": 3, "kinds": 13, "records": 39, "seconds": 4.5, "bytes": 7}\n'
    )
    assert json.loads(result.stdout)["converged"] is True
    assert "converging: alice 3 of 3" in result.stderr


def test_by_radio_there_is_a_channel_and_less_to_sign(demo: type[FakeDemo]) -> None:
    assert run().exit_code == 0
    assert run("--radio").exit_code == 0
    plain, radio = demo.calls
    assert plain["network"] is None
    assert isinstance(radio["network"], VirtualLora)
    assert (radio["nodes"], radio["records"]) == (3, 3)
    assert radio["timeout_s"] > plain["timeout_s"]


def test_a_slower_channel_is_given_more_time(demo: type[FakeDemo]) -> None:
    for speed in ("64", "16", "1"):
        assert run("--radio", "--speed", speed).exit_code == 0
    fast, usual, real = (call["timeout_s"] for call in demo.calls)
    assert fast == usual < real < 3_600


def test_json_by_radio_has_airtime_by_node(demo: type[FakeDemo]) -> None:
    demo.act = staticmethod(lambda root: replace(GOOD, channel=AIR))
    answer = json.loads(run("--radio", "--json").stdout)
    assert list(answer)[-1] == "channel"
    assert answer["channel"] == {
        "sf": 8,
        "bandwidth_hz": 125_000,
        "bitrate_bps": 3125,
        "speed": 16.0,
        "channel_s": 900.0,
        "nodes": [{"name": "alice", "frames": 7, "bytes": 1_000, "airtime_s": 3.5}],
    }
    assert "takes at 1 %" in run("--radio").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--speed", "4"), "give --radio as well"),
        (("--radio", "--nodes", "9"), "at most 8 nodes"),
        (("--radio", "--speed", "0.5"), "range"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    demo: type[FakeDemo], arguments: tuple[str, ...], said: str
) -> None:
    result = run(*arguments)
    assert (result.exit_code, demo.calls) == (2, [])
    assert said in " ".join(result.stderr.split())


def test_without_json_a_sentence(demo: type[FakeDemo]) -> None:
    assert demo
    text = " ".join(run().stdout.split())
    assert text.startswith("Converged: 3 nodes, 39 records of 13 kinds, 7 B sent, 4.5 s.")


@pytest.mark.parametrize(
    ("arguments", "named"), [((), "ciris-mesh demo --radio"), (("--radio",), "ciris-mesh ether")]
)
def test_what_was_not_shown_is_what_comes_next(
    demo: type[FakeDemo], arguments: tuple[str, ...], named: str
) -> None:
    assert demo
    said = run(*arguments).stderr.partition("What next?\n")[2]
    assert said.splitlines()[0].strip().startswith(f"{named} ")
    assert "ciris-mesh sim" in said


def test_quiet_shows_only_the_result(demo: type[FakeDemo]) -> None:
    assert demo
    result = run("-q")
    assert result.stderr == ""
    assert result.stdout.startswith("Converged")


@pytest.mark.parametrize("as_json", [True, False])
def test_not_converged_is_exit_code_1(demo: type[FakeDemo], *, as_json: bool) -> None:
    bad = DemoResult(converged=False, nodes=3, kinds=1, records=2, seconds=4.5, bytes=7)
    demo.act = staticmethod(lambda root: bad)
    result = run(*["--json"][: int(as_json)])
    assert result.exit_code == 1
    assert ('"converged": false' if as_json else "Not converged: 3 nodes") in result.stdout


def test_the_directory_is_new_and_gone_afterwards(demo: type[FakeDemo], tmp_path: Path) -> None:
    run()
    root = demo.calls[0]["root"]
    assert root.parent == (tmp_path if len(str(tmp_path)) <= 40 else Path("/tmp"))
    assert not root.exists()


def test_sockets_need_a_short_path_so_a_deep_tmpdir_is_passed_over(
    demo: type[FakeDemo], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    run()
    assert demo.calls[0]["root"].parent == Path("/tmp")


def test_keep(demo: type[FakeDemo]) -> None:
    result = run("--keep")
    root = demo.calls[0]["root"]
    assert f"Kept in {root}" in result.stderr
    root.rmdir()


def fail(_: Path) -> DemoResult:
    raise OperatorError("node bob ended with code 1: it said why")


def interrupt(_: Path) -> DemoResult:
    raise KeyboardInterrupt


def terminate(_: Path) -> DemoResult:
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError("the signal did not end the demo")


@pytest.mark.parametrize(
    ("act", "code", "words"),
    [(fail, 1, "it said why"), (interrupt, 130, "converging"), (terminate, 130, "converging")],
)
def test_however_it_ends_the_directory_is_gone(
    demo: type[FakeDemo], act: Callable[[Path], DemoResult], code: int, words: str
) -> None:
    demo.act = staticmethod(act)
    result = run()
    assert result.exit_code == code
    assert words in result.stderr.splitlines()[-1]
    assert not demo.calls[0]["root"].exists()


def test_a_second_signal_does_not_interrupt_the_cleaning_up(demo: type[FakeDemo]) -> None:
    cleaned = []

    def twice(_: Path) -> DemoResult:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            cleaned.append(True)
        raise AssertionError("the signal did not end the demo")

    demo.act = staticmethod(twice)
    assert run().exit_code == 130
    assert cleaned == [True]
    assert not demo.calls[0]["root"].exists()


def test_signal_handlers_are_given_back(demo: type[FakeDemo]) -> None:
    assert demo
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    run()
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.parametrize("line", ["--nodes 1", "--nodes 65", "--records 0", "--timeout 0"])
def test_numbers_out_of_range_are_wrong_usage(demo: type[FakeDemo], line: str) -> None:
    assert run(*line.split()).exit_code == 2
    assert demo.calls == []
