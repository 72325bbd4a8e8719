"""Splitting text into sentences and words, and the commonest words of a dozen languages."""

import re
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["MAX_CHARS", "STOPWORDS", "checked", "content_words", "sentences", "words"]

MAX_CHARS = 1_000_000
"""Longer texts are refused: split them and map the tool over the parts."""

_SENTENCE_END = re.compile(r"(?<=[.!?。！？])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-ZÀ-ÖØ-ÞΑ-ΩА-Я0-9¿¡])")
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|No|vs|etc|e\.g|i\.e|[A-Z])\.$")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def checked(text: str) -> str:
    """Return `text` with runs of white space, also line ends, made single spaces.

    Raises:
        ValueError: the text is longer than `MAX_CHARS`.
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"the text has {len(text):,} characters; at most {MAX_CHARS:,} are accepted")
    return " ".join(text.split())


def sentences(text: str) -> list[str]:
    """Split at sentence ends, but not after common abbreviations and initials."""
    found: list[list[str]] = []
    for part in _SENTENCE_END.split(checked(text)):
        if found and _ABBREVIATION.search(found[-1][-1][-12:]):
            found[-1].append(part)
        elif part:
            found.append([part])
    return [" ".join(parts) for parts in found]


def words(text: str) -> list[str]:
    """All words in lower case; apostrophes and hyphens inside a word are part of it."""
    return [word.lower().replace("’", "'") for word in _WORD.findall(checked(text))]


def content_words(text: str) -> list[str]:
    """The words that are not English stop words and have more than two letters."""
    return [word for word in words(text) if len(word) > 2 and word not in STOPWORDS["en"]]


STOPWORDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        language: frozenset(listed.split())
        for language, listed in {
            "en": "a about above after again against all also an and any are as at be became because been before being "
            "below between both but by came can come could did do does doing down during each early even every "
            "everyone far few for from further get go had has have having he her here hers herself him himself his "
            "how i if in into is it its itself just like made make makes many may me more most much must my no nor "
            "not now of off on once one only or other our ours out over own said same say says she should since so "
            "some such than that the their theirs them then there these they this those through to too under until "
            "up upon us very was we were what when where which while who whom whose why will with would you your",
            "de": "der die das und ist in den von zu mit sich des auf für nicht ein eine als auch es an werden aus er "
            "hat dass sie nach wird bei einer um am sind noch wie einem über so zum war haben nur oder aber vor zur "
            "bis mehr durch man ich wir ihr ihre unser dem im wenn kann",
            "fr": "le la les de des du un une et est en que qui dans pour pas sur au aux avec il elle nous vous ils ce "
            "cette ces se ne son sa ses par plus ou mais comme on leur été sont était être à même tout d l qu n s c j",
            "es": "el la los las de del un una y es en que por para con no se su sus al lo como más pero o este esta "
            "fue ha han son muy sin sobre entre ya también cuando hay ser era nos todo está",
            "it": "il lo la i gli le di del della dei delle un una e è in che per non con si da al alla nel nella come "
            "più ma anche sono era ha hanno questo questa o se su ai dal ci suo loro tutto",
            "pt": "o a os as de do da dos das um uma e é em que para por não com se no na nos nas ao mais como mas foi "
            "são também seu sua ou quando muito já pelo pela ele ela está ser tem à isso",
            "nl": "de het een en van is in dat op te zijn met voor niet aan er om ook als maar door bij uit naar dan "
            "nog over werd heeft hebben wordt deze die dit wij hij zij ik je hun was veel meer kan",
            "sv": "och i att det som en på är av för med den till inte om ett han har de var jag så men från vi hon "
            "kan nu när år än över eller vid mycket alla också efter sin ut där",
            "pl": "i w na z do nie się to jest że o jak po co ale od za przez dla jego czy tak już tylko jej był być "
            "są było może oraz także ich który która które przy pod nad bardzo ze ma",
            "tr": "ve bir bu için ile da de çok ne daha gibi o ama en kadar sonra olarak olan var her mi ki ben biz "
            "siz değil onun oldu şey ya hem veya göre",
            "ru": "и в не на что с по это как он она они к но из за то все у же от о для так бы было его её их мы вы я "
            "был были есть или уже очень чтобы когда при до",
            "el": "και το η ο να του της των τα οι στο στη στην με για που από δεν είναι θα ένα μια σε τον την τους ως "
            "αλλά ή πολύ αυτό όταν μας",
        }.items()
    }
)
"""Stop words by ISO 639-1 code."""
