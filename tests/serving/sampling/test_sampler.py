"""The sampler against plain numpy, against Hugging Face's processors, and against itself in other batches."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from catp.serving.engine.errors import EngineFailed
from catp.serving.engine.sampling import Draw, Drawn, Sampling
from catp.serving.model.sampler import sample, uniforms

torch.set_num_threads(1)
VOCABULARY = 70
plain = settings(derandomize=True, deadline=None, max_examples=150)


def reference(logits: NDArray[np.float32], draw: Draw) -> tuple[NDArray[np.float64], int]:
    """Probabilities after all processing, and the drawn token; float64, one token at a time."""
    scores = logits.astype(np.float64).copy()
    sampling = draw.sampling
    for token in set(draw.prompt + draw.output):
        scores[token] *= sampling.repetition_penalty if scores[token] < 0 else 1 / sampling.repetition_penalty
    for token, count in Counter(draw.output).items():
        scores[token] -= sampling.presence_penalty + count * sampling.frequency_penalty
    for token, bias in sampling.logit_bias:
        scores[token] += bias
    if draw.allowed is not None:
        for token in range(len(scores)):
            if not draw.allowed[token // 32] >> (token % 32) & 1:
                scores[token] = -np.inf
    if sampling.temperature == 0:
        return np.eye(len(scores))[np.argmax(scores)], int(np.argmax(scores))
    scores /= sampling.temperature
    if sampling.top_k:
        kth = sorted(scores.tolist(), reverse=True)[min(sampling.top_k, len(scores)) - 1]
        scores[scores < kth] = -np.inf
    order = np.argsort(-scores, kind="stable")
    sorted_probabilities = softmax(scores)[order]
    before = np.concatenate(([0.0], np.cumsum(sorted_probabilities)[:-1]))
    if sampling.top_p < 1:
        scores[scores < scores[order[max(int(np.sum(before < sampling.top_p)), 1) - 1]]] = -np.inf
    probabilities = softmax(scores)
    probabilities[probabilities < sampling.min_p * probabilities.max()] = 0.0
    probabilities /= probabilities.sum()
    u = uniforms([draw.seed], [draw.place])[0]
    return probabilities, int(np.searchsorted(np.cumsum(probabilities), u, side="right"))


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(scores - scores.max())
    found: NDArray[np.float64] = powers / powers.sum()
    return found


def packed(tokens: Sequence[int], vocabulary: int = VOCABULARY) -> NDArray[np.uint32]:
    words = np.zeros(-(-vocabulary // 32), dtype=np.uint32)
    for token in tokens:
        words[token // 32] |= np.uint32(1 << (token % 32))
    return words


tokens = st.integers(0, VOCABULARY - 1)
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    top_k=st.sampled_from([0, 1, 3, 20, 500]),
    top_p=st.sampled_from([0.0, 0.1, 0.5, 0.93, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.6]),
    repetition_penalty=st.sampled_from([0.7, 1.0, 1.3]),
    presence_penalty=st.sampled_from([-1.5, 0.0, 1.0]),
    frequency_penalty=st.sampled_from([-0.7, 0.0, 0.4]),
    logit_bias=st.lists(st.tuples(tokens, st.sampled_from([-100.0, -1.0, 3.0])), max_size=3).map(tuple),
    logprobs=st.sampled_from([None, 0, 5]),
)
draws = st.builds(
    Draw,
    sampling=samplings,
    seed=st.integers(-(2**70), 2**70),
    place=st.integers(0, 10_000),
    prompt=st.lists(tokens, max_size=12).map(tuple),
    output=st.lists(tokens, max_size=12).map(tuple),
    allowed=st.one_of(st.none(), st.lists(tokens, min_size=1, max_size=40).map(packed)),
)


def rows(seed: int, count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed]).normal(0, 3, (count, VOCABULARY)).astype(np.float32))


def only(outcome: tuple[Drawn, ...] | EngineFailed) -> Drawn:
    assert isinstance(outcome, tuple), outcome
    assert len(outcome) == 1
    return outcome[0]


@plain
@given(st.integers(0, 10**6), st.lists(st.lists(draws, max_size=3), min_size=1, max_size=5))
def test_every_draw_is_the_one_of_plain_numpy(seed: int, wanted: list[list[Draw]]) -> None:
    logits = rows(seed, len(wanted))
    kept = logits.clone()
    found = sample(logits, wanted)
    assert torch.equal(logits, kept)
    for row, of_row, outcome in zip(logits.numpy(), wanted, found, strict=True):
        assert isinstance(outcome, tuple)
        assert len(outcome) == len(of_row)
        raw = np.log(softmax(row.astype(np.float64)))
        for draw, drawn in zip(of_row, outcome, strict=True):
            probabilities, token = reference(row, draw)
            if drawn.token != token:  # only a rounding error at a boundary of the cumulative distribution may differ
                edges = np.cumsum(probabilities)
                assert np.abs(edges - uniforms([draw.seed], [draw.place])[0]).min() < 1e-5
                assert probabilities[drawn.token] > 0
            assert drawn.logprob == pytest.approx(raw[drawn.token], abs=1e-4)
            best = np.argsort(-raw, kind="stable")[: draw.sampling.logprobs or 0]
            assert [token for token, _ in drawn.top] == best.tolist()
            assert [value for _, value in drawn.top] == pytest.approx(raw[best].tolist(), abs=1e-4)


@plain
@given(st.integers(0, 10**6), st.lists(draws, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_a_draw_does_not_depend_on_its_batch(seed: int, wanted: list[Draw], order: object) -> None:
    logits = rows(seed, len(wanted))
    together = sample(logits, [[draw] for draw in wanted])
    alone = [sample(logits[index : index + 1], [[draw]])[0] for index, draw in enumerate(wanted)]
    backwards = sample(logits.flip(0), [[draw] for draw in reversed(wanted)])
    assert [only(outcome) for outcome in together] == [only(outcome) for outcome in alone]
    assert [only(outcome) for outcome in together] == [only(outcome) for outcome in reversed(backwards)]


@pytest.mark.parametrize("vocabulary", [300, 5000])  # above and below what top-p sorts first
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.7),
        Sampling(top_k=7),
        Sampling(top_p=0.8),
        Sampling(temperature=4.0, top_p=0.995),
        Sampling(min_p=0.1),
        Sampling(repetition_penalty=1.4),
        Sampling(temperature=1.3, top_k=40, top_p=0.9, min_p=0.02, repetition_penalty=1.2),
    ],
    ids=repr,
)
def test_the_distribution_is_that_of_hugging_face(sampling: Sampling, vocabulary: int) -> None:
    """What 600 draws over a grid of uniforms hit is what HF's processors leave, as often as they say."""
    from transformers.generation import logits_process as hf

    generator = np.random.default_rng([5, vocabulary])
    logits = torch.from_numpy(generator.normal(0, 2, (1, vocabulary)).astype(np.float32))
    prompt = (3, 5, 5, 9)
    processors = [
        hf.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty),
        hf.TemperatureLogitsWarper(sampling.temperature),
        *([hf.TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []),
        *([hf.TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []),
        *([hf.MinPLogitsWarper(sampling.min_p)] if sampling.min_p else []),
    ]
    scores = logits.clone()
    for processor in processors:
        scores = processor(torch.tensor([prompt]), scores)
    expected = torch.softmax(scores[0].double(), -1).numpy()
    count = 600
    outcome = sample(logits, [[Draw(sampling, seed, 0, prompt) for seed in range(count)]])[0]
    assert isinstance(outcome, tuple)
    noise = uniforms(range(count), [0] * count)
    edges = np.cumsum(expected)
    wrong = [
        u
        for drawn, u in zip(outcome, noise, strict=True)
        if drawn.token != np.searchsorted(edges, u, side="right") and np.abs(edges - u).min() > 1e-5
    ]
    assert wrong == []
    assert all(expected[drawn.token] > 0 for drawn in outcome)


def test_noise_is_uniform_and_differs_by_seed_and_place() -> None:
    seeds, places = np.meshgrid(np.arange(100), np.arange(200))
    found = uniforms(seeds.ravel().tolist(), places.ravel().tolist())
    assert len(np.unique(found)) == found.size
    assert found.min() >= 0
    assert found.max() < 1
    counts, _ = np.histogram(found, bins=20, range=(0, 1))
    assert (((counts - found.size / 20) ** 2) / (found.size / 20)).sum() < 43.8  # chi-squared, 19 degrees, 0.1 %
    grid = found.reshape(200, 100)
    assert abs(np.corrcoef(grid[:-1].ravel(), grid[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(grid[:, :-1].ravel(), grid[:, 1:].ravel())[0, 1]) < 0.02


def test_equal_logits_stay_or_go_together() -> None:
    logits = torch.zeros(1, VOCABULARY)
    logits[0, 10:14] = 5.0
    for sampling in (Sampling(top_k=2), Sampling(top_p=0.1), Sampling(min_p=0.9)):
        outcome = sample(logits, [[Draw(sampling, seed, 0) for seed in range(100)]])[0]
        assert isinstance(outcome, tuple)
        assert {drawn.token for drawn in outcome} == {10, 11, 12, 13}


def test_a_bad_row_fails_alone() -> None:
    greedy = Sampling(temperature=0.0)
    logits = rows(1, 7)
    logits[1, 4] = torch.nan
    logits[2, 4] = torch.inf
    logits[3] = -torch.inf
    good, hot = Draw(greedy, 1, 0), Draw(Sampling(), 1, 0)
    found = sample(
        logits,
        [
            [good, hot],
            [hot],
            [good],
            [hot],
            [good, Draw(Sampling(), 1, 0, allowed=packed([]))],
            [Draw(Sampling(logit_bias=((VOCABULARY, 1.0),)), 1, 0)],
            [good, hot],
        ],
    )
    errors = [str(outcome) if isinstance(outcome, EngineFailed) else None for outcome in found]
    assert [error is None for error in errors] == [True, False, False, False, False, False, True]
    assert "NaN or infinite" in str(errors[1])
    assert "no token is allowed" in str(errors[4])
    assert f"token {VOCABULARY} is outside of the vocabulary" in str(errors[5])
    assert [found[0], found[6]] == sample(logits[[0, 6]], [[good, hot], [good, hot]])


def test_an_infinite_bias_is_an_error_and_tiny_temperatures_are_not() -> None:
    logits = rows(2, 1)
    infinite = sample(logits, [[Draw(Sampling(logit_bias=((3, float("inf")),)), 1, 0)]])[0]
    assert isinstance(infinite, EngineFailed)
    assert "logit_bias" in str(infinite)
    cold = only(sample(logits, [[Draw(Sampling(temperature=1e-30), 1, 0)]])[0])
    assert cold.token == int(logits.argmax())


def test_bits_after_the_vocabulary_and_missing_words_forbid() -> None:
    logits = torch.zeros(1, 100)  # an embedding padded from 70 to 100 rows: the tokenizer's mask is shorter
    logits[0, 80] = 50.0
    assert only(sample(logits, [[Draw(Sampling(), 3, 0, allowed=packed(range(70)))]])[0]).token < 70
    longer = packed([2, 120], 128)  # a mask with more words than the vocabulary
    assert only(sample(logits, [[Draw(Sampling(temperature=0.0), 3, 0, allowed=longer)]])[0]).token == 2


def test_half_precision_logits_and_int32_masks_are_taken() -> None:
    logits = rows(4, 2).to(torch.bfloat16)
    mask = packed([5, 64]).view(np.int32)  # as llguidance's numpy helpers hold them
    found = sample(logits, [[Draw(Sampling(), 3, 1, allowed=mask)], [Draw(Sampling(temperature=0.0), 0, 0)]])
    assert only(found[0]).token in {5, 64}
    assert only(found[1]).token == int(logits[1].argmax())


def test_nothing_to_draw_is_nothing() -> None:
    assert sample(torch.zeros(0, 8), []) == []
    assert sample(torch.zeros(2, 8), [[], []]) == [(), ()]
