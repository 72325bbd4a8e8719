"""Is this text pleased or displeased? A short word list, and VADER's rules and rated lexicon."""

import functools
from typing import Any

from catp.tools.builtin.needs import needs
from catp.tools.builtin.prose import checked, words
from catp.tools.builtin.records import Sentiment
from catp.tools.decorator import Tool, tool
from catp.tools.price import ComputePrice

__all__ = ["TOOLS", "sentiment_vader", "sentiment_words"]

_GOOD = frozenset(
    """
    amazing beautiful best better brilliant charming cheerful clean comfortable delicious delight delighted
    delightful easy easier elegant enjoy enjoyed excellent exciting fantastic fast fine fresh friendly fun
    generous glad good great happy helpful honest impressive improved kind like liked love loved lovely nice
    outstanding perfect pleasant pleased pleasure polite proud quick recommend recommended reliable safe
    safer satisfied smooth splendid success superb thank thanks thanked tasty thoughtful useful welcome well
    win wonderful worth
    """.split()  # noqa: SIM905 - a list of seventy quoted words is harder to read
)
_BAD = frozenset(
    """
    angry annoying awful bad badly boring broke broken cold complain complained confusing crash crashed cruel
    damaged danger dangerous defective delay delayed dirty disappointed disappointing disappointment disaster
    dislike dull error expensive fail failed failure fault faulty fear hate hated horrible hurt ignored lost
    mess miserable mistake noisy overpriced pain painful poor problem problems regret rude sad scared shame
    sick slow stale terrible tired ugly unfair unhappy unpleasant unreliable upset useless waste weak worn
    worse worst wrong
    """.split()  # noqa: SIM905 - a list of seventy quoted words is harder to read
)
_NEGATIONS = "not no never nothing hardly isn't wasn't don't didn't doesn't can't couldn't won't wouldn't"
_NOT = frozenset(_NEGATIONS.split())


@functools.cache
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


@tool(capability="sentiment", price=ComputePrice(), family="text")
def sentiment_words(text: str) -> Sentiment:
    """Count pleased and displeased words, turned round after a negation: nearly free."""
    found, score = words(text), 0
    for place, word in enumerate(found):
        value = (word in _GOOD) - (word in _BAD)
        score += -value if _NOT.intersection(found[max(0, place - 3) : place]) else value
    return _labelled(score / (abs(score) + 2.0))


@tool(
    capability="sentiment", price=ComputePrice(), family="vader", setup=_analyzer, unavailable=needs("vaderSentiment")
)
def sentiment_vader(text: str) -> Sentiment:
    """Rate with VADER: 7,500 rated words, emphasis, negation, emoticons."""
    return _labelled(float(_analyzer().polarity_scores(checked(text))["compound"]))


TOOLS: tuple[Tool[..., Any], ...] = (sentiment_words, sentiment_vader)


def _labelled(score: float) -> Sentiment:
    label = "positive" if score >= 0.05 else "negative" if score <= -0.05 else "neutral"
    return Sentiment(label, round(score, 4))
