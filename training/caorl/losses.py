"""What is minimised: advantage-weighted cross-entropy, listwise over the candidate set, quality, and decisions.

    policy     -sum_b w_b log pi(b) / sum_b w_b n_b    w_b = clip(exp(A_b / beta)), A_b = U_b - mean U (AWR, Peng 2019)
    listwise   cross-entropy of softmax(U / tau) against softmax(log pi) over the plans of an input
    quality    at every output: cross-entropy of the difference between the score and what profiles compose to, spread
               over its two neighbouring levels (Farebrother 2024)
    decision   cross-entropy of softmax(U / tau) against softmax(U^ / tau), U^ = alpha q^ - (1 - alpha) price, for
               several alphas: errors of q^ count where they change the choice

U is the utility of the standard objective with measured score and price. All sums run within an example; the batch
takes the mean over examples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from catp.training.caorl.config import MethodConfig
from catp.training.caorl.source import Losses
from catp.training.prompt.buckets import QUALITY_LEVELS

if TYPE_CHECKING:
    import torch

__all__ = ["Heads", "awr_losses", "differences", "heads_of", "log_probabilities", "segment_log_softmax", "utilities"]

DECISION_ALPHAS = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0)


@dataclass(frozen=True)
class Heads:
    """What a forward pass says: log pi of each plan (P,) with its number of choices (P,), quality of each plan (P,):
    the composed score and the predicted difference from it (not clamped), the composed score alone (P,), the standard
    deviation (P,), and
    log-probabilities over differences at each read-out (R, levels)."""

    logpi: "torch.Tensor"
    choices: "torch.Tensor"
    quality: "torch.Tensor"
    composed: "torch.Tensor"
    sd: "torch.Tensor"
    levels: "torch.Tensor"


def heads_of(model: Any, batch: Mapping[str, Any], plan_ids: Sequence[int], quality_ids: Sequence[int]) -> Heads:
    """Run the model over a batch; only rows of plan and quality tokens of its output layer are computed."""
    import torch

    base = _causal(model)
    hidden = base.model(
        input_ids=batch["ids"], attention_mask=_additive(batch["mask"], base), position_ids=batch["positions"],
        use_cache=False,
    ).last_hidden_state  # fmt: skip
    flat = hidden.reshape(-1, hidden.shape[-1])
    weight = _output_weight(base)
    device = flat.device
    plans = batch["score"].shape[0]
    logits = (flat[batch["at"]] @ weight[torch.tensor(plan_ids, device=device)].T.to(flat.dtype)).float()
    logp = log_probabilities(logits, batch["allowed"], batch["label"])
    zeros = torch.zeros(plans, device=device)
    logpi = zeros.index_add(0, batch["owner"], logp)
    choices = zeros.index_add(0, batch["owner"], torch.ones_like(logp))
    scores = (flat[batch["read"]] @ weight[torch.tensor(quality_ids, device=device)].T.to(flat.dtype)).float()
    levels = torch.log_softmax(scores, dim=-1)
    mean, variance = differences(levels)
    composed = zeros.index_add(0, batch["reader"], batch["share"] * batch["prior"])
    quality = composed + zeros.index_add(0, batch["reader"], batch["share"] * mean)
    sd = zeros.index_add(0, batch["reader"], batch["share"].square() * variance).sqrt()
    return Heads(logpi, choices, quality, composed, sd, levels)


def differences(levels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return mean and variance of the difference from the composed score, given log-probabilities (R, levels)."""
    import torch

    at = torch.tensor(QUALITY_LEVELS, device=levels.device)
    mean = levels.exp() @ at
    return mean, (levels.exp() @ at.square() - mean.square()).clamp_min(0.0)


def log_probabilities(logits: "torch.Tensor", allowed: "torch.Tensor", label: "torch.Tensor") -> "torch.Tensor":
    """Return the log-probability of each label (M,) among the allowed tokens."""
    import torch

    masked = logits.masked_fill(~allowed, float("-inf"))
    return torch.log_softmax(masked, dim=-1).gather(1, label[:, None])[:, 0]


def utilities(batch: Mapping[str, Any], alpha: "torch.Tensor") -> "torch.Tensor":
    """Return the measured utility of every plan; `alpha` is per plan or one for all."""
    found: torch.Tensor = alpha * batch["score"] - (1 - alpha) * batch["price"]
    return found


def awr_losses(heads: Heads, batch: Mapping[str, Any], method: MethodConfig) -> Losses:
    """Return the weighted sum of the four losses."""
    import torch

    of, examples = batch["of"], batch["alpha"].shape[0]
    utility = utilities(batch, batch["alpha"][of])
    weights = advantage_weights(utility, batch, method)
    parts = {
        "policy": weighted_cross_entropy(heads, weights, of, examples),
        "listwise": _listwise(heads, utility, batch, method.tau),
        "quality": _quality(heads, batch),
        "decision": _decision(heads, batch, method.tau),
    }
    factors = {name: getattr(method, name) for name in parts}
    total = torch.stack([factors[name] * loss for name, loss in parts.items() if factors[name] > 0]).sum()
    return Losses(total, {name: loss.detach() for name, loss in parts.items()})


def advantage_weights(utility: "torch.Tensor", batch: Mapping[str, Any], method: MethodConfig) -> "torch.Tensor":
    """Return w_b, 0 for plans that do not meet the budget or deadline in the prompt."""
    of, examples = batch["of"], batch["alpha"].shape[0]
    mean = _per_example(utility, of, examples) / _per_example(utility.new_ones(utility.shape), of, examples)
    weight = ((utility - mean[of]) / method.beta).clamp(max=20.0).exp().clamp(0.05, method.max_weight)
    found: torch.Tensor = weight * batch["fits"]
    return found


def weighted_cross_entropy(heads: Heads, weights: "torch.Tensor", of: "torch.Tensor", examples: int) -> "torch.Tensor":
    """Return -sum w log pi / sum w n within examples, and the mean over them."""
    above = _per_example(-weights * heads.logpi, of, examples)
    below = _per_example(weights * heads.choices, of, examples).clamp_min(1.0)
    return (above / below).mean()


def _listwise(heads: Heads, utility: "torch.Tensor", batch: Mapping[str, Any], tau: float) -> "torch.Tensor":
    of, examples = batch["of"], batch["alpha"].shape[0]
    unfit = (1 - batch["fits"]) * 1e3
    target = segment_log_softmax((utility / tau) - unfit, of, examples).exp()
    return -_per_example(target * segment_log_softmax(heads.logpi, of, examples), of, examples).mean()


def _quality(heads: Heads, batch: Mapping[str, Any]) -> "torch.Tensor":
    import torch

    count = heads.levels.shape[-1]
    place = ((batch["part"] - batch["prior"]).clamp(-1.0, 1.0) + 1) / 2 * (count - 1)
    low = place.floor().long().clamp(max=count - 2)
    high_share = place - low
    logp = heads.levels
    loss = -(
        logp.gather(1, low[:, None])[:, 0] * (1 - high_share) + logp.gather(1, low[:, None] + 1)[:, 0] * high_share
    )
    plans = batch["score"].shape[0]
    of = batch["of"][batch["reader"]]
    weighted = _per_example(loss * batch["share"], of, batch["alpha"].shape[0])
    total = _per_example(batch["share"], of, batch["alpha"].shape[0]).clamp_min(1e-6)
    assert plans
    found: torch.Tensor = (weighted / total).mean()
    return found


def _decision(heads: Heads, batch: Mapping[str, Any], tau: float) -> "torch.Tensor":
    import torch

    of, examples = batch["of"], batch["alpha"].shape[0]
    found = []
    for alpha in DECISION_ALPHAS:
        target = segment_log_softmax(utilities(batch, torch.tensor(alpha)) / tau, of, examples).exp()
        guess = (alpha * heads.quality - (1 - alpha) * batch["price"]) / tau
        found.append(-_per_example(target * segment_log_softmax(guess, of, examples), of, examples).mean())
    return torch.stack(found).mean()


def segment_log_softmax(values: "torch.Tensor", of: "torch.Tensor", count: int) -> "torch.Tensor":
    """Return the log-softmax of `values` within segments."""
    import torch

    top = torch.full((count,), float("-inf"), device=values.device).scatter_reduce(0, of, values.detach(), "amax")
    shifted = values - top[of]
    total = _per_example(shifted.exp(), of, count).clamp_min(1e-30)
    return shifted - total.log()[of]


def _per_example(values: "torch.Tensor", of: "torch.Tensor", count: int) -> "torch.Tensor":
    return values.new_zeros(count).index_add(0, of, values)


def _causal(model: Any) -> Any:
    """The causal language model itself, inside peft's and accelerate's wrappers."""
    while hasattr(model, "module"):
        model = model.module
    found: Callable[[], Any] | None = getattr(model, "get_base_model", None)
    return model if found is None else found()


def _output_weight(base: Any) -> "torch.Tensor":
    weight: torch.Tensor = base.get_output_embeddings().weight
    return weight


def _additive(mask: "torch.Tensor", base: Any) -> "torch.Tensor":
    """The mask as what is added to attention scores, in the model's own number format."""
    import torch

    dtype = torch.get_autocast_dtype(mask.device.type) if torch.is_autocast_enabled(mask.device.type) else base.dtype
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
