"""POST /v1/chat/completions: one question to any server that speaks it, and everything that can go wrong.

    ask ── dialect ── send ── 200 ── Answer(text or problem, usage)
             │          ├── 400: say it more simply (no schema, no JSON mode, no temperature), and remember
             └──────────┤── 408, 429, 5xx: wait as told, send again
                        └── anything else: ChatError

What a model says is never an error here: an answer without text, or cut off, is an `Answer` with a `problem`. The key
is read when a question is asked, and appears in no message: it is also taken out of what a server sends back.
"""

import asyncio
import math
import os
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import SplitResult, urlsplit

from catp.planners.chat_answer import Answer, NoCompletion, one_line, read_completion

if TYPE_CHECKING:
    import httpx

__all__ = ["OPENAI_URL", "ChatEndpoint", "ChatError", "Dialect"]

OPENAI_URL = "https://api.openai.com/v1"

_MAX_BYTES = 4 << 20
"""A longer body is no plan; reading stops there."""
_SENDS = 3
"""How often one question is sent while the server says that it is busy."""
_BACKOFF_S = 0.5
"""The wait before the second sending where the server names none; it doubles."""
_BUSY = (408, 409, 425, 429, 500, 502, 503, 504, 529)
_DOUBTFUL = (408, 500, 502, 504)
"""Answers after which the model may have worked, and the provider may charge for it; the others came before that."""
Form: TypeAlias = Literal["json_schema", "json_object", "text"]
Message: TypeAlias = dict[str, str]


class ChatError(Exception):
    """No answer. `sent` is False if the provider cannot have charged anything for it."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server understands: how it promises JSON, whether it takes a temperature, how it spells the length."""

    form: Form = "json_schema"
    temperature: bool = True
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"

    def simpler(self, refusal: str) -> "Dialect | None":
        """What to try after a server refused this with the words `refusal`; None if there is nothing left."""
        if self.limit == "max_tokens" and "max_completion_tokens" in refusal:
            return replace(self, limit="max_completion_tokens")
        if self.temperature and "temperature" in refusal:
            return replace(self, temperature=False)
        if self.form == "text":
            return None
        return replace(self, form="json_object" if self.form == "json_schema" else "text")


class ChatEndpoint:
    """One model at one address. `dialect` is what its server was last found to understand.

    Args:
        model: the model's name at the provider.
        base_url: the address up to `/v1`; http or https, without a user or password.
        api_key: the key, or None to read the environment variable `api_key_env` at each question.
        api_key_env: the variable's name; without a value nothing is sent.
        temperature: None sends none.
        max_tokens: the longest answer.
    """

    def __init__(
        self, model: str, base_url: str, *, api_key: str | None, api_key_env: str, temperature: float | None,
        max_tokens: int,
    ) -> None:  # fmt: skip
        parts = _address(base_url)
        self.model = model
        self.dialect = Dialect(temperature=temperature is not None)
        path = parts.path.rstrip("/") + "/chat/completions"
        self.shown = f"{parts.scheme}://{parts.netloc}{path}"
        self.max_tokens = max_tokens
        self._url = parts._replace(path=path, fragment="").geturl()
        self._key, self.key_env, self._temperature = api_key, api_key_env, temperature

    def __repr__(self) -> str:
        return f"ChatEndpoint({self.model!r}, {self.shown!r})"

    @property
    def title(self) -> str:
        """The model and its address, as messages name them."""
        return f"chat model {self.model!r} at {self.shown}"

    async def ask(
        self, client: "httpx.AsyncClient", messages: list[Message], schema: dict[str, Any], *, until: float
    ) -> Answer:
        """Ask once; `until` is the event loop's time at which waiting ends.

        Raises:
            ChatError: the server cannot be reached, refuses, or answers something else; the message names the fix.
        """
        key = self.key()
        dialect, doubt = self.dialect, False
        while True:
            sending = self._patiently(client, self._body(messages, schema, dialect), key, until)
            response, body, doubtful = await sending
            doubt = doubt or doubtful
            if response.is_success:
                self.dialect = dialect
                answer = self._read(body, key)
                return replace(answer, usage=None) if doubt else answer
            words = _excerpt(body, key, 2000)
            next_ = dialect.simpler(words) if _refuses_form(response.status_code, words) else None
            if next_ is None:
                raise ChatError(self._refused(response, words[:300], key), sent=doubt)
            dialect = next_

    def key(self) -> str | None:
        """The key, if there is one; raise `ChatError` if it cannot be sent (a header holds one line of ASCII)."""
        key = (self._key if self._key is not None else os.environ.get(self.key_env, "")).strip()
        if not key.isascii() or not key.isprintable() or " " in key:
            where = "api_key" if self._key is not None else f"the environment variable {self.key_env}"
            raise ChatError(f"{self.title}: {where} holds characters that no API key has: copy it again", sent=False)
        return key or None

    def _body(self, messages: list[Message], schema: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model, "messages": messages, dialect.limit: self.max_tokens}
        if dialect.temperature:
            body["temperature"] = self._temperature
        if dialect.form == "json_schema":
            form = {"name": "plan", "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        elif dialect.form == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    async def _patiently(
        self, client: "httpx.AsyncClient", body: dict[str, Any], key: str | None, until: float
    ) -> "tuple[httpx.Response, bytes, bool]":
        """Send until the server is not busy, has been so too often, or asks to wait longer than there is time.

        The third value is True if some sending may have been charged for in vain.
        """
        loop = asyncio.get_running_loop()
        doubt = False
        for number in range(_SENDS):
            response, content = await self._send(client, body, key, until)
            doubt = doubt or response.status_code in _DOUBTFUL
            wait = _wait_s(response.headers.get("retry-after"), _BACKOFF_S * 2**number)
            if response.status_code not in _BUSY or number == _SENDS - 1 or loop.time() + wait >= until:
                break
            await asyncio.sleep(wait)
        return response, content, doubt

    async def _send(
        self, client: "httpx.AsyncClient", body: dict[str, Any], key: str | None, until: float
    ) -> "tuple[httpx.Response, bytes]":
        import httpx

        # compressed bodies could be far larger than they look
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
        started = time.perf_counter()
        try:
            async with (
                asyncio.timeout_at(until),
                client.stream("POST", self._url, headers=headers, json=body) as response,
            ):
                found = bytearray()
                async for chunk in response.aiter_bytes():
                    found += chunk
                    if len(found) > _MAX_BYTES:
                        message = f"{self.title}: the answer exceeds {_MAX_BYTES:,} bytes: no plan is that long"
                        raise ChatError(message, sent=True)
                return response, bytes(found)
        except (TimeoutError, httpx.TimeoutException):
            waited = f"waited {time.perf_counter() - started:.1f} s"
            message = f"{self.title}: no complete answer in time ({waited}): raise timeout_s, or use a faster model"
            raise ChatError(message, sent=True) from None
        except (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            reason = one_line(str(error), key) or type(error).__name__
            message = f"{self.title}: cannot connect ({reason}): start the server, or correct base_url"
            raise ChatError(message, sent=False) from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            reason = one_line(str(error), key) or "connection lost"
            message = f"{self.title}: {type(error).__name__}: {reason}: look at the server's log"
            raise ChatError(message, sent=True) from None

    def _refused(self, response: "httpx.Response", words: str, key: str | None) -> str:
        status = response.status_code
        match status:
            case 401 | 403:
                where = "api_key" if self._key is not None else f"the environment variable {self.key_env}"
                fix = f"{where} holds no key that is valid here" if key else f"set {where} to a key"
            case 404:
                fix = "check the model's name, and that base_url ends before /chat/completions"
            case 429:
                told = one_line(response.headers.get("retry-after", ""), key)[:60]
                fix = "it is rate-limited or out of quota" + (
                    f" and asks to wait for {told} (s): raise timeout_s, or try later" if told else ": try later"
                )
            case _ if 300 <= status < 400:
                fix = f"it moved to {one_line(response.headers.get('location', ''), key)[:200]!r}: change base_url"
            case _ if status >= 500:
                fix = "the server failed: look at its log, or try later"
            case _:
                fix = "it does not take this request"
        said = f" (it says: {words})" if words else ""
        return f"{self.title}: HTTP {status}: {fix}{said}"

    def _read(self, body: bytes, key: str | None) -> Answer:
        try:
            return read_completion(body, key, self.max_tokens)
        except NoCompletion as error:
            message = f"{self.title}: the answer is {error}: base_url must be that of an API, and end in /v1 or alike"
            raise ChatError(message, sent=True) from None


def _address(base_url: str) -> SplitResult:
    try:
        parts = urlsplit(base_url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"base_url must be an address such as {OPENAI_URL!r}, got {base_url.rpartition('@')[2]!r}")
    if "@" in parts.netloc:
        raise ValueError("base_url must not hold a user or password: it is shown in messages; give an api_key")
    return parts


def _refuses_form(status: int, words: str) -> bool:
    """True if the server may have refused how it was asked. Routers say 404 where no model takes a schema."""
    named = any(word in words for word in ("response_format", "json_schema", "structured"))
    return status in (400, 422) or (status == 404 and named)


def _wait_s(told: str | None, otherwise: float) -> float:
    """How long `Retry-After` asks to wait: seconds, or a date."""
    if told is None:
        return otherwise
    try:
        wait = float(told)
    except ValueError:
        try:
            when = parsedate_to_datetime(told)
            wait = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        except (ValueError, OverflowError):
            return otherwise
    return max(wait, 0.0) if not math.isnan(wait) else otherwise


def _excerpt(body: bytes, key: str | None, length: int) -> str:
    return one_line(body[: 4 * length].decode(errors="replace"), key)[:length].strip()
