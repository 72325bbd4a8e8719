"""The task families of CATP-Bench: inputs, wanted outputs, the shape of the plans, and on which side they are.

A family is the unit of the main split ("held-out tasks"): `side` says where it belongs. Names of inputs are those that
plans use; `SOURCES` says how each is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from catp.training.bench import plans
from catp.training.bench.draft import PlanFunction
from catp.training.bench.outputs import Want
from catp.training.bench.sources import Side

__all__ = ["FAMILIES", "TYPES", "Family"]

TYPES: Mapping[str, str] = {
    "page": "image", "other_page": "image", "note": "image", "photo": "image", "label": "image", "people": "image",
    "text": "text", "question": "text", "pages": "list[image]", "texts": "list[text]", "labels": "list[image]",
}  # fmt: skip
"""Plan types of inputs by name; `other` is a page or a text, like the input before it."""


@dataclass(frozen=True)
class Family:
    """One kind of task.

    `inputs` maps names to sources; `inputs_wanted` counts how many inputs the benchmark has of it. `chains` and
    `readers` say how many restorations and readers an input is offered.
    """

    id: str
    inputs: Mapping[str, str]
    wants: tuple[Want, ...]
    plan: PlanFunction
    side: Side = "train"
    inputs_wanted: int = 72
    chains: int = 4
    readers: int = 3

    @property
    def types(self) -> dict[str, str]:
        """Plan type of each input."""
        return {
            name: TYPES[name] if name != "other" else ("image" if "page" in self.inputs else "text")
            for name in self.inputs
        }


def _wants(source: str, *whats: str, optional: str = "", many: bool = False) -> tuple[Want, ...]:
    sources = {"answer": (source, "question"), "match": (source, "other"), "combined": (source, "other")}
    found = [Want(what, sources.get(what, (source,)), many and what != "tally") for what in whats]
    return (*found, Want(optional, (source,), optional=True)) if optional else tuple(found)


def _both(*whats: str) -> tuple[Want, ...]:
    source = "page" if whats[0] == "P" else "text"
    return tuple(Want(what, (source, "other")) for what in whats[1:])


def _page(id: str, *whats: str, optional: str = "", fix: bool = False, side: Side = "train", page: str = "page",
          n: int = 50) -> Family:  # fmt: skip
    inputs = {"page": page, **({"question": "question_page"} if "answer" in whats else {})}
    show = whats[0] == "clean"
    plan = plans.page_plan(*(whats[1:] if show else whats), optional=optional, fix=fix, show=show)
    return Family(id, inputs, _wants("page", *whats, optional=optional), plan, side, n)


def _text(id: str, *whats: str, optional: str = "", side: Side = "train", text: str = "text") -> Family:
    inputs = {"text": text, **({"question": "question_text"} if "answer" in whats else {})}
    give = whats[0] == "corrected"
    plan = plans.text_plan(*(whats[1:] if give else whats), optional=optional, give_fixed=give)
    return Family(id, inputs, _wants("text", *whats, optional=optional), plan, side)


def _photo(id: str, *whats: str, optional: str = "", side: Side = "train", source: str = "photo",
           name: str = "photo") -> Family:  # fmt: skip
    plan = plans.photo_plan(*whats, optional=optional, source=name)
    return Family(id, {name: source}, _wants(name, *whats, optional=optional), plan, side)


_ABOUT_PHOTO = plans.photo_plan("clean")
_PAGE_TEXT = plans.page_plan("text")

FAMILIES: tuple[Family, ...] = (
    # one page, read and told about
    _page("page-text", "text", n=84),
    _page("page-text-fixed", "text", fix=True),
    _page("page-language", "language", page="foreign_page", n=84),
    _page("page-sentiment", "sentiment"),
    _page("page-entities", "entities", fix=True),
    _page("page-phrases", "phrases", side="val"),
    _page("page-summary", "summary"),
    _page("page-answer", "answer"),
    _page("page-text-language", "text", "language", page="foreign_page"),
    _page("page-text-sentiment", "text", "sentiment", side="test"),
    _page("page-mood-words", "language", "sentiment", "phrases"),
    _page("page-entities-summary", "entities", optional="summary"),
    _page("page-text-phrases", "text", optional="phrases", side="test"),
    _page("page-clean-text", "clean", "text"),
    _page("page-clean-language", "clean", "language", page="foreign_page", side="test"),
    _page("page-four", "text", "language", "sentiment", "entities"),
    _page("page-clean-four", "clean", "text", "language", "phrases", side="test"),
    # joins
    Family("page-careful", {"page": "page"}, _wants("page", "careful"), plans.careful_plan(), "train", 48, 3, 4),
    Family("page-careful-language", {"page": "foreign_page"}, _wants("page", "careful", "language"),
           plans.careful_plan("language"), "test", 40, 3, 4),
    Family("pages-match", {"page": "page", "other": "page_again"}, _both("P", "match"), plans.two_pages_plan("match"),
           "train", 28, 3, 3),
    Family("pages-combined", {"page": "page", "other": "page"}, _both("P", "combined", "phrases"),
           plans.two_pages_plan("combined", "phrases"), "train", 24, 3, 3),
    Family("pages-digest", {"page": "page", "other": "page"}, _both("P", "summary", "phrases"),
           plans.two_pages_plan("summary", "phrases"), "test", 22, 3, 3),
    Family("page-asked-on-paper", {"page": "page", "note": "note"}, (Want("answer", ("page", "note")),),
           plans.asked_on_paper_plan, "train", 28, 3, 3),
    Family("page-text-match", {"page": "page", "text": "text_again"}, (Want("match", ("page", "text")),),
           plans.page_or_text_match_plan, "val", 48, 4, 3),
    # lists of pages
    Family("pages-text", {"pages": "pages"}, _wants("pages", "text", many=True), plans.pages_plan("text"), "train",
           16, 3, 3),
    Family("pages-languages", {"pages": "foreign_pages"}, _wants("pages", "language", many=True),
           plans.pages_plan("language"), "train", 16, 3, 3),
    Family("pages-tally", {"pages": "mood_pages"}, _wants("pages", "tally", many=True), plans.pages_plan("tally"),
           "test", 12, 3, 3),
    # one text
    _text("text-language", "language", text="any_language"),
    _text("text-sentiment", "sentiment", text="review"),
    _text("text-entities", "entities", text="brief"),
    _text("text-phrases", "phrases", text="report"),
    _text("text-summary", "summary", text="report", side="test"),
    _text("text-answer", "answer", text="report"),
    _text("text-fixed-entities", "corrected", "entities", text="brief"),
    _text("text-language-mood", "language", "sentiment", text="review", side="test"),
    _text("text-digest", "summary", "phrases", "entities", text="report"),
    _text("text-four", "language", "sentiment", "entities", optional="summary", text="brief"),
    _text("text-answer-mood", "answer", "sentiment", text="report", side="test"),
    _text("text-mood-words", "sentiment", optional="phrases", text="brief", side="val"),
    Family("texts-match", {"text": "brief", "other": "text_again"}, _both("T", "match"), plans.two_texts_plan("match")),
    Family("texts-digest", {"text": "report", "other": "report"}, _both("T", "summary", "phrases"),
           plans.two_texts_plan("summary", "phrases"), "test"),
    # lists of texts
    Family("texts-languages", {"texts": "calls"}, _wants("texts", "language", many=True), plans.texts_plan("language")),
    Family("texts-sentiments", {"texts": "texts"}, _wants("texts", "sentiment", many=True),
           plans.texts_plan("sentiment")),
    Family("texts-tally", {"texts": "reviews"}, _wants("texts", "tally", many=True), plans.texts_plan("tally"), "test"),
    # pictures
    _photo("photo-clean", "clean"),
    _photo("photo-sharp", "sharp", source="blurred_photo"),
    _photo("photo-large", "large", source="small_photo"),
    _photo("photo-faces", "faces", source="people", name="people"),
    _photo("label-codes", "codes", source="label", name="label"),
    _photo("photo-clean-stats", "clean", optional="stats", side="test"),
    _photo("people-faces-clean", "faces", "clean", source="people", name="people", side="test"),
    _photo("label-codes-clean", "codes", optional="clean", source="label", name="label", side="val"),
    Family("labels-codes", {"labels": "labels"}, _wants("labels", "codes", many=True), plans.labels_plan, "train", 60),
    # several inputs side by side
    Family("photo-and-page", {"photo": "photo", "page": "page"}, (*_wants("photo", "clean"), *_wants("page", "text")),
           plans.several(_ABOUT_PHOTO, _PAGE_TEXT), "train", 48, 4, 3),
    Family("photo-and-text", {"photo": "photo", "text": "review"},
           (*_wants("photo", "clean"), *_wants("text", "sentiment")),
           plans.several(_ABOUT_PHOTO, plans.text_plan("sentiment")), "test", 72),
    Family("label-and-page", {"label": "label", "page": "foreign_page"},
           (*_wants("label", "codes"), *_wants("page", "text", "language")),
           plans.several(plans.photo_plan("codes", source="label"), plans.page_plan("text", "language")), "train", 40),
    Family("all-four", {"page": "page", "label": "label", "people": "people", "text": "review"},
           (*_wants("page", "text"), *_wants("label", "codes"), *_wants("people", "faces"),
            *_wants("text", "sentiment")),
           plans.several(_PAGE_TEXT, plans.photo_plan("codes", source="label"),
                         plans.photo_plan("faces", source="people"), plans.text_plan("sentiment")), "test", 40),
)  # fmt: skip
