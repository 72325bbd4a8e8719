"""What came back from a chat completions endpoint: the text, or why there is none, and the tokens it took.

Nothing here trusts the server: text may be cut off or missing, numbers may be none, and the key that it was sent may
stand in what it sends back.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catp.planlang.money import usd
from catp.tools.usage import Usage

__all__ = ["Answer", "NoCompletion", "one_line", "read_completion"]

_MAX_TOKENS = 10**9
"""More tokens than this in an answer's `usage` are a mistake of the server, not a bill."""


class NoCompletion(ValueError):
    """The body is no chat completion; the message says what it is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, or in `problem` why that is nothing; `usage` is None where the server states none."""

    text: str
    problem: str | None
    usage: Usage | None


def read_completion(body: bytes, key: str | None, max_tokens: int) -> Answer:
    """Read the body of a successful answer; `key` is taken out of it.

    Raises:
        NoCompletion: it is something else.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise NoCompletion(f"no JSON but {one_line(body[:480].decode(errors='replace'), key)[:120]!r}") from None
    if not isinstance(data, dict):
        raise NoCompletion(f"no chat completion but a {type(data).__name__}")
    text, problem = _said(data, max_tokens)
    return Answer(_without(text, key), one_line(problem, key) if problem else None, _usage(data.get("usage")))


def one_line(text: str, key: str | None = None) -> str:
    """Return `text` as one printable line without the key."""
    return " ".join("".join(c if c.isprintable() else " " for c in _without(text, key)).split())


def _said(data: Mapping[str, Any], max_tokens: int) -> tuple[str, str | None]:
    """The text of the first choice, and what is wrong with it."""
    choices = data.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict):
        error = data.get("error")
        return "", "the answer holds no choices" + (f" but the error {str(error)[:300]}" if error else "")
    message = first.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    reason = first.get("finish_reason")
    if reason == "length":
        return "", f"the answer was cut off at {max_tokens:,} tokens (max_tokens): write a shorter plan"
    if not isinstance(content, str) or not content.strip():
        refusal = message.get("refusal") if isinstance(message, dict) else None
        why = f"the model refused: {refusal[:300]}" if isinstance(refusal, str) else f"finish_reason {reason!r:.40}"
        return "", f"the answer holds no text ({why})"
    return content, None


def _usage(stated: object) -> Usage | None:
    """The tokens, and the price if the provider states one (US dollars); None if neither can be read."""
    if not isinstance(stated, dict):
        return None
    tokens = {"tokens_in": stated.get("prompt_tokens"), "tokens_out": stated.get("completion_tokens")}
    units = {name: count for name, stated_ in tokens.items() if (count := _number(stated_)) is not None}
    cost = _number(stated.get("cost"))
    reported = usd(str(stated["cost"])) if cost is not None else None
    return Usage(units=units, reported=reported) if units or reported is not None else None


def _number(value: object) -> float | None:
    """A count or an amount that can be true, else None: NaN, a negative one and a text are none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_TOKENS:
        return None
    return float(value)


def _without(text: str, key: str | None) -> str:
    return text.replace(key, "***") if key else text
