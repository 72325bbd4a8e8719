"""The steps themselves: against plain torch, and what they leave behind."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catp.training.caorl.config import OptimConfig
from catp.training.caorl.errors import TrainError
from catp.training.caorl.events import Started, Step, Stopped
from catp.training.caorl.optimiser import learning_rate
from catp.training.caorl.order import Order
from tests.training.caorl.loop_making import Counting, config, contents, run, tiny


def load(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(path))


def plain_training(steps: int, settings: Any) -> tuple[Any, list[float], list[float]]:
    """The same run written down naively: one big batch a step, one example at a time, torch's own clipping."""
    import torch

    optim = settings.optim
    model, algorithm = tiny(dropout=0.0), Counting()
    order = Order([algorithm.length(n) for n in range(len(algorithm))], optim.batch, settings.seed)
    named = list(model.named_parameters())
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for _, p in named if p.ndim > 1], "weight_decay": optim.weight_decay},
            {"params": [p for _, p in named if p.ndim == 1], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
    )
    losses, norms = [], []
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(optim, step)
        examples = []
        for position in range(step * optim.accumulate, (step + 1) * optim.accumulate):
            epoch, numbers = order.at(position)
            examples += [
                algorithm.example(n, np.random.default_rng([settings.seed, 7, epoch, n])) for n in numbers
            ]  # fmt: skip
        optimiser.zero_grad()
        loss = torch.stack([algorithm.loss(model, algorithm.batch([example])).total for example in examples]).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip)))
        optimiser.step()
        losses.append(float(loss.detach()))
    return model, losses, norms


def test_equals_plain_torch_with_one_batch_per_step(tmp_path: Path) -> None:
    import torch

    settings = config(optim={"ema": 0.0, "clip": 0.5, "accumulate": 3, "steps": 8})
    model = tiny(dropout=0.0)
    _, record = run(tmp_path / "run", settings, model=model)
    reference, losses, norms = plain_training(8, settings)
    steps = [event for event in record.events if isinstance(event, Step)]
    # The second step of each epoch has the short batch: its examples count no more than others.
    assert [step.loss for step in steps] == pytest.approx(losses, rel=1e-4)
    assert [step.grad_norm for step in steps] == pytest.approx(norms, rel=1e-3)
    assert max(norms) > settings.optim.clip  # clipping did something
    for (name, mine), (_, theirs) in zip(model.named_parameters(), reference.named_parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=2e-4), name


def test_learns_and_says_so(tmp_path: Path) -> None:
    settings = config(optim={"steps": 40}, eval={"every": 20})
    result, record = run(tmp_path / "run", settings)
    assert result.reason == "finished"
    assert result.step == 40
    assert result.figures["regret"] < 0.7 * math.log(16)
    assert isinstance(record.events[0], Started)
    assert record.events[0].trainable == sum(p.numel() for p in tiny().parameters())
    assert record.events[-1] == Stopped(40, "finished")
    steps = [event for event in record.events if isinstance(event, Step)]
    assert [step.step for step in steps] == list(range(1, 41))
    assert all(step.parts["twice"] == pytest.approx(2 * step.loss) for step in steps)
    assert all(step.seconds > 0 and step.memory > 2**20 for step in steps)
    assert sum(step.tokens for step in steps[:3]) == sum(4 + (n * 5) % 7 for n in range(21))  # one epoch
    assert steps[0].tokens_per_s == pytest.approx(steps[0].tokens / steps[0].seconds)


def test_running_mean_is_evaluated_and_saved_in_place_of_the_weights(tmp_path: Path) -> None:
    import torch

    settings = config(optim={"steps": 8, "ema": 0.8}, save_every=1)
    seen: list[dict[str, torch.Tensor]] = []
    model = tiny()
    mean = {name: p.detach().clone() for name, p in model.named_parameters()}
    run(tmp_path / "run", settings, model=model, then=lambda event: watch(event, model, seen))
    for step, weights in enumerate(seen):
        decay = min(0.8, (1 + step) / (10 + step))
        mean = {name: decay * value + (1 - decay) * weights[name] for name, value in mean.items()}
    last = tmp_path / "run" / "last"
    saved, raw = load(last / "model.safetensors"), load(last / "state" / "weights.safetensors")
    for name, value in mean.items():
        assert torch.allclose(saved[name], value, atol=1e-6), name
        assert torch.equal(raw[name], seen[-1][name])
        assert torch.equal(dict(model.named_parameters())[name], seen[-1][name])  # put back afterwards
    model.load_state_dict(saved, strict=False)
    model.tie_weights()
    with torch.no_grad():
        figures = Counting().evaluate(model.eval())
    assert json.loads((last / "checkpoint.json").read_text())["figures"] == figures


def watch(event: Any, model: Any, seen: list[Any]) -> None:
    if isinstance(event, Step):
        seen.append({name: p.detach().clone() for name, p in model.named_parameters()})


def test_best_is_the_lowest_regret_and_patience_ends_the_run(tmp_path: Path) -> None:
    class Scripted(Counting):
        regrets = iter([0.5, 0.3, 0.4, math.nan, 0.35, 0.1])

        def evaluate(self, model: Any) -> dict[str, float]:
            return {"regret": next(self.regrets)}

    settings = config(eval={"every": 2, "patience": 3})
    result, record = run(tmp_path / "run", settings, algorithm=Scripted())
    assert (result.step, result.reason) == (10, "patience")
    assert (result.best_step, result.best_figures) == (4, {"regret": 0.3})
    assert result.figures == {"regret": 0.35}
    assert record.saved == [(2, "best"), (4, "best"), (4, "last"), (8, "last"), (10, "last")]
    assert json.loads((tmp_path / "run" / "best" / "checkpoint.json").read_text())["step"] == 4
    again, record = run(tmp_path / "run", settings, algorithm=Scripted(), resume="auto")
    assert (again.step, again.reason) == (10, "patience")
    assert not record.saved


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    settings = config(optim={"steps": 6})
    run(tmp_path / "a", settings)
    run(tmp_path / "b", settings)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    run(tmp_path / "c", settings.model_copy(update={"seed": 1}))
    assert contents(tmp_path / "a")["last/model.safetensors"] != contents(tmp_path / "c")["last/model.safetensors"]


def test_gradient_checkpointing_gives_the_same_weights(tmp_path: Path) -> None:
    for name, on in [("a", False), ("b", True)]:
        run(tmp_path / name, config(optim={"steps": 6, "gradient_checkpointing": on}))
    a, b = (contents(tmp_path / name)["last/model.safetensors"] for name in "ab")
    assert a == b


def test_bf16_computes_in_bf16_and_keeps_weights_in_float32(tmp_path: Path) -> None:
    import torch

    kinds: set[torch.dtype] = set()

    class Looking(Counting):
        def loss(self, model: Any, batch: Any) -> Any:
            with torch.no_grad():
                kinds.add(model(input_ids=batch["input_ids"], use_cache=False).logits.dtype)
            return super().loss(model, batch)

    run(tmp_path / "run", config(optim={"steps": 2, "bf16": True}, eval={"every": 9}), algorithm=Looking())
    assert torch.bfloat16 in kinds
    state = load(tmp_path / "run" / "last" / "state" / "optimiser.safetensors")
    assert {value.dtype for value in state.values()} == {torch.float32}


def test_learning_rate_warms_up_and_follows_a_cosine() -> None:
    optim = OptimConfig(lr=2.0, warmup=10, final=0.1, steps=111)
    assert [learning_rate(optim, step) for step in (0, 4, 9, 10)] == pytest.approx([0.2, 1.0, 2.0, 2.0])
    assert learning_rate(optim, 60) == pytest.approx(2.0 * (1 + 0.1) / 2)
    assert learning_rate(optim, 110) == pytest.approx(0.2)
    assert learning_rate(optim, 500) == pytest.approx(0.2)
    assert learning_rate(OptimConfig(lr=1.0, warmup=0, steps=1), 0) == 1.0


@pytest.mark.parametrize("optim", [{"ema": 0.9}, {"ema": 0.0}])
def test_only_what_has_a_gradient_is_learned_and_kept(tmp_path: Path, optim: dict[str, Any]) -> None:
    import torch

    model = tiny()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "layers.1." in name
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    run(tmp_path / "run", config(optim={"steps": 4, **optim}), model=model)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == ("layers.1." not in name), name
    weights = load(tmp_path / "run" / "last" / "state" / "weights.safetensors")
    assert set(weights) == {name for name in before if "layers.1." in name}


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="no example"):
        run(tmp_path / "a", config(), algorithm=Counting(0))
    frozen = tiny()
    frozen.requires_grad_(False)
    with pytest.raises(TrainError, match="frozen"):
        run(tmp_path / "b", config(), model=frozen)

    class Silent(Counting):
        def evaluate(self, model: Any) -> dict[str, float]:
            return {"hits": 1.0}

    with pytest.raises(TrainError, match="no 'regret', only hits"):
        run(tmp_path / "c", config(), algorithm=Silent())

    class Broken(Counting):
        def example(self, number: int, random: np.random.Generator) -> list[int]:
            raise KeyError("instruction")

    with pytest.raises(KeyError) as caught:
        run(tmp_path / "d", config(), algorithm=Broken())
    assert "while making example" in caught.value.__notes__[0]


def test_a_gpu_that_is_not_there_is_named(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(TrainError, match=r"device 'cuda'.*sees no GPU"):
        run(tmp_path / "run", config(device="cuda"))
