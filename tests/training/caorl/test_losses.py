"""Losses against values worked out by hand or in plain numpy, and a model that learns."""

import math

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from catp.training.caorl.batch import batch_of
from catp.training.caorl.config import MethodConfig
from catp.training.caorl.examples import as_is, pack
from catp.training.caorl.losses import (
    Heads,
    advantage_weights,
    awr_losses,
    heads_of,
    log_probabilities,
    segment_log_softmax,
    weighted_cross_entropy,
)
from tests.training.caorl.cases_making import cases, learning, renderer, tokens


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def tiny() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokens()), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2, intermediate_size=64, tie_word_embeddings=True,
        )
    )  # fmt: skip


def fake_batch() -> dict[str, torch.Tensor]:
    """Two inputs: three plans and one."""
    return {
        "of": torch.tensor([0, 0, 0, 1]), "alpha": torch.tensor([0.5, 1.0]),
        "score": torch.tensor([1.0, 0.6, 0.2, 0.7]), "price": torch.tensor([0.8, 0.2, 0.0, 0.1]),
        "fits": torch.tensor([1.0, 1.0, 0.0, 1.0]),
    }  # fmt: skip


def test_segments_are_normalised_each_by_itself() -> None:
    found = segment_log_softmax(torch.tensor([1.0, 2.0, 3.0, 50.0]), torch.tensor([0, 0, 0, 1]), 2)
    assert found.tolist() == pytest.approx([*torch.log_softmax(torch.tensor([1.0, 2.0, 3.0]), 0).tolist(), 0.0])


def test_weights_follow_the_advantage_and_plans_that_break_a_limit_weigh_nothing() -> None:
    batch, method = fake_batch(), MethodConfig(beta=0.1)
    utility = 0.5 * batch["score"][:3] - 0.5 * batch["price"][:3]  # 0.1 0.2 0.1
    weights = advantage_weights(torch.cat([utility, torch.tensor([0.7])]), batch, method)
    mean = 0.4 / 3
    assert weights[0].item() == pytest.approx(math.exp((0.1 - mean) / 0.1), rel=1e-5)
    assert weights[1].item() == pytest.approx(math.exp((0.2 - mean) / 0.1), rel=1e-5)
    assert weights[2].item() == 0.0
    assert weights[3].item() == pytest.approx(1.0)


def test_weighted_cross_entropy_by_hand() -> None:
    heads = Heads(*(torch.tensor(v) for v in ([-2.0, -4.0], [2.0, 4.0], [0.0], [0.0], [0.0], [[0.0]])))
    found = weighted_cross_entropy(heads, torch.tensor([3.0, 1.0]), torch.tensor([0, 0]), 1)
    assert found.item() == pytest.approx((3 * 2 + 1 * 4) / (3 * 2 + 1 * 4))


def test_only_allowed_tokens_share_the_probability() -> None:
    logits = torch.tensor([[1.0, 5.0, 1.0]])
    found = log_probabilities(logits, torch.tensor([[True, False, True]]), torch.tensor([2]))
    assert found.item() == pytest.approx(math.log(0.5))


def test_packed_plans_get_what_each_would_get_alone() -> None:
    model = tiny().eval()
    case = next(one for one in cases() if len(one.branches) >= 3)
    together = pack(as_is(case, 0.8, 3), renderer())
    with torch.no_grad():
        packed = heads_of(model, batch_of([together], tokens().pad), tokens().plan_ids, tokens().quality_ids)
        for place in range(3):
            mine = np.isin(together.branch, [-1, place])
            ids = torch.from_numpy(together.ids[mine])[None]
            logits = model(input_ids=ids).logits[0].float()
            new = np.cumsum(mine) - 1
            rows = together.owner == place
            plan = torch.tensor(tokens().plan_ids)
            logp = log_probabilities(
                logits[new[together.at[rows]]][:, plan], torch.from_numpy(together.allowed[rows]),
                torch.from_numpy(together.label[rows]),
            )  # fmt: skip
            assert packed.logpi[place].item() == pytest.approx(logp.sum().item(), abs=1e-4)
            levels = torch.softmax(
                logits[new[together.read[together.reader == place]]][:, list(tokens().quality_ids)], -1
            )
            mean = levels @ torch.linspace(-1, 1, levels.shape[1])
            mean += torch.from_numpy(together.prior[together.reader == place])
            share = torch.from_numpy(together.share[together.reader == place])
            assert packed.quality[place].item() == pytest.approx((share * mean).sum().item(), abs=1e-4)


def test_batching_with_others_changes_nothing() -> None:
    model = tiny().eval()
    packed = [pack(as_is(case, 0.8, 3), renderer()) for case in cases()[:3]]
    with torch.no_grad():
        both = heads_of(model, batch_of(packed, tokens().pad), tokens().plan_ids, tokens().quality_ids)
        alone = heads_of(model, batch_of(packed[1:2], tokens().pad), tokens().plan_ids, tokens().quality_ids)
    first = len(packed[0].score)
    assert both.logpi[first : first + len(packed[1].score)].tolist() == pytest.approx(alone.logpi.tolist(), abs=1e-4)


def test_a_few_steps_learn_which_plans_are_good() -> None:
    model, algorithm = tiny(), learning()
    examples = [algorithm.example(k, np.random.default_rng([1, k])) for k in range(4)]
    batch = algorithm.batch(examples)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        found = algorithm.loss(model, batch)
        optimiser.zero_grad()
        found.total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append({name: float(value) for name, value in found.parts.items()})
    assert all(losses[-1][name] < losses[0][name] for name in ("policy", "quality", "decision"))


def test_one_plan_alone_gives_finite_losses() -> None:
    algorithm = learning()
    packed = [pack(as_is(case, 0.0, 1), renderer()) for case in cases()[:2]]
    batch = algorithm.batch(packed)
    heads = heads_of(tiny(), batch, tokens().plan_ids, tokens().quality_ids)
    found = awr_losses(heads, batch, MethodConfig())
    assert all(torch.isfinite(value) for value in (found.total, *found.parts.values()))


def test_evaluation_gives_regrets_in_their_range() -> None:
    figures = learning().evaluate(tiny().eval())
    assert 0.0 <= figures["regret"] <= 1.0
    assert {"regret@0.8", "policy_regret@0.8", "quality_error"} <= set(figures)
