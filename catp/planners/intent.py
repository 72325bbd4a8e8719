"""A light reader of requests: from English to wanted results, by a table of patterns and the catalogue's own words.

"clean up this scan, read it, and tell me its language; don't summarise"
 └ clean: image  └ text: text by ocr    └ language: Language    └ not wanted

It understands what its table (`catp.planners.intent_rules`) and the names, types and capabilities of the catalogue say,
and nothing else. What it did not understand it says, rather than guess; a learned planner can replace it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from catp.planlang.registry_view import RegistryView, ValueFacts
from catp.planlang.types import Type, list_of
from catp.planners.intent_catalogue import BUILTIN, offers, rules_of
from catp.planners.intent_inputs import InputChoice, holds
from catp.planners.intent_numbers import Number, find_numbers, parameter_for
from catp.planners.intent_rules import LANGUAGES, RULES, IntentRule
from catp.planners.intent_text import Match, RequestText
from catp.planners.protocol import PlanningFailed, Wanted

__all__ = ["Intent", "IntentError", "Understood", "read_intent"]

_SENTENCE = re.compile(r"[^.;:!?\n]+\??")
_AND_THEN = r"(?:[\s,]|\b(?:and|then|also|plus|next|finally|it|them|the|this|that|these|old{names})\b)*"
"""What may stand between two edits of one image: "sharpen *this photo and then* enlarge"."""


@dataclass(frozen=True, slots=True)
class Understood:
    """Words of the request (`task[start:end]`) and what they were taken to ask for; `negated` if not to be done."""

    start: int
    end: int
    meaning: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Intent:
    """What a request asks for, what it was read from, which words meant nothing to the reader, and remarks."""

    wanted: tuple[Wanted, ...]
    understood: tuple[Understood, ...]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class IntentError(PlanningFailed):
    """The request was not understood; the message says what would be."""


def read_intent(
    task: str,
    inputs: Mapping[str, ValueFacts],
    registry: RegistryView,
    *,
    rules: Sequence[IntentRule] = RULES,
) -> Intent:
    """Read which results a request asks for.

    Args:
        task: The request, in English.
        inputs: The inputs by name; their types and names help to read the request.
        registry: What can be done. Only results that some tool returns are wanted.
        rules: The table of patterns.

    Raises:
        IntentError: if nothing was understood, or nothing that was understood can be done here.
    """
    return _Reader(task, inputs, registry, rules).read()


class _Reader:
    def __init__(
        self, task: str, inputs: Mapping[str, ValueFacts], registry: RegistryView, rules: Sequence[IntentRule]
    ) -> None:
        self.task, self.inputs, self.registry = task, inputs, registry
        self.rules = [*rules, *rules_of(registry, rules)]
        self.words = RequestText(task, self.rules)
        self.text = self.words.text
        self.choice = InputChoice(inputs, registry, self.words)
        self.notes: list[str] = []
        self.missing: list[str] = []
        self.fixed: dict[int, list[tuple[str, int | float]]] = {}
        self.before: dict[int, tuple[tuple[str, ...], ...]] = {}

    def read(self) -> Intent:
        matches = self.words.matches()
        understood = [
            Understood(m.start, m.end, m.rule.says or m.rule.name, self.words.negated(m.start)) for m in matches
        ]
        asked = [m for m, seen in zip(matches, understood, strict=True) if not seen.negated]
        self.read_numbers(asked)
        wanted: list[Wanted] = []
        for match in self.chained(asked):
            for want in self.wanted(match):
                if all(want.name != other.name for other in wanted):
                    wanted.append(want)
        question = self.open_question(understood)
        if question is not None:
            start, end = question
            understood.append(Understood(start, end, "answer a question"))
            wanted.append(self.answer(self.task[start:end].strip()))
        refused = {u.meaning for u in understood if u.negated}
        ignored = self.words.ignored(((u.start, u.end) for u in understood), self.inputs)
        if not wanted:
            raise IntentError(self.failure(ignored, refused))
        notes = [f"not done: {reason}" for reason in self.missing]
        if ignored:
            notes.append(f"not understood and left out: {', '.join(ignored)}")
        notes += self.notes + self.choice.notes + self.ignored_numbers(understood)
        return Intent(tuple(wanted), tuple(sorted(understood, key=lambda u: u.start)), ignored, tuple(notes))

    # Numbers and edits

    def read_numbers(self, asked: Sequence[Match]) -> None:
        """Give each number to the request that it is about: the nearest whose tools have a parameter for it."""
        self.numbers = find_numbers(self.text)
        for number in list(self.numbers):
            for match in sorted(asked, key=lambda m: min(abs(m.start - number.end), abs(number.start - m.end))):
                tools = [sig for sig in self.registry if offers(sig, match.rule)]
                name = parameter_for(number, self.text, match.start, match.end, tools)
                if name is not None and all(name != other for other, _ in self.fixed.get(match.start, ())):
                    self.fixed.setdefault(match.start, []).append((name, number.value))
                    self.numbers.remove(number)
                    break

    def ignored_numbers(self, understood: Sequence[Understood]) -> list[str]:
        """A note for every number that no tool takes; numbers in questions and the number of inputs are no orders."""

        def idle(number: Number) -> bool:
            return any(u.start <= number.start < u.end for u in understood) or number.value == len(self.inputs)

        return [
            f"ignored: {' '.join(filter(None, (self.text[n.start : n.end], n.noun)))} (no tool here takes that)"
            for n in self.numbers
            if not idle(n)
        ]

    def chained(self, asked: Sequence[Match]) -> list[Match]:
        """What is asked for, with edits of one image in a row ("sharpen and enlarge") as one: the last, after the rest.

        Edits in different sentences, or with another request in between, stay results of their own.
        """
        names = "".join(
            rf"|{re.escape(n.lower())}" for n in (*self.inputs, "image", "picture", "photo", "scan", "page")
        )
        between = re.compile(_AND_THEN.replace("{names}", names))
        found: list[Match] = []
        for match in asked:
            last = found[-1] if found else None
            if (
                last is not None
                and self.edits(last.rule)
                and self.edits(match.rule)
                and last.rule.name != match.rule.name
                and between.fullmatch(self.text, last.end, match.start)
            ):
                steps = (*self.before.get(last.start, ()), last.rule.capability)
                self.before[match.start] = steps
                found[-1] = match
            else:
                found.append(match)
        says = {rule.capability: rule.says for rule in self.rules}
        for match in found:
            if match.start in self.before:
                chain = [says[step] for step in self.before[match.start]]
                self.notes.append(f"one image: {', then '.join([*chain, match.rule.says])}")
        return found

    def edits(self, rule: IntentRule) -> bool:
        return rule.type == "image" and rule.needs == "image" and bool(rule.capability) and self.can(rule)

    # Meaning

    def wanted(self, match: Match) -> list[Wanted]:
        rule = match.rule
        if not self.can(rule):
            asked = " ".join(self.task[match.start : match.end].split())
            self.missing.append(f"{asked}: no tool here can; `catp tools list` says which would and what they need")
            return []
        if rule.type == "Answer":
            return self.answers()
        if rule.needs and not any(holds(facts.type, rule.needs) for facts in self.inputs.values()):
            self.missing.append(f"cannot {rule.says or rule.name}: no input is {_article(rule.needs)}")
            return []
        arguments: tuple[tuple[str, str | int | float], ...] | None = ()
        if rule.name == "translation":
            arguments = self.target_language(match)
        if arguments is None:
            return []
        kind = rule.type if rule.needs or rule.type in BUILTIN else ""
        arguments += tuple(self.fixed.get(match.start, ()))
        base = Wanted(
            rule.name, Type(rule.type), capability=rule.capability, arguments=arguments,
            through=self.before.get(match.start, ()),
        )  # fmt: skip
        return [
            replace(want, type=_like(want.type, self.inputs.get(source)))
            for want, source in self.choice.place(base, match, rule.needs or kind)
        ]

    def can(self, rule: IntentRule) -> bool:
        return any(offers(sig, rule) for sig in self.registry)

    def target_language(self, match: Match) -> tuple[tuple[str, str], ...] | None:
        if match.to is None or match.to in ("another", "other", "different", "a", "some"):
            return ()
        code = LANGUAGES.get(match.to)
        if code is None:
            self.missing.append(f"cannot translate: {match.to!r} is no language known here")
            return None
        offered: set[str] = set()
        for sig in self.registry:
            if offers(sig, match.rule):
                for param in sig.params:
                    if param.name in ("target", "to", "language", "lang", "target_language"):
                        if not param.choices or code in param.choices:
                            return ((param.name, code),)
                        offered |= {str(choice) for choice in param.choices}
        known = ", ".join(sorted(offered)) or "none by name"
        self.missing.append(f"cannot translate to {match.to}: the tools here offer {known}")
        return None

    # Questions

    def answers(self) -> list[Wanted]:
        if any(self.choice.side(name) and name in ("question", "query") for name in self.inputs):
            return [self.answer(None)]
        asked = self.words.quoted or [
            m.group().strip() for m in _SENTENCE.finditer(self.task) if m.group().endswith("?")
        ]
        if asked:
            return [self.answer(asked[0])]
        self.missing.append("cannot answer: there is no question; give an input `question` or put it in quotes")
        return []

    def answer(self, question: str | None) -> Wanted:
        rule = next(r for r in self.rules if r.type == "Answer")
        name = next(
            (
                p.name
                for sig in self.registry
                if offers(sig, rule)
                for p in sig.params
                if p.name in ("question", "query")
            ),
            "question",
        )
        return Wanted("answer", Type("Answer"), arguments=() if question is None else ((name, question),))

    def open_question(self, understood: Sequence[Understood]) -> tuple[int, int] | None:
        """A sentence that ends with `?` and of which nothing else was understood, if questions can be answered."""
        if not any(sig.returns.name == "Answer" for sig in self.registry) or not any(
            r.type == "Answer" for r in self.rules
        ):
            return None
        for match in _SENTENCE.finditer(self.text):
            if not match.group().endswith("?"):
                continue
            words = re.findall(r"\w+", match.group())
            if len(words) > 2 and not any(u.start < match.end() and u.end > match.start() for u in understood):
                return match.start(), match.end()
        return None

    def failure(self, ignored: Sequence[str], refused: set[str]) -> str:
        can = sorted({rule.says or rule.name for rule in self.rules if self.can(rule)})
        offer = f"I can {', '.join(can)}" if can else "the catalogue offers nothing that can be asked for"
        if self.missing:
            return f"{'; '.join(self.missing)}. {offer}"
        if refused:
            return f"the request only says what not to do ({', '.join(sorted(refused))}). {offer}"
        about = f": {', '.join(ignored)}" if ignored else ""
        return f"the request was not understood{about}. {offer}, or name the results you want"


def _like(type_: Type, facts: ValueFacts | None) -> Type:
    """Results of a list of inputs come as a list."""
    return list_of(type_) if facts is not None and facts.type.name == "list" else type_


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
