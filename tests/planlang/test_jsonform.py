"""The JSON form: exact round trips, strict reading with pointers, and agreement with the shipped schema."""

import copy
import json
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import pytest

from catp.planlang.errors import PlanError
from catp.planlang.jsonform import from_json, json_schema, to_json
from catp.planlang.parser import parse
from catp.planlang.printer import to_text
from catp.planlang.testing import random_plan

PLANS = Path(__file__).parent / "plans"
SCHEMA = jsonschema.Draft202012Validator(json_schema())

TEXT = """\
plan demo "doc"
in q: list[text?]? = ["de", {k: null}]
limit cost $0.20, latency 2.5s, calls 9
a = ns.f(q, each q.x[0]?, to=t"{q}{{}}", w=$1) if .s.t >= 0.5 and . != null
    | g() when q == 3s else q @retry(2, backoff=500ms)
out a, r = a.k?
"""

FORM = {
    "planlang": 1,
    "name": "demo",
    "doc": "doc",
    "inputs": [{"name": "q", "type": "list[text?]?", "default": {"list": ["de", {"object": {"k": None}}]}}],
    "limits": {"cost": "0.20", "latency": "2.5s", "calls": 9},
    "steps": [
        {
            "name": "a",
            "try": [
                {
                    "tool": "ns.f",
                    "args": [
                        {"value": {"ref": "q"}},
                        {"each": True, "value": {"ref": "q.x[0]?"}},
                        {"name": "to", "value": {"template": "{q}{{}}"}},
                        {"name": "w", "value": {"money": "1.00"}},
                    ],
                    "accept": [["s.t", ">=", 0.5], ["", "!=", None]],
                },
                {"tool": "g", "args": []},
            ],
            "when": [["q", "==", {"duration": "3s"}]],
            "else": "q",
            "notes": [["retry", [[None, 2], ["backoff", {"duration": "500ms"}]]]],
        }
    ],
    "outputs": [{"name": "a", "ref": "a"}, {"name": "r", "ref": "a.k", "optional": True}],
}


def problems(form: Any) -> list[tuple[str, str | None]]:
    with pytest.raises(PlanError) as caught:
        from_json(form)
    return [(problem.code, problem.path) for problem in caught.value.diagnostics]


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return FORM with the value at a pointer replaced; `...` removes it."""
    form: Any = copy.deepcopy(FORM)
    *parents, last = [int(part) if part.isdigit() else part for part in path[1:].split("/")]
    place = form
    for part in parents:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return form  # type: ignore[no-any-return]  # a copy of FORM


def test_the_form_of_every_construct() -> None:
    assert to_json(parse(TEXT)) == FORM
    assert from_json(FORM) == parse(TEXT)
    assert from_json(json.dumps(FORM)) == from_json(json.dumps(FORM).encode()) == parse(TEXT)


def test_the_empty_plan() -> None:
    assert to_json(parse("")) == {"planlang": 1, "steps": [], "outputs": []}
    assert from_json({"planlang": 1, "steps": [], "outputs": []}) == parse("")


def test_random_plans_round_trip() -> None:
    for seed in range(1_500):
        plan = random_plan(Random(seed))
        form = to_json(plan)
        assert from_json(form) == plan
        assert from_json(json.dumps(form)) == plan
        assert from_json(json.dumps(form, ensure_ascii=False).encode()) == plan


def test_random_plans_fit_the_schema() -> None:
    for seed in range(250):
        SCHEMA.validate(to_json(random_plan(Random(seed))))


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.plan")), ids=lambda p: p.stem)
def test_worked_examples(path: Path) -> None:
    plan = parse(path.read_bytes())
    SCHEMA.validate(to_json(plan))
    assert to_text(from_json(to_json(plan))) == to_text(plan)


def test_the_schema_is_a_schema_and_closed() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    objects = [json_schema(), *_objects(json_schema()["$defs"])]
    assert len(objects) > 10
    assert all(o["additionalProperties"] is False or "properties" not in o for o in objects)


def _objects(schema: Any) -> list[Any]:
    if isinstance(schema, list):
        return [found for item in schema for found in _objects(item)]
    if not isinstance(schema, dict):
        return []
    return ([schema] if schema.get("type") == "object" else []) + _objects(list(schema.values()))


BAD: list[tuple[str, Any, str]] = [
    ("/planlang", 2, "/planlang"),
    ("/planlang", "1", "/planlang"),
    ("/planlang", ..., ""),
    ("/steps", ..., ""),
    ("/steps", {}, "/steps"),
    ("/extra", 1, ""),
    ("/name", "in", "/name"),
    ("/name", "Demo", "/name"),
    ("/name", "", "/name"),
    ("/doc", 3, "/doc"),
    ("/inputs/0/name", "a b", "/inputs/0/name"),
    ("/inputs/0/type", "list[", "/inputs/0/type"),
    ("/inputs/0/type", "if", "/inputs/0/type"),
    ("/inputs/0/default", {"ref": "a"}, "/inputs/0/default"),
    ("/inputs/0/default", [1], "/inputs/0/default"),
    ("/inputs/0/kind", "x", "/inputs/0"),
    ("/limits/cost", 0.2, "/limits/cost"),
    ("/limits/cost", "-1", "/limits/cost"),
    ("/limits/cost", "0.0000000001", "/limits/cost"),
    ("/limits/latency", "3", "/limits/latency"),
    ("/limits/calls", True, "/limits/calls"),
    ("/limits/money", "1", "/limits"),
    ("/steps/0/name", 1, "/steps/0/name"),
    ("/steps/0/try", [], "/steps/0/try"),
    ("/steps/0/try/0/tool", "a..b", "/steps/0/try/0/tool"),
    ("/steps/0/try/0/tool", "if", "/steps/0/try/0/tool"),
    ("/steps/0/try/0/args", ..., "/steps/0/try/0"),
    ("/steps/0/try/0/args/0", {}, "/steps/0/try/0/args/0"),
    ("/steps/0/try/0/args/0/each", 1, "/steps/0/try/0/args/0/each"),
    ("/steps/0/try/0/args/0/name", "a-b", "/steps/0/try/0/args/0/name"),
    ("/steps/0/try/0/args/0/value", {"ref": "a..b"}, "/steps/0/try/0/args/0/value/ref"),
    ("/steps/0/try/0/args/0/value", {"ref": "in"}, "/steps/0/try/0/args/0/value/ref"),
    ("/steps/0/try/0/args/0/value", {"ref": "a[-1]"}, "/steps/0/try/0/args/0/value/ref"),
    ("/steps/0/try/0/args/0/value", {"ref": "a", "list": []}, "/steps/0/try/0/args/0/value"),
    ("/steps/0/try/0/args/0/value", {}, "/steps/0/try/0/args/0/value"),
    ("/steps/0/try/0/args/0/value", {"refs": "a"}, "/steps/0/try/0/args/0/value"),
    ("/steps/0/try/0/args/0/value", {"list": {}}, "/steps/0/try/0/args/0/value/list"),
    ("/steps/0/try/0/args/0/value", {"list": [1, [2]]}, "/steps/0/try/0/args/0/value/list/1"),
    ("/steps/0/try/0/args/0/value", {"object": {"a/b~": {"x": 1}}}, "/steps/0/try/0/args/0/value/object/a~1b~0"),
    ("/steps/0/try/0/args/0/value", {"money": "$1"}, "/steps/0/try/0/args/0/value/money"),
    ("/steps/0/try/0/args/0/value", {"duration": "1 s"}, "/steps/0/try/0/args/0/value/duration"),
    ("/steps/0/try/0/args/0/value", {"template": "{a?}"}, "/steps/0/try/0/args/0/value/template"),
    ("/steps/0/try/0/args/0/value", {"template": "}"}, "/steps/0/try/0/args/0/value/template"),
    ("/steps/0/try/0/accept/0", ["a", "=="], "/steps/0/try/0/accept/0"),
    ("/steps/0/try/0/accept/0/0", "a.", "/steps/0/try/0/accept/0/0"),
    ("/steps/0/try/0/accept/0/1", "=", "/steps/0/try/0/accept/0/1"),
    ("/steps/0/try/0/accept/0/2", {"list": []}, "/steps/0/try/0/accept/0/2"),
    ("/steps/0/when/0/0", "a?", "/steps/0/when/0/0"),
    ("/steps/0/when/0/2", {"ref": "a"}, "/steps/0/when/0/2"),
    ("/steps/0/else", {"ref": "q"}, "/steps/0/else"),
    ("/steps/0/notes/0", ["retry"], "/steps/0/notes/0"),
    ("/steps/0/notes/0/0", "re try", "/steps/0/notes/0/0"),
    ("/steps/0/notes/0/1/0", [2], "/steps/0/notes/0/1/0"),
    ("/steps/0/notes/0/1/0/0", 3, "/steps/0/notes/0/1/0/0"),
    ("/outputs/0/ref", ..., "/outputs/0"),
    ("/outputs/0/ref", "a?", "/outputs/0/ref"),
    ("/outputs/0/optional", "yes", "/outputs/0/optional"),
    ("/approve", "yes", "/approve"),
    ("/approve", 1, "/approve"),
]


@pytest.mark.parametrize(("path", "value", "pointer"), BAD, ids=range(len(BAD)))
def test_misfits_are_refused_at_their_place_and_by_the_schema(path: str, value: Any, pointer: str) -> None:
    form = changed(path, value)
    assert problems(form) == [("E009", pointer)]
    assert not SCHEMA.is_valid(form)


# What a schema cannot say, or (floats without a fraction) does not tell apart.
BEYOND_THE_SCHEMA: list[tuple[str, Any]] = [
    ("/name", ...),
    ("/steps/0/when", ...),
    ("/inputs/0/type", "list[text]]"),
    ("/planlang", 1.0),
    ("/limits/calls", 1.0),
    ("/steps/0/try/0/args/0/value", 10**4_000),
    ("/doc", "\ud800"),
]


@pytest.mark.parametrize(("path", "value"), BEYOND_THE_SCHEMA, ids=range(len(BEYOND_THE_SCHEMA)))
def test_what_only_the_reader_refuses(path: str, value: Any) -> None:
    form = changed(path, value)
    assert [code for code, _ in problems(form)] == ["E009"]
    assert SCHEMA.is_valid(form)


def test_null_is_absent() -> None:
    form = changed("/inputs", None) | {"name": None, "doc": None, "limits": {"cost": None, "calls": None}}
    form["steps"] = [{"name": "a", "try": [{"tool": "f", "args": [], "accept": None}], "when": None, "notes": None}]
    form["outputs"] = [{"name": "a", "ref": "a", "optional": None}]
    SCHEMA.validate(form)
    assert from_json(form) == parse("a = f()\nout a")


def test_a_null_default_is_a_default() -> None:
    plan = from_json(changed("/inputs/0/default", None))
    assert plan == parse(TEXT.replace('["de", {k: null}]', "null"))
    assert from_json(changed("/inputs/0/default", ...)).inputs[0].default is None


def test_all_problems_are_listed() -> None:
    form = changed("/steps/0/try/0/args/0/value", {"ref": "1"}) | {"outputs": [3], "name": "A", "more": 1}
    assert [path for _, path in problems(form)] == ["", "/name", "/steps/0/try/0/args/0/value/ref", "/outputs/0"]


def test_misspelled_members_are_named() -> None:
    with pytest.raises(PlanError, match="did you mean `outputs`"):
        from_json({"planlang": 1, "steps": [], "outputs": [], "output": []})


EMPTY = '{"planlang": 1, "steps": [], "outputs": [], @}'


@pytest.mark.parametrize(
    ("text", "code", "pointer"),
    [
        ('{"planlang": 1, "steps": [], "steps": [], "outputs": []}', "E009", "/steps"),
        (EMPTY.replace("@", '"inputs": [{"name": "a", "type": "any", "default": NaN}]'), "E009", "/inputs/0/default"),
        (EMPTY.replace("@", '"inputs": [{"name": "a", "type": "any", "default": 1e999}]'), "E009", "/inputs/0/default"),
        (EMPTY.replace("@", '"limits": {"calls": ' + "9" * 5_000 + "}"), "E009", "/limits/calls"),
        ('[{"planlang": 1}]', "E009", ""),
        ("[" * 100_000, "E006", ""),
        ('{"planlang": 1,', "E009", None),
        ("", "E009", None),
    ],
    ids=["repeated", "nan", "infinite", "digits", "list", "deep", "cut", "empty"],
)  # fmt: skip
def test_bad_json_text(text: str, code: str, pointer: str | None) -> None:
    assert problems(text)[0] == (code, pointer)


def test_json_faults_point_into_the_text() -> None:
    with pytest.raises(PlanError) as caught:
        from_json('{"planlang": 1,\n "steps": oops}')
    span = caught.value.diagnostics[0].span
    assert span is not None
    assert (span.line, span.column) == (2, 11)
    assert "^" in str(caught.value)
