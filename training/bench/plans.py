"""How the plans of the task families look: one function per shape, with a slot wherever tools compete.

`d` is a `Draft`. Which tools may fill a slot is a menu; the menus here name all of them, and every input is offered a
part of the long ones (`catp.training.bench.menus`).
"""

from collections.abc import Sequence

from catp.training.bench.draft import Draft, Option, PlanFunction

__all__ = [
    "PAGE_CHAINS", "asked_on_paper_plan", "careful_plan", "labels_plan", "page_or_text_match_plan", "page_plan",
    "pages_plan", "photo_plan", "several", "text_plan", "texts_plan", "two_pages_plan", "two_texts_plan",
]  # fmt: skip

READERS = ("ocr_gocr", "ocr_tesseract", "ocr_rapid_lines", "ocr_rapid")
LANGUAGES = ("language_stopwords", "language_cld2", "language_fasttext", "language_py3langid")
SENTIMENTS = ("sentiment_words", "sentiment_vader")
PHRASES = ("phrases_frequency", "phrases_textrank", "phrases_yake")
ENTITIES = ("entities_patterns", "entities_names")
SUMMARIES = ("summary_lead", "summary_frequency")
ANSWERS = ("answer_bm25", "answer_vectors")
CODES = ("codes_zxing_fast", "codes_zxing")
FACES = ("faces_haar", "faces_haar_fine")
VOTES = ("vote_confident", "vote_words")
MATCHES = ("match_words", "match_letters", "match_vectors")
FIXES: tuple[Option, ...] = ((), ("spelling_symspell",))

_DENOISERS = (
    "denoise_median", "denoise_bilateral", "denoise_dct", "denoise_wavelet", "denoise_nlm", "denoise_dct_fine",
)  # fmt: skip
_DEBLURRERS = ("deblur_unsharp", "deblur_wiener", "deblur_rl10", "deblur_rl30", "deblur_tv")
_UPSCALERS = ("upscale_bicubic", "upscale_lanczos", "upscale_backproject")
_ONE_DENOISER: tuple[Option, ...] = tuple((name,) for name in _DENOISERS)

PAGE_CHAINS: tuple[Option, ...] = (
    (), *_ONE_DENOISER, *((name,) for name in _DEBLURRERS), *((name,) for name in _UPSCALERS),
    ("denoise_median", "deblur_unsharp"), ("denoise_median", "deblur_tv"), ("denoise_bilateral", "deblur_tv"),
    ("denoise_dct", "deblur_rl10"), ("denoise_dct", "deblur_rl30"), ("upscale_lanczos", "deblur_unsharp"),
)  # fmt: skip
"""What may come before a reader."""

SCENE_CHAINS: tuple[Option, ...] = (
    (), ("denoise_median",), ("denoise_bilateral",), ("denoise_dct",), ("denoise_nlm",), ("upscale_bicubic",),
    ("upscale_backproject",), ("deblur_unsharp",),
)  # fmt: skip
"""What may come before a finder of codes or faces."""

CLEANING: tuple[Option, ...] = (*_ONE_DENOISER, ("denoise_median", "denoise_bilateral"))
SHARPENING: tuple[Option, ...] = (
    *((name,) for name in _DEBLURRERS), ("denoise_bilateral", "deblur_unsharp"), ("denoise_dct", "deblur_tv"),
    ("denoise_dct", "deblur_rl10"), ("denoise_nlm", "deblur_rl30"),
)  # fmt: skip
ENLARGING: tuple[Option, ...] = (
    *((name,) for name in _UPSCALERS), ("denoise_bilateral", "upscale_lanczos"), ("denoise_dct", "upscale_lanczos"),
    ("denoise_dct", "upscale_backproject"), ("denoise_median", "upscale_bicubic"),
)  # fmt: skip

_TEXT_TOOLS = {
    "language": LANGUAGES, "sentiment": SENTIMENTS, "phrases": PHRASES, "entities": ENTITIES, "summary": SUMMARIES,
}  # fmt: skip


def _about(d: Draft, what: str, text: str, *, optional: bool = False) -> None:
    """One output about a text."""
    if what == "text":
        d.out("text", text, optional=optional)
    elif not optional or d.include(what):
        if what == "answer":
            step = d.call("answer", ANSWERS, text=text, question="question")
        else:
            step = d.call(what, _TEXT_TOOLS[what], text=text)
        d.out(what, step, optional=optional)


def page_plan(*outputs: str, optional: str = "", fix: bool = False, show: bool = False) -> PlanFunction:
    """Restore the page, read it, and tell the outputs of its text; `show` also returns the restored page."""

    def plan(d: Draft) -> None:
        chains = [chain for chain in PAGE_CHAINS if chain[-1:] in _ONE_DENOISER] if show else PAGE_CHAINS
        restored = d.restore("restored", "page", chains)
        if show:
            d.out("clean", restored)
        text = f"{d.call('reading', READERS, image=restored)}.text"
        if fix:
            text = d.restore("fixed", text, FIXES, param="text")
        for what in outputs:
            _about(d, what, text)
        if optional:
            _about(d, optional, text, optional=True)

    return plan


def careful_plan(*outputs: str) -> PlanFunction:
    """Read the page twice, with two readers, and compare: a join."""

    def plan(d: Draft) -> None:
        restored = d.restore("restored", "page", PAGE_CHAINS)
        first = d.call("first", ("ocr_gocr", "ocr_rapid_lines"), image=restored)
        second = d.call("second", ("ocr_tesseract", "ocr_rapid"), image=restored)
        voted = d.call("careful", VOTES, first=first, second=second)
        d.out("careful", f"{voted}.text")
        for what in outputs:
            _about(d, what, f"{voted}.text")

    return plan


def read_page(d: Draft, page: str, slot: str) -> str:
    """Restore and read one page of several, each with tools of its own."""
    restored = d.restore(f"restored_{slot}", page, PAGE_CHAINS)
    return f"{d.call(f'reading_{slot}', READERS, image=restored)}.text"


def two_pages_plan(*outputs: str) -> PlanFunction:
    """Read two pages side by side, then join them: match, or combine and tell more."""

    def plan(d: Draft) -> None:
        first, second = read_page(d, "page", "a"), read_page(d, "other", "b")
        if "match" in outputs:
            d.out("match", d.call("match", MATCHES, first=first, second=second))
            return
        combined = d.call("combined", ("combine_texts",), first=first, second=second)
        for what in outputs:
            if what == "combined":
                d.out("combined", combined)
            else:
                _about(d, what, f"{combined}.text")

    return plan


def asked_on_paper_plan(d: Draft) -> None:
    """The question is on a page, too: both are read, and joined in the answer."""
    text, question = read_page(d, "page", "a"), read_page(d, "note", "b")
    d.out("answer", d.call("answer", ANSWERS, text=text, question=question))


def page_or_text_match_plan(d: Draft) -> None:
    """Does the page say what the text says?"""
    d.out("match", d.call("match", MATCHES, first=read_page(d, "page", "a"), second="text"))


def pages_plan(*outputs: str) -> PlanFunction:
    """Read every page of a list, and tell something of each, or of all."""

    def plan(d: Draft) -> None:
        restored = d.restore("restored", "pages", PAGE_CHAINS, each=True)
        texts = f"{d.call('readings', READERS, image=f'each {restored}')}.text"
        _about_all(d, outputs, texts)

    return plan


def texts_plan(*outputs: str) -> PlanFunction:
    """Tell something of every text of a list, or of all."""

    def plan(d: Draft) -> None:
        _about_all(d, outputs, d.restore("fixed", "texts", FIXES, each=True, param="text"))

    return plan


def _about_all(d: Draft, outputs: Sequence[str], texts: str) -> None:
    for what in outputs:
        if what == "text":
            d.out("text", texts)
        elif what == "tally":
            moods = d.call("moods", SENTIMENTS, text=f"each {texts}")
            d.out("tally", _tally(d, moods))
        else:
            d.out(what, d.call(what, _TEXT_TOOLS[what], text=f"each {texts}"))


def _tally(d: Draft, moods: str) -> str:
    """Two tools that take different things of the same moods."""
    (tool,) = d.fill("tally", (("tally_labels",), ("tally_scores",)))
    argument = f"labels={moods}.label" if tool == "tally_labels" else f"scores={moods}.score"
    return d.line("tally", f"{tool}({argument})")


def text_plan(*outputs: str, optional: str = "", give_fixed: bool = False) -> PlanFunction:
    """Tell something of a text, its spelling mended first or not; `give_fixed` returns the mended text itself."""

    def plan(d: Draft) -> None:
        text = d.restore("fixed", "text", FIXES[1:] if give_fixed else FIXES, param="text")
        if give_fixed:
            d.out("corrected", text)
        for what in outputs:
            raw = give_fixed and d.fill(f"raw_{what}", (("fixed",), ("raw",))) == ("raw",)
            _about(d, what, "text" if raw else text)
        if optional:
            _about(d, optional, text, optional=True)

    return plan


def two_texts_plan(*outputs: str) -> PlanFunction:
    """Compare two texts, or put them together and tell something of both."""

    def plan(d: Draft) -> None:
        first = d.restore("fixed_a", "text", FIXES, param="text")
        second = d.restore("fixed_b", "other", FIXES, param="text")
        if "match" in outputs:
            d.out("match", d.call("match", MATCHES, first=first, second=second))
            return
        combined = d.call("combined", ("combine_texts",), first=first, second=second)
        for what in outputs:
            _about(d, what, f"{combined}.text")

    return plan


def photo_plan(*outputs: str, optional: str = "", source: str = "photo") -> PlanFunction:
    """Restore a photograph, or find something in it."""

    def plan(d: Draft) -> None:
        for what in outputs:
            _seen(d, what, source)
        if optional and d.include(optional):
            _seen(d, optional, source, optional=True)

    return plan


def _seen(d: Draft, what: str, source: str, *, optional: bool = False, each: bool = False) -> None:
    restoring = {"clean": CLEANING, "sharp": SHARPENING, "large": ENLARGING}
    if what in restoring:
        d.out(what, d.restore(what, source, restoring[what]), optional=optional)
    elif what == "stats":
        d.out("stats", d.call("stats", ("image_stats",), image=source), optional=optional)
    else:
        scene = d.restore(f"for_{what}", source, SCENE_CHAINS, each=each)
        finders = {"codes": CODES, "faces": FACES}[what]
        d.out(what, d.call(what, finders, image=f"each {scene}" if each else scene), optional=optional)


def labels_plan(d: Draft) -> None:
    """Read the codes of every label of a list."""
    _seen(d, "codes", "labels", each=True)


def several(*plans: PlanFunction) -> PlanFunction:
    """Plans about different inputs side by side: independent branches of one plan."""

    def plan(d: Draft) -> None:
        for part in plans:
            part(d)

    return plan
