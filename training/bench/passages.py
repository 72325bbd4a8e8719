"""Texts with known answers, put together from clauses, names, numbers and dates.

Every truth holds by construction: entities and answers come from the slots that were filled, the mood from the clause
that was chosen, the summary from the main point and the outcome. A passage is a function of its kind, seed and
language alone. The clauses and words are data: `datasets/catp-bench/texts/*.json`.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from catp.training.bench.passages_slots import Slots, bank, pick

__all__ = ["BRIEF", "CALL", "KINDS", "LANGUAGES", "PRINTED", "Passage", "passage"]

KINDS: Final = ("brief", "report", "review", "call", "foreign")
LANGUAGES: Final = ("en", "de", "fr", "es", "it", "nl", "pt", "sv", "da", "pl", "tr", "ru", "el", "ja")
PRINTED: Final = ("en", "de", "fr", "es", "it", "nl", "pt", "sv", "pl")
"""Languages of a `brief`: letters that an English reader of pages can make out."""
BRIEF: Final = (70, 170)
"""Characters of a `brief`, at least and at most."""
CALL: Final = (8, 40)
"""Characters of a `call`; a few Japanese greetings are shorter than any other language's, so 5 is let pass there."""

_MOODS = ("positive", "negative", "neutral")
_NAMES = ("person", "place", "organisation")
"""What is named in the main point and is one of these, is also one of the key phrases."""
_Sentence = list[str]
"""What is said, a question in its words, a question in other words, and what the kind of sentence adds."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A text and what is known of it; None where nothing is."""

    kind: str
    seed: int
    text: str
    language: str
    sentiment: str | None = None
    entities: tuple[tuple[str, str], ...] | None = None
    phrases: tuple[str, ...] | None = None
    summary: str | None = None
    questions: tuple[tuple[str, str], ...] = ()


def passage(kind: str, seed: int, language: str = "en") -> Passage:
    """Return the passage of this kind, seed and language: the same one every time.

    Args:
        kind: `brief` (2-3 sentences to print), `report` (5-8 sentences), `review` (1-4 sentences that have a mood),
            `call` (a greeting or a short question) or `foreign` (1-4 sentences of everyday life).
        seed: any natural number.
        language: ISO 639-1 code; one of `PRINTED` for a `brief`, one of `LANGUAGES` for `call` and `foreign`.

    Raises:
        ValueError: no such kind, or it is not written in that language.
    """
    if kind not in KINDS:
        raise ValueError(f"no passages of kind {kind!r}; there are: {', '.join(KINDS)}")
    written = {"brief": PRINTED, "report": ("en",), "review": ("en",)}.get(kind, LANGUAGES)
    if language not in written:
        raise ValueError(f"passages of kind {kind!r} are not written in {language!r}; take one of {', '.join(written)}")
    random = np.random.default_rng([seed, zlib.crc32(f"{kind}/{language}".encode())])
    if kind == "brief" and language != "en":
        return _within(BRIEF, lambda: _everyday(kind, seed, language, random, (2, 3, 3)))
    makers: Mapping[str, Callable[[], Passage]] = {
        "brief": lambda: _within(BRIEF, lambda: _brief(seed, random)),
        "report": lambda: _report(seed, random),
        "review": lambda: _review(seed, random),
        "call": lambda: _within(CALL if language != "ja" else (5, CALL[1]), lambda: _call(seed, language, random)),
        "foreign": lambda: _everyday(kind, seed, language, random, (1, *3 * (2, 3, 4))),
    }
    return makers[kind]()


def _within(bounds: tuple[int, int], make: Callable[[], Passage]) -> Passage:
    """The first passage whose length is within `bounds`; about every second is, so this ends soon."""
    while not bounds[0] <= len((found := make()).text) <= bounds[1]:
        pass
    return found


def _brief(seed: int, random: np.random.Generator) -> Passage:
    family = _one(random, bank("brief"))
    fact, mood = _one(random, family["facts"]), pick(random, _MOODS)
    slots = Slots(random, family["lists"])
    tone = _one(random, family["tone"][mood])
    told = [*fact["say"], tone]
    if mood != "neutral" and random.random() < 0.35:
        told.insert(1, _one(random, family["tone"]["neutral"]))
    asked = [fact["say"][0], tone]
    return _known("brief", seed, random, slots, told, asked, mood, fact["phrases"], fact["summary"], tone[3])


def _report(seed: int, random: np.random.Generator) -> Passage:
    """The main point comes first, or after a sentence of atmosphere: then the first sentence is a poor summary."""
    scene, mood = _one(random, bank("report")), pick(random, _MOODS)
    slots = Slots(random, scene["lists"])
    main, tone = _one(random, scene["main"]), _one(random, scene["tone"][mood])
    kept = sorted(random.choice(len(scene["body"]), size=int(random.integers(3, 6)), replace=False).tolist())
    body = [scene["body"][place] for place in kept]
    told = [main, *body, tone]
    if random.random() < 0.5:
        told.insert(0, [pick(random, scene["open"])])
    phrases = [*scene["phrases"], *(sentence[3] for sentence in body[:3] if len(sentence) > 3)]
    return _known("report", seed, random, slots, told, [main, *body, tone], mood, phrases, scene["summary"], tone[3])


def _known(
    kind: str, seed: int, random: np.random.Generator, slots: Slots, told: Sequence[_Sentence],
    asked: Sequence[_Sentence], mood: str, phrases: Sequence[str], summaries: Sequence[str], verdict: str,
) -> Passage:  # fmt: skip
    """Fill the slots; questions are in the text's words and in other words by turns."""
    text = " ".join(slots.fill(sentence[0]) for sentence in told)
    first = int(random.integers(2))
    questions = tuple(
        (slots.fill(sentence[1 + (first + place) % 2]), slots.fill(sentence[0])) for place, sentence in enumerate(asked)
    )
    summary = slots.fill(pick(random, summaries).replace("{verdict}", verdict))
    entities = tuple(pair for sentence in told for pair in slots.named(sentence[0]))
    names = [item.lower() for item, label in slots.named(asked[0][0]) if label in _NAMES]
    named = tuple(dict.fromkeys([*(slots.inline(phrase) for phrase in phrases), *names]))
    return Passage(kind, seed, text, "en", mood, entities, named, summary, questions)


def _review(seed: int, random: np.random.Generator) -> Passage:
    """One or two clauses with the mood, between clauses without any."""
    words = bank("review")
    domain, mood = _one(random, words["domains"]), pick(random, _MOODS)
    slots = Slots(random, {**domain["lists"], "kin": words["kin"], "nth": words["nth"]})
    before, plain = domain["context"], domain["neutral"]
    told = [pick(random, before)] if random.random() < 0.7 else []
    core = domain[mood]
    told += [core[place] for place in random.choice(len(core), size=1 + int(random.random() < 0.5), replace=False)]
    if len(told) < 2 or random.random() < 0.4:
        told.append(pick(random, [clause for clause in plain if clause not in told]))
    return Passage("review", seed, " ".join(slots.fill(clause) for clause in told), "en", mood)


def _call(seed: int, language: str, random: np.random.Generator) -> Passage:
    words = bank("languages")[language]
    slots = Slots(random, words["lists"])
    greeting, question = pick(random, words["greet"]), pick(random, words["ask"])
    way = random.random()
    if way < 0.2:
        text = slots.fill(greeting) + ("。" if language == "ja" else "!")
    elif way < 0.5:
        text = _capital(question)
    else:
        text = slots.fill(greeting) + ("、" if language == "ja" else ", ") + question
    return Passage("call", seed, text, language)


def _everyday(kind: str, seed: int, language: str, random: np.random.Generator, counts: Sequence[int]) -> Passage:
    """Sentences of everyday life; on a printed page as often notices, which have few of a language's small words."""
    words = bank("languages")[language]
    stop, gap = ("。", "") if language == "ja" else (".", " ")
    count = int(random.choice(counts))
    simple = random.permutation(words["alone"])[:count]
    heads, tails = random.permutation(words["head"])[:count], random.permutation(words["tail"])[:count]
    joined = [str(head) + gap + str(tail) + stop for head, tail in zip(heads, tails, strict=True)]
    told = [str(simple[place]) if random.random() < 0.4 else joined[place] for place in range(count)]
    if kind == "brief" and random.random() < 0.6:
        told = [str(note) for note in random.permutation(words["note"])[:count]]
    elif count > 1 and random.random() < 0.4:
        told[0] = _capital(pick(random, words["ask"]))
    return Passage(kind, seed, gap.join(Slots(random, words["lists"]).fill(template) for template in told), language)


def _capital(question: str) -> str:
    """The question with its first letter, which may follow an inverted mark, made a capital."""
    place = 1 if question[0] == "¿" else 0
    return question[:place] + question[place].upper() + question[place + 1 :]


def _one(random: np.random.Generator, values: Sequence[Any]) -> Any:
    return values[int(random.integers(len(values)))]
