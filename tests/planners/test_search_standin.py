"""Values that can stand in for each other, chains of edits on one image, and what a call may be given."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.money import Money, usd
from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import (
    CallEstimate,
    Estimator,
    Latency,
    Param,
    PriceRange,
    RegistryView,
    Size,
    ToolSig,
    ValueFacts,
)
from catp.planlang.types import Type, TypeDef, TypeTable
from catp.planners.accuracy import ConditionModel
from catp.planners.protocol import Objective, PlanningFailed, PlanRequest, Proposal, Wanted
from catp.planners.search import SearchPlanner
from catp.planners.testing import brute_front, page_catalogue, small_request

TEXT, IMAGE, READING, LANGUAGE = Type("text"), Type("image"), Type("Reading"), Type("Language")
PAGE = {"page": ValueFacts(IMAGE, Size(500_000), "noisy")}
TYPES = TypeTable().with_type(TypeDef("Reading", (("text", TEXT),))).with_type(TypeDef("Language", (("code", TEXT),)))


class Coarse:
    """Rounds another estimator's figures, so that many values are worth the same to every tool that reads them."""

    def __init__(self, inner: Estimator) -> None:
        self.inner = inner

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        found = self.inner.estimate(tool, args)
        assert found.price.expected is not None
        assert found.accuracy is not None
        price = Money(1000 * (1 + found.price.expected % 3))
        accuracy = 0.5 if found.accuracy < 0.8 else 0.9
        latency = Latency(*(10.0 * (1 + found.latency.expected_ms // 40),) * 2)
        return replace(found, price=PriceRange(price, price, price), latency=latency, accuracy=accuracy)


class Labels:
    """Every restoring tool leaves a label, of which `useful` alone makes a difference to the readers."""

    def __init__(self, registry: RegistryView, useful: str) -> None:
        self.registry, self.useful = registry, useful

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        sig = self.registry.get(tool)
        assert sig is not None
        facts = next(iter(args.values()))
        spread = int.from_bytes(hashlib.sha256(tool.encode()).digest()[:2], "big") / 65536
        price = Money(round(1000 * (1 + spread)))
        label = f"{facts.condition}/{tool}" if sig.returns == IMAGE else ""
        accuracy = 0.5 + 0.3 * spread + (0.2 if self.useful in facts.condition else 0.0)
        return CallEstimate(
            PriceRange(price, price, price), Latency(10 + 10 * spread, 50.0),
            ValueFacts(sig.returns, facts.size, label), accuracy, 0.0, 5,
        )  # fmt: skip


def tool(name: str, returns: Type, *params: Param) -> ToolSig:
    return ToolSig(ToolName(name), params, returns, capability=name.partition("_")[0])


def search(tools: tuple[ToolSig, ...], wanted: tuple[Wanted, ...], inputs: Mapping[str, ValueFacts] = PAGE) -> Proposal:
    registry = RegistryView(tools, TYPES)
    request = PlanRequest("x", inputs, wanted, Objective(), registry, Labels(registry, "denoise_3"), 20)
    return SearchPlanner().search(request)


def calls_of(proposal: Proposal) -> list[str]:
    return [str(step.attempts[0].tool) for step in proposal.best.plan.steps]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_front_equals_brute_force_where_many_values_are_worth_the_same(seed: int) -> None:
    case = small_request(seed)
    case = replace(case, estimator=Coarse(case.estimator))
    brute = {(p, round(ms, 6), round(q, 9)) for p, ms, q in brute_front(case, ConditionModel(), max_steps=4)}
    try:
        proposal = SearchPlanner(max_steps=4).search(case)
    except PlanningFailed:
        assert brute == set()
        return
    found = {(c.price.expected, round(c.latency.expected_ms, 6), round(c.quality or 0, 9)) for c in proposal.candidates}
    assert proposal.exact
    assert found == brute


@pytest.mark.parametrize("seed", range(8))
def test_chained_edits_equal_brute_force(seed: int) -> None:
    registry, inner = page_catalogue(60, seed)
    names = ("denoise_0", "denoise_1", "deblur_0", "deblur_1", "ocr_0", "ocr_1")
    kept = RegistryView(tuple(sig for sig in registry if sig.name in names), registry.types)
    wanted = (Wanted("sharp", IMAGE, capability=("deblur",), through=(("denoise",),)), Wanted("text", TEXT))
    case = PlanRequest("x", PAGE, wanted, Objective(), kept, Coarse(inner), 100)
    brute = {(p, round(ms, 6), round(q, 9)) for p, ms, q in brute_front(case, ConditionModel(), max_steps=5)}
    proposal = SearchPlanner(max_steps=5).search(case)
    found = {(c.price.expected, round(c.latency.expected_ms, 6), round(c.quality or 0, 9)) for c in proposal.candidates}
    assert (proposal.exact, found) == (True, brute)


def test_restoring_tools_that_make_no_difference_do_not_widen_the_search() -> None:
    """22 restoring tools, over 400 chains, of which one tool matters to the four readers."""
    image, text = Param("image", IMAGE), Param("text", TEXT)
    tools = (
        *(tool(f"denoise_{i}", IMAGE, image) for i in range(22)),
        *(tool(f"ocr_{i}", READING, image) for i in range(4)),
        *(tool(f"{kind}_{i}", LANGUAGE, text) for kind in ("language", "dialect") for i in range(3)),
    )
    wanted = (
        Wanted("clean", IMAGE, capability=("denoise",)),
        Wanted("text", TEXT, capability=("ocr",)),
        *(Wanted(kind, LANGUAGE, capability=(kind,)) for kind in ("language", "dialect")),
    )
    proposal = search(tools, wanted)
    assert proposal.exact
    assert any("denoise_3" in str(step) for c in proposal.candidates for step in c.plan.steps)


def test_edits_asked_for_in_a_row_give_one_image_that_passed_all() -> None:
    image = Param("image", IMAGE)
    tools = tuple(tool(f"{kind}_{i}", IMAGE, image) for kind in ("denoise", "deblur", "upscale") for i in range(4))
    wanted = (Wanted("large", IMAGE, capability=("upscale",), through=(("denoise",), ("deblur",))),)
    proposal = search(tools, wanted)
    assert proposal.exact
    for candidate in proposal.candidates:
        kinds = [str(step.attempts[0].tool).partition("_")[0] for step in candidate.plan.steps]
        assert kinds == ["denoise", "deblur", "upscale"]
        assert len(candidate.plan.outputs) == 1


ANSWER = tool("answer_a", LANGUAGE, Param("text", TEXT), Param("question", TEXT))
ASK = tool("ask_a", LANGUAGE, Param("text", TEXT), Param("query", TEXT))
COMPARE = tool("compare_a", LANGUAGE, Param("left", TEXT), Param("right", TEXT))


def memo(*names: str) -> dict[str, ValueFacts]:
    return {name: ValueFacts(TEXT, Size(100)) for name in names}


def test_text_is_not_asked_as_its_own_question() -> None:
    with pytest.raises(PlanningFailed, match="answer_a would, given an input named `question`"):
        search((ANSWER,), (Wanted("a", LANGUAGE),), memo("memo"))
    with pytest.raises(PlanningFailed):
        search((ANSWER,), (Wanted("a", LANGUAGE),), memo("memo", "other"))
    asked = search((ANSWER,), (Wanted("a", LANGUAGE, arguments=(("question", "who?"),)),), memo("memo"))
    assert calls_of(asked) == ["answer_a"]


@pytest.mark.parametrize("name", ["question", "query"])
def test_question_may_be_called_query(name: str) -> None:
    for sig in (ANSWER, ASK):
        (step,) = search((sig,), (Wanted("a", LANGUAGE),), memo("memo", name)).best.plan.steps
        assert [str(arg.value) for arg in step.attempts[0].args] == ["memo", name]


def test_one_input_is_not_compared_with_itself() -> None:
    with pytest.raises(PlanningFailed):
        search((COMPARE,), (Wanted("a", LANGUAGE),), memo("memo"))
    (step,) = search((COMPARE,), (Wanted("a", LANGUAGE),), memo("memo", "draft")).best.plan.steps
    assert {str(arg.value) for arg in step.attempts[0].args} == {"memo", "draft"}


class Two:
    """Two readers: `ocr_0` costs 0.00001 USD and is right in 70 %, the other `dearer` USD and `better`."""

    def __init__(self, dearer: str, better: float) -> None:
        self.rows = {"ocr_0": (usd("0.00001"), 0.7), "ocr_1": (usd(dearer), better)}

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        price, accuracy = self.rows[tool]
        return CallEstimate(
            PriceRange(price, price, price), Latency(1, 1), ValueFacts(READING, Size(9)), accuracy, 0.0, 5
        )


@pytest.mark.parametrize(
    ("dearer", "better", "note"),
    [
        ("0.00002", 0.95, "for $0.00001 more, quality 0.95 instead of 0.70"),
        ("0.00002", 0.74, None),
        ("0.02", 0.95, None),
    ],
)
def test_much_better_for_little_more_is_said(dearer: str, better: float, note: str | None) -> None:
    registry = RegistryView(tuple(tool(f"ocr_{i}", READING, Param("image", IMAGE)) for i in range(2)), TYPES)
    request = PlanRequest("x", PAGE, (Wanted("text", TEXT),), Objective(alpha=0.2), registry, Two(dearer, better))
    proposal = SearchPlanner().search(request)
    assert calls_of(proposal) == ["ocr_0"]
    said = [n for n in proposal.notes if "instead of" in n]
    assert len(said) == (note is not None)
    if note is None:
        return
    assert said[0].startswith(note)
    alpha = float(said[0].partition("alpha ")[2].split()[0])
    again = SearchPlanner().search(replace(request, objective=Objective(alpha=alpha)))
    assert calls_of(again) == ["ocr_1"], "the alpha in the note must pick the better plan"
