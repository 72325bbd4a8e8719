"""What people say and what they want by it: the table behind `catp.planners.intent`.

A rule names a pattern, the type of the result, and what the tool that makes it must be for. Rules only apply where
the catalogue has such a tool. Add your own with `read_intent(..., rules=(*RULES, IntentRule(...)))`.
"""

from dataclasses import dataclass

__all__ = ["FILLER", "LANGUAGES", "RULES", "IntentRule"]


@dataclass(frozen=True, slots=True)
class IntentRule:
    """One thing people ask for.

    Args:
        name: What the result is called in the plan.
        pattern: Regular expression for the words, matched in lower-case text on word boundaries.
        type: Type of the result.
        capability: What the tool that makes it may be for; empty for any tool that returns `type`.
        needs: Type of input without which the request makes no sense here (a text cannot be read from an image that
            is not there); empty if any will do.
        says: The request in plain words, for messages.
    """

    name: str
    pattern: str
    type: str
    capability: tuple[str, ...] = ()
    needs: str = ""
    says: str = ""


_THING = r"(?:\w+ ){0,3}?"
"""Up to three words between a verb and its object: "sharpen *this old photo*"."""

RULES: tuple[IntentRule, ...] = (
    IntentRule(
        "clean", r"clean(?:ed|ing|s)?(?:[ -]?up)?|tid(?:y|ied)(?:[ -]?up)?|restor(?:e|es|ed|ing|ation)|enhanc\w+"
        rf"|improve {_THING}(?:scan|image|picture|photo|page)|repair {_THING}(?:scan|image|picture|photo|page)",
        "image", ("denoise", "deblur", "upscale"), "image", "clean up an image",
    ),
    IntentRule(
        "denoised", r"de-?nois\w*|despeckl\w*|noise reduction|(?:remove|reduce|less|get rid of) (?:the |all )?"
        r"(?:noise|specks?|speckles?|grain|dots)",
        "image", ("denoise",), "image", "remove noise",
    ),
    IntentRule(
        "sharp", r"sharpen\w*|de-?blur\w*|un-?blur\w*|(?:remove|reduce) (?:the )?blur\w*|make (?:it|this"
        r"|them) sharp(?:er)?",
        "image", ("deblur",), "image", "sharpen",
    ),
    IntentRule(
        "large", r"up-?scal\w*|enlarg\w*|super-?resol\w*|magnif(?:y|ied)|(?:increase|double|higher"
        r"|raise) (?:the |its )?"
        r"(?:resolution|size)|make (?:it|this|them) (?:bigger|larger)",
        "image", ("upscale",), "image", "upscale",
    ),
    IntentRule(
        "text", r"read(?:s|ing)?|ocr|transcri(?:be|bes|bed|ption)|digiti[sz]e|what (?:does )?(?:it|this|that"
        r"|the \w+) says?"
        r"|(?:extract|get|recogni[sz]e|give me|return|copy|show me|tell me) (?:me )?(?:all |all the |the |its "
        r"|full |plain )*text"
        r"|(?:and|plus|with|,) (?:the |its |full |plain )+text|text recognition",
        "text", ("ocr",), "image", "read the text of an image",
    ),
    IntentRule(
        "language", r"(?:what|which) languages?|languages?|lingo|(?:what"
        r"|which) tongue", "Language", (), "", "tell the language",
    ),
    IntentRule(
        "key_phrases", r"key[ -]?(?:phrases?|words?|terms?|points? list)|topics?|main terms|tags?",
        "KeyPhrases", (), "", "list the key phrases",
    ),
    IntentRule(
        "sentiment", r"sentiments?|tone|mood|feelings?|polarity|attitude|positive or negative|(?:happy"
        r"|angry) or (?:happy|angry)",
        "Sentiment", (), "", "tell the sentiment",
    ),
    IntentRule(
        "entities", r"(?:named )?entit(?:y|ies)|(?:people|persons?|places?|organi[sz]ations?|companies|dates|names)"
        r"(?:,? (?:and|or)? ?(?:people|persons?|places?|organi[sz]ations?|companies|dates|names))*"
        r"(?: (?:that are |are )?(?:mentioned|named|in (?:it|the text|this text|there)))?|who is mentioned",
        "Entities", (), "", "find names and other entities",
    ),
    IntentRule(
        "summary", r"summar(?:y|ies|i[sz]e|i[sz]es|i[sz]ed|i[sz]ing|i[sz]ation)|tl;?dr|gist|main points?"
        r"|shorten\w*|condens\w*|"
        r"abstract|in a nutshell|boil (?:it|this) down",
        "Summary", (), "", "summarise",
    ),
    IntentRule("answer", r"answer\w*|reply to", "Answer", (), "", "answer a question"),
    IntentRule(
        "codes", r"(?:(?:scan|read|decode|find|get|extract)(?: \w+){0,2} )?(?:qr(?:[ -]?codes?)?"
        r"|bar[ -]?codes?)|(?:scan|read|decode|find) (?:the |any |all )?codes?|codes? (?:on|in) ",
        "Codes", (), "image", "read QR codes and barcodes",
    ),
    IntentRule(
        "faces", r"faces?|(?:how many|count (?:the )?|number of )(?: ?people| ?persons)(?: (?:in|on) (?:it"
        r"|the \w+|this \w+))?",
        "Faces", (), "image", "find faces",
    ),
    IntentRule(
        "translation", r"translat\w+(?: (?:it|this|that"
        r"|the \w+))?(?: (?:in)?to (?P<to>[a-z]+)(?: language)?)?", "Translation", (), "",
        "translate",
    ),
    IntentRule(
        "corrected", r"spell[ -]?(?:check\w*|correct\w*)|(?:correct|fix) (?:the |its |any |all )?(?:spelling"
        r"|typos?|misspellings?)"
        r"|proof-?read\w*",
        "text", ("spelling",), "", "correct the spelling",
    ),
    IntentRule(
        "noise", r"how (?:noisy|blurred|blurry|damaged|clean) (?:is|are)|noise (?:level|estimate)|(?:estimate"
        r"|measure) (?:the )?noise"
        r"|(?:scan|image|picture) quality",
        "NoiseEstimate", (), "image", "measure noise and blur",
    ),
    IntentRule(
        "image_stats", r"(?:image|picture|photo) (?:statistics|stats)|statistics|brightness|contrast|dimensions"
        r"|width and height",
        "ImageStats", (), "image", "measure size, brightness and contrast",
    ),
    IntentRule(
        "image_class", r"classif\w+|what (?:is|does) (?:in |on )?(?:the|this) (?:image|picture"
        r"|photo)(?: shows?)?|what is (?:in|on) "
        r"(?:the|this) (?:image|picture|photo)|label (?:the|this) (?:image|picture|photo)",
        "ImageClass", (), "image", "say what a picture shows",
    ),
)  # fmt: skip

LANGUAGES = {
    "english": "en", "spanish": "es", "castilian": "es", "catalan": "ca", "german": "de", "french": "fr",
    "italian": "it", "portuguese": "pt", "dutch": "nl", "russian": "ru", "romanian": "ro", "polish": "pl",
    "swedish": "sv", "danish": "da", "norwegian": "no", "finnish": "fi", "greek": "el", "turkish": "tr",
    "czech": "cs", "hungarian": "hu", "ukrainian": "uk", "chinese": "zh", "japanese": "ja", "korean": "ko",
    "arabic": "ar", "hebrew": "he", "hindi": "hi",
}  # fmt: skip
"""ISO 639-1 codes by English name."""

FILLER = """
a an the this that these those it its their them they there here is are was be been being am do does did done can
could would will shall should may might must i me my we us our you your he she his her please kindly and or but then
also plus too as well if so of in on at to for from by with about into out up off over under again first next
finally after before which what who whom whose how when where why all any some each every both one two tell give
show get make let find say see look take put want need like just only really very quite page pages scan scans
scanned document documents photo photos picture pictures image images text texts file files letter letters note
notes paper article input inputs output result results thing things content contents written writing word words
sentence sentences don't not no without never skip except instead rather than time quickly cheaply cheap fast good
best list detect determine identify recognise recognize compute return report provide extract check write print
using use version copy new main key many much old bad attached following above below back hi hello thanks thank
most important top least maximum max exactly limit limited
"""
"""Words that carry no request of their own, so not understanding them is not worth a remark."""
