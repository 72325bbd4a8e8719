"""Verdicts: budget, deadline and the plan's own limits against the estimate."""

from collections.abc import Mapping

import pytest

from catp.planlang.compile import compile_plan
from catp.planlang.compiled import CompiledPlan
from catp.planlang.money import Money, usd
from catp.planlang.nodes import ToolName
from catp.planlang.parser import parse
from catp.planlang.passes.admit import Fit, Room, Verdict, admit
from catp.planlang.registry_view import CallEstimate, Latency, PriceRange, ValueFacts
from catp.planlang.signatures import parse_registry
from catp.planlang.types import Type

REGISTRY = parse_registry("work(text: text) -> text\nlost(text: text) -> text")


class Fixed:
    """Every call is expected to cost $0.02 (p95 $0.05) and to take 1 s (p95 3 s)."""

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        price = PriceRange(usd("0.02"), usd("0.02"), usd("0.05"))
        return CallEstimate(price, Latency(1000.0, 3000.0), ValueFacts(Type("text")), failure=0.01)


def compiled(limit: str = "", notes: str = "", priced: bool = True) -> CompiledPlan:
    source = f"in q: text\n{limit}\na = work(q) {notes}\nout a\n"
    return compile_plan(parse(source), REGISTRY, estimator=Fixed() if priced else None)


@pytest.mark.parametrize(
    ("limit", "notes", "budget", "deadline", "fit", "codes"),
    [
        ("", "", None, None, "fits", []),
        ("", "", "0.05", 3000.0, "fits", []),
        ("", "", "0.02", None, "expected_fits", ["E202"]),
        ("", "", "0.019", None, "does_not_fit", ["E202"]),
        ("", "", None, 2999.0, "expected_fits", ["E203"]),
        ("", "", "0.01", 999.0, "does_not_fit", ["E202", "E203"]),
        ("limit cost $0.03", "", None, None, "expected_fits", ["E202"]),
        ("limit cost $0.03", "", "1", None, "expected_fits", ["E202"]),
        ("limit cost $1", "", "0.01", None, "does_not_fit", ["E202"]),
        ("limit latency 500ms", "", None, 5000.0, "does_not_fit", ["E203"]),
        ("limit latency 1h", "", None, 5000.0, "fits", []),
        ("limit calls 1", "", None, None, "fits", []),
        ("limit calls 2", "@retry(2)", None, None, "expected_fits", ["E204"]),
    ],
)
def test_the_tighter_limit_counts(
    limit: str, notes: str, budget: str | None, deadline: float | None, fit: Fit, codes: list[str]
) -> None:
    verdict = admit(compiled(limit, notes), budget=None if budget is None else usd(budget), deadline_ms=deadline)
    assert (verdict.fit, [d.code for d in verdict.diagnostics]) == (fit, codes)
    assert verdict.ok == (fit == "fits")
    assert verdict.expected_ok == (fit in ("fits", "expected_fits"))
    assert {d.severity for d in verdict.diagnostics} <= ({"warning"} if verdict.expected_ok else {"error", "warning"})


def test_too_many_calls_are_refused() -> None:
    source = 'limit calls 1\na = work("x")\nb = work(a)\nout b\n'
    verdict = admit(compile_plan(parse(source), REGISTRY, estimator=Fixed()))
    assert verdict.fit == "does_not_fit"
    assert [d.message for d in verdict.diagnostics] == ["expected number of calls 1.99 exceeds the limit of 1"]


def test_an_unknown_price_fits_no_budget_but_is_no_problem_without_one() -> None:
    assert admit(compiled(priced=False)).fit == "fits"
    verdict = admit(compiled(priced=False), budget=Money(1))
    assert verdict.fit == "unpriced"
    assert [d.render() for d in verdict.diagnostics] == [
        "limits: error[E205]: the price of `a` is unknown, so no budget can be promised"
    ]
    late = compile_plan(parse('a = work("x")\nb = lost(a)\nout b\n'), REGISTRY, estimator=Forgetful())
    assert admit(late, budget=Money(1), deadline_ms=1.0).fit == "does_not_fit"


class Forgetful(Fixed):
    """Has never heard of the tool `lost`."""

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        if tool == "lost":
            raise KeyError(tool)
        return super().estimate(tool, args)


def test_figures_and_place_are_in_the_message() -> None:
    source = "in q: text\nlimit cost $0.03\na = work(q)\nout a\n"
    verdict = admit(compile_plan(parse(source), REGISTRY, estimator=Fixed()))
    assert verdict.diagnostics[0].render(source).splitlines() == [
        "2:1: warning[E202]: expected price $0.02 fits, p95 $0.05 exceeds the limit of $0.03",
        "    limit cost $0.03",
        "    ^^^^^^^^^^^^^^^^",
    ]
    assert (verdict.budget, verdict.deadline_ms, verdict.calls) == (usd("0.03"), None, None)


@pytest.mark.parametrize("limits", [{"budget": Money(0)}, {"budget": Money(-1)}, {"deadline_ms": 0.0}])
def test_limits_that_allow_nothing_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be above zero"):
        admit(compiled(), **limits)  # type: ignore[arg-type]


def test_verdicts_compare_by_value() -> None:
    assert admit(compiled()) == Verdict("fits", None, None, None)


@pytest.mark.parametrize(
    ("left", "free", "fit", "words"),
    [
        ("0.05", "0.05", "fits", ""),
        ("0.05", "0.04", "expected_fits", "p95 $0.05 exceeds the $0.04 that project:demo has free now"),
        ("0.02", "0.01", "expected_fits", "p95 $0.05 exceeds the $0.01 that project:demo has free now"),
        ("0.019", "0.019", "does_not_fit", "expected price $0.02 exceeds the $0.019 that project:demo has left"),
        ("-0.01", "-0.02", "does_not_fit", "expected price $0.02 exceeds the $0.00 that project:demo has left"),
    ],
)
def test_shared_budgets_are_named_with_what_they_have_left(left: str, free: str, fit: Fit, words: str) -> None:
    room = Room("project:demo", usd(left), usd(free))
    verdict = admit(compiled(), budget=usd("1"), rooms=[Room("agent:me", usd("9"), usd("9")), room])
    assert verdict.fit == fit
    assert [words in diagnostic.message for diagnostic in verdict.diagnostics] == [True] * bool(words)


def test_under_a_shared_budget_alone_an_unknown_price_is_refused() -> None:
    assert admit(compiled(priced=False), rooms=[Room("project:demo", usd("9"), usd("9"))]).fit == "unpriced"
    assert admit(compiled(priced=False)).fit == "fits"
