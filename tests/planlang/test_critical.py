"""Slack and critical path against all paths of small graphs, under both orders of names."""

import random
from collections.abc import Iterator, Mapping

import pytest

from catp.planlang.critical import longest, schedule

Graph = dict[str, tuple[str, ...]]


@pytest.fixture(params=["abcdefgh", "hgfedcba"])
def letters(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def paths(graph: Graph, end: str) -> Iterator[tuple[str, ...]]:
    if not graph[end]:
        yield (end,)
    for before in graph[end]:
        for path in paths(graph, before):
            yield (*path, end)


def cost(path: tuple[str, ...], ms: Mapping[str, float]) -> float:
    return sum(ms[step] for step in path)


def random_graph(rng: random.Random, names: str) -> tuple[Graph, dict[str, float]]:
    """Names in the order given; whole milliseconds, so that sums are exact and ties are frequent."""
    share = rng.random()
    graph = {name: tuple(b for b in names[:k] if rng.random() < share) for k, name in enumerate(names)}
    return graph, {name: float(rng.choice((0, 1, 2, 2, 3, 10))) for name in names}


def test_agrees_with_all_paths(letters: str) -> None:
    for seed in range(150):
        agrees_with_all_paths(*random_graph(random.Random(seed), letters))


def agrees_with_all_paths(graph: Graph, ms: dict[str, float]) -> None:
    found = schedule(graph, ms)
    every = [path for end in graph for path in paths(graph, end)]
    length = max(cost(path, ms) for path in every)
    assert found.length == longest(graph, ms) == length
    for step in graph:
        # a path may stop anywhere, so every path through a step counts
        through = max(cost(path, ms) for path in every if step in path)
        assert found.slack[step] == length - through
        before = max((cost(p, ms) for p in every if p[-1] == step), default=0.0) - ms[step]
        assert found.start[step] == before


def test_the_path_is_one_and_takes_the_whole_time(letters: str) -> None:
    for seed in range(150):
        path_takes_the_whole_time(*random_graph(random.Random(seed), letters))


def path_takes_the_whole_time(graph: Graph, ms: dict[str, float]) -> None:
    found = schedule(graph, ms)
    assert cost(found.path, ms) == found.length
    assert not graph[found.path[0]] or found.start[found.path[0]] == 0
    assert all(before in graph[after] for before, after in zip(found.path, found.path[1:], strict=False))
    assert all(found.slack[step] == 0 for step in found.path)


def test_width_is_reached_by_running_everything_at_once(letters: str) -> None:
    for seed in range(100):
        width_is_reached(*random_graph(random.Random(seed), letters))


def width_is_reached(graph: Graph, ms: dict[str, float]) -> None:
    ms = {step: time + 1 for step, time in ms.items()}
    found = schedule(graph, ms)
    busy = [
        sum(found.start[step] <= moment < found.start[step] + ms[step] for step in graph)
        for moment in found.start.values()
    ]
    assert found.width == max(busy)


def test_names_decide_nothing(letters: str) -> None:
    a, b, c, d, e = tuple(letters[:5])
    graph: Graph = {a: (), b: (), c: (a, b), d: (b,), e: (c, d)}
    found = schedule(graph, {a: 2, b: 3, c: 5, d: 1, e: 1})
    assert found.length == 9
    assert found.path == (b, c, e)
    assert found.slack == {a: 1, b: 0, c: 0, d: 4, e: 0}
    assert found.width == 2


def test_a_late_predecessor_counts_even_if_an_early_one_was_seen_first() -> None:
    # walking breadth-first and skipping what was seen starts `d` at 1
    graph: Graph = {"a": (), "b": ("a",), "c": ("b",), "d": ("a", "c")}
    assert schedule(graph, dict.fromkeys("abcd", 1.0)).start["d"] == 3


def test_steps_without_duration_still_have_a_width() -> None:
    graph: Graph = {"a": (), "b": ("a",), "c": ("a",), "d": ("a",), "e": ("b", "c", "d")}
    found = schedule(graph, dict.fromkeys("abcde", 0.0))
    assert (found.length, found.width) == (0.0, 3)
    assert set(found.slack.values()) == {0.0}


def test_nothing_takes_no_time() -> None:
    assert schedule({}, {}) == ({}, {}, 0.0, (), 0)


@pytest.mark.parametrize("graph", [{"a": ("b",), "b": ()}, {"a": ("a",)}, {"a": ("zz",)}])
def test_an_order_that_is_not_topological_is_refused(graph: Graph) -> None:
    with pytest.raises(ValueError, match="must come before 'a'"):
        schedule(graph, dict.fromkeys(graph, 1.0))
