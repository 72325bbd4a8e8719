"""Seeded random plans, for tests of anything that reads or writes plans.

    plan = random_plan(random.Random(7))

Every tree the codecs must keep exactly can come out: awkward numbers, hostile Unicode, fields named like keywords,
nested lists and objects, every kind of guard and annotation. References point to inputs and earlier steps, so names
resolve; types are not looked at, since tools are invented. The same generator state gives the same plan everywhere.
"""

from collections.abc import Sequence
from random import Random

from catp.planlang.money import Money
from catp.planlang.nodes import (
    NOTE_NAMES,
    OPERATORS,
    Arg,
    Attempt,
    Duration,
    Input,
    Limits,
    ListValue,
    Literal,
    Note,
    NoteArg,
    ObjectValue,
    Output,
    OwnTest,
    Plan,
    Ref,
    Scalar,
    Step,
    StepName,
    Template,
    Test,
    ToolName,
    Usd,
    Value,
)
from catp.planlang.types import Type

__all__ = ["mutate", "random_plan", "random_scalar", "random_text", "random_value"]

_WORDS = (
    "a", "b", "page", "photo", "text", "lang", "answer", "found", "cost", "calls", "latency", "_", "_x", "t", "off",
    "aB", "x1", "report", "list", "iffy", "planet", "inn", "each_", "outer",
)  # fmt: skip
_FIELDS = (*_WORDS, "in", "out", "if", "and", "each", "true", "null", "plan", "Text", "ID", "URL")
_TYPES = ("text", "image", "int", "number", "bool", "json", "null", "any", "Reading", "Faces", "money")
_TEXTS = (
    "", " ", "plain", 'quo"te', "back\\slash", "new\nline", "tab\t", "\r\n", "\x00", "\x1f\x7f\x85", "\u2028\u2029",
    "{", "}", "{{}}", "{a}", "$0.02", "# no comment", "\u202eevil\u202c", "\u200b\ufeff", "naïve Ünïcödé", "日本語",
    "👩‍👩‍👧", "\U0010ffff", "\\u0041", "t\"", "'", "/", "\b\f",
)  # fmt: skip
_NUMBERS: tuple[int | float, ...] = (
    0, 1, -1, 7, 200, -(2**63), 2**64, 10**40, 0.0, 0.5, -2.25, 1e-7, 1e16, 1.7976931348623157e308, 5e-324, 0.1, 3.0,
)  # fmt: skip
_UNITS = (1, 1_000, 1_000_000, 500_000_000, 1_000_000_000, 60_000_000_000, 3_600_000_000_000)


def random_text(rng: Random) -> str:
    """Return a text of up to a few awkward pieces; never a lone surrogate, which no plan can hold."""
    return "".join(rng.choices(_TEXTS, k=rng.choice((1, 1, 1, 2, 3))))


def random_scalar(rng: Random) -> Scalar:
    """Return a constant of any of the seven kinds."""
    match rng.randrange(7):
        case 0:
            return rng.choice(_NUMBERS)
        case 1:
            return rng.choice((True, False, None))
        case 2:
            return Usd(Money(rng.choice((0, 1, 8_400, 20_000_000, 10**9, 10**18, rng.randrange(10**12)))))
        case 3:
            return Duration(rng.choice(_UNITS) * rng.choice((0, 1, 2, 3, 90, 2_500, rng.randrange(10**6))))
        case 4:
            return rng.uniform(-1e3, 1e3)
        case 5:
            return rng.randrange(-1_000, 1_000)
        case _:
            return random_text(rng)


def random_value(rng: Random, roots: Sequence[str], depth: int = 2) -> Value:
    """Return a value that refers only to `roots`; lists and objects nest at most `depth` deep."""
    kind = rng.randrange(10 if depth else 7)
    if kind < 3 and roots:
        return _ref(rng, roots, optional=rng.random() < 0.2)
    if kind < 6:
        return Literal(random_scalar(rng))
    if kind == 6:
        return _template(rng, roots)
    if kind < 9:
        return ListValue(tuple(random_value(rng, roots, depth - 1) for _ in range(rng.randrange(4))))
    keys = dict.fromkeys(rng.choice((rng.choice(_FIELDS), random_text(rng))) for _ in range(rng.randrange(4)))
    return ObjectValue(tuple((key, random_value(rng, roots, depth - 1)) for key in keys))


def random_plan(rng: Random, *, max_steps: int = 6) -> Plan:
    """Return a well-formed plan of up to `max_steps` steps, most often with inputs, limits and outputs."""
    inputs = tuple(
        Input(name, _type(rng), _constant(rng, 2) if rng.random() < 0.4 else None)
        for name in _names(rng, "in", rng.randrange(4))
    )
    roots = [i.name for i in inputs]
    steps = []
    for name in _names(rng, "step", rng.randrange(max_steps + 1)):
        steps.append(_step(rng, name, roots))
        roots.append(name)
    named = rng.random() < 0.7
    return Plan(
        steps=tuple(steps),
        outputs=tuple(_output(rng, roots) for _ in range(rng.randrange(4))) if roots else (),
        inputs=inputs,
        limits=_limits(rng),
        name=rng.choice(_WORDS) if named else None,
        doc=random_text(rng) if named and rng.random() < 0.4 else None,
        approve=rng.random() < 0.2,
    )


def _constant(rng: Random, depth: int) -> Value:
    if depth == 0 or rng.random() < 0.6:
        return Literal(random_scalar(rng))
    if rng.random() < 0.5:
        return ListValue(tuple(_constant(rng, depth - 1) for _ in range(rng.randrange(4))))
    keys = dict.fromkeys(rng.choices(_FIELDS, k=rng.randrange(4)))
    return ObjectValue(tuple((key, _constant(rng, depth - 1)) for key in keys))


def _names(rng: Random, stem: str, count: int) -> list[str]:
    return [f"{rng.choice(_WORDS)}_{stem}{k}" for k in range(count)]


def _type(rng: Random) -> Type:
    inner = Type(rng.choice(_TYPES), None, rng.random() < 0.2)
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        inner = Type("list", inner, rng.random() < 0.2)
    return inner


def _ref(rng: Random, roots: Sequence[str], *, optional: bool = False) -> Ref:
    path = tuple(rng.choice((rng.choice(_FIELDS), rng.randrange(20))) for _ in range(rng.choice((0, 0, 1, 1, 2, 3))))
    return Ref(rng.choice(roots), path, optional)


def _template(rng: Random, roots: Sequence[str]) -> Template:
    parts: list[str | Ref] = []
    for _ in range(rng.randrange(5)):
        if roots and rng.random() < 0.5:
            parts.append(_ref(rng, roots))
        elif (text := random_text(rng)) and not (parts and isinstance(parts[-1], str)):
            parts.append(text)
    return Template(tuple(parts))


def _attempt(rng: Random, roots: Sequence[str]) -> Attempt:
    tool = ".".join([rng.choice(_WORDS), *rng.choices(_FIELDS, k=rng.choice((0, 0, 0, 1, 2)))])
    args = tuple(
        Arg(random_value(rng, roots), rng.choice(_FIELDS) if rng.random() < 0.5 else None, rng.random() < 0.15)
        for _ in range(rng.randrange(5))
    )
    accept = tuple(
        OwnTest(tuple(rng.choices(_FIELDS, k=rng.randrange(3))), rng.choice(OPERATORS), Literal(random_scalar(rng)))
        for _ in range(rng.choice((0, 0, 0, 1, 2)))
    )
    return Attempt(ToolName(tool), args, accept)


def _note(rng: Random, roots: Sequence[str]) -> Note:
    args = tuple(
        NoteArg(random_value(rng, roots, 1), rng.choice(_FIELDS) if rng.random() < 0.4 else None)
        for _ in range(rng.randrange(3))
    )
    return Note(rng.choice(NOTE_NAMES), args)


def _step(rng: Random, name: str, roots: Sequence[str]) -> Step:
    tests = rng.choice((0, 0, 0, 1, 2)) if roots else 0
    when = tuple(Test(_ref(rng, roots), rng.choice(OPERATORS), Literal(random_scalar(rng))) for _ in range(tests))
    return Step(
        name=StepName(name),
        attempts=tuple(_attempt(rng, roots) for _ in range(rng.choice((1, 1, 1, 2, 3)))),
        when=when,
        otherwise=_ref(rng, roots) if when and rng.random() < 0.5 else None,
        notes=tuple(_note(rng, roots) for _ in range(rng.choice((0, 0, 1, 2)))),
    )


def _output(rng: Random, roots: Sequence[str]) -> Output:
    ref = _ref(rng, roots)
    name = Output.default_name(ref) if rng.random() < 0.5 else rng.choice(_FIELDS)
    return Output(name, ref, rng.random() < 0.3)


def _limits(rng: Random) -> Limits:
    return Limits(
        cost=Usd(Money(rng.randrange(10**10))) if rng.random() < 0.4 else None,
        latency=Duration(rng.randrange(10**11)) if rng.random() < 0.4 else None,
        calls=rng.randrange(1, 500) if rng.random() < 0.3 else None,
    )


_PIECES = (
    *"()[]{},:=|@.?<>\"'#\\\n\t $t", "\r\n", "plan ", "in ", "limit ", "out ", "if ", "and ", "when ", "else ", "each ",
    "true", "null", "==", "!=", ">=", "0", "1", "-1", "007", "0.5", "1e5", "1e999", "$0.02", "$1.0000000001", "300ms",
    "2.5s", "1m", "t\"{a}\"", "t\"{{\"", "{a.b[0]}", "\"de\"", "\\n", "\\u00e4", "\\ud800", "cost", "latency", "calls",
    "a", "Reading", "@retry(2)", "@timeout(3s)", "each=", "in=", "out: ", " and .x > 1", "\x00", "\u202e", "\u2028",
    "é", "🙂", "\ufeff", "\ud800", ";", "+", "-", "\n| f(a)", "\n@approve", "\n# note\n",
)  # fmt: skip


def mutate(text: str, rng: Random, other: str = "") -> str:
    """Return `text` after one to three small changes: pieces put in, left out, doubled, moved, or taken from `other`.

    Most results are broken plans, close enough to sound ones to reach deep into a parser.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(text) + 1)
        end = min(len(text), at + rng.choice((1, 1, 1, 2, 4, 12)))
        match rng.randrange(7):
            case 0:
                text = text[:at] + text[end:]
            case 1 | 2:
                text = text[:at] + rng.choice(_PIECES) + text[at:]
            case 3:
                text = text[:at] + rng.choice(_PIECES) + text[end:]
            case 4:
                text = text[:end] + text[at:]
            case 5:
                to = rng.randrange(len(text) + 1)
                text = text[:to] + text[at:end] + text[to:]
            case _:
                start = rng.randrange(len(other) + 1)
                text = text[:at] + other[start : start + rng.choice((1, 5, 20, 80))] + text[at:]
    return text
