"""Logits and greedy tokens are those of transformers, whatever way a sequence is computed."""

from collections.abc import Callable

import numpy as np
import pytest

from catp.serving.model.attention.base import Attention
from catp.serving.model.attention.sdpa import GatherAttention
from catp.serving.model.attention.shared import SharedAttention
from catp.serving.model.weights import from_hf
from tests.serving.model.driving import Drive
from tests.serving.model.networks import NETWORKS, PLAN_IDS, greedy_of, logits_of, network, random_tokens

ATTENTIONS: list[Callable[[], Attention]] = [SharedAttention, GatherAttention]
MAIN = ("llama", "llama3-rope", "qwen2", "qwen3")


def check_logits(found: dict[int, np.ndarray], name: str, tokens: list[int]) -> None:
    wanted = logits_of(network(name), tokens)[:, PLAN_IDS]
    assert found
    for place, logits in found.items():
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, wanted[place], atol=1e-4, rtol=0)
        assert logits.argmax() == wanted[place].argmax()


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_whole_prompt(name: str, attention: Callable[[], Attention]) -> None:
    drive, tokens = Drive(from_hf(network(name)), PLAN_IDS, attention=attention()), random_tokens(1, 45)
    found = drive.read(drive.submit(tokens), range(45))
    drive.run()
    assert drive.steps == 1
    assert len(found) == 45
    check_logits(found, name, tokens)


@pytest.mark.parametrize(
    ("name", "attention"), [*((name, SharedAttention) for name in MAIN), ("llama", GatherAttention)]
)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 11, 30])
def test_a_prompt_in_chunks_of_every_size(name: str, size: int, attention: Callable[[], Attention]) -> None:
    tokens = random_tokens(2, 31)
    drive = Drive(from_hf(network(name)), PLAN_IDS, budget=size, attention=attention())
    found = drive.read(drive.submit(tokens), [0, 13, 29, 30])
    drive.run()
    assert drive.steps == -(-31 // size)
    assert len(found) == 4
    check_logits(found, name, tokens)


@pytest.mark.parametrize("name", MAIN)
def test_a_prefix_from_the_cache(name: str) -> None:
    drive, prompt = Drive(from_hf(network(name)), PLAN_IDS), random_tokens(3, 30)
    drive.read(drive.submit(prompt), [29])
    drive.run()
    for extra in (0, 1, 9):
        tokens = prompt + random_tokens(4 + extra, extra)
        branch = drive.submit(tokens)
        found = drive.read(branch, [len(tokens) - 1])
        drive.run()
        assert branch.job.cached_tokens >= 28  # whole blocks of 4
        assert branch.job.computed_tokens < len(tokens) - 20
        check_logits(found, name, tokens)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("name", MAIN)
def test_forks_at_every_place(name: str, attention: Callable[[], Attention]) -> None:
    drive, prompt = Drive(from_hf(network(name)), PLAN_IDS, attention=attention()), random_tokens(5, 25)
    root = drive.submit(prompt, bound=8, width=13)
    drive.read(root, [24])
    drive.run()
    forks = []
    for at in (1, 3, 4, 5, 18, 19, 20, 21, 22, 23, 24, 25):
        fork, tail = drive.scheduler.fork(root, at), random_tokens(50 + at, 6)
        fork.extend(tail)
        forks.append((prompt[:at] + tail, drive.read(fork, range(at, at + 6))))
    drive.run()
    for tokens, found in forks:
        assert len(found) == 6
        check_logits(found, name, tokens)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_greedy_text_of_a_mixed_batch(name: str, attention: Callable[[], Attention]) -> None:
    """Requests with a common beginning come one after another, so that prompts and tokens are in the same steps."""
    begin = random_tokens(6, 72)
    drive = Drive(from_hf(network(name)), budget=64, attention=attention())
    running = []
    for number, length in enumerate((3, 40, 0, 9, 22, 1, 90, 5)):
        prompt = begin[: 72 if number != 4 else 40] + random_tokens(10 + number, length)
        running.append((prompt, drive.write(drive.submit(prompt), 12)))
        drive.step()
    drive.run()
    for prompt, found in running:
        assert found == greedy_of(name, prompt, 12)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("name", MAIN)
def test_forced_runs_of_every_length(name: str, attention: Callable[[], Attention]) -> None:
    """Each drawn token is the one that transformers finds likeliest after all before it, forced ones included."""
    drive = Drive(from_hf(network(name)), attention=attention())
    begin, running = random_tokens(7, 64), []
    for number in range(6):
        prompt = begin + random_tokens(20 + number, number + 1)
        branch = drive.submit(prompt, bound=80)
        lengths = [(3 * number + place) % 5 for place in range(8)]  # 0 to 4 forced tokens after each drawn one
        forced = [random_tokens(30 + 10 * number + place, count) for place, count in enumerate(lengths)]
        running.append((branch, prompt, drive.write(branch, 7, forced.__getitem__), forced))
    drive.run()
    for branch, prompt, found, forced in running:
        likeliest = logits_of(network(name), branch.tokens).argmax(axis=1)
        place = len(prompt)
        for number, token in enumerate(found):
            assert token == branch.tokens[place] == likeliest[place - 1]
            place += 1 + len(forced[number + 1])


def test_preempted_requests_write_the_same() -> None:
    drive, prompt = Drive(from_hf(network("llama"))), random_tokens(8, 33)
    branches = [drive.submit(prompt + random_tokens(60 + number, 4)) for number in range(4)]
    found = [drive.write(branch, 12) for branch in branches]
    for number in range(8):
        drive.step()
        if number in (3, 5):
            drive.scheduler.preempt(branches[number % 4].job)
    drive.run()
    assert sum(branch.job.preemptions for branch in branches) == 2
    for number, text in enumerate(found):
        assert text == greedy_of("llama", prompt + random_tokens(60 + number, 4), 12)
