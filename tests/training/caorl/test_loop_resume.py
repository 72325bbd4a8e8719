"""A run that was stopped and resumed is the run that was not: the same bytes, the same figures."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catp.training.caorl.errors import ResumeError, TrainError
from catp.training.caorl.events import Started
from tests.training.caorl.loop_making import Counting, after_step, config, contents, run, terminate, tiny

CASES: dict[str, dict[str, Any]] = {
    "float32": {},
    "bf16": {"optim": {"bf16": True}},
    "no mean, no accumulation": {"optim": {"ema": 0.0, "accumulate": 1}},
    "checkpointing": {"optim": {"gradient_checkpointing": True}},
}


@pytest.mark.parametrize("case", CASES)
def test_20_steps_are_10_and_10(tmp_path: Path, case: str) -> None:
    settings = config(**CASES[case])
    whole, all_of_it = run(tmp_path / "whole", settings)
    # 10 steps are 20 batches, which ends within an epoch; an evaluation is due, and is done after resuming.
    first, before = run(tmp_path / "parts", settings, then=after_step(10, terminate))
    assert (first.step, first.reason) == (10, "interrupted")
    second, after = run(tmp_path / "parts", settings, model=tiny(seed=5), resume="auto")
    assert isinstance(after.events[0], Started)
    assert after.events[0].step == 10
    assert before.figures + after.figures == all_of_it.figures
    assert second == whole
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def adapted() -> Any:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(tiny(), LoraConfig(r=2, lora_dropout=0.1, target_modules=["q_proj", "down_proj"]))


# peft asks transformers for what it has renamed.
@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in v6:FutureWarning")
@pytest.mark.parametrize("make", [adapted, lambda: tiny().bfloat16()], ids=["adapters", "bf16 weights"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_other_models_go_on_as_well(tmp_path: Path, make: Callable[[], Any], checkpointing: bool) -> None:
    settings = config(optim={"steps": 6, "gradient_checkpointing": checkpointing})
    before = contents_of(make())
    model = make()
    run(tmp_path / "whole", settings, model=model)
    learned = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name, value in contents_of(model).items() if not value.equal(before[name])} == learned
    run(tmp_path / "parts", settings, model=make(), then=after_step(3, terminate))
    run(tmp_path / "parts", settings, model=make(), resume="auto")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def contents_of(model: Any) -> dict[str, Any]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_any_number_of_stops_anywhere(tmp_path: Path) -> None:
    settings = config()
    _, all_of_it = run(tmp_path / "whole", settings)
    figures: list[Any] = []
    for stop in (1, 4, 10, 14, 99):  # after step 4 a save is due anyway, after 10 an evaluation
        _, record = run(tmp_path / "parts", settings, then=after_step(stop, terminate), resume="auto")
        figures += record.figures
    assert figures == all_of_it.figures
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_more_steps_after_the_end(tmp_path: Path) -> None:
    flat: dict[str, Any] = {"final": 1.0, "warmup": 0}  # otherwise the cosine knows how long it will be
    run(tmp_path / "whole", config(optim=flat))
    run(tmp_path / "parts", config(optim={**flat, "steps": 10}))
    done, _ = run(tmp_path / "parts", config(optim={**flat, "steps": 20}), resume=tmp_path / "parts" / "last")
    assert (done.step, done.reason) == (20, "finished")
    for name in ("weights", "average", "optimiser"):
        file = f"last/state/{name}.safetensors"
        assert contents(tmp_path / "parts")[file] == contents(tmp_path / "whole")[file]
    again, record = run(tmp_path / "parts", config(optim={**flat, "steps": 20}), resume="auto")
    assert (again.step, again.reason, again.figures) == (20, "finished", done.figures)
    assert not record.saved


def test_evaluation_does_not_touch_training(tmp_path: Path) -> None:
    run(tmp_path / "often", config(eval={"every": 1}))
    run(tmp_path / "never", config(eval={"every": 100}, save_every=3))
    file = "last/state/weights.safetensors"
    assert contents(tmp_path / "often")[file] == contents(tmp_path / "never")[file]


def test_a_signal_breaks_off_an_evaluation_which_is_done_after_resuming(tmp_path: Path) -> None:
    class Interrupted(Counting):
        def evaluate(self, model: Any) -> Any:
            terminate()
            raise AssertionError("the evaluation went on")

    settings = config()
    _, all_of_it = run(tmp_path / "whole", settings)
    first, before = run(tmp_path / "parts", settings, algorithm=Interrupted())
    assert (first.step, first.reason) == (5, "interrupted")
    _, after = run(tmp_path / "parts", settings, resume="auto")
    assert before.figures + after.figures == all_of_it.figures
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_auto_begins_where_there_is_nothing_and_a_used_folder_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    short = config(optim={"steps": 2})
    run(out, short, resume="auto")
    with pytest.raises(TrainError, match="is not empty: resume"):
        run(out, short)
    with pytest.raises(TrainError, match="is not empty: resume"):
        run(out, short, resume=tmp_path / "elsewhere")
    with pytest.raises(ResumeError, match=r"no training state in .*elsewhere"):
        run(tmp_path / "new", short, resume=tmp_path / "elsewhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(TrainError, match="is a file"):
        run(tmp_path / "file", short)


def test_a_copy_of_a_state_can_be_gone_on_from_in_another_folder(tmp_path: Path) -> None:
    settings = config()
    run(tmp_path / "run", settings, then=after_step(9, terminate))
    shutil.copytree(tmp_path / "run" / "last", tmp_path / "copy")
    run(tmp_path / "other", settings, resume=tmp_path / "copy")
    run(tmp_path / "run", settings, resume="auto")
    assert (
        contents(tmp_path / "run")["last/model.safetensors"] == contents(tmp_path / "other")["last/model.safetensors"]
    )
    assert (tmp_path / "other" / "best").is_dir()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("begun") / "run"
    run(out, config(), then=after_step(6, terminate))
    return out


def test_what_may_change(tmp_path: Path, begun: Path) -> None:
    shutil.copytree(begun, tmp_path / "run")
    free = config(
        name="other", save_every=3, track=["wandb"], data={"paths": ["moved"]},
        optim={"steps": 25, "threads": None}, eval={"every": 7, "patience": 50},
    )  # fmt: skip
    done, _ = run(tmp_path / "run", free, resume="auto")
    assert done.step == 25


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": 1}, r"seed is 1, was 0.*What may change: .*optim\.steps"),
    "fewer steps": ({"optim": {"steps": 19}}, r"run over 20 steps, and optim\.steps is 19: it may only grow"),
    "two keys": ({"optim": {"lr": 0.5, "batch": 3}}, r"optim\.batch is 3, was 4; optim\.lr is 0\.5, was 0\.01"),
    "no mean": ({"optim": {"ema": 0.0}}, r"optim\.ema is 0\.0, was 0\.9"),
    "what best is chosen on": ({"eval": {"limit": 7}}, r"eval\.limit is 7, was 200"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_configuration_is_refused(begun: Path, case: str) -> None:
    change, message = REFUSED[case]
    before = contents(begun)
    with pytest.raises(ResumeError, match=message):
        run(begun, config(**change), resume="auto")
    assert contents(begun) == before


def test_other_data_is_refused(begun: Path) -> None:
    with pytest.raises(ResumeError, match=r"data has changed since .*digest is 6666666666666666, was 5555555555555555"):
        run(begun, config(), algorithm=Counting(digest="6" * 64), resume="auto")


def test_another_model_is_refused(begun: Path) -> None:
    with pytest.raises(
        ResumeError, match=r"another model: .*embed_tokens.weight is \[16, 32\] float32, was \[16, 16\]"
    ):
        run(begun, config(), model=tiny(hidden=32), resume="auto")
    frozen = tiny()
    frozen.model.norm.weight.requires_grad = False
    with pytest.raises(ResumeError, match=r"model\.norm\.weight is not there, was \[16\] float32"):
        run(begun, config(), model=frozen, resume="auto")


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    match how:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(content[:middle])
        case "a bit":
            path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        case "foreign":
            path.write_text("[1, 2]")
        case "by hand":
            path.write_text(content.decode().replace('"worse": 0', '"worse": 1'))


@pytest.mark.parametrize("name", ["weights.safetensors", "optimiser.safetensors", "average.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["missing", "empty", "cut", "a bit", "foreign"])
def test_damaged_states_are_refused_by_name(tmp_path: Path, begun: Path, name: str, how: str) -> None:
    shutil.copytree(begun, tmp_path / "run")
    damage(tmp_path / "run" / "last" / "state" / name, how)
    with pytest.raises(ResumeError, match=rf"{name} (is damaged|cannot be read).* or start a new run") as caught:
        run(tmp_path / "run", config(), resume="auto")
    assert str(tmp_path) in str(caught.value)


def test_a_state_changed_by_hand_or_of_another_version_is_refused(tmp_path: Path, begun: Path) -> None:
    shutil.copytree(begun, tmp_path / "run")
    path = tmp_path / "run" / "last" / "state" / "state.json"
    damage(path, "by hand")
    with pytest.raises(ResumeError, match="changed by hand"):
        run(tmp_path / "run", config(), resume="auto")
    path.write_text(json.dumps({"schema": "catp.training-state/9"}))
    with pytest.raises(ResumeError, match=r"schema is 'catp\.training-state/9', this version reads"):
        run(tmp_path / "run", config(), resume="auto")
    shutil.rmtree(path.parent)
    with pytest.raises(ResumeError, match="cannot be read"):
        run(tmp_path / "run", config(), resume="auto")


def test_the_state_says_where_the_run_is(begun: Path) -> None:
    state = json.loads((begun / "last" / "state" / "state.json").read_text())
    assert (state["step"], state["epoch"], state["batch"]) == (6, 2, 0)  # 12 batches of 6 an epoch
    assert state["evaluated"] == state["best"]["step"] == 5
    assert state["config"]["optim"]["steps"] == 20
    assert not [path for path in begun.rglob("*") if path.suffix in (".pt", ".pth", ".bin", ".pkl")]
