"""Sampling on the device: all draws of a step at once, each decided by its own row, parameters, seed and place.

    logits -> penalties -> bias -> allowed tokens -> temperature -> top-k, top-p, min-p -> one draw

the order of Hugging Face's `generate`. Truncation is by value: tokens of equal logits stay or go together, so nothing
depends on how a sort breaks ties. The draw inverts the cumulative distribution at one uniform number, which (seed,
place) alone decide: no result depends on what else is in the batch.

Log-probabilities are the model's own, before all of this (vLLM's `raw_logprobs`).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from catp.serving.engine.errors import EngineFailed
from catp.serving.engine.sampling import Draw, Drawn, Sampling

__all__ = ["sample", "uniforms"]

_TOP = 20
"""Likeliest tokens looked up if anybody asks for some (OpenAI's limit): one number, so that ties always break alike."""

_NUCLEUS = 1024
"""Values sorted first for top-p: nearly always enough, and much cheaper than sorting a vocabulary."""


def sample(logits: torch.Tensor, draws: Sequence[Sequence[Draw]]) -> list[tuple[Drawn, ...] | EngineFailed]:
    """Draw tokens from rows of logits.

    Args:
        logits: (R, vocabulary), any floating dtype; not changed.
        draws: of each row.

    Returns:
        Per row its draws, or why it has none: logits that are NaN or infinite, nothing allowed, ids outside of the
        vocabulary. No row's failure touches another row.
    """
    flat = [(row, draw) for row, wanted in enumerate(draws) for draw in wanted]
    found: list[Drawn | str | None] = [_fault(draw, logits.shape[1]) for _, draw in flat]
    usable = [index for index, fault in enumerate(found) if fault is None]
    if usable:
        rows = torch.tensor([flat[index][0] for index in usable], device=logits.device)
        drawn = _draw(logits.float(), rows, [flat[index][1] for index in usable])
        for index, outcome in zip(usable, drawn, strict=True):
            found[index] = outcome
    outcomes = iter(found)
    return [_row([next(outcomes) for _ in wanted]) for wanted in draws]


def uniforms(seeds: Sequence[int], places: Sequence[int]) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each (seed, place): output `place` of the SplitMix64 stream that the seed starts.

    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. 52 bits, so that a product
    with a float64 total stays below the total.
    """
    low = (1 << 64) - 1
    state = _mix(np.array([seed & low for seed in seeds], dtype=np.uint64))
    state = state + np.array(places, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (_mix(state) >> np.uint64(12)).astype(np.float64) * 2.0**-52


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _row(found: Sequence[Drawn | str | None]) -> tuple[Drawn, ...] | EngineFailed:
    for outcome in found:
        if isinstance(outcome, str):
            return EngineFailed(outcome)
    return tuple(outcome for outcome in found if isinstance(outcome, Drawn))


def _fault(draw: Draw, vocabulary: int) -> str | None:
    """Return what is wrong with a draw's ids: an index out of range would end the whole step."""
    ids = [token for token, _ in draw.sampling.logit_bias]
    if draw.sampling.repetition_penalty != 1.0:
        ids += draw.prompt
    if _penalised(draw.sampling):
        ids += draw.output
    wrong = next((token for token in ids if not 0 <= token < vocabulary), None)
    if wrong is None:
        return None
    return f"token {wrong} is outside of the vocabulary (0 to {vocabulary - 1}): correct logit_bias or the prompt's ids"


def _penalised(sampling: Sampling) -> bool:
    return (
        sampling.repetition_penalty != 1.0 or sampling.presence_penalty != 0.0 or sampling.frequency_penalty != 0.0
    )  # fmt: skip


def _draw(logits: torch.Tensor, rows: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn | str]:
    """Draw, with one transfer from the device at the end."""
    normal = torch.logsumexp(logits, dim=-1)[rows]
    work = logits[rows]
    _penalise(work, draws)
    _bias(work, draws)
    _allow(work, draws)
    best = work.amax(dim=-1)
    tokens = work.argmax(dim=-1)
    hot = [index for index, draw in enumerate(draws) if draw.sampling.temperature > 0.0]
    if hot:
        chosen = torch.tensor(hot, device=work.device)
        tokens[chosen] = _hot(work[chosen], [draws[index] for index in hot])
    logprobs = logits[rows, tokens] - normal
    columns = torch.stack((tokens.double(), logprobs.double(), normal.double(), best.double()))
    likeliest = _likeliest(logits, rows, normal, draws)
    token, logprob, norm, peak = columns.cpu().tolist()
    return [
        _problem(norm[index], peak[index]) or Drawn(int(token[index]), logprob[index], likeliest(index))
        for index in range(len(draws))
    ]


def _problem(normal: float, best: float) -> str | None:
    if not np.isfinite(normal):
        return "the model's logits are NaN or infinite: its weights or the adapter's are damaged; load them again"
    if best == -np.inf:
        return "no token is allowed here: the constraint and the vocabulary leave nothing to draw"
    return None if np.isfinite(best) else "penalties or logit_bias made logits NaN or infinite: use finite values"


def _penalise(work: torch.Tensor, draws: Sequence[Draw]) -> None:
    """Apply penalties (D, vocabulary) in place: repetition (Keskar et al. 2019), then OpenAI's two."""
    pieces = [_penalties(index, draw) for index, draw in enumerate(draws) if _penalised(draw.sampling)]
    if not pieces:
        return
    where = torch.from_numpy(np.concatenate([piece[0] for piece in pieces], axis=1)).to(work.device)
    factor, less = torch.from_numpy(np.concatenate([piece[1] for piece in pieces], axis=1)).to(work)
    values = work[where[0], where[1]]
    work[where[0], where[1]] = torch.where(values < 0, values * factor, values / factor) - less


def _penalties(index: int, draw: Draw) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (draw, token) pairs (2, n), and (2, n) the factor of repetition and what is subtracted."""
    sampling = draw.sampling
    seen = draw.prompt + draw.output if sampling.repetition_penalty != 1.0 else draw.output
    ids = np.unique(np.array(seen, dtype=np.int64))
    counts = np.zeros(len(ids))
    np.add.at(counts, np.searchsorted(ids, np.array(draw.output, dtype=np.int64)), 1)
    less = sampling.frequency_penalty * counts + sampling.presence_penalty * (counts > 0)
    return np.stack((np.full(len(ids), index), ids)), np.stack((np.full(len(ids), sampling.repetition_penalty), less))


def _bias(work: torch.Tensor, draws: Sequence[Draw]) -> None:
    biases = [(index, *bias) for index, draw in enumerate(draws) for bias in draw.sampling.logit_bias]
    if biases:
        index, ids, values = zip(*biases, strict=True)
        where = torch.tensor([index, ids], device=work.device)
        work.index_put_((where[0], where[1]), torch.tensor(values).to(work), accumulate=True)


def _allow(work: torch.Tensor, draws: Sequence[Draw]) -> None:
    """Mask what packed bits forbid; tokens after the last bit (rows that pad an embedding) are forbidden."""
    masked = [index for index, draw in enumerate(draws) if draw.allowed is not None]
    if not masked:
        return
    width = -(-work.shape[1] // 32)
    words = np.zeros((len(masked), width), dtype="<u4")
    for place, index in enumerate(masked):
        mask = np.asarray(draws[index].allowed).view("<u4")[:width]
        words[place, : len(mask)] = mask
    packed = torch.from_numpy(words.view(np.uint8)).to(work.device)
    bits = (packed[:, :, None] >> torch.arange(8, dtype=torch.uint8, device=work.device)) & 1
    forbidden = bits.flatten(1)[:, : work.shape[1]] == 0
    chosen = torch.tensor(masked, device=work.device)
    work[chosen] = work[chosen].masked_fill(forbidden, -torch.inf)


def _hot(work: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
    """Return a token for each of the rows (D, vocabulary) with a temperature above zero."""

    def column(value: Callable[[Sampling], float]) -> torch.Tensor:
        return torch.tensor([value(draw.sampling) for draw in draws], dtype=torch.float32).to(work.device)[:, None]

    # the largest becomes 0: a tiny temperature cannot overflow
    scores = (work - work.amax(dim=-1, keepdim=True)) / column(lambda sampling: sampling.temperature)
    samplings = [draw.sampling for draw in draws]
    if any(sampling.top_k > 0 for sampling in samplings):
        scores = scores.masked_fill(scores < _top_k(scores, samplings), -torch.inf)
    if any(sampling.top_p < 1.0 for sampling in samplings):
        scores = scores.masked_fill(scores < _top_p(scores, column(lambda sampling: sampling.top_p)), -torch.inf)
    if any(sampling.min_p > 0.0 for sampling in samplings):
        scores = scores.masked_fill(scores < column(lambda sampling: sampling.min_p).log(), -torch.inf)
    cumulative = torch.softmax(scores, dim=-1).double().cumsum(dim=-1)
    noise = torch.from_numpy(uniforms([draw.seed for draw in draws], [draw.place for draw in draws]))
    wanted = noise.to(work.device)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, wanted, right=True)[:, 0].clamp_(max=work.shape[1] - 1)


def _top_k(scores: torch.Tensor, samplings: Sequence[Sampling]) -> torch.Tensor:
    """Return the k-th largest value of each row (D, 1); top_k 0 is the whole vocabulary."""
    vocabulary = scores.shape[1]
    kept = [min(sampling.top_k, vocabulary) for sampling in samplings]
    values = scores.topk(max(kept), dim=-1).values
    at = torch.tensor([max(k - 1, 0) for k in kept], device=scores.device)[:, None]
    open_ = torch.tensor([k <= 0 for k in kept], device=scores.device)[:, None]
    return values.gather(1, at).masked_fill(open_, -torch.inf)


def _top_p(scores: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Return the smallest value (D, 1) of the fewest likeliest tokens that together have probability `top_p`."""
    normal = torch.logsumexp(scores, dim=-1, keepdim=True)
    width = min(_NUCLEUS, scores.shape[1])
    while True:
        values = scores.topk(width, dim=-1).values
        probabilities = (values - normal).exp().double()
        before = probabilities.cumsum(dim=-1) - probabilities
        inside = before < top_p.clamp(min=1e-12)
        if width == scores.shape[1] or not bool((inside[:, -1:] & (top_p < 1.0)).any()):
            break
        width = scores.shape[1]
    at = inside.sum(dim=-1, keepdim=True).clamp_(min=1) - 1
    return values.gather(1, at).masked_fill(top_p >= 1.0, -torch.inf)


def _likeliest(
    logits: torch.Tensor, rows: torch.Tensor, normal: torch.Tensor, draws: Sequence[Draw]
) -> Callable[[int], tuple[tuple[int, float], ...]]:
    """Return what gives the likeliest tokens of a draw, as many as it asked for."""
    wanted = [draw.sampling.logprobs or 0 for draw in draws]
    if not any(wanted):
        return lambda index: ()
    found = logits.topk(min(max(_TOP, *wanted), logits.shape[1]), dim=-1)
    values = (found.values[rows] - normal[:, None]).cpu().tolist()
    ids = found.indices[rows].cpu().tolist()
    return lambda index: tuple(zip(ids[index], values[index], strict=True))[: wanted[index]]
