"""The intent reader on phrasings people use, and on what it must refuse to guess."""

from collections.abc import Mapping
from contextlib import suppress

import pytest

from catp.planlang.nodes import Literal, ToolName
from catp.planlang.registry_view import Param, RegistryView, ToolSig, ValueFacts
from catp.planlang.types import Type, TypeDef, TypeTable, parse_type
from catp.planners.intent import IntentError, read_intent
from catp.planners.intent_rules import RULES, IntentRule
from catp.planners.protocol import PlanningFailed

TEXT, IMAGE = Type("text"), Type("image")
RECORDS = (
    *("Reading", "Language", "KeyPhrases", "Sentiment", "Entities", "Summary", "Answer", "Translation"),
    *("Faces", "Codes", "NoiseEstimate", "ImageStats"),
)


def registry(*extra: ToolSig, without: str = "") -> RegistryView:
    types = TypeTable()
    for name in (*RECORDS, "Forecast"):
        types = types.with_type(TypeDef(name, (("text", TEXT),) if name == "Reading" else (("code", TEXT),)))
    kinds = [
        ("denoise", IMAGE, "image"), ("deblur", IMAGE, "image"), ("upscale", IMAGE, "image"), ("ocr", IMAGE, "Reading"),
        ("codes", IMAGE, "Codes"), ("faces", IMAGE, "Faces"), ("estimate_noise", IMAGE, "NoiseEstimate"),
        ("image_stats", IMAGE, "ImageStats"), ("language", TEXT, "Language"), ("phrases", TEXT, "KeyPhrases"),
        ("sentiment", TEXT, "Sentiment"), ("entities", TEXT, "Entities"), ("summary", TEXT, "Summary"),
        ("spelling", TEXT, "text"),
    ]  # fmt: skip
    tools = [
        ToolSig(ToolName(f"{c}_a"), (Param(given.name, given),), Type(returns), capability=c)
        for c, given, returns in kinds
        if c != without
    ]
    target = Param("target", TEXT, False, Literal("es"), ("es", "ca"))
    tools += [
        ToolSig(
            ToolName("answer_a"), (Param("text", TEXT), Param("question", TEXT)), Type("Answer"), capability="answer"
        ),
        ToolSig(
            ToolName("translation_a"), (Param("text", TEXT), target), Type("Translation"), capability="translation"
        ),
    ]
    return RegistryView((*tools, *extra), types)


def facts(spec: str) -> Mapping[str, ValueFacts]:
    pairs = (pair.split(":") for pair in spec.split())
    return {name: ValueFacts(parse_type(type_)) for name, type_ in pairs}


CASES = [
    ("clean up this scan, read it, and tell me its language, its key phrases and its sentiment", "page:image",
     "clean text language key_phrases sentiment"),
    ("Read this page.", "page:image", "text"),
    ("please transcribe the document", "page:image", "text"),
    ("OCR this", "page:image", "text"),
    ("what does it say?", "page:image", "text"),
    ("extract all the text", "page:image", "text"),
    ("give me the text and its language", "page:image", "text language"),
    ("tell me the sentiment of the text", "page:image", "sentiment"),
    ("What language is this page in?", "page:image", "language"),
    ("which language?", "memo:text", "language"),
    ("identify the languages", "memo:text", "language"),
    ("list the keywords", "memo:text", "key_phrases"),
    ("what are the main topics", "memo:text", "key_phrases"),
    ("is the tone positive or negative", "memo:text", "sentiment"),
    ("How is the mood of this letter?", "page:image", "sentiment"),
    ("find the named entities", "memo:text", "entities"),
    ("list the people and places mentioned", "memo:text", "entities"),
    ("summarise this", "memo:text", "summary"),
    ("Summarize it, then tell me the language", "memo:text", "summary language"),
    ("tl;dr", "memo:text", "summary"),
    ("give me the gist and the keywords", "page:image", "summary key_phrases"),
    ("translate it to Spanish", "memo:text", "translation"),
    ("read the QR code", "photo:image", "codes"),
    ("decode the barcodes on this", "photo:image", "codes"),
    ("find all faces", "photo:image", "faces"),
    ("how many people are there", "photo:image", "faces"),
    ("denoise this photo", "photo:image", "denoised"),
    ("remove the noise and sharpen it", "photo:image", "sharp"),
    ("deblur the picture", "photo:image", "sharp"),
    ("upscale the image", "photo:image", "large"),
    ("make it bigger", "photo:image", "large"),
    ("restore this old photograph", "photo:image", "clean"),
    ("enhance the scan and find faces", "photo:image", "clean faces"),
    ("how noisy is it", "photo:image", "noise"),
    ("brightness and contrast please", "photo:image", "image_stats"),
    ("fix the typos", "memo:text", "corrected"),
    ("answer the question", "page:image question:text", "answer"),
    ("When is the invoice due?", "page:image", "answer"),
    ('answer "who signed it?"', "memo:text", "answer"),
    ("don't summarise it, just read it", "page:image", "text"),
    ("read it without cleaning it up", "page:image", "text"),
    ("read it and do not translate it", "page:image", "text"),
    ("skip the sentiment but give me the language", "memo:text", "language"),
    ("READ THIS AND FIND THE KEY PHRASES", "page:image", "text key_phrases"),
    ("read and clean, then sentiment", "page:image", "text clean sentiment"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "inputs", "expected"), CASES, ids=[task[:40] for task, _, _ in CASES])
def test_phrasings(task: str, inputs: str, expected: str) -> None:
    intent = read_intent(task, facts(inputs), registry())
    assert sorted(want.name for want in intent.wanted) == sorted(expected.split())


NOT_UNDERSTOOD = [
    ("", "page:image", "not understood"),
    ("book me a flight to Lisbon", "page:image", "flight"),
    ("qwertz uiop", "page:image", "qwertz"),
    ("do the thing", "page:image", "not understood"),
    ("don't read it", "page:image", "only says what not to do"),
    ("read it", "memo:text", "no input is an image"),
    ("translate to klingon", "memo:text", "klingon"),
    ("translate to german", "memo:text", "offer ca, es"),
    ("answer it", "memo:text", "no question"),
]


@pytest.mark.parametrize(("task", "inputs", "message"), NOT_UNDERSTOOD)
def test_says_what_it_did_not_understand(task: str, inputs: str, message: str) -> None:
    with pytest.raises(IntentError, match=message) as caught:
        read_intent(task, facts(inputs), registry())
    assert "tell the language" in str(caught.value), "the message must say what would be understood"
    assert isinstance(caught.value, PlanningFailed)


def test_types_and_capabilities_of_the_main_job() -> None:
    intent = read_intent(CASES[0][0], facts("page:image"), registry())
    by_name = {want.name: want for want in intent.wanted}
    assert (by_name["clean"].type, by_name["clean"].capability) == (IMAGE, ("denoise", "deblur", "upscale"))
    assert (by_name["text"].type, by_name["text"].capability) == (TEXT, ("ocr",))
    assert by_name["key_phrases"].type == Type("KeyPhrases")
    assert (intent.ignored, intent.notes) == ((), ())


def test_part_that_is_not_understood_is_reported_not_dropped() -> None:
    intent = read_intent("read it and fax it to Bob", facts("page:image"), registry())
    assert [want.name for want in intent.wanted] == ["text"]
    assert intent.ignored == ("fax", "bob")
    assert any("fax" in note for note in intent.notes)


def test_spans_point_into_the_request() -> None:
    task = "Please SUMMARISE this, but don't translate it"
    intent = read_intent(task, facts("memo:text"), registry())
    spans = {task[u.start : u.end]: u.negated for u in intent.understood}
    assert spans == {"SUMMARISE": False, "translate it": True}


def test_missing_tool_is_named_and_the_rest_is_kept() -> None:
    intent = read_intent("read it and find faces", facts("page:image"), registry(without="faces"))
    assert [want.name for want in intent.wanted] == ["text"]
    assert any("faces" in note for note in intent.notes)


def test_what_cannot_be_done_comes_first_in_the_notes() -> None:
    no_translation = RegistryView(tuple(s for s in registry().tools if s.capability != "translation"), registry().types)
    task = "Translate to Spanish and summarise it, and fax it"
    intent = read_intent(task, facts("memo:text"), no_translation)
    assert [want.name for want in intent.wanted] == ["summary"]
    assert intent.notes[0].startswith("not done: Translate to Spanish: no tool here can; `catp tools list`")
    with pytest.raises(IntentError, match="translate to Spanish: no tool here can"):
        read_intent("translate to Spanish", facts("memo:text"), no_translation)


COUNT = Param("count", Type("int"), False, Literal(5), description="how many phrases at most")
SENTENCES = Param("count", Type("int"), False, Literal(2), description="how many sentences")
COUNTING = RegistryView(
    (
        ToolSig(ToolName("phrases_n"), (Param("text", TEXT), COUNT), Type("KeyPhrases"), capability="phrases"),
        ToolSig(ToolName("summary_n"), (Param("text", TEXT), SENTENCES), Type("Summary"), capability="summary"),
        ToolSig(ToolName("language_n"), (Param("text", TEXT),), Type("Language"), capability="language"),
    ),
    registry().types,
)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("summarize in 3 sentences", {"summary": 3}),
        ("give me a 3-sentence summary", {"summary": 3}),
        ("summarise it in three sentences", {"summary": 3}),
        ("list 10 key phrases", {"key_phrases": 10}),
        ("the 4 most important topics", {"key_phrases": 4}),
        ("keywords, at most 7", {"key_phrases": 7}),
        ("list 10 key phrases and summarise in 3 sentences", {"key_phrases": 10, "summary": 3}),
        ("summarise in 3 sentences and list the key phrases", {"summary": 3, "key_phrases": None}),
        ('summarise "the 3 sentences"', {"summary": None}),
    ],
)
def test_numbers_become_arguments(task: str, expected: dict[str, int | None]) -> None:
    intent = read_intent(task, facts("memo:text"), COUNTING)
    assert {want.name: dict(want.arguments).get("count") for want in intent.wanted} == expected
    assert intent.notes == ()


@pytest.mark.parametrize(
    ("task", "note"),
    [
        ("tell me the language in 3 sentences", "ignored: 3 sentences"),
        ("summarise it in 50 words", "ignored: 50 words"),
        ("summarise it in 2.5 sentences", "ignored: 2.5 sentences"),
        ("language of page 7", "ignored: 7"),
    ],
)
def test_numbers_that_no_tool_takes_are_said(task: str, note: str) -> None:
    intent = read_intent(task, facts("memo:text"), COUNTING)
    assert all(want.arguments == () for want in intent.wanted)
    assert any(said.startswith(note) for said in intent.notes)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("sharpen and enlarge", {"large": (("deblur",),)}),
        ("denoise this photo, then upscale it", {"large": (("denoise",),)}),
        ("denoise, sharpen and enlarge the photo", {"large": (("denoise",), ("deblur",))}),
        ("denoise it. Sharpen it.", {"denoised": (), "sharp": ()}),
        ("denoise it, find faces, and enlarge it", {"denoised": (), "faces": (), "large": ()}),
        ("sharpen it but don't enlarge it", {"sharp": ()}),
        ("sharpen, denoise and read it", {"denoised": (("deblur",),), "text": ()}),
    ],
)
def test_edits_in_a_row_are_one_image(task: str, expected: dict[str, tuple[tuple[str, ...], ...]]) -> None:
    intent = read_intent(task, facts("photo:image"), registry())
    assert {want.name: want.through for want in intent.wanted} == expected
    assert any(n.startswith("one image: ") for n in intent.notes) == any(expected.values())


def test_edit_that_no_tool_can_do_is_no_step() -> None:
    intent = read_intent("sharpen and enlarge", facts("photo:image"), registry(without="upscale"))
    assert [(want.name, want.through) for want in intent.wanted] == [("sharp", ())]
    assert intent.notes[0].startswith("not done: enlarge")


def test_translation_fixes_the_target_language() -> None:
    intent = read_intent("translate this into Catalan", facts("memo:text"), registry())
    assert intent.wanted[0].arguments == (("target", "ca"),)


def test_question_in_the_request_becomes_an_argument() -> None:
    intent = read_intent("Read it. When is the invoice due?", facts("page:image"), registry())
    answer = next(want for want in intent.wanted if want.name == "answer")
    assert answer.arguments == (("question", "When is the invoice due?"),)
    given = read_intent("answer the question", facts("page:image question:text"), registry())
    assert given.wanted[0].arguments == ()


def test_words_in_quotes_are_data() -> None:
    intent = read_intent('answer "what is the sentiment of the summary?"', facts("memo:text"), registry())
    assert [want.name for want in intent.wanted] == ["answer"]


def test_several_images_give_one_result_each_or_the_one_named() -> None:
    inputs = facts("front:image back:image")
    both = read_intent("read the pages", inputs, registry())
    assert [(w.name, w.source) for w in both.wanted] == [("front_text", "front"), ("back_text", "back")]
    one = read_intent("read the back", inputs, registry())
    assert [(w.name, w.source) for w in one.wanted] == [("text", "back")]


def test_page_that_is_read_is_what_the_rest_is_about() -> None:
    inputs = facts("page:image memo:text")
    intent = read_intent("read it and tell me its language", inputs, registry())
    assert {w.name: w.source for w in intent.wanted} == {"text": "page", "language": "page"}
    named = read_intent("tell me the language of the memo", inputs, registry())
    assert [(w.name, w.source) for w in named.wanted] == [("language", "memo")]


def test_lists_of_inputs_ask_for_lists() -> None:
    intent = read_intent("denoise these", facts("pages:list[image]"), registry())
    assert str(intent.wanted[0].type) == "list[image]"


def test_any_catalogue_is_understood_by_its_own_words() -> None:
    weather = ToolSig(ToolName("met.forecast"), (Param("city", TEXT),), Type("Forecast"), capability="weather")
    for task in ("what is the weather in this city", "give me forecasts"):
        intent = read_intent(task, facts("city:text"), registry(weather))
        assert [(w.type, w.capability) for w in intent.wanted] == [(Type("Forecast"), ("weather",))]


def test_the_table_can_be_extended() -> None:
    rule = IntentRule("language", r"spr(?:ache|ache ist)", "Language", says="Sprache nennen")
    intent = read_intent("welche sprache", facts("memo:text"), registry(), rules=(*RULES, rule))
    assert [want.name for want in intent.wanted] == ["language"]


@pytest.mark.parametrize("task", ["read " * 5000, "\x00\ud800", "don't " * 3000, "((((", "İread it", "?" * 999])
def test_hostile_text_raises_nothing_else(task: str) -> None:
    with suppress(IntentError):
        assert read_intent(task, facts("page:image"), registry()).wanted
