"""Requests: grammatical scaffolding, held-out wordings, and the same request for the same seed."""

import hashlib
import importlib.resources
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.training.bench.phrasing import ASKS, PHRASED, Ask, Wording, held_out, phrase

SOURCES = ("page", "photo", "text", "people", "label", "pages", "texts", "labels", "page+other", "text+other",
           "page+text", "page+note")  # fmt: skip
SIDES: tuple[Wording, ...] = get_args(Wording)


def patterns(lang: str) -> dict[str, Any]:
    """The packaged patterns of one language, read apart from the module under test."""
    file = importlib.resources.files("catp") / "datasets" / "catp-bench" / "phrasing" / f"{lang}.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def lists(lang: str) -> Iterator[tuple[str, list[Any]]]:
    """Every list of patterns with its name; pronouns are a closed class and not among them."""
    for slot, found in patterns(lang).items():
        if slot in ("asks", "names"):
            for name, inner in found.items():
                for kind, strings in inner.items() if isinstance(inner, dict) else [("", inner)]:
                    yield f"{slot}.{name}.{kind}", strings
        elif slot != "them":
            yield slot, found


def sample(lang: str, seed: int, side: Wording, asks: Sequence[Ask] = ()) -> tuple[str, str]:
    """A request for one to five asks about one to three sources."""
    random = np.random.default_rng([seed, 3])
    if not asks:
        asks = [
            Ask(
                str(random.choice(ASKS)), str(random.choice(SOURCES)), bool(random.random() < 0.3),
                bool(random.random() < 0.3),
            )
            for _ in range(int(random.integers(1, 6)))
        ]  # fmt: skip
    return phrase(asks, lang, random, side)


def used(ids: str) -> Iterator[tuple[str, int]]:
    """The marks and places of a template id."""
    for part in ids.split("+"):
        match = re.fullmatch(r"[a-z]{2}\.(f|o|c|j|b|[a-z]+\.)(\d\d)", part)
        assert match, part
        yield match.group(1), int(match.group(2))


def test_every_slot_has_its_minimum_of_patterns() -> None:
    """Twenty of each in English, six of each elsewhere, no pattern twice, and each ask and source in all languages."""
    for lang in PHRASED:
        assert set(patterns(lang)["asks"]) == set(ASKS)
        assert set(patterns(lang)["names"]) == {source for source in SOURCES if source != "page+note"}
        for slot, found in lists(lang):
            least = 4 if slot == "breaks" else 20 if lang == "en" else 6
            assert len(found) >= (6 if slot == "breaks" and lang == "en" else least), (lang, slot)
            assert len({json.dumps(pattern) for pattern in found}) == len(found), (lang, slot)


def test_every_list_has_patterns_for_both_sides_and_about_a_quarter_held_out() -> None:
    """The held-out places are the same in every list."""
    for lang in PHRASED:
        for slot, found in lists(lang):
            kept = sum(held_out(place) for place in range(len(found)))
            assert 0.15 <= kept / len(found) <= 0.34, (lang, slot)


def test_patterns_have_the_slots_they_need() -> None:
    """A clause names what it is about, a frame holds the clauses once, an answer has its question."""
    for lang in PHRASED:
        found = patterns(lang)
        for frame in found["frames"]:
            assert frame.count("{do}") + frame.count("{steps}") == 1, frame
            assert frame[-1] in ".?", frame
        for marker in found["optional"]:
            assert marker.count("{do}") == 1, marker
        for ask, clauses in found["asks"].items():
            for clause in clauses:
                slots = re.findall(r"\{(\w+)\}", clause)
                assert set(slots) <= {"it", "dat", "gen", "question"}, clause
                assert set(slots) - {"question"}, clause
                assert ("question" in slots) == (ask == "answer"), clause
        for names in found["names"].values():
            assert not isinstance(names, dict) or len(names["each"]) == len(names["all"])
        shapes = {name.count("|") for slot, names in lists(lang) if slot.startswith("names") for name in names}
        assert shapes == ({2} if lang == "de" else {0})


@pytest.mark.parametrize("lang", PHRASED)
@pytest.mark.parametrize("side", SIDES)
def test_requests_are_complete_sentences(lang: str, side: Wording) -> None:
    """No braces, no case marks, no doubled blanks or marks; a capital first, an end mark last."""
    for seed in range(400):
        text, _ = sample(lang, seed, side)
        assert not re.search(r"[{}|]|  | [,.]|[,;:.]{2}|\?\?", text), text
        assert text.lstrip("¡¿(")[0].isupper(), text
        assert text[-1] in ".!?", text
        for after in re.findall(r"[.!?] [¡¿(]*(\w)", text):
            assert after.isupper() or after.isdigit(), text


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(PHRASED), st.sampled_from(SIDES))
def test_sides_draw_from_their_own_places(seed: int, lang: str, side: Wording) -> None:
    """Every pattern that is noted lies on the side that was asked for."""
    _, ids = sample(lang, seed, side)
    assert all(held_out(place) == (side == "test") for _, place in used(ids)), ids


def test_held_out_strings_never_appear_on_the_train_side() -> None:
    """Also names, questions and closers, which template ids do not list: searched for in the texts themselves."""
    for lang in PHRASED:
        kept: list[str] = []
        free: list[str] = []
        for _, found in lists(lang):
            for place, pattern in enumerate(found):
                text = pattern if isinstance(pattern, str) else "|".join(pattern)
                (kept if held_out(place) else free).extend(re.findall(r"[^{}|]{16,}", text))
        unseen = [piece for piece in kept if not any(piece.strip() in other for other in free)]
        assert len(unseen) > 40
        for seed in range(300):
            text, _ = sample(lang, seed, "train")
            assert not [piece for piece in unseen if piece in text], (lang, text)


def test_ids_name_the_asks_in_order_and_reach_every_pattern() -> None:
    """With enough draws every clause pattern of both sides is used."""
    seen = set()
    for seed in range(300):
        for side in SIDES:
            _, ids = sample("en", seed, side, [Ask("language", "page"), Ask("codes", "label")])
            marks = [mark for mark, _ in used(ids)]
            assert marks[0] == "f"
            assert [mark for mark in marks if mark[-1] == "."] == ["language.", "codes."]
            seen |= {place for mark, place in used(ids) if mark == "language."}
    assert seen == set(range(len(patterns("en")["asks"]["language"])))


def test_marks_of_number_and_option() -> None:
    """Every element of a list is asked about one by one, a tally about all; only optional asks have a marker."""
    names = patterns("en")["names"]["texts"]
    for seed in range(80):
        each, ids = sample("en", seed, "train", [Ask("language", "texts", many=True)])
        assert any(name in each for name in names["each"])
        assert "optional" not in ids
        whole, _ = sample("en", seed, "train", [Ask("tally", "texts", many=True)])
        assert any(name in whole for name in names["all"])
        _, ids = sample("en", seed, "train", [Ask("text", "page"), Ask("summary", "page", optional=True)])
        assert ids.count("optional") == 1
        pair, _ = sample("en", seed, "train", [Ask("match", "page")])
        assert any(name in pair for name in patterns("en")["names"]["page+other"])
        paper, _ = sample("en", seed, "train", [Ask("answer", "page+note")])
        assert any(question in paper for question in patterns("en")["note"])


def test_the_same_state_gives_the_same_request() -> None:
    """The wording is part of the benchmark: this digest changes only when the patterns are meant to."""
    texts = "\n".join("\t".join(sample(lang, seed, side)) for lang in PHRASED for side in SIDES for seed in range(20))
    again = "\n".join("\t".join(sample(lang, seed, side)) for lang in PHRASED for side in SIDES for seed in range(20))
    assert texts == again
    assert hashlib.sha256(texts.encode()).hexdigest()[:16] == "c99db3f716252ede"


@pytest.mark.parametrize(
    ("asks", "lang", "words"),
    [
        ((), "en", "at least one"),
        ((Ask("text", "page"),), "nl", "'nl'"),
        ((Ask("dance", "page"),), "en", "'dance'"),
        ((Ask("text", "cellar"),), "en", "'cellar'"),
    ],
)
def test_what_cannot_be_phrased_is_refused(asks: Sequence[Ask], lang: str, words: str) -> None:
    """The error names what is unknown."""
    with pytest.raises(ValueError, match=words):
        phrase(asks, lang, np.random.default_rng(0), "train")
