"""Numbers that are none, a full disk, a killed process: what is lost, and what is said."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from catp.training.caorl.errors import TrainError
from catp.training.caorl.faults import Tried, not_finite
from catp.training.caorl.feed import Prepared
from catp.training.caorl.folders import recover, replacing_folder
from catp.training.caorl.source import Losses
from tests.training.caorl.loop_making import Counting, after_step, config, contents, run, terminate

ROOT = Path(__file__).resolve().parents[3]


class Bad(Counting):
    """What the examples with number 13 come to is no number, from the second epoch on."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def example(self, number: int, random: Any) -> list[int]:
        bad = number == 13 and self.made.count(13) > 0
        return [-1, *super().example(number, random)[1:]] if bad else super().example(number, random)

    def batch(self, examples: Any) -> Any:
        batch = dict(super().batch(examples))
        batch["bad"] = (batch["input_ids"] < 0).any()
        batch["input_ids"] = batch["input_ids"].clamp(min=0)
        batch["labels"] = batch["input_ids"]  # the same tensor twice
        return batch

    def loss(self, model: Any, batch: Any) -> Losses:
        losses = super().loss(model, batch)
        if not batch["bad"]:
            return losses
        if self.where == "loss":
            return Losses(losses.total * float("nan"), {**losses.parts, "tokens": losses.parts["tokens"] / 0})
        weight = model.model.norm.weight
        return Losses(losses.total + (weight - weight.detach()).sqrt().sum(), losses.parts)


@pytest.mark.parametrize(
    ("where", "what"),
    [("loss", r"the loss is nan \(.*tokens inf.*\)"), ("gradient", r"not finite \(first in model\.norm\.weight\)")],
)
def test_no_number_stops_the_run_and_keeps_the_batch(tmp_path: Path, where: str, what: str) -> None:
    from safetensors.torch import load_file

    out = tmp_path / "run"
    with pytest.raises(TrainError, match=rf"step \d+: .*{what} for the examples .*\b13\b.*last") as caught:
        run(out, config(optim={"steps": 8}, save_every=1, eval={"every": 100}), algorithm=Bad(where))
    (path,) = out.glob("nan-batch-*.safetensors")
    assert str(path) in str(caught.value)
    step = int(path.stem.rpartition("-")[2])
    record = json.loads(path.with_suffix(".json").read_text())
    assert (record["step"], record["seed"]) == (step, 0)
    tensors = load_file(path)
    assert any(13 in batch["examples"] for batch in record["batches"])
    assert any(bool(tensors[f"{place}.bad"]) for place in range(len(record["batches"])))
    assert record["batches"][0]["values"]["tokens"] == int(tensors["0.mask"].sum())
    assert record["gradients"]
    # Only the batch with the bad loss, or all of the step where the gradient alone is bad.
    assert len(record["batches"]) == (1 if where == "loss" else 2)
    state = json.loads((out / "last" / "state" / "state.json").read_text())
    assert state["step"] == step - 1
    (tmp_path / "clean").mkdir()
    whole = config(optim={"steps": 8}, save_every=1, eval={"every": 100})
    run(out, whole, resume="auto")  # with an algorithm that does not fail: nothing before was lost
    run(tmp_path / "clean", whole)
    assert contents(out / "last") == contents(tmp_path / "clean" / "last")


def test_each_process_keeps_only_batches_of_its_own_that_are_to_blame(tmp_path: Path) -> None:
    import torch

    def tried(loss: float, number: int) -> Tried:
        return Tried(Prepared(0, (number,), 0.25, {"input_ids": torch.tensor([[number]]), "tokens": 1}), loss, {})

    nan = float("nan")
    innocent = not_finite(tmp_path, 3, nan, [tried(1.0, 4), tried(2.0, 5)], {}, seed=0, rank=1)
    assert "another process's batch" in str(innocent)
    assert not list(tmp_path.iterdir())
    guilty = not_finite(tmp_path, 3, nan, [tried(1.0, 6), tried(nan, 7)], {}, seed=0, rank=2)
    assert "the loss is nan for the examples 7." in str(guilty)
    record = json.loads((tmp_path / "nan-batch-3-process-2.json").read_text())
    assert [batch["examples"] for batch in record["batches"]] == [[7]]
    (tmp_path / "file").write_text("")
    unsaved = not_finite(tmp_path / "file", 3, nan, [tried(nan, 8)], {}, seed=0, rank=0)
    assert "could not be saved" in str(unsaved)  # and the fault itself is still told
    assert "the examples 8" in str(unsaved)


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """Let no file of this process grow over a size, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("most", [1_000, 30_000])  # within the model, and within the optimiser's state
def test_a_disk_that_fills_up_leaves_the_last_checkpoint(tmp_path: Path, most: int) -> None:
    out = tmp_path / "run"
    settings = config(optim={"steps": 9}, eval={"every": 100})
    run(out, settings, then=after_step(5, terminate))
    before = contents(out)
    message = rf"no space left to write {out}/last: it needs about [\d,]+ bytes .*untouched.*resume"
    with small_files(most), pytest.raises(TrainError, match=message):
        run(out, settings, resume="auto")
    assert contents(out) == before
    done, _ = run(out, settings, resume="auto")
    run(tmp_path / "whole", settings)
    assert done.step == 9
    assert contents(out) == contents(tmp_path / "whole")


def test_a_full_disk_is_seen_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1234))
    with pytest.raises(
        TrainError, match=r"last: it needs about 109,200 bytes and 1,234 are free in .*nothing was written"
    ):
        run(tmp_path / "run", config())
    assert not any((tmp_path / "run").iterdir())


def test_a_process_killed_while_saving_loses_nothing(tmp_path: Path) -> None:
    settings = config()
    command = [
        sys.executable,
        "-m",
        "tests.training.caorl.loop_making",
        str(tmp_path / "run"),
        settings.model_dump_json(),
    ]
    # Step 10 has an evaluation: it is killed in the middle of writing `best`, or of `last` after step 12.
    ended = subprocess.run([*command, "9"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left in ({"best", "last", ".best.part"}, {"best", "last", ".last.part"})
    _, after = run(tmp_path / "run", settings, resume="auto")
    _, all_of_it = run(tmp_path / "whole", settings)
    assert all_of_it.figures[-len(after.figures) :] == after.figures
    assert len(after.figures) > 10
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


class Killed(BaseException):
    pass


def write_folder(target: Path, text: str) -> None:
    with replacing_folder(target, 10) as folder:
        (folder / "a").write_text(text)
        (folder / "sub").mkdir()
        (folder / "sub" / "b").write_text(text)


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_is_the_old_or_the_new_one_wherever_it_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """Die before each call that changes the disk, in the replacement and (`again`) once more in the recovery."""
    seen = set()
    for die_at in range(1, 40):
        target = tmp_path / f"{die_at}" / "last"
        write_folder(target, "old")
        calls = 0

        def dying(real: Any, at: int = die_at) -> Any:
            def call(*args: Any, **named: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == at:
                    raise Killed
                return real(*args, **named)

            return call

        with monkeypatch.context() as patch:
            for owner, name in [(Path, "rename"), (Path, "mkdir"), (Path, "write_text"), (os, "fsync"), (os, "unlink")]:
                patch.setattr(owner, name, dying(getattr(owner, name)))
            patch.setattr(shutil, "rmtree", dying(shutil.rmtree))
            try:
                write_folder(target, "new")
                survived = True
            except Killed:
                survived = False
            if again and not survived:
                calls = die_at - 2  # die at the second change of the recovery
                try:
                    recover(target)
                except Killed:
                    pass
        recover(target)
        texts = {(target / name).read_text() for name in ("a", "sub/b")}
        assert len(texts) == 1
        assert [path.name for path in target.parent.iterdir()] == ["last"]
        seen |= texts
        if survived:
            assert texts == {"new"}
            break
    assert survived
    assert seen == {"old", "new"}


def test_signals_are_as_before_after_a_run_and_a_thread_may_train(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    short = config(optim={"steps": 2})
    run(tmp_path / "a", short)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(run(tmp_path / "b", short)))
    thread.start()
    thread.join()
    assert results[0][0].reason == "finished"
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_control_c_ends_in_order(tmp_path: Path) -> None:
    settings = config()
    result, record = run(tmp_path / "run", settings, then=after_step(3, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert (result.step, result.reason) == (3, "interrupted")
    assert record.saved == [(3, "last")]


def test_a_watcher_that_fails_ends_the_run_and_leaves_its_checkpoint(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("no terminal")

    with pytest.raises(RuntimeError, match="no terminal"):
        run(tmp_path / "run", config(), then=after_step(9, fail))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("catp-feed")]
    run(tmp_path / "run", config(), resume="auto")
    run(tmp_path / "whole", config())
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")
