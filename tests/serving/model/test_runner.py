"""One step on the device: order of results, faults of one row and of the whole step, and the shipped policy."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from catp.serving.engine.errors import EngineFailed, OutOfMemory
from catp.serving.engine.request import Branch, Job, Read, Request
from catp.serving.engine.sampling import Draw, Sampling
from catp.serving.engine.step import Row, Step
from catp.serving.model.attention.shared import SharedAttention
from catp.serving.model.runner import ModelRunner
from catp.serving.model.weights import from_hf
from catp.training.policy.checkpoint import load
from catp.training.policy.models import default_model
from catp.training.policy.tree import Run, TokenTree
from tests.serving.model.driving import Drive, greedy
from tests.serving.model.networks import PLAN_IDS, logits_of, network, random_tokens


def branch(number: int, tokens: list[int], reads: list[Read]) -> Branch:
    job = Job(Request(f"r{number}", tuple(tokens), 8), None)  # type: ignore[arg-type]  # nothing asks the program
    return Branch(job, number, tokens, blocks=list(range(8 * number, 8 * number + 8)), reads=reads)


def runner(**options: object) -> ModelRunner:
    return ModelRunner(from_hf(network("llama")), 64, 8, plan_ids=PLAN_IDS, threads=1, **options)  # type: ignore[arg-type]


def test_results_stand_in_the_order_of_rows_and_reads() -> None:
    """Plans and texts in one step, several draws of one read, and rows without reads."""
    rows, wanted = [], []
    for number in range(5):
        tokens = random_tokens(number, 12)
        reads = [Read(3), Read(7, (greedy(0), greedy(1))), Read(11)][: (number + 2) % 4]
        rows.append(Row(branch(number, tokens, reads), 0, 12))
        wanted += [(rows[-1].branch, read, logits_of(network("llama"), tokens)[read.at]) for read in reads]
    results = runner().execute(Step(tuple(rows))).results
    assert [(result.branch, result.at) for result in results] == [(mine, read.at) for mine, read, _ in wanted]
    for result, (_, read, logits) in zip(results, wanted, strict=True):
        if read.draws:
            assert [drawn.token for drawn in result.drawn] == [int(logits.argmax())] * 2
            assert result.logits is None
        else:
            np.testing.assert_allclose(result.logits, logits[list(PLAN_IDS)], atol=1e-4)


def test_only_reads_that_lie_in_the_row_are_answered() -> None:
    mine = branch(0, random_tokens(0, 12), [Read(2), Read(9)])
    engine = runner()
    assert [result.at for result in engine.execute(Step((Row(mine, 0, 6),))).results] == [2]
    mine.reads.pop(0)
    assert engine.execute(Step((Row(mine, 6, 2),))).results == ()
    assert [result.at for result in engine.execute(Step((Row(mine, 8, 4),))).results] == [9]


def test_nan_logits_fail_their_own_reads_only() -> None:
    """A weight that only one token meets: its row of the embedding."""
    weights = from_hf(network("llama"))
    embedding = weights.embedding.clone()
    embedding[77] = torch.nan
    ill = ModelRunner(replace(weights, embedding=embedding), 64, 8, plan_ids=PLAN_IDS, threads=1)
    rows = []
    for number in range(4):
        tokens = [token % 70 for token in random_tokens(number, 9)]
        if number == 2:
            tokens[4] = 77
        rows.append(Row(branch(number, tokens, [Read(8), Read(8, (greedy(0),))]), 0, 9))
    results = ill.execute(Step(tuple(rows))).results
    failed = [result for result in results if result.error is not None]
    assert [(result.branch.number, result.at) for result in failed] == [(2, 8), (2, 8)]
    assert all(isinstance(result.error, EngineFailed) and result.logits is None for result in failed)
    assert "'r2'" in str(failed[0].error)
    assert "NaN" in str(failed[0].error)
    assert "NaN" in str(failed[1].error)


class Hungry(SharedAttention):
    """Runs out of memory as torch does, when it is told to."""

    error: BaseException | None = None

    def attend(self, layer: int, *rest: torch.Tensor, **options: bool) -> torch.Tensor:  # type: ignore[override]
        if self.error is not None and layer == 1:
            raise self.error
        return super().attend(layer, *rest, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        MemoryError("no"),
    ],
)
def test_out_of_memory_has_its_own_error_and_the_step_can_be_done_again(error: BaseException) -> None:
    attention = Hungry()
    engine, mine = runner(attention=attention), branch(0, random_tokens(0, 12), [Read(11)])
    step = Step((Row(mine, 0, 12),))
    attention.error = error
    with pytest.raises(OutOfMemory, match="a step of 12 tokens"):
        engine.execute(step)
    attention.error = None
    (result,) = engine.execute(step).results
    np.testing.assert_allclose(result.logits, logits_of(network("llama"), mine.tokens)[11, list(PLAN_IDS)], atol=1e-4)


def test_other_errors_stay_what_they_are() -> None:
    attention = Hungry()
    attention.error = RuntimeError("something else")
    with pytest.raises(RuntimeError, match="something else"):
        runner(attention=attention).execute(Step((Row(branch(0, random_tokens(0, 12), [Read(11)]), 0, 12),)))


def test_a_pool_that_does_not_fit_is_out_of_memory() -> None:
    with pytest.raises(OutOfMemory, match="blocks of 1024 tokens"):
        ModelRunner(from_hf(network("llama")), 1 << 34, 1024, threads=1)


def test_plan_ids_must_be_in_the_vocabulary() -> None:
    with pytest.raises(ValueError, match="tokenizer is of another model"):
        ModelRunner(from_hf(network("llama")), 8, 8, plan_ids=(1, 96), threads=1)


def test_the_number_of_threads_holds_on_the_thread_that_computes() -> None:
    engine, seen = ModelRunner(from_hf(network("llama")), 64, 8, plan_ids=PLAN_IDS, threads=2), []

    def compute() -> None:
        engine.execute(Step((Row(branch(0, random_tokens(0, 12), [Read(11)]), 0, 12),)))
        seen.append(torch.get_num_threads())

    try:
        thread = threading.Thread(target=compute)
        thread.start()
        thread.join()
        assert seen == [2]
    finally:
        torch.set_num_threads(1)


def test_seeds_decide_draws_whatever_is_in_the_batch() -> None:
    hot = Sampling(temperature=1.5)
    draws = tuple(Draw(hot, seed, 0) for seed in range(8))
    alone = branch(0, random_tokens(0, 12), [Read(11, draws)])
    (one,) = runner().execute(Step((Row(alone, 0, 12),))).results
    rows = [Row(branch(number, random_tokens(9 + number, 20), [Read(5, draws)]), 0, 20) for number in range(1, 4)]
    among = runner().execute(Step((*rows, Row(alone, 0, 12)))).results[-1]
    assert len({drawn.token for drawn in one.drawn}) > 1
    assert [drawn.token for drawn in among.drawn] == [drawn.token for drawn in one.drawn]


def test_the_shipped_policy_reads_as_in_training() -> None:
    """Plan logits of a tree of runs, against `TokenTree` of the planner in this process."""
    folder = default_model()
    assert folder is not None
    policy = load(folder)
    ids = (*policy.tokens.plan_ids, *policy.tokens.quality_ids)
    tree = TokenTree(policy.model, policy.model.get_output_embeddings().weight.detach()[list(ids)])
    generator = np.random.default_rng(4)

    def some(count: int) -> list[int]:
        found: list[int] = generator.integers(0, len(policy.tokens), count).tolist()
        return found

    trunk = Run(None, some(150), [149])
    twigs = [Run(trunk, some(count), [0, count - 1]) for count in (3, 1, 9, 2, 5, 12)]
    tree.compute([trunk])
    tree.compute(twigs)

    drive = Drive(from_hf(policy), ids, size=16)
    root = drive.submit(trunk.ids, width=8)
    found = drive.read(root, [149])
    drive.run()
    assert trunk.logits is not None
    np.testing.assert_allclose(found[149], trunk.logits[0], atol=1e-4)
    reads = []
    for twig in twigs:
        fork = drive.scheduler.fork(root, 150)
        fork.extend(twig.ids)
        reads.append(drive.read(fork, sorted({150 + place for place in twig.reads})))
    drive.run()
    assert drive.steps == 2
    for twig, logits in zip(twigs, reads, strict=True):
        assert twig.logits is not None
        for place, wanted in zip(twig.reads, twig.logits, strict=True):
            np.testing.assert_allclose(logits[150 + place], wanted, atol=1e-4)
            assert logits[150 + place].argmax() == wanted.argmax()
