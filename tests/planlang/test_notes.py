"""The typed policy of a step, and what is refused before it could be read."""

import math

import pytest

from catp.planlang.errors import PlanError
from catp.planlang.money import Money
from catp.planlang.nodes import NOTE_NAMES, Literal, Note, NoteArg, Ref, Step, StepName, Template
from catp.planlang.notes import MAX_RETRIES, NOTE_PARAMS, StepPolicy, note_problems, step_policy
from catp.planlang.parser import parse


def step(notes: str) -> Step:
    return parse(f"a = f()\nb = f()\nc = f() {notes}\nout c\n").step("c")


@pytest.mark.parametrize(
    ("notes", "policy"),
    [
        ("", StepPolicy()),
        ("@retry(0)", StepPolicy(retries=0)),
        ("@retry(2)", StepPolicy(retries=2)),
        ("@retry(backoff=500ms, n=2)", StepPolicy(retries=2, backoff_ms=500.0)),
        ('@retry(1, 1s, ["timeout", "ValueError"])', StepPolicy(1, 1000.0, ("timeout", "ValueError"))),
        ('@retry(1, on="timeout")', StepPolicy(retries=1, retry_on=("timeout",))),
        ("@retry(1, backoff=0s)", StepPolicy(retries=1, backoff_ms=0.0)),
        ("@timeout(1.5s)", StepPolicy(timeout_s=1.5)),
        ("@budget($0.02)", StepPolicy(budget=Money(20_000_000))),
        ("@cache", StepPolicy(cache_ttl=math.inf)),
        ("@cache(10m)", StepPolicy(cache_ttl=600.0)),
        ("@cache(off)", StepPolicy(cache_ttl=0.0)),
        ('@cache("off")', StepPolicy(cache_ttl=0.0)),
        ("@approve", StepPolicy(approve=True)),
        ("@hedge(0s)", StepPolicy(hedge_s=0.0)),
        ("@hedge(2.5s)", StepPolicy(hedge_s=2.5)),
        ("@quorum(1)", StepPolicy(quorum=1.0)),
        ("@quorum(0.8)", StepPolicy(quorum=0.8)),
        ('@key("k")', StepPolicy(key=Literal("k"))),
        ('@key(t"k-{a}")', StepPolicy(key=Template(("k-", Ref("a"))))),
        ("@after(b, a, b)", StepPolicy(after=("b", "a"))),
        ('@pin("gpu")', StepPolicy(pin="gpu")),
        ("@priority(-3)", StepPolicy(priority=-3)),
        ("@priority(1) @approve @timeout(2m)", StepPolicy(timeout_s=120.0, approve=True, priority=1)),
    ],
)
def test_a_checked_step_reads_as_a_policy(notes: str, policy: StepPolicy) -> None:
    assert step_policy(step(notes)) == policy


@pytest.mark.parametrize(
    "notes",
    [
        "@retry", "@retry(-1)", f"@retry({MAX_RETRIES + 1})", "@retry(true)", "@retry(1, backoff=3)",
        "@retry(1, on=[])",
        '@retry(1, on=["a", 1])', "@timeout(3)", "@timeout(0s)", "@budget($0)", "@budget(1)", "@cache(3)",
        "@cache(on)", "@cache(0s)", "@approve(true)", "@hedge(1)", "@quorum(0)", "@quorum(1.1)", "@quorum(true)",
        "@key", "@after", "@after(a.b)", "@after(a?)", '@after("a")', "@after(step=a)", "@pin", '@pin("")', "@pin(gpu)",
        "@priority(1.0)", "@priority(1, 2)", "@timeout(1s, d=2s)", "@timeout(seconds=1s)",
    ],
)  # fmt: skip
def test_malformed_annotations_are_refused_with_the_note_named(notes: str) -> None:
    with pytest.raises(PlanError) as caught:
        step_policy(step(notes))
    assert {d.code for d in caught.value.diagnostics} == {"E111"}
    assert notes.split("(")[0] in str(caught.value)


def test_an_unknown_annotation_names_the_nearest_one() -> None:
    found = note_problems(Note("timout"))
    assert [(d.code, d.help) for d in found] == [("E110", "did you mean `timeout`?")]


def test_a_policy_of_an_unknown_annotation_is_an_error() -> None:
    with pytest.raises(PlanError):
        step_policy(Step(StepName("a"), (), notes=(Note("zz", (NoteArg(Literal(1)),)),)))


def test_every_annotation_has_parameters_described() -> None:
    assert tuple(NOTE_PARAMS) == NOTE_NAMES
