"""Scores of outputs: by hand, against brute force, and in bounds for whatever a plan may give."""

import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catp.tools.bench.damage import blurred, noisy
from catp.tools.bench.pictures import photographs
from catp.tools.builtin.looks import image_stats
from catp.tools.builtin.records import (
    Answer,
    Codes,
    Entities,
    Faces,
    ImageStats,
    KeyPhrases,
    Language,
    Reading,
    Sentiment,
    Summary,
)
from catp.training.bench.joins_records import Match, Tally
from catp.training.bench.outputs import KINDS
from catp.training.bench.scoring import METRICS, common_words, mean_of

SENTENCE = "The ferry leaves at noon."
BOX = {"x": 10, "y": 10, "w": 40, "h": 40}
STATS = ImageStats(200, 100, 127.5, 50.0)


def picture(width: int = 24, height: int = 20, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def squares(width: int, height: int, seed: int = 0) -> Image.Image:
    return picture(4, 4, seed).resize((width, height), Image.Resampling.NEAREST)


RIGHT: list[tuple[str, Any, Any]] = [
    ("cer", Reading(SENTENCE, 0.1), SENTENCE),
    ("cer", {"text": SENTENCE}, SENTENCE),
    ("cer", "", ""),
    ("ssim", picture(), picture()),
    ("ssim", picture(3, 200), picture(3, 200)),
    ("exact", Language("en", 0.2), "en"),
    ("exact", Sentiment("neutral", 0.2), "neutral"),
    ("exact", Tally("negative", 0.2), "negative"),
    ("exact", Match(False, 0.1), False),
    ("exact", True, True),
    ("set_f1", Entities(["Rome", "Ann", "Ann"], ["place", "person", "person"]),
     [["Ann", "person"], ["Rome", "place"], ["Ann", "person"]]),
    ("set_f1", Entities([], []), []),
    ("set_f1", Codes(["a", "b"]), ["b", "a"]),
    ("word_f1", KeyPhrases(["cheap solar", "panels"]), ["solar panels", "Cheap"]),
    ("rouge_l", Summary(SENTENCE), SENTENCE.upper()),
    ("rouge_l", "", "?!"),
    ("chrf", SENTENCE, f" {SENTENCE}\n"),
    ("boxes_f1", Faces(2, [BOX, {**BOX, "x": 100}]), [{**BOX, "x": 102}, BOX]),
    ("boxes_f1", Faces(0, []), []),
    ("answer", Answer(SENTENCE, 0.3), f"{SENTENCE}  "),
    ("stats", STATS, {"width": 200, "height": 100, "mean": 127.0, "contrast": 50.6}),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "value", "truth"), RIGHT)
def test_what_is_right_scores_one(metric: str, value: Any, truth: Any) -> None:
    assert METRICS[metric](value, truth) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("metric", "value", "truth", "score"),
    [
        ("cer", "abxd", "abcd", 0.75),
        ("cer", "much longer than that", "ab", 0.0),
        ("exact", Language("de", 1.0), "en", 0.0),
        ("exact", Match(True, 0.9), False, 0.0),
        ("exact", "True", True, 0.0),
        ("set_f1", Entities(["Rome"], ["person"]), [["Rome", "place"]], 0.5),
        ("set_f1", Entities(["Rome", "Ann"], ["place", "person"]), [["Rome", "place"]], 2 / 3),
        ("set_f1", Codes(["a"]), ["a", "a"], 2 / 3),
        ("set_f1", Codes(["a"]), [], 0.0),
        ("set_f1", ["Rome"], [["Rome", "place"]], 0.5),
        ("word_f1", KeyPhrases(["solar panels"]), ["cheap solar"], 0.5),
        ("rouge_l", "police kill the gunman", "police killed the gunman", 0.75),  # Lin 2004, section 3.1
        ("rouge_l", "the gunman kill police", "police killed the gunman", 0.5),
        ("boxes_f1", Faces(2, [BOX, {**BOX, "x": 100}]), [BOX], 2 / 3),
        ("stats", STATS, ImageStats(200, 100, 90.0, 50.0), 0.75),
        ("answer", "", SENTENCE, 0.0),
    ],
)
def test_scores_by_hand(metric: str, value: Any, truth: Any, score: float) -> None:
    assert METRICS[metric](value, truth) == pytest.approx(score)


def test_another_sentence_scores_at_most_half() -> None:
    near = METRICS["answer"]("The ferry leaves at night.", SENTENCE)
    assert 0.25 < near < 0.5
    assert near == METRICS["chrf"]("The ferry leaves at night.", SENTENCE) / 2


def test_chrf_counts_letters_in_the_order_of_the_paper() -> None:
    """By the formula, for n = 1 and 2 only: the truth has no longer runs of letters."""
    precision, recall = (2 / 3 + 1 / 2) / 2, (2 / 2 + 1 / 1) / 2
    per_order = [5 * p * r / (4 * p + r) for p, r in ((2 / 3, 1.0), (1 / 2, 1.0))]
    assert METRICS["chrf"]("abx", "a b") == pytest.approx(sum(per_order) / 2)
    assert precision < METRICS["chrf"]("abx", "a b") < recall


def test_ssim_falls_with_damage_and_compares_at_the_size_of_the_truth() -> None:
    truth = photographs()[0].resize((160, 160))
    random = np.random.default_rng(0)
    worse = [noisy(sigma)(truth, random) for sigma in (5, 20, 60)]
    scores = [METRICS["ssim"](image, truth) for image in (truth, *worse)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(1.0)
    assert METRICS["ssim"](truth.resize((80, 80)), truth) == pytest.approx(
        METRICS["ssim"](truth.resize((80, 80)).resize((160, 160), Image.Resampling.BICUBIC), truth)
    )
    assert METRICS["ssim"](blurred(3.0)(truth, random), truth) < 0.9
    assert METRICS["ssim"](truth.convert("L"), truth) == pytest.approx(1.0), "the brightness is what counts"


def test_ssim_is_that_of_the_formula() -> None:
    """Wang et al. 2004, equation 13, over all 7 x 7 windows, with sample variances."""
    one, two = (np.asarray(picture(12, 9, seed).convert("L"), dtype=float) for seed in (1, 2))
    two = 0.7 * one + 0.3 * two
    images = [Image.fromarray(np.rint(array).astype(np.uint8)) for array in (one, two)]
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = []
    for top, left in itertools.product(range(9 - 6), range(12 - 6)):
        a, b = (np.asarray(image, dtype=float)[top : top + 7, left : left + 7].ravel() for image in images)
        cov = np.cov(a, b)
        found.append(
            (2 * a.mean() * b.mean() + c1) * (2 * cov[0, 1] + c2)
            / ((a.mean() ** 2 + b.mean() ** 2 + c1) * (cov[0, 0] + cov[1, 1] + c2))
        )  # fmt: skip
    assert METRICS["ssim"](*images) == pytest.approx(np.mean(found), abs=1e-6)


def test_pictures_too_small_for_a_window_score_by_their_error() -> None:
    black, grey = Image.new("L", (6, 30), 0), Image.new("L", (6, 30), 51)
    assert METRICS["ssim"](grey, black) == pytest.approx(0.8)
    assert METRICS["ssim"](Image.new("L", (1, 1), 255), Image.new("L", (1, 1), 0)) == 0.0


def test_the_tool_that_measures_pictures_measures_right() -> None:
    image = squares(60, 40)
    pixels = np.asarray(image.convert("L"), dtype=float)
    truth = {"width": 60, "height": 40, "mean": float(pixels.mean()), "contrast": float(pixels.std())}
    assert METRICS["stats"](image_stats(image), truth) == 1.0


def test_lists_are_scored_place_by_place() -> None:
    mean = mean_of("exact")
    en, de = Language("en", 1.0), Language("de", 1.0)
    assert mean([en, de], ["en", "de"]) == 1.0
    assert mean((en, None), ["en", "de"]) == 0.5
    assert mean([en], ["en", "de"]) == 0.5
    assert mean([en, de, de], ["en", "de"]) == pytest.approx(2 / 3)
    assert mean([], []) == 1.0
    assert mean(en, ["en"]) == mean("en", ["e", "n"]) == mean(None, []) == 0.0
    with pytest.raises(KeyError):
        mean_of("guess")


def test_every_kind_of_output_has_its_metric() -> None:
    assert {kind.metric for kind in KINDS.values()} <= set(METRICS)


def test_unreadable_files_and_impossible_figures_score_nothing(tmp_path: Path) -> None:
    file = tmp_path / "cut.png"
    picture(64, 64).save(file)
    file.write_bytes(file.read_bytes()[:-3000])
    with Image.open(file) as cut:
        assert METRICS["ssim"](cut, picture(64, 64)) == 0.0
    closed = picture()
    closed.close()
    assert METRICS["ssim"](closed, picture()) == 0.0
    assert METRICS["boxes_f1"]([{**BOX, "w": 0}], [BOX]) == METRICS["boxes_f1"]([{"x": 1}], [BOX]) == 0.0
    assert METRICS["boxes_f1"]([{**BOX, "x": math.nan}], [BOX]) == 0.0
    assert METRICS["stats"](ImageStats(200, 100, math.nan, 50.0), STATS) == 0.0
    assert METRICS["cer"]("x" * 1_000_001, SENTENCE) == METRICS["rouge_l"]("x " * 500_001, SENTENCE) == 0.0
    assert METRICS["ssim"](Image.fromarray(np.full((20, 24), np.nan, dtype=np.float32)), picture()) == 0.0


TEXT = st.text(st.characters(codec="utf-8"), max_size=40) | st.text("ab c.", max_size=40)
TEXTS = st.lists(TEXT, max_size=5)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=5)
JSON = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["text", "items", "labels", "boxes", "x", "y", "w", "h", "width", "mean", "label"]), inner
    ),
    max_leaves=12,
)  # fmt: skip
SIZES = st.integers(1, 30)
IMAGES = st.builds(
    lambda width, height, mode, seed: squares(width, height, seed).convert(mode),
    SIZES, SIZES, st.sampled_from(["1", "L", "P", "RGB", "RGBA", "I", "F", "CMYK"]), st.integers(0, 5),
)  # fmt: skip
FIGURE = st.floats(-1e6, 1e6)
BOXES = st.lists(
    st.fixed_dictionaries({"x": FIGURE, "y": FIGURE, "w": st.floats(0.5, 99), "h": st.floats(0.5, 99)}), max_size=4
)
TRUTHS: dict[str, st.SearchStrategy[Any]] = {
    "cer": TEXT, "rouge_l": TEXT, "chrf": TEXT, "answer": TEXT, "ssim": IMAGES, "exact": TEXT | st.booleans(),
    "set_f1": TEXTS | st.lists(st.tuples(TEXT, TEXT), max_size=5), "word_f1": TEXTS, "boxes_f1": BOXES,
    "stats": st.fixed_dictionaries(dict.fromkeys(("width", "height", "mean", "contrast"), FIGURE)),
}  # fmt: skip
RECORDS = (
    st.builds(Reading, TEXT, st.floats())
    | st.builds(Entities, TEXTS, TEXTS)
    | st.builds(Faces, st.integers(), BOXES | JSON)
    | st.builds(ImageStats, st.integers(), st.integers(), st.floats(), st.floats())
    | st.builds(Match, PLAIN, PLAIN)
)


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_scores_stay_in_bounds_whatever_a_plan_gives(metric: str) -> None:
    @given(RECORDS | IMAGES | JSON | TRUTHS[metric], TRUTHS[metric])
    @settings(derandomize=True, deadline=None)
    def check(value: Any, truth: Any) -> None:
        score = METRICS[metric](value, truth)
        assert type(score) is float
        assert 0.0 <= score <= 1.0

    check()


def _given_back(metric: str, truth: Any) -> Any:
    """The record of a tool that is exactly right."""
    if metric == "set_f1" and truth and isinstance(truth[0], tuple):
        return Entities([item for item, _ in truth], [label for _, label in truth])
    return truth


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_the_truth_itself_scores_one(metric: str) -> None:
    @given(TRUTHS[metric])
    @settings(derandomize=True, deadline=None)
    def check(truth: Any) -> None:
        assert METRICS[metric](_given_back(metric, truth), truth) == pytest.approx(1.0)

    check()


@pytest.mark.parametrize("metric", ["exact", "set_f1", "word_f1", "rouge_l"])
def test_f1_and_equality_take_either_side_for_the_truth(metric: str) -> None:
    truths = TEXTS if metric == "set_f1" else TRUTHS[metric]

    @given(truths, truths)
    @settings(derandomize=True, deadline=None)
    def check(one: Any, two: Any) -> None:
        assert METRICS[metric](one, two) == pytest.approx(METRICS[metric](two, one))

    check()


@given(IMAGES, st.integers(0, 5))
@settings(derandomize=True, deadline=None)
def test_ssim_takes_either_picture_of_one_size_for_the_truth(one: Image.Image, seed: int) -> None:
    two = squares(*one.size, seed=seed)
    assert METRICS["ssim"](one, two) == pytest.approx(METRICS["ssim"](two, one))


def fewest_edits(one: str, two: str) -> int:
    """Levenshtein's distance by its definition."""
    if not one or not two:
        return len(one) + len(two)
    return min(
        fewest_edits(one[1:], two) + 1,
        fewest_edits(one, two[1:]) + 1,
        fewest_edits(one[1:], two[1:]) + (one[0] != two[0]),
    )


@given(st.text("abc", max_size=5), st.text("abc", min_size=1, max_size=5))
@settings(derandomize=True, max_examples=300, deadline=None)
def test_character_errors_against_brute_force(found: str, truth: str) -> None:
    assert METRICS["cer"](found, truth) == pytest.approx(max(0.0, 1 - fewest_edits(found, truth) / len(truth)))


def longest_common(one: list[str], two: list[str]) -> int:
    """The longest subsequence of `one` that is one of `two`, found by trying all of them."""
    for size in range(len(one), 0, -1):
        for chosen in itertools.combinations(one, size):
            rest = iter(two)
            if all(word in rest for word in chosen):
                return size
    return 0


WORDS = st.lists(st.sampled_from("abcd"), max_size=8)


@given(WORDS, WORDS)
@settings(derandomize=True, max_examples=300, deadline=None)
def test_common_words_against_brute_force(one: list[str], two: list[str]) -> None:
    assert common_words(one, two) == common_words(two, one) == longest_common(one, two)


def test_long_texts_have_as_many_common_words_as_dynamic_programming_finds() -> None:
    random = np.random.default_rng(1)
    one, two = ([str(number) for number in random.integers(0, 40, 500)] for _ in range(2))
    row = [0] * (len(two) + 1)
    for word in one:
        before = row[:]
        for place, other in enumerate(two, 1):
            row[place] = before[place - 1] + 1 if word == other else max(before[place], row[place - 1])
    assert common_words(one, two) == row[-1]
    assert row[-1] < sum((Counter(one) & Counter(two)).values())
