"""Queues to order: views and contexts, drawn by hypothesis or made by hand."""

from hypothesis import strategies as st

from catp.serving.policies.costmodel import CostModel
from catp.serving.policies.protocol import Context, Interval, View

NOW = 100.0
COSTS = CostModel()


def view(number: int = 0, *, prompt: int = 100, output: float = 20.0, wait: float = 0.0, **more: object) -> View:
    """A request that arrived `wait` seconds ago."""
    values = {
        "id": f"r{number:03}", "arrival": NOW - wait, "prompt": prompt, "context": max(prompt, 1), "bound": 500,
        "length": Interval(output, output / 2, output * 2), **more,
    }  # fmt: skip
    return View(**values)  # type: ignore[arg-type]


def context(*running: View, budget: int = 512, costs: CostModel = COSTS) -> Context:
    return Context(NOW, costs, running, budget)


@st.composite
def views(draw: st.DrawFn, number: int) -> View:
    prompt = draw(st.integers(0, 3000))
    bound = draw(st.integers(1, 500))
    low, middle, high = sorted(draw(st.tuples(*[st.floats(1, 600)] * 3)))
    due = st.none() | st.floats(NOW - 5, NOW + 60)
    return View(
        f"r{number:03}", NOW - draw(st.floats(0, 200)), prompt, prompt + draw(st.integers(1, 500)), bound,
        Interval(middle, low, high, draw(st.none() | st.just(high))), draw(st.integers(0, bound)),
        draw(st.sampled_from("abc")), draw(st.integers(-1, 2)), "text", draw(due), draw(due),
        draw(st.none() | st.floats(0.01, 0.2)), draw(st.integers(0, 3)),
    )  # fmt: skip


@st.composite
def queues(draw: st.DrawFn, most: int = 12) -> list[View]:
    """Distinct requests in any order."""
    count = draw(st.integers(0, most))
    return draw(st.permutations([draw(views(number)) for number in range(count)]))


@st.composite
def contexts(draw: st.DrawFn) -> Context:
    running = [draw(views(900 + number)) for number in range(draw(st.integers(0, 4)))]
    return context(*running, budget=draw(st.sampled_from([1, 64, 512])))
