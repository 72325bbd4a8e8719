"""The chat planner against a real HTTP server that plays a scripted model: plans, corrections, money, fallbacks."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catp.planlang.jsonform import from_json, json_schema, to_json
from catp.planlang.money import Money
from catp.planlang.printer import to_text
from catp.planlang.registry_view import ToolSig
from catp.planners.chat import MAX_TOOLS
from catp.planners.chat_prompt import EXAMPLE
from catp.planners.protocol import NothingFits, Objective, PlanningFailed, PlanRequest, Proposal
from catp.planners.search import SearchPlanner
from tests.planners.scripted_model import (
    GOOD,
    KEY,
    NO_LANGUAGE,
    UNKNOWN_TOOL,
    Server,
    failure,
    out,
    planner,
    request,
    says,
    step,
    tools_of,
)

# A plan, and what is said of it


async def test_a_plan_is_priced_and_rated_exactly_as_the_search_planner_does_it(server: Server) -> None:
    searched = SearchPlanner().search(request()).best
    server.play(says(to_json(replace(searched.plan, name=None, doc=None, inputs=()))))
    found = await planner(server).plan(request())
    assert len(found.candidates) == 1
    assert not found.exact
    best = found.best
    assert (best.plan, best.price, best.latency) == (searched.plan, searched.price, searched.latency)
    assert best.quality == pytest.approx(searched.quality)
    assert any("'tiny'" in note and server.url in note for note in found.notes)


async def test_outputs_stand_in_the_order_of_the_request(server: Server) -> None:
    best = (await planner(server).plan(request())).best
    assert [output.name for output in best.plan.outputs] == ["text", "language"]
    assert (best.plan.name, best.plan.doc) == ("read_this_page", "Read this page")


async def test_what_is_sent(server: Server) -> None:
    await planner(server, temperature=0.0).plan(request(Objective(budget=Money(10_000_000), deadline_ms=900)))
    (sent,) = server.seen
    body = sent["body"]
    assert (sent["path"], sent["headers"]["Authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny", 0.0, 4096)
    text = body["messages"][-1]["content"]
    assert "ocr_0(image: image) -> Reading; for ocr; $" in text
    assert " (noisy), " in text, "accuracy at the input's condition and at restored ones"
    assert "Reading: text: text, confidence: number" in text
    assert "page: image, size 500,000, condition noisy" in text
    assert "text: text; made by a tool for ocr" in text
    assert "at most $0.01" in text
    assert "at most 900 ms" in text
    assert '"Read this page"' in text
    assert body["messages"][0]["role"] == "system"


async def test_the_schema_is_that_of_the_request_and_narrower_than_that_of_all_plans(server: Server) -> None:
    await planner(server).plan(request())
    form = server.bodies()[0]["response_format"]
    schema = form["json_schema"]["schema"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["strict"] is True
    jsonschema.Draft202012Validator.check_schema(schema)
    accepts = jsonschema.Draft202012Validator(schema).is_valid
    assert accepts(GOOD)
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(GOOD)
    assert not accepts(UNKNOWN_TOOL), "tools of the catalogue only"
    assert not accepts({**GOOD, "outputs": [out("summary", "reading.text")]}), "wanted outputs only"
    assert not accepts({**GOOD, "steps": [step("reading", "ocr_0", "picture", "page")]}), "known parameters only"
    assert not accepts({**GOOD, "limits": {"cost": "1"}})


def test_the_example_is_a_plan() -> None:
    assert [len(one.attempts) for one in from_json(EXAMPLE).steps] == [1, 2, 1]


async def test_fallbacks_and_lists_are_understood(server: Server) -> None:
    plan = json.loads(json.dumps(GOOD))
    plan["steps"][0]["try"].append({"tool": "ocr_1", "args": [{"name": "image", "value": {"ref": "page"}}]})
    server.play(says(plan))
    found = await planner(server).plan(request(tools=60))
    assert tools_of(found.best.plan) == ["ocr_0", "ocr_1", "language_0"]


async def test_text_around_the_plan_is_no_obstacle(server: Server) -> None:
    server.play(
        says(f'<think>maybe {{"steps": []}} ...</think>Sure!\n```json\n{json.dumps(GOOD, indent=1)}\n```\nCall {{it}}.')
    )
    assert tools_of((await planner(server).plan(request())).best.plan) == ["ocr_0", "language_0"]


async def test_content_may_come_in_parts(server: Server) -> None:
    parts = [{"type": "text", "text": json.dumps(GOOD)[:40]}, {"type": "text", "text": json.dumps(GOOD)[40:]}]
    server.play(says(None, message={"content": parts}))
    assert (await planner(server).plan(request())).candidates


# Invalid plans


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (UNKNOWN_TOOL, "ocr_9"),
        (NO_LANGUAGE, "output `language` (Language) is missing"),
        ({**GOOD, "outputs": [out("text", "page"), GOOD["outputs"][0]]}, "`page` is image, wanted is text"),
        ({**GOOD, "outputs": [out("text", "lang.code"), out("language", "lang")]}, "no field `code`"),
        ({**GOOD, "limits": {"cost": "0.01"}}, "/limits: leave it out"),
        (
            {**GOOD, "steps": [{**GOOD["steps"][0], "notes": [["pin", [[None, "x"]]]]}, GOOD["steps"][1]]},
            "leave out its",
        ),
        ({**GOOD, "inputs": [{"name": "memo", "type": "text"}]}, "no input `memo`; the inputs are: page"),
        ({**GOOD, "steps": GOOD["steps"] * 40}, "80 steps; at most 64"),
        ('{"planlang": 1, "steps": [], "outputs": NaN}', "NaN"),
        ("I would rather not.", "no JSON object"),
        ("{" * 5000, "not JSON: Expecting property name"),
        ("{" + "x" * 300_000, "300,001 characters"),
        (json.dumps(GOOD)[:-3], "not JSON: Expecting ',' delimiter"),
        ('Here: {"plan": []}', "unknown member 'plan'"),
    ],
)
async def test_errors_go_back_to_the_model_once_per_attempt(server: Server, answer: Any, told: str) -> None:
    server.play(says(answer), says(GOOD))
    found = await planner(server).plan(request())
    assert tools_of(found.best.plan) == ["ocr_0", "language_0"]
    first, second = server.bodies()
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert second["messages"][-2]["role"] == "assistant"
    assert told in second["messages"][-1]["content"]
    server.play(says(answer))
    error = await failure(planner(server, attempts=3))
    assert len(server.seen) == 3
    assert told in str(error)
    assert "'tiny'" in str(error)
    assert server.url in str(error)
    assert "3 attempts" in str(error)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (says(json.dumps(GOOD)[:50], finish="length"), "cut off at 4,096 tokens"),
        ({**says(GOOD), "choices": []}, "no choices"),
        ({"error": {"message": f"no credit for {KEY}"}}, "no credit for ***"),
        (says(None, finish="content_filter"), "content_filter"),
        (says(None, message={"content": None, "refusal": "I must not"}), "refused: I must not"),
        (says("   "), "no text"),
    ],
)
async def test_answers_without_a_text_are_asked_for_again(server: Server, body: Any, told: str) -> None:
    server.play(body, says(GOOD))
    assert (await planner(server).plan(request())).candidates
    assert server.bodies()[1]["messages"][-1]["role"] == "user"
    server.play(body)
    assert told in str(await failure(planner(server)))


async def test_tools_that_write_are_neither_shown_nor_accepted(server: Server) -> None:
    asked = request()
    writing = tuple(replace(sig, effects="write") if sig.name == "ocr_0" else sig for sig in asked.registry)
    asked = replace(asked, registry=replace(asked.registry, tools=writing))
    error = await failure(planner(server), asked)
    assert "`ocr_0` changes the world" in str(error)
    assert "ocr_0(" not in server.bodies()[0]["messages"][-1]["content"]


async def test_a_large_catalogue_is_shown_in_part_and_says_so(server: Server) -> None:
    found = await planner(server).plan(request(tools=200))
    enum = json.dumps(server.bodies()[0]["response_format"])
    assert '"ocr_0"' in enum
    shown = [line for line in server.bodies()[0]["messages"][1]["content"].splitlines() if ") -> " in line]
    assert len(shown) == MAX_TOOLS
    assert any("72 were left out" in note for note in found.notes)


# Money and time


async def test_hard_limits_hold_and_their_breach_is_told(server: Server) -> None:
    priced = (await planner(server).plan(request())).best
    assert priced.price.p95 is not None
    short = Money(priced.price.p95 - 1)
    error = await failure(planner(server), request(Objective(budget=short)))
    assert isinstance(error, NothingFits)
    assert error.limit == "budget"
    assert "use cheaper tools than in `reading`" in str(error) or "use cheaper tools than in `lang`" in str(error)
    assert (await planner(server).plan(request(Objective(budget=priced.price.p95)))).best.plan == priced.plan
    late = await failure(planner(server), request(Objective(deadline_ms=priced.latency.expected_ms / 2)))
    assert isinstance(late, NothingFits)
    assert late.limit == "deadline"


async def test_unknown_prices_count_as_the_dearest_and_never_fit_a_budget(server: Server) -> None:
    asked = request()
    unpriced = replace(asked, estimator=replace(asked.estimator, unpriced=frozenset({"ocr_0"})))  # type: ignore[type-var]
    best = (await planner(server).plan(unpriced)).best
    assert best.price.expected is None
    assert best.quality is not None
    assert best.utility == pytest.approx(0.8 * best.quality - 0.2)
    error = await failure(planner(server), replace(unpriced, objective=Objective(budget=Money(10**9))))
    assert "nobody knows the price of `reading`" in str(error)


async def test_planning_costs_what_the_provider_charges_for_all_attempts(server: Server) -> None:
    server.play(says(UNKNOWN_TOOL), says(GOOD, usage={"prompt_tokens": 1500, "completion_tokens": 100}))
    priced = planner(server, input_price="0.15", output_price="0.60")
    # 2,500 tokens at 150 nano-USD and 300 at 600
    assert (await priced.plan(request())).price == 2500 * 150 + 300 * 600
    server.play(says(UNKNOWN_TOOL))
    assert (await failure(priced)).price == 2 * (1000 * 150 + 200 * 600)


async def test_a_price_that_nobody_knows_is_none(server: Server) -> None:
    found = await planner(server).plan(request())
    assert found.price is None
    assert any("nobody knows what the model charged" in note for note in found.notes)
    server.play(says(GOOD, usage={"prompt_tokens": 10, "completion_tokens": 2, "cost": 0.00042}))
    assert (await planner(server).plan(request())).price == 420_000


@pytest.mark.parametrize(
    "usage",
    [[], "none", {"prompt_tokens": "12"}, {"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": 10**400},
     {"prompt_tokens": True, "completion_tokens": 1}, {"prompt_tokens": float("nan"), "completion_tokens": 1}],
)  # fmt: skip
async def test_usage_that_cannot_be_true_is_unknown(server: Server, usage: Any) -> None:
    server.play(json.dumps(says(GOOD, usage=usage)).encode())
    assert (await planner(server, input_price="1", output_price="1").plan(request())).price is None


async def test_several_samples_are_ranked_and_paid_for(server: Server) -> None:
    rival = json.loads(json.dumps(GOOD).replace("ocr_0", "ocr_1"))
    server.play(says(GOOD), says(rival), says(UNKNOWN_TOOL))
    made = planner(server, samples=3, temperature=0.7, attempts=1, input_price="1", output_price="0")
    found = await made.plan(request(tools=60))
    assert {tools_of(one.plan)[0] for one in found.candidates} == {"ocr_0", "ocr_1"}
    assert found.candidates[0].utility >= found.candidates[1].utility
    assert found.price == 3 * 1_000_000
    assert any("1 of 3 answers could not be used" in note for note in found.notes)
    server.play(says(GOOD), says(rival))
    assert len((await made.plan(request(tools=60, candidates=1))).candidates) == 1


# Falling back


async def test_the_fallback_plans_with_a_note_and_both_are_paid(server: Server) -> None:
    server.play(says(UNKNOWN_TOOL))
    made = planner(server, fallback=SearchPlanner(), input_price="1", output_price="1")
    found = await made.plan(request())
    alone = await SearchPlanner().plan(request())
    assert to_text(found.best.plan) == to_text(alone.best.plan)
    assert "ocr_9" in found.notes[0]
    assert found.notes[0].endswith("planned by search instead")
    assert found.price is not None
    assert found.price >= 2 * 1_200_000
    assert found.by == "search"


async def test_if_the_fallback_fails_too_its_reason_is_told_and_both_are_paid(server: Server) -> None:
    class Broke:
        name = "broke"

        async def plan(self, request: PlanRequest) -> Proposal:
            raise NothingFits("too dear", "budget")

    server.play(says(UNKNOWN_TOOL))
    error = await failure(planner(server, fallback=Broke(), input_price="1", output_price="1"))
    assert isinstance(error, NothingFits)
    assert str(error) == "too dear"
    assert "ocr_9" in str(error.__cause__)
    assert error.price == 2 * 1_200_000


# Whatever a model says

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["page", "reading.text", "ocr_0", "language_0", "image", "text", "1.0", "<", "retry", "@"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["ref", "template", "list", "object", "money", "name", "value", "tool", "args",
                                       "try", "each", "steps", "outputs", "when", "accept", "else", "notes"])
                      | st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
RICH = {
    **GOOD,
    "name": "x", "doc": "y", "approve": False, "inputs": [{"name": "page", "type": "image"}],
    "steps": [
        {**GOOD["steps"][0], "notes": [["retry", [[None, 2]]]]},
        {**GOOD["steps"][1], "when": [["reading.confidence", ">=", 0.5]]},
        {"name": "again", "try": [{"tool": "language_0", "args": [{"value": {"template": "see {reading.text}"}}],
                                   "accept": [["code", "==", "en"]]}], "else": "lang",
         "when": [["reading.confidence", "<", 0.5]]},
    ],
    "outputs": [out("language", "again"), out("text", "reading.text")],
}  # fmt: skip


def places(form: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = form.items() if isinstance(form, dict) else enumerate(form) if isinstance(form, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed(form: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(form) if isinstance(form, dict) else list(form)
    copy[path[0]] = changed(form[path[0]], path[1:], value)
    return copy


MUTANTS = st.builds(
    lambda path, value: changed(RICH, path, value), st.sampled_from(sorted(places(RICH), key=repr)), ANY
)


@settings(
    derandomize=True, deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.one_of(MUTANTS, ANY))
def test_nothing_a_model_says_raises_anything_but_planning_failed(server: Server, answer: Any) -> None:
    server.play(says(json.dumps(answer)))
    asked = request(Objective(), tools=24)
    try:
        found = asyncio.run(planner(server, attempts=1, timeout_s=20).plan(asked))
    except PlanningFailed:
        return
    assert from_json(to_json(found.best.plan)) == found.best.plan


@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(
    ANY, st.builds(lambda choice: {"choices": choice}, ANY),
    st.builds(lambda message, finish: {"choices": [{"message": message, "finish_reason": finish}]}, ANY, ANY),
    st.builds(lambda content, usage: {"choices": [{"message": {"content": content}}], "usage": usage}, ANY, ANY),
))  # fmt: skip
def test_no_body_raises_anything_but_planning_failed(server: Server, body: Any) -> None:
    server.play(json.dumps(body).encode())
    with pytest.raises(PlanningFailed):
        asyncio.run(planner(server, attempts=1, timeout_s=20, input_price="1", output_price="1").plan(request()))


async def test_nothing_wanted_and_no_tools_fail_before_anything_is_asked(server: Server) -> None:
    assert "nothing is wanted" in str(await failure(planner(server), request(wanted=())))
    asked = request()
    bare: tuple[ToolSig, ...] = ()
    error = await failure(planner(server), replace(asked, registry=replace(asked.registry, tools=bare)))
    assert "no tool" in str(error)
    assert not server.seen
