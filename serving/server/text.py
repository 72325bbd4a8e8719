"""Answers to requests for text in OpenAI's forms, whole or in pieces."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from catp.serving.metering.prices import DevicePrice
from catp.serving.server.events import Event, Finished, TextDelta, TokenLogprob, Usage
from catp.serving.server.sse import event_data
from catp.serving.server.usage import usage_form

__all__ = ["ChatAnswer", "CompletionAnswer", "TextAnswer"]


class _Choice:
    def __init__(self) -> None:
        self.text: list[str] = []
        self.logprobs: list[TokenLogprob] = []
        self.finish: str | None = None
        self.chars = 0


class TextAnswer(ABC):
    """One answer. Choice `index` of ticket `number` is choice `number * n + index` of the answer.

    Args:
        id: of the answer.
        model: as it was asked for.
        tickets, n: how many tickets and choices of each there are.
        logprobs: whether they were asked for.
        price: of a device second.
        include_usage: stream a last chunk with usage; `continuous`: usage so far in every chunk.
        prompts: prompt tokens of each ticket.
    """

    prefix: str
    kind: str
    chunk_kind: str

    def __init__(
        self, id: str, model: str, tickets: int, n: int, price: DevicePrice, *, logprobs: bool = False,
        include_usage: bool = False, continuous: bool = False, prompts: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.id, self.model, self.created = f"{self.prefix}-{id}", model, int(time.time())
        self._n, self._price, self._wants_logprobs = n, price, logprobs
        self._include_usage, self._continuous = include_usage, continuous
        self._choices = [_Choice() for _ in range(tickets * n)]
        self._usages: list[Usage] = []
        self._prompt_tokens, self._written = sum(prompts), 0

    @abstractmethod
    def piece(self, index: int, delta: TextDelta, logprobs: Any, *, first: bool) -> dict[str, Any]:
        """Return a choice of a chunk."""

    @abstractmethod
    def whole(self, index: int, text: str, logprobs: Any, finish: str) -> dict[str, Any]:
        """Return a choice of the whole answer."""

    @abstractmethod
    def spell_logprobs(self, logprobs: Sequence[TokenLogprob], offset: int) -> Any:
        """Return log-probabilities; `offset` is the number of characters before them."""

    def take(self, number: int, event: Event) -> Iterable[bytes]:
        """Take an event and return what is streamed of it."""
        if isinstance(event, Finished):
            self._usages.append(event.usage)
        if not isinstance(event, TextDelta):
            return []
        index = number * self._n + event.index
        choice = self._choices[index]
        first = not choice.text and not choice.logprobs
        logprobs = self.spell_logprobs(event.logprobs, choice.chars) if self._wants_logprobs else None
        choice.text.append(event.text)
        choice.logprobs += event.logprobs
        choice.chars += sum(len(_shown(one.raw)) for one in event.logprobs)
        choice.finish = event.finish or choice.finish
        self._written += len(event.tokens)
        if not event.text and not event.logprobs and event.finish is None and not first:
            return []
        chunk = self._chunk([self.piece(index, event, logprobs, first=first)])
        if self._continuous:
            total = self._prompt_tokens + self._written
            chunk["usage"] = {"prompt_tokens": self._prompt_tokens, "completion_tokens": self._written,
                              "total_tokens": total}  # fmt: skip
        return [event_data(chunk)]

    def closing(self) -> Iterable[bytes]:
        """Return what is streamed at the end."""
        return [event_data(self._chunk([]) | {"usage": usage_form(self._usages, self._price)})] * self._include_usage

    def body(self) -> dict[str, Any]:
        """Return the whole answer."""
        return {
            "id": self.id,
            "object": self.kind,
            "created": self.created,
            "model": self.model,
            "choices": [
                self.whole(
                    index, "".join(choice.text),
                    self.spell_logprobs(choice.logprobs, 0) if self._wants_logprobs else None, choice.finish or "stop",
                )
                for index, choice in enumerate(self._choices)
            ],
            "usage": usage_form(self._usages, self._price),
        }  # fmt: skip

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = {"id": self.id, "object": self.chunk_kind, "created": self.created, "model": self.model,
                 "choices": choices}  # fmt: skip
        return chunk | {"usage": None} if self._include_usage else chunk


class ChatAnswer(TextAnswer):
    """`chat.completion`."""

    prefix, kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def piece(self, index: int, delta: TextDelta, logprobs: Any, *, first: bool) -> dict[str, Any]:
        """Return a choice of a chunk; the first one names the role."""
        content: dict[str, Any] = {"role": "assistant", "content": delta.text} if first else {}
        if delta.text:
            content["content"] = delta.text
        return {"index": index, "delta": content, "logprobs": logprobs, "finish_reason": delta.finish}

    def whole(self, index: int, text: str, logprobs: Any, finish: str) -> dict[str, Any]:
        """Return a choice of the whole answer."""
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}

    def spell_logprobs(self, logprobs: Sequence[TokenLogprob], offset: int) -> Any:
        """Return them token by token, each with the likeliest ones."""
        return {
            "content": [
                {
                    "token": _shown(one.raw), "logprob": one.logprob, "bytes": list(one.raw),
                    "top_logprobs": [
                        {"token": _shown(top.raw), "logprob": top.logprob, "bytes": list(top.raw)} for top in one.top
                    ],
                }
                for one in logprobs
            ],
            "refusal": None,
        }  # fmt: skip


class CompletionAnswer(TextAnswer):
    """`text_completion`."""

    prefix, kind, chunk_kind = "cmpl", "text_completion", "text_completion"

    def piece(self, index: int, delta: TextDelta, logprobs: Any, *, first: bool) -> dict[str, Any]:
        """Return a choice of a chunk."""
        return {"index": index, "text": delta.text, "logprobs": logprobs, "finish_reason": delta.finish}

    def whole(self, index: int, text: str, logprobs: Any, finish: str) -> dict[str, Any]:
        """Return a choice of the whole answer."""
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}

    def spell_logprobs(self, logprobs: Sequence[TokenLogprob], offset: int) -> Any:
        """Return them as columns."""
        tokens = [_shown(one.raw) for one in logprobs]
        offsets = []
        for token in tokens:
            offsets.append(offset)
            offset += len(token)
        return {
            "tokens": tokens,
            "token_logprobs": [one.logprob for one in logprobs],
            "top_logprobs": [{_shown(top.raw): top.logprob for top in one.top} for one in logprobs],
            "text_offset": offsets,
        }


def _shown(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
