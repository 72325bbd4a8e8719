"""Texts with known answers: what is said to be true of them is."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable

import pytest

from catp.tools.bench.metrics import overlap_f1, unigram_f1
from catp.tools.builtin.answer import answer_bm25
from catp.tools.builtin.entities import entities_names, entities_patterns
from catp.tools.builtin.language import language_stopwords
from catp.tools.builtin.phrases import summary_frequency, summary_lead
from catp.tools.builtin.prose import content_words, sentences
from catp.tools.builtin.sentiment import sentiment_words
from catp.training.bench.passages import BRIEF, CALL, KINDS, LANGUAGES, PRINTED, Passage, passage

SEEDS = range(250)
TOLD = ("brief", "report")


@pytest.fixture(scope="module", params=TOLD)
def told(request: pytest.FixtureRequest) -> list[Passage]:
    """Passages of which everything is known."""
    return [passage(request.param, seed) for seed in SEEDS]


def test_entities_are_in_the_text_in_order(told: list[Passage]) -> None:
    """Each is found behind the one before; none is an accident of two slots with one value."""
    for made in told:
        assert made.entities is not None
        place = 0
        for item, _ in made.entities:
            place = made.text.index(item, place) + len(item)


def test_patterns_find_nothing_that_is_not_true(told: list[Passage]) -> None:
    """Dates, times, addresses and the like that the exact tool finds are all among the truths."""
    for made in told:
        found = entities_patterns(text=made.text)
        pairs = Counter(zip(found.items, found.labels, strict=True))
        parts = [item for item, _ in made.entities or ()]
        assert all(any(item.rstrip(",") in part for part in parts) for item, _ in pairs), (made.text, pairs)


def test_answers_are_sentences_of_the_text(told: list[Passage]) -> None:
    """As the tools split it; and a question never gives its answer away whole."""
    for made in told:
        split = sentences(made.text)
        assert " ".join(split) == made.text
        for question, answer in made.questions:
            assert split.count(answer) == 1, (made.text, answer)
            assert question.endswith("?")
        assert len(made.questions) >= (2 if made.kind == "brief" else 4)
        assert len({question for question, _ in made.questions}) == len(made.questions)


def test_about_half_of_the_questions_share_no_word_with_their_answer(told: list[Passage]) -> None:
    """Those need meaning, the others only words."""
    pairs = [pair for made in told for pair in made.questions]
    shared = [bool(set(content_words(question)) & set(content_words(answer))) for question, answer in pairs]
    assert 0.3 < sum(shared) / len(shared) < 0.75


def test_phrases_are_in_the_text(told: list[Passage]) -> None:
    """In lower case, as the tools write them."""
    for made in told:
        assert made.phrases
        for phrase in made.phrases:
            assert phrase in made.text.lower(), (phrase, made.text)


def test_summaries_are_one_sentence_and_no_copy(told: list[Passage]) -> None:
    """They share words with the text but are none of its sentences."""
    for made in told:
        assert made.summary is not None
        assert sentences(made.summary) == [made.summary]
        assert made.summary not in made.text
        assert unigram_f1(made.summary, made.text) > 0.1


def test_reports_have_five_to_eight_sentences_and_do_not_always_lead_with_the_point() -> None:
    """The first sentence is the best summary of some reports only."""
    lead = []
    for seed in SEEDS:
        made = passage("report", seed)
        assert 5 <= len(sentences(made.text)) <= 8
        scores = [
            unigram_f1(tool(text=made.text, count=1).text, made.summary or "")
            for tool in (summary_lead, summary_frequency)
        ]
        lead.append(scores[0] >= scores[1])
    assert 0.15 < sum(lead) / len(lead) < 0.85


def test_lengths() -> None:
    """Briefs fit a small page; calls are too short for most identifiers; reviews have one to four sentences."""
    for language in PRINTED:
        for seed in range(100):
            made = passage("brief", seed, language)
            assert BRIEF[0] <= len(made.text) <= BRIEF[1]
            assert 2 <= len(sentences(made.text)) <= 4
    for language in LANGUAGES:
        low = 5 if language == "ja" else CALL[0]
        assert all(low <= len(passage("call", seed, language).text) <= CALL[1] for seed in range(100))
    assert {len(sentences(passage("review", seed).text)) for seed in range(50)} <= set(range(1, 8))


@pytest.mark.parametrize("kind", ["brief", "report", "review", "foreign"])
def test_a_thousand_seeds_give_a_thousand_texts(kind: str) -> None:
    """Nearly."""
    assert len({passage(kind, seed).text for seed in range(1000)}) >= 950


def test_every_text_is_filled_in() -> None:
    """No slot is left, no sentence starts small, no blank is doubled, in any kind and language."""
    for kind in KINDS:
        written = {"brief": PRINTED, "report": ("en",), "review": ("en",)}.get(kind, LANGUAGES)
        for language in written:
            for seed in range(120):
                made = passage(kind, seed, language)
                strings = [made.text, made.summary or "", *(part for pair in made.questions for part in pair)]
                assert not any(re.search(r"[{}]|  ", string) for string in strings), strings
                assert (made.kind, made.seed, made.language) == (kind, seed, language)
                first = next(letter for letter in made.text if letter.isalpha())
                assert first.isupper() or language == "ja", made.text


def test_moods_are_balanced() -> None:
    """Each of the three takes about a third."""
    for kind in ("brief", "report", "review"):
        moods = Counter(passage(kind, seed).sentiment for seed in range(600))
        assert set(moods) == {"positive", "negative", "neutral"}
        assert min(moods.values()) > 150


def _right_mood(made: Passage) -> float:
    return float(sentiment_words(text=made.text).label == made.sentiment)


def _entities(made: Passage) -> float:
    return overlap_f1(entities_names(text=made.text).items, [item for item, _ in made.entities or ()])


def _answers(made: Passage) -> float:
    right = [answer_bm25(text=made.text, question=question).text == answer for question, answer in made.questions]
    return sum(right) / len(right)


@pytest.mark.parametrize(
    ("kind", "score"),
    [("review", _right_mood), ("brief", _right_mood), ("report", _right_mood), ("brief", _entities),
     ("report", _entities), ("brief", _answers), ("report", _answers)],
)  # fmt: skip
def test_cheap_tools_neither_solve_nor_miss_everything(kind: str, score: Callable[[Passage], float]) -> None:
    """Else the benchmark could not tell tools apart."""
    mean = sum(score(passage(kind, seed)) for seed in range(150)) / 150
    assert 0.3 < mean < 0.97


@pytest.mark.parametrize("kind", ["brief", "foreign", "call"])
def test_a_word_list_cannot_name_every_language(kind: str) -> None:
    """Notices and calls have few of the commonest words; some texts do."""
    languages = PRINTED if kind == "brief" else LANGUAGES
    made = [passage(kind, seed, language) for language in languages for seed in range(30)]
    mean = sum(language_stopwords(text=one.text).code == one.language for one in made) / len(made)
    assert 0.2 < mean < 0.95


def test_the_same_passage_for_ever() -> None:
    """Texts and truths by digest: these change only when the word banks are meant to."""
    digests = {
        kind: hashlib.sha256("\n".join(repr(passage(kind, seed)) for seed in range(20)).encode()).hexdigest()[:12]
        for kind in KINDS
    }
    assert digests == {
        "brief": "fd4c859d4271",
        "report": "cdbbfae7ad0a",
        "review": "d04ec951fd7a",
        "call": "3d7f6dc54db6",
        "foreign": "8bc0d73839df",
    }


@pytest.mark.parametrize(
    ("kind", "language", "words"),
    [("poem", "en", "'poem'"), ("report", "de", "'de'"), ("brief", "ja", "'ja'"), ("call", "xx", "'xx'")],
)
def test_what_is_not_written_is_refused(kind: str, language: str, words: str) -> None:
    """The error names it and says what there is."""
    with pytest.raises(ValueError, match=words):
        passage(kind, 0, language)
