"""Real cases of the shipped benchmark, and a real tokenizer trained on them."""

import importlib.resources
from functools import cache
from itertools import islice

from catp.planlang.vocabulary import Vocabulary
from catp.planners.protocol import PlanRequest
from catp.training.bench.joins import bench_catalogue
from catp.training.bench.tasks import load_tasks
from catp.training.caorl.algorithm import PlanLearning, texts_of
from catp.training.caorl.cases import Case
from catp.training.caorl.config import (
    DataConfig,
    EvalConfig,
    MethodConfig,
    ModelConfig,
    OptimConfig,
    PromptConfig,
    TrainConfig,
)
from catp.training.caorl.sources import load_cases
from catp.training.data.files import read
from catp.training.data.trajectory import Trajectory, nano
from catp.training.policy.tokenizer import train_tokenizer
from catp.training.prompt.ask import Ask
from catp.training.prompt.render import PromptStyle, Renderer
from catp.training.prompt.tokens import PolicyTokens

CONFIG = TrainConfig(
    data=DataConfig(limit=12),
    model=ModelConfig(hidden=32, layers=2, heads=2, kv_heads=2, intermediate=64, text_tokens=400),
    prompt=PromptConfig(max_tools=8, max_description=2, max_name=3, max_request=6),
    method=MethodConfig(plans=4),
    optim=OptimConfig(steps=2, batch=2, warmup=0),
    eval=EvalConfig(limit=4, every=2),
)  # fmt: skip


@cache
def cases() -> tuple[Case, ...]:
    return tuple(load_cases(CONFIG.data, Vocabulary(), "train")[0])


@cache
def tokens() -> PolicyTokens:
    return PolicyTokens.extend(train_tokenizer(texts_of(cases()), 400))


def renderer() -> Renderer:
    return Renderer(tokens(), PromptStyle(2, 3, 6))


@cache
def records(count: int = 60) -> tuple[Trajectory, ...]:
    shipped = importlib.resources.files("catp") / "datasets" / "catp-bench" / "measured" / "val.jsonl.gz"
    with importlib.resources.as_file(shipped) as path:
        return tuple(islice(read(path), count))


def request_of(record: Trajectory) -> PlanRequest | None:
    task, scale = load_tasks().get(record.candidate_set), record.objective.price_scale_usd
    assert scale is not None
    return None if task is None else task.request(bench_catalogue(), 0.8, nano(scale))


def ask_of(record: Trajectory) -> Ask:
    """Requests of one input are equal but for the record they were taken from."""
    found = _ASKS.get(record.candidate_set)
    if found is None:
        request = request_of(record)
        assert request is not None
        found = _ASKS[record.candidate_set] = Ask.of(request, Vocabulary())
    return found


_ASKS: dict[str, Ask] = {}


def learning() -> PlanLearning:
    return PlanLearning(CONFIG, tokens(), cases()[:8], cases()[8:], "0" * 64)
