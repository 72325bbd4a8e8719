"""Tools that join values: what each returns, that voting pays, and that plans over them run on real workers."""

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catp.planlang.compile import compile_plan
from catp.planlang.parser import parse
from catp.runtime.ledger import Ledger
from catp.runtime.run import RunOutcome, execute
from catp.tools.bench.damage import Damage, blurred, noisy, specked
from catp.tools.bench.metrics import word_accuracy
from catp.tools.bench.pages import render
from catp.tools.bench.texts import articles, misread
from catp.tools.builtin import default_catalogue
from catp.tools.builtin.facts import describe
from catp.tools.builtin.ocr import ocr_rapid_lines, ocr_tesseract
from catp.tools.builtin.prose import sentences
from catp.tools.builtin.records import Reading
from catp.tools.catalogue import Catalogue
from catp.tools.profile import ProfileBook
from catp.training.bench.joins import (
    TOOLS,
    bench_catalogue,
    combine_all,
    combine_texts,
    match_letters,
    match_vectors,
    match_words,
    tally_labels,
    tally_scores,
    vote_confident,
    vote_words,
)
from catp.training.bench.joins_records import Combined, Match, Tally

pytestmark = pytest.mark.zoo

TEXTS = st.lists(st.sampled_from(["the", "ferry", "leaves", "at", "noon", "qxz", "1998", "Rome."]), max_size=12).map(
    " ".join
)
TRUTH = "The ferry leaves at noon, so bring warm clothes and a good map of the islands."


def test_the_surer_reading_wins_and_the_first_on_a_tie() -> None:
    low, high = Reading("a", 0.4), Reading("b", 0.9)
    assert vote_confident(low, high) == vote_confident(high, low) == high
    assert vote_confident(Reading("a", 0.5), Reading("b", 0.5)).text == "a"


def test_words_are_taken_from_whichever_reading_has_them_right() -> None:
    first = "The fcrry leaves at noon, so bring wanm clothes and a good map of the islands."
    second = "The ferry lcaves at noon, so bring warm clofhes and a gocd map of the islands."
    for one, two in ((first, second), (second, first)):
        assert vote_words(Reading(one, 0.8), Reading(two, 0.7)) == Reading(TRUTH, 0.8)


@given(TEXTS, st.floats(0, 1), st.floats(0, 1))
@settings(derandomize=True, deadline=None)
def test_a_reading_voted_with_itself_or_with_nothing_is_itself(text: str, one: float, two: float) -> None:
    assert vote_words(Reading(text, one), Reading(text, two)).text == text
    if text:
        kept = Reading(text, one)
        assert vote_words(kept, Reading("", two)) == vote_words(Reading(" \n", two), kept) == kept


@given(TEXTS, TEXTS)
@settings(derandomize=True, deadline=None)
def test_a_vote_invents_no_words(one: str, two: str) -> None:
    voted = vote_words(Reading(one, 0.5), Reading(two, 0.5)).text.split()
    assert set(voted) <= set(one.split()) | set(two.split())


DAMAGES: tuple[Damage, ...] = (noisy(45), noisy(65), blurred(1.8), blurred(2.0), blurred(1.2, 20), specked(0.04, 1.0))
"""Twice as many pages and more readers in benchmarks/joins.py."""


@pytest.mark.skipif(ocr_tesseract.spec.unavailable() is not None, reason="needs tesseract")
def test_a_vote_by_words_beats_both_readers_on_damaged_pages() -> None:
    random = np.random.default_rng(5)
    scores: list[tuple[float, float, float]] = []
    for place, damage in enumerate(DAMAGES):
        truth = sentences(articles()[place % len(articles())].text)[0]
        page = damage(render(truth, size=18, font=("DejaVuSans.ttf", "DejaVuSerif.ttf")[place % 2]), random)
        one, two = ocr_rapid_lines(page), ocr_tesseract(page)
        found = (one, two, vote_words(one, two))
        scores.append(tuple(word_accuracy(reading.text, truth) for reading in found))  # type: ignore[arg-type]
    one_mean, two_mean, voted_mean = np.mean(scores, axis=0)
    assert voted_mean > max(one_mean, two_mean), scores


def test_texts_are_joined_without_their_overlap() -> None:
    assert combine_texts("One two three.", "Four five.") == Combined("One two three.\n\nFour five.")
    assert combine_texts(" One two three.", "two three. Four\nfive. ") == Combined("One two three. Four\nfive.")
    assert combine_texts("a b c", "a b c") == Combined("a b c")
    assert combine_texts("the end", "end of it") == Combined("the end\n\nend of it"), "one word may well stand twice"
    assert combine_texts("", "x") == combine_texts("x", "") == Combined("x")
    assert combine_all([]) == Combined("")


@given(st.integers(2, 6), st.integers(1, 5), st.booleans())
@settings(derandomize=True, deadline=None)
def test_parts_of_a_text_make_the_text_again(size: int, count: int, overlapping: bool) -> None:
    text = [f"w{place}" for place in range(size * count)]
    starts = range(0, len(text), size)
    parts = [text[max(0, start - size * overlapping) : start + size] for start in starts]
    assert combine_all([" ".join(part) for part in parts]).text.split() == text


@given(st.lists(st.sampled_from(["positive", "negative", "neutral"]), min_size=1, max_size=9))
@settings(derandomize=True, deadline=None)
def test_the_tally_is_the_majority(labels: list[str]) -> None:
    found = tally_labels(labels)
    most = max(labels.count(label) for label in labels)
    assert labels.count(found.label) == most == round(found.share * len(labels))
    assert found.label == "neutral" or labels.count("neutral") < most


def test_scores_are_averaged() -> None:
    assert tally_scores([0.9, 0.8, -0.2]) == Tally("positive", 2 / 3)
    assert tally_scores([-0.9, 0.1, 0.1]) == Tally("negative", 1 / 3)
    assert tally_scores([0.5, -0.5]) == Tally("neutral", 0.0)
    assert tally_scores([]) == tally_labels([]) == Tally("neutral", 0.0)


SAME = "Heavy rain flooded the streets of the old town."
PARAPHRASE = "The streets of the old town were under water after heavy rainfall."
SYNONYMS = ("She bought a used bicycle for her son.", "She purchased a second-hand bike for her boy.")
OTHER = "The company will hire forty engineers this spring."


@pytest.mark.parametrize("match", [match_words, match_letters, match_vectors], ids=lambda tool: tool.spec.name)
def test_equal_texts_match_and_others_do_not(match: Any) -> None:
    assert match(SAME, f"  {SAME}\n") == match("", " ") == match("the", "the") == Match(True, 1.0)
    assert not match(SAME, OTHER).same
    assert match(SAME, "") == Match(False, 0.0)
    assert match(SAME, PARAPHRASE) == match(PARAPHRASE, SAME) or match is match_letters  # difflib has a direction


def test_each_way_of_matching_sees_what_the_others_miss() -> None:
    assert not match_words(*SYNONYMS).same
    assert not match_letters(*SYNONYMS).same
    assert match_vectors(*SYNONYMS).same
    assert match_words(SAME, PARAPHRASE).same
    badly_read = "Hcavv rain flocdcd fhe strccts of tbe cld tcwn."
    assert match_letters(SAME, badly_read).same
    assert not match_words(SAME, badly_read).same
    assert match_letters(SAME, misread(SAME)).score > 0.8


@pytest.fixture
async def catalogue() -> AsyncIterator[Catalogue]:
    found = bench_catalogue()
    yield found
    await found.close()


async def run(catalogue: Catalogue, source: str, **inputs: Any) -> RunOutcome:
    facts = {name: describe(value) for name, value in inputs.items()}
    compiled = compile_plan(parse(source), catalogue.view(), estimator=catalogue.estimator(), facts=facts)
    outcome = await execute(compiled, inputs, catalogue, ledger=Ledger())
    assert outcome.status == "complete", outcome
    assert compiled.estimate.price.expected is not None, "every step is priced before it runs"
    return outcome


def page(text: str) -> Image.Image:
    return noisy(30)(render(text), np.random.default_rng(3))


async def test_a_page_is_read_twice_and_voted_on(catalogue: Catalogue) -> None:
    plan = """
        in page: image
        one = ocr_rapid_lines(page)
        clean = denoise_bilateral(page)
        two = ocr_rapid_lines(clean)
        best = vote_words(one, two)
        sure = vote_confident(one, two)
        out best = best.text, sure = sure.confidence
    """
    outcome = await run(catalogue, plan, page=page(TRUTH))
    assert word_accuracy(outcome["best"], TRUTH) > 0.9
    assert 0.5 < outcome["sure"] <= 1.0
    assert outcome.spent > 0


async def test_opinions_are_judged_one_by_one_and_tallied(catalogue: Catalogue) -> None:
    texts = ["I love this wonderful hotel.", "The soup was awful.", "What a delightful, friendly place!"]
    plan = """
        in texts: list[text]
        found = sentiment_vader(text=each texts)
        most = tally_labels(found.label)
        mean = tally_scores(found.score)
        whole = combine_all(texts)
        out most = most.label, share = most.share, mean = mean.label, whole = whole.text
    """
    outcome = await run(catalogue, plan, texts=texts)
    assert (outcome["most"], outcome["share"]) == ("positive", pytest.approx(2 / 3))
    assert outcome["mean"] == "positive"
    assert outcome["whole"].split() == " ".join(texts).split()


async def test_two_pages_are_read_and_compared(catalogue: Catalogue) -> None:
    plan = """
        in one: image
        in two: image
        left = ocr_rapid_lines(one)
        right = ocr_rapid_lines(two)
        letters = match_letters(left.text, right.text)
        vectors = match_vectors(left.text, right.text)
        both = combine_texts(left.text, right.text)
        out letters = letters.same, vectors = vectors.same, both = both.text
    """
    same = await run(catalogue, plan, one=page(TRUTH), two=render(TRUTH, size=22, columns=40))
    assert same["letters"] is same["vectors"] is True
    other = await run(catalogue, plan, one=page(TRUTH), two=page(OTHER))
    assert other["letters"] is other["vectors"] is False
    assert len(other["both"].split()) == pytest.approx(len(f"{TRUTH} {OTHER}".split()), abs=2)


def test_the_bench_knows_the_joins_and_their_prices_and_the_zoo_does_not() -> None:
    found = bench_catalogue()
    for item in TOOLS:
        profile = found.profiles.get(item.spec.name, item.spec.version)
        assert profile is not None, f"run benchmarks/joins.py --ship: {item.spec.name} was never measured"
        assert profile.calls >= 12
        assert 0.3 < profile.accuracy[""].mean <= 1.0
        assert item.spec.name in found
        assert item.spec.name not in default_catalogue()
    assert found.profiles.get("ocr_rapid") is not None
    empty = ProfileBook()
    assert bench_catalogue(empty).profiles is empty
