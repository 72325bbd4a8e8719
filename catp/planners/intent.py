"""A light reader of requests: from English to wanted results, by a table of patterns and the catalogue's own words.

"clean up this scan, read it, and tell me its language; don't summarise"
 └ clean: image  └ text: text by ocr    └ language: Language    └ not wanted

It understands what its table (`catp.planners.intent_rules`) and the names, types and capabilities of the catalogue say,
and nothing else. What it did not understand it says, rather than guess; a learned planner can replace it.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from catp.planlang.registry_view import RegistryView, ToolSig, ValueFacts
from catp.planlang.types import BUILTIN_TYPES, Type, list_of
from catp.planners.intent_numbers import Number, find_numbers, parameter_for
from catp.planners.intent_rules import FILLER, LANGUAGES, RULES, IntentRule
from catp.planners.protocol import PlanningFailed, Wanted

__all__ = ["Intent", "IntentError", "Understood", "read_intent"]

_NEGATION = re.compile(
    r"\b(?:don'?t|do not|does not|doesn'?t|without|no|not|never|skip|except|instead of|rather than|no need to)\b"
)
_CLAUSE = re.compile(r"[.,;:!?\n]|\b(?:and|but|then|also|plus)\b")
_SENTENCE = re.compile(r"[^.;:!?\n]+\??")
_AND_THEN = r"(?:[\s,]|\b(?:and|then|also|plus|next|finally|it|them|the|this|that|these|old{names})\b)*"
"""What may stand between two edits of one image: "sharpen *this photo and then* enlarge"."""
_BUILTIN = {definition.name for definition in BUILTIN_TYPES}
_FILLER = frozenset(FILLER.split())


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


@dataclass(frozen=True, slots=True)
class _Match:
    start: int
    end: int
    rule: IntentRule
    to: str | None = None


class _Reader:
    def __init__(
        self, task: str, inputs: Mapping[str, ValueFacts], registry: RegistryView, rules: Sequence[IntentRule]
    ) -> None:
        self.task, self.inputs, self.registry = task, inputs, registry
        self.quoted = [m.group(1) or m.group(2) for m in re.finditer(r"\"([^\"]+)\"|“([^”]+)”", task)]
        # same length as the task, so that spans fit both; quoted words are data, not requests
        blank = re.sub(r"\"[^\"]+\"|“[^”]+”", lambda m: " " * len(m.group()), task)
        self.text = "".join(c.lower() if len(c.lower()) == 1 else c for c in blank).replace("’", "'")
        self.rules = [*rules, *_rules_of(registry, rules)]
        self.negations = [m.start() for m in _NEGATION.finditer(self.text)]
        self.clauses = [m.end() for m in _CLAUSE.finditer(self.text)]
        self.notes: list[str] = []
        self.missing: list[str] = []
        self.fixed: dict[int, list[tuple[str, int | float]]] = {}
        self.before: dict[int, tuple[tuple[str, ...], ...]] = {}

    def read(self) -> Intent:
        matches = self.matches()
        understood = [Understood(m.start, m.end, m.rule.says or m.rule.name, self.negated(m.start)) for m in matches]
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
        ignored = self.ignored(understood)
        if not wanted:
            raise IntentError(self.failure(ignored, refused))
        notes = [f"not done: {reason}" for reason in self.missing]
        if ignored:
            notes.append(f"not understood and left out: {', '.join(ignored)}")
        notes += self.notes + self.ignored_numbers(understood)
        return Intent(tuple(wanted), tuple(sorted(understood, key=lambda u: u.start)), ignored, tuple(notes))

    # Matching

    def matches(self) -> list[_Match]:
        found = [
            _Match(m.start(), m.end(), rule, m.groupdict().get("to"))
            for rule in self.rules
            for m in re.finditer(rf"(?<![\w]){'(?:' + rule.pattern + ')'}(?![\w])", self.text)
        ]
        found.sort(key=lambda m: (m.start, -m.end))
        kept: list[_Match] = []
        for match in found:
            if not kept or match.start >= kept[-1].end:
                kept.append(match)
        return kept

    def negated(self, start: int) -> bool:
        """True if a negation stands before `start` in the same clause; `and`, `but` and commas end clauses."""
        clause = bisect_right(self.clauses, start)
        since = self.clauses[clause - 1] if clause else 0
        return bisect_right(self.negations, start - 1) > bisect_left(self.negations, since)

    def ignored(self, understood: Sequence[Understood]) -> tuple[str, ...]:
        covered = bytearray(len(self.text))
        for seen in understood:
            covered[seen.start : seen.end] = b"\1" * (seen.end - seen.start)
        for number in find_numbers(self.text):  # those that nothing takes have a note of their own
            covered[number.start : number.end] = b"\1" * (number.end - number.start)
        named = {word for name in self.inputs for word in (name, *name.split("_"))}
        words = [m.group() for m in re.finditer(r"[^\W\d_][\w'-]+", self.text) if not covered[m.start()]]
        return tuple(dict.fromkeys(w for w in words if w not in _FILLER and w not in named and w not in LANGUAGES))

    def read_numbers(self, asked: Sequence[_Match]) -> None:
        """Give each number to the request that it is about: the nearest whose tools have a parameter for it."""
        self.numbers = find_numbers(self.text)
        for number in list(self.numbers):
            for match in sorted(asked, key=lambda m: min(abs(m.start - number.end), abs(number.start - m.end))):
                tools = [sig for sig in self.registry if _offers(sig, match.rule)]
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

    def chained(self, asked: Sequence[_Match]) -> list[_Match]:
        """What is asked for, with edits of one image in a row ("sharpen and enlarge") as one: the last, after the rest.

        Edits in different sentences, or with another request in between, stay results of their own.
        """
        names = "".join(
            rf"|{re.escape(n.lower())}" for n in (*self.inputs, "image", "picture", "photo", "scan", "page")
        )
        between = re.compile(_AND_THEN.replace("{names}", names))
        found: list[_Match] = []
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

    def wanted(self, match: _Match) -> list[Wanted]:
        rule = match.rule
        if not self.can(rule):
            asked = " ".join(self.task[match.start : match.end].split())
            self.missing.append(f"{asked}: no tool here can; `catp tools list` says which would and what they need")
            return []
        if rule.type == "Answer":
            return self.answers()
        if rule.needs and not any(_holds(facts.type, rule.needs) for facts in self.inputs.values()):
            self.missing.append(f"cannot {rule.says or rule.name}: no input is {_article(rule.needs)}")
            return []
        arguments: tuple[tuple[str, str | int | float], ...] | None = ()
        if rule.name == "translation":
            arguments = self.target_language(match)
        if arguments is None:
            return []
        kind = rule.type if rule.needs or rule.type in _BUILTIN else ""
        arguments += tuple(self.fixed.get(match.start, ()))
        base = Wanted(
            rule.name, Type(rule.type), capability=rule.capability, arguments=arguments,
            through=self.before.get(match.start, ()),
        )  # fmt: skip
        return [
            replace(want, type=_like(want.type, self.inputs.get(source)))
            for want, source in self.placed(base, match, rule.needs or kind)
        ]

    def placed(self, want: Wanted, match: _Match, needs: str) -> list[tuple[Wanted, str]]:
        """Say which input a result is to come from, once per input where several would do."""
        main = {n: f for n, f in self.inputs.items() if not self.side(n)} or dict(self.inputs)
        fitting = [n for n, f in main.items() if not needs or _holds(f.type, needs)] or list(main)
        if len(main) <= 1 or len(fitting) == 0:
            return [(want, next(iter(main), ""))]
        named = [n for n in fitting if self.mentions(n, match)]
        if not named and self.reads_image() and not needs:
            named = [n for n in fitting if _holds(main[n].type, "image")]
        chosen = named or fitting
        if len(chosen) == 1:
            return [(replace(want, source=chosen[0]), chosen[0])]
        note = f"the request does not say which of {', '.join(chosen)} it is about: all of them"
        if not named and note not in self.notes:
            self.notes.append(note)
        return [(replace(want, name=f"{name}_{want.name}", source=name), name) for name in chosen]

    def mentions(self, name: str, match: _Match) -> bool:
        """True if the sentence of `match` names the input, or nothing but this input is named anywhere."""
        start = max((m.end() for m in re.finditer(r"[.;!?\n]", self.text[: match.start])), default=0)
        stop = re.search(r"[.;!?\n]", self.text[match.end :])
        sentence = self.text[start : match.end + stop.start() if stop else len(self.text)]
        return any(re.search(rf"\b{re.escape(w)}\b", sentence) for w in {name.lower(), name.lower().replace("_", " ")})

    def reads_image(self) -> bool:
        return any(m.rule.capability == ("ocr",) for m in self.matches())

    def side(self, name: str) -> bool:
        """True if an input is named like a side parameter (`question`) of some tool."""
        return any(
            p.name == name and p.name != p.type.name and (not p.required or sum(q.required for q in sig.params) > 1)
            for sig in self.registry
            for p in sig.params
        )

    def can(self, rule: IntentRule) -> bool:
        return any(_offers(sig, rule) for sig in self.registry)

    def target_language(self, match: _Match) -> tuple[tuple[str, str], ...] | None:
        if match.to is None or match.to in ("another", "other", "different", "a", "some"):
            return ()
        code = LANGUAGES.get(match.to)
        if code is None:
            self.missing.append(f"cannot translate: {match.to!r} is no language known here")
            return None
        offered: set[str] = set()
        for sig in self.registry:
            if _offers(sig, match.rule):
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
        if any(self.side(name) and name in ("question", "query") for name in self.inputs):
            return [self.answer(None)]
        asked = self.quoted or [m.group().strip() for m in _SENTENCE.finditer(self.task) if m.group().endswith("?")]
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
                if _offers(sig, rule)
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


def _rules_of(registry: RegistryView, rules: Sequence[IntentRule]) -> list[IntentRule]:
    """Rules from the catalogue's own words, for results that the table does not cover.

    Each pair of capability and result type becomes a rule that answers to the capability's words and the type's name.
    """
    covered_types = {rule.type for rule in rules if rule.type not in _BUILTIN}
    covered = {capability for rule in rules for capability in rule.capability}
    found: dict[tuple[str, str], IntentRule] = {}
    for sig in registry:
        type_ = sig.returns.name
        if sig.effects == "write" or type_ in covered_types or sig.capability in covered or type_ == "list":
            continue
        spoken = sig.capability or sig.name.rpartition(".")[2]
        phrases = {_spoken(spoken)} | ({_spoken(type_)} if type_ not in _BUILTIN else set())
        pattern = "|".join(_inflected(phrase) for phrase in sorted(phrases, key=lambda p: (-len(p), p)))
        name = re.sub(r"\W", "_", spoken)
        if (name, type_) not in found:
            capability = (sig.capability,) if sig.capability else ()
            found[name, type_] = IntentRule(name, pattern, type_, capability, "", _spoken(spoken))
    return list(found.values())


def _spoken(name: str) -> str:
    """`KeyPhrases`, `key_phrases` -> "key phrases"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_.]+", " ", name).lower().strip()


def _inflected(phrase: str) -> str:
    """A pattern for a phrase and the endings of its last word: forecast, forecasts, forecasting."""
    words = [re.escape(word) for word in phrase.split()]
    last = words[-1]
    stem = last[:-1] if last.endswith(("e", "y")) and len(last) > 3 else last
    words[-1] = rf"{stem}(?:e|y|s|es|ed|ing|ies|ied|ation|r|er)?" if len(stem) > 2 else last
    return r"[ _-]".join(words)


def _offers(sig: ToolSig, rule: IntentRule) -> bool:
    """True if the tool's result is, or carries, what the rule asks for: reading a page gives a record with its text."""
    return sig.capability in rule.capability if rule.capability else sig.returns.name == rule.type


def _holds(type_: Type, name: str) -> bool:
    return type_.name == name or (type_.item is not None and type_.item.name == name)


def _like(type_: Type, facts: ValueFacts | None) -> Type:
    """Results of a list of inputs come as a list."""
    return list_of(type_) if facts is not None and facts.type.name == "list" else type_


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
