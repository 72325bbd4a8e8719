"""What a run leaves behind while it runs: metrics.jsonl, trackers, curves."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from catp.training.caorl.config import TrainConfig
from catp.training.caorl.curves import curves_picture
from catp.training.caorl.events import Evaluated, Event, Saved, Started, Step, Stopped
from catp.training.caorl.metrics import Metrics, figures_of, read_metrics
from catp.training.caorl.trackers import MissingTracker, tracking


def step(number: int, loss: float = 1.0) -> Step:
    return Step(number, 4, 0, loss / number, {"quality": 0.5, "policy": 0.25}, 1e-3, 2.0, 100, 50.0, 2.0, 10**9)


def run(first: int, last: int) -> list[Event]:
    found: list[Event] = [Started(first, 4, "cpu", 1, 10, 1000, 1000)]
    for number in range(first + 1, last + 1):
        found += [step(number)]
        if number % 2 == 0:
            found += [
                Evaluated(number, {"regret": 1 / number, "regret@0.8": 0.5}, True, 0.5),
                Saved(number, Path("out/best"), 0.1),
            ]
    return found


def written(path: Path, events: list[Event]) -> list[dict[str, Any]]:
    with Metrics(path) as metrics:
        for event in events:
            metrics.on_event(event)
    return read_metrics(path)


def test_one_object_per_event(tmp_path: Path) -> None:
    path = tmp_path / "out" / "metrics.jsonl"
    found = written(path, [*run(0, 2), Stopped(2, "interrupted")])
    assert [event["event"] for event in found] == ["started", "step", "step", "evaluated", "saved", "stopped"]
    assert found[1]["parts"] == {"quality": 0.5, "policy": 0.25}
    assert found[4] == {"event": "saved", "step": 2, "folder": "out/best", "seconds": 0.1}
    assert len(path.read_text().splitlines()) == 6


def test_a_file_is_there_after_each_event(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m.jsonl") as metrics:
        for number, event in enumerate(run(0, 2), start=1):
            metrics.on_event(event)
            assert len(read_metrics(tmp_path / "m.jsonl")) == number


def test_a_resumed_run_goes_on_behind_its_state(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    before = written(path, run(0, 3))
    with path.open("a") as file:
        file.write('{"event": "step", "step": 4, "lo')  # killed while it wrote
    assert read_metrics(path) == before
    after = written(path, run(2, 4))  # the last state was of step 2
    assert [event["step"] for event in after if event["event"] == "step"] == [1, 2, 3, 4]
    assert [event["step"] for event in after if event["event"] == "started"] == [0, 2]
    begun_anew = written(path, run(0, 1))
    assert len(begun_anew) == 2


def test_a_number_that_is_none_is_null(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    nan, infinite = float("nan"), float("inf")
    found = written(path, [Evaluated(1, {"regret": nan, "hits": 0.5}, False, infinite)])
    assert found[0]["figures"] == {"regret": None, "hits": 0.5}
    assert "NaN" not in path.read_text()


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"event": "step", "step": 1}\n{"trajectory_id": "a"}\n')
    with pytest.raises(ValueError, match=r"m\.jsonl:2: this is no event"):
        read_metrics(path)


def test_curves(tmp_path: Path) -> None:
    events = written(tmp_path / "m.jsonl", run(0, 4))
    picture = curves_picture(events)
    assert picture.startswith(b"\x89PNG")
    assert picture == curves_picture(events)
    assert curves_picture(events[:2]).startswith(b"\x89PNG")  # one step, nothing measured
    with pytest.raises(ValueError, match="no step"):
        curves_picture(events[:1])


class Recorder:
    """All four packages at once: whatever is called is noted down."""

    def __init__(self, broken: tuple[str, ...] = ()) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._broken = broken

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any, **named: Any) -> "Recorder":
            self.calls.append((name, args, named))
            if name in self._broken:
                raise ConnectionError("no route to host")
            return self

        return call

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [(*args, *named.values()) for called, args, named in self.calls if called == name]


MODULES = {
    "tensorboard": "torch.utils.tensorboard", "mlflow": "mlflow", "wandb": "wandb", "trackio": "trackio"
}  # fmt: skip


def tracked(
    monkeypatch: pytest.MonkeyPatch, out: Path, names: tuple[str, ...], broken: tuple[str, ...] = ()
) -> tuple[dict[str, Recorder], list[str]]:
    made = {name: Recorder(broken) for name in names}
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, MODULES[name], module)
    said: list[str] = []
    with tracking(names, TrainConfig(name="mine"), out, said.append) as on_event:
        for event in [*run(0, 4), Stopped(4, "finished")]:
            on_event(event)
    return made, said


def test_trackers_get_every_curve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made, said = tracked(monkeypatch, tmp_path, tuple(MODULES))
    assert said == []
    logs = made["wandb"].named("log")
    assert [at for _, at in logs] == [1, 2, 2, 3, 4, 4]
    assert logs[0][0] == figures_of(step(1))
    assert logs[2][0] == {"eval/regret": 0.5, "eval/regret@0.8": 0.5}
    assert made["trackio"].named("log") == logs
    assert made["mlflow"].named("log_metrics")[2] == ({"eval/regret": 0.5, "eval/regret_0.8": 0.5}, 2)
    assert made["mlflow"].named("log_params")[0][0]["optim.lr"] == TrainConfig().optim.lr
    scalars = made["tensorboard"].named("add_scalar")
    assert ("eval/regret", 0.25, 4) in scalars
    assert made["tensorboard"].named("SummaryWriter") == [(str(tmp_path / "tensorboard"),)]
    assert {name: one.calls[-1][0] for name, one in made.items()} == {
        "tensorboard": "close", "mlflow": "end_run", "wandb": "finish", "trackio": "finish"
    }  # fmt: skip
    assert made["wandb"].calls[0][2]["name"] == made["mlflow"].calls[0][2]["run_name"] == "mine"


@pytest.mark.parametrize("broken", ["init", "log", "finish"])
def test_a_tracker_that_fails_is_told_of_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: str) -> None:
    made, said = tracked(monkeypatch, tmp_path, ("wandb", "mlflow"), (broken,))
    assert len(said) == 1
    assert said[0].startswith("wandb failed (ConnectionError: no route to host); training goes on")
    assert len(made["wandb"].named(broken)) == 1
    assert len(made["mlflow"].named("log_metrics")) == 6


def test_a_missing_package_is_told_before_anything_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace())
    with (
        pytest.raises(MissingTracker, match=r"pip install 'catp\[wandb\]'"),
        tracking(("trackio", "wandb"), TrainConfig(), tmp_path, print),
    ):
        pass
