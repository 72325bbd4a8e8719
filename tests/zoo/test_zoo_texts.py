"""The text tools on texts with a known answer, on nothing, and on too much."""

import pytest

from catp.tools.bench.texts import articles, misread
from catp.tools.builtin import answer, entities, language, phrases, sentiment, writing
from catp.tools.builtin.prose import MAX_CHARS, sentences, words
from catp.tools.builtin.records import Answer, Entities, KeyPhrases, Language, Sentiment, Summary
from catp.tools.decorator import Tool

pytestmark = pytest.mark.zoo

SENTENCES = {
    "en": "Nobody could tell me when the next train to the coast would leave, so I waited.",
    "de": "Niemand konnte mir sagen, wann der nächste Zug an die Küste fährt, also wartete ich.",
    "fr": "Personne ne pouvait me dire quand le prochain train pour la côte partirait, alors j'ai attendu.",
    "es": "Nadie podía decirme cuándo saldría el próximo tren hacia la costa, así que esperé.",
    "ru": "Никто не мог сказать мне, когда отправится следующий поезд к морю, и я ждал.",
}


@pytest.mark.parametrize("tool", language.TOOLS, ids=lambda tool: tool.spec.name)
def test_whole_sentences_are_identified(tool: Tool[..., Language]) -> None:
    assert {code: tool(text).code for code, text in SENTENCES.items()} == {code: code for code in SENTENCES}


@pytest.mark.parametrize("tool", language.TOOLS, ids=lambda tool: tool.spec.name)
@pytest.mark.parametrize("text", ["", "   \n", "12 % 7", "\x00\x01", "😀"])
def test_what_is_no_language_is_undetermined(tool: Tool[..., Language], text: str) -> None:
    found = tool(text)
    assert 0.0 <= found.confidence <= 1.0
    assert found.code == "und"


@pytest.mark.parametrize("tool", sentiment.TOOLS, ids=lambda tool: tool.spec.name)
def test_sentiment_has_the_right_sign(tool: Tool[..., Sentiment]) -> None:
    assert tool("A wonderful day, we loved it.").label == "positive"
    assert tool("The worst meal ever: cold, dirty and awful.").label == "negative"
    assert tool("The box has four sides.").label == "neutral"
    assert tool("The soup was not good.").score < 0
    assert tool("") == Sentiment("neutral", 0.0)


def test_vader_knows_what_the_word_list_does_not() -> None:
    text = "The gorgeous garden was peaceful."
    assert sentiment.sentiment_words(text).label == "neutral"
    assert sentiment.sentiment_vader(text).label == "positive"


@pytest.mark.parametrize("tool", phrases.TOOLS[:3], ids=lambda tool: tool.spec.name)
def test_key_phrases_name_the_subject(tool: Tool[..., KeyPhrases]) -> None:
    found = tool(articles()[5].text)
    assert 1 <= len(found.items) <= 5
    assert any("glacier" in item for item in found.items)
    assert len(tool(articles()[5].text, count=2).items) == 2
    assert tool("").items == []
    assert tool("the of and to").items == []


@pytest.mark.parametrize("tool", phrases.TOOLS[3:], ids=lambda tool: tool.spec.name)
def test_a_summary_is_made_of_the_texts_own_sentences(tool: Tool[..., Summary]) -> None:
    text = articles()[2].text
    found = sentences(tool(text, count=2).text)
    assert len(found) == 2
    assert [s for s in sentences(text) if s in found] == found, "in their own order"
    assert tool("").text == ""
    assert tool(text, count=0).text == ""


def test_the_frequency_summary_looks_beyond_the_start() -> None:
    text = "It was late. Bees dance. Bees find food because bees dance, and food makes bees dance. We went home."
    assert phrases.summary_frequency(text, count=1).text.startswith("Bees find food")


def test_patterns_are_exact_and_names_are_guessed() -> None:
    text = "On 3 May 2024 Anna Schmidt paid $3,400.50 to Acme Ltd in Oslo; write to a.b@c.org."
    exact = entities.entities_patterns(text)
    assert exact == Entities(["3 May 2024", "$3,400.50", "a.b@c.org"], ["date", "money", "email"])
    guessed = dict(zip(*(lambda e: (e.items, e.labels))(entities.entities_names(text)), strict=True))
    assert guessed["Anna Schmidt"] == "person"
    assert guessed["Acme Ltd"] == "organisation"
    assert guessed["Oslo"] == "place"
    assert entities.entities_names("") == Entities([], [])


@pytest.mark.parametrize("tool", answer.TOOLS, ids=lambda tool: tool.spec.name)
def test_the_answering_sentence_is_found(tool: Tool[..., Answer]) -> None:
    text = articles()[1].text
    assert "four night guards" in tool(text, "How many night guards were hired?").text
    assert tool("", "Who?") == Answer("", 0.0)
    assert tool(text, "") == Answer("", 0.0)


def test_vectors_answer_where_no_word_is_shared() -> None:
    text = "The painter sold his house. A veterinarian treated the injured dog. It rained on Monday."
    question = "Which doctor helps wounded animals?"
    assert answer.answer_bm25(text, question).text == ""
    assert "veterinarian" in answer.answer_vectors(text, question).text


def test_spelling_is_mended_and_the_rest_left_alone() -> None:
    assert writing.spelling_symspell("The spning market\nbegan in Octobcr, Mr Xyqz!") == (
        "The spring market\nbegan in October, Mr Xyqz!"
    )
    text = articles()[0].text
    wrong = misread(text)
    before = sum(a != b for a, b in zip(wrong.split(), text.split(), strict=True))
    after = sum(a != b for a, b in zip(writing.spelling_symspell(wrong).split(), text.split(), strict=True))
    assert after < 0.6 * before


@pytest.mark.skipif(writing.translation_apertium.spec.unavailable() is not None, reason="no apertium here")
def test_apertium_translates() -> None:
    assert "tren" in writing.translation_apertium("The train leaves.", "es").text


def test_sentences_survive_abbreviations_and_quotes() -> None:
    assert sentences('Dr. Lee met J. Smith. "Hello," he said. It cost $3.50 in all! Was it?') == [
        "Dr. Lee met J. Smith.", '"Hello," he said.', "It cost $3.50 in all!", "Was it?",
    ]  # fmt: skip
    assert words("Don’t stop—it's well-known") == ["don't", "stop", "it's", "well-known"]


TEXT_TOOLS = (
    *language.TOOLS, *sentiment.TOOLS, *phrases.TOOLS[:2], *phrases.TOOLS[3:], *entities.TOOLS,
)  # fmt: skip


@pytest.mark.parametrize("tool", TEXT_TOOLS, ids=lambda tool: tool.spec.name)
def test_a_long_text_is_worked_through_and_a_huge_one_refused(tool: Tool[..., object]) -> None:
    tool("Solar panels are cheap. " * 2_000)
    with pytest.raises(ValueError, match="at most 1,000,000"):
        tool("word " * (MAX_CHARS // 5 + 1))


@pytest.mark.parametrize("text", ["a" * 50_000, "A " * 20_000, "1 " * 20_000, "@" * 50_000, "A. " * 20_000])
def test_patterns_stay_linear_on_hostile_text(text: str) -> None:
    entities.entities_names(text)
    sentences(text)
