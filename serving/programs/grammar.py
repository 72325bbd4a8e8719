"""Constraints on text: JSON schemas, regular expressions and Lark grammars, compiled by llguidance.

    spec --(thread pool, limits, cache)--> Grammar --start()--> TextConstraint, one per branch
    allowed() -> mask for the sampler;  advance(token) -> the run of tokens that the grammar forces next (jump-forward)

JSON is written without optional whitespace: it is shorter, more of it is forced, and a model cannot loop on newlines.

llguidance bounds the work of a compilation and of a mask by fuel, but follows chains of rules and references by
recursion: a few thousand of them end the process. So texts and their rules are counted first, and threads that compile
have large stacks.
"""

import asyncio
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from catp.serving.engine.errors import EngineFailed, Refused
from catp.serving.programs.faithful import faithful

__all__ = ["Constraint", "Grammar", "GrammarCompiler", "Spec", "TextConstraint"]

_RULES = 1000
_STACK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Spec:
    """What text must look like: `text` is a JSON schema, a regular expression (of all of it) or a Lark grammar."""

    kind: Literal["json_schema", "regex", "lark"]
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of kind and text."""
        return hashlib.sha256(f"{self.kind}\n{self.text}".encode()).hexdigest()


class Constraint(Protocol):
    """What one branch of text may go on with."""

    opening: tuple[int, ...]
    """Tokens that any text begins with; already taken."""

    @property
    def stopped(self) -> bool:
        """Whether the text is complete and nothing but its end may follow."""
        ...

    def allowed(self) -> NDArray[np.uint32]:
        """Return what may come next, as `Draw.allowed` wants it; tokens that end text are in it where it may end."""
        ...

    def advance(self, token: int) -> tuple[int, ...]:
        """Take a drawn token and return the tokens that must follow it; those are taken already.

        Raises:
            EngineFailed: it was not allowed.
        """
        ...


class TextConstraint:
    """A `Constraint` over a matcher of llguidance, which it owns."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher
        self.opening = self._forced()

    @property
    def stopped(self) -> bool:
        """Whether the text is complete and nothing but its end may follow."""
        return bool(self._matcher.is_stopped())

    def allowed(self) -> NDArray[np.uint32]:
        """Return packed bits over the tokenizer's vocabulary.

        Raises:
            EngineFailed: the grammar is too ambiguous here: the work of one mask is bounded.
        """
        bits = self._matcher.compute_bitmask()
        self._check("cannot go on")
        return np.frombuffer(bits, dtype="<u4")

    def advance(self, token: int) -> tuple[int, ...]:
        """Take a drawn token and return the tokens that must follow it; those are taken already.

        Raises:
            EngineFailed: it was not allowed.
        """
        self._matcher.consume_token(token)
        self._check(f"does not allow token {token}")
        return self._forced()

    def _forced(self) -> tuple[int, ...]:
        found: list[int] = []
        while run := self._matcher.compute_ff_tokens():
            # a tokenizer may fold characters that the probe lacks, and spell forced text wrongly: then it is drawn
            fitting = self._matcher.try_consume_tokens(run)
            found += run[:fitting]
            if fitting < len(run):
                break
        self._check("cannot go on")
        return tuple(found)

    def _check(self, what: str) -> None:
        if self._matcher.is_error():
            raise EngineFailed(f"the constraint {what}: {_reason(self._matcher)}; simplify the grammar or the schema")


@dataclass(frozen=True, slots=True)
class Grammar:
    """A compiled constraint, shared by all texts that are held to it."""

    spec: Spec
    matcher: Any

    def start(self) -> TextConstraint:
        """Return the constraint of a new text: a cheap copy, for the engine's thread."""
        return TextConstraint(self.matcher.deep_copy())


class GrammarCompiler:
    """Compiles constraints for one tokenizer; safe to call from many threads.

    Args:
        tokenizer: a fast tokenizer of `transformers`.
        ends: ids that end a text; the tokenizer's own if empty.
        workers: compilations at once.
        seconds: most time a caller waits for one.
        size: most bytes of a text.
        pending: most compilations that wait or run.
        kept: compiled grammars (and refusals) remembered, least recently used first to go.

    Raises:
        ImportError: llguidance is not installed.
        ValueError: the tokenizer is not a fast one.
    """

    def __init__(
        self, tokenizer: Any, ends: Sequence[int] = (), *,
        workers: int = 2, seconds: float = 5.0, size: int = 1 << 16, pending: int = 64, kept: int = 256,
    ) -> None:  # fmt: skip
        try:
            from llguidance.hf import from_tokenizer
        except ImportError as error:
            raise ImportError("constraints on text need llguidance; run: pip install 'catp[serve]'") from error
        self._tokenizer = faithful(from_tokenizer(tokenizer, eos_token=list(ends) or None))
        self._seconds, self._size, self._pending, self._kept = seconds, size, pending, kept
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="grammar")
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, Future[Grammar]] = OrderedDict()

    def compile(self, spec: Spec) -> Grammar:
        """Return the compiled constraint; blocks until it is there (see `compiled` where that matters).

        Raises:
            Refused: `bad_grammar`, with the reason, `queue_full`, or `draining` after `close`.
        """
        try:
            return self._future(spec).result(self._seconds)
        except TimeoutError:
            raise _late(spec, self._seconds) from None
        except CancelledError:
            raise _closed() from None

    async def compiled(self, spec: Spec) -> Grammar:
        """Return the compiled constraint as `compile` does, while the event loop goes on."""
        future = self._future(spec)
        try:  # others may want the same one: it is not cancelled with whoever waits
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), self._seconds)
        except TimeoutError:
            raise _late(spec, self._seconds) from None
        except asyncio.CancelledError:
            if future.cancelled():
                raise _closed() from None
            raise

    def close(self) -> None:
        """Stop; compilations that wait are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _future(self, spec: Spec) -> Future[Grammar]:
        if len(spec.text.encode()) > self._size:
            raise _bad(spec, f"it is longer than {self._size} bytes; shorten it")
        with self._lock:
            found = self._cache.get(spec.digest)
            if found is None:
                if sum(not future.done() for future in self._cache.values()) >= self._pending:
                    raise Refused("queue_full", "too many grammars are being compiled; try again", retry_after=1.0)
                found = self._cache[spec.digest] = self._submit(spec)
            self._cache.move_to_end(spec.digest)
            done = [digest for digest, future in self._cache.items() if future.done()]
            for digest in done[: max(len(self._cache) - self._kept, 0)]:
                del self._cache[digest]
        return found

    def _submit(self, spec: Spec) -> Future[Grammar]:
        before = threading.stack_size(_STACK_BYTES)  # holds for the thread that the pool starts here, if it does
        try:
            return self._pool.submit(_compile, spec, self._tokenizer)
        except RuntimeError:
            raise _closed() from None
        finally:
            threading.stack_size(before)


def _compile(spec: Spec, tokenizer: Any) -> Grammar:
    from llguidance import LLMatcher, LLParserLimits

    source = _source(spec)
    limits = LLParserLimits(verbose_errors=False)  # the verbose ones tell callers the parser's inner state
    matcher = LLMatcher(tokenizer, source, log_level=0, limits=limits)
    if matcher.is_error():
        raise _bad(spec, f"{_reason(matcher)}; correct it")
    first = matcher.deep_copy()
    first.compute_bitmask()
    if first.is_error():
        raise _bad(spec, f"no text fits it ({_reason(first)}); correct it")
    grammar = Grammar(spec, matcher)
    try:
        grammar.start().allowed()  # what is too ambiguous at once; and caches are filled outside of the engine's thread
    except EngineFailed as error:
        raise _bad(spec, str(error)) from None
    return grammar


def _source(spec: Spec) -> str:
    """Return llguidance's form of a spec."""
    from llguidance import LLMatcher

    if spec.kind == "json_schema":
        text = _schema(spec)
        rules = text.count('"$ref"')
        source = LLMatcher.grammar_from_json_schema(text, defaults={"whitespace_flexible": False})
    elif spec.kind == "lark":
        rules = spec.text.count(":")
        source = LLMatcher.grammar_from_lark(spec.text)
    else:
        rules = 0
        source = LLMatcher.grammar_from_regex(spec.text)
    if rules > _RULES:
        raise _bad(spec, f"it has {rules} rules or references, more than {_RULES}; split it")
    return str(source)


def _schema(spec: Spec) -> str:
    """Return a schema as canonical JSON, in which `$ref` cannot hide behind escapes."""
    try:
        schema = json.loads(spec.text)
    except (ValueError, RecursionError) as error:
        raise _bad(spec, f"it is not JSON ({error}); correct it") from None
    if not isinstance(schema, dict):
        raise _bad(spec, f"a schema is a JSON object, not {type(schema).__name__}; use {{}} for any JSON")
    return json.dumps(schema)


def _bad(spec: Spec, why: str) -> Refused:
    names = {"json_schema": "JSON schema", "regex": "regular expression", "lark": "Lark grammar"}
    return Refused("bad_grammar", f"the {names[spec.kind]} cannot be used: {why}")


def _late(spec: Spec, seconds: float) -> Refused:
    return _bad(spec, f"it does not compile within {seconds:g} s; simplify it")


def _closed() -> Refused:
    return Refused("draining", "the server is shutting down and compiles no more grammars; ask another one")


def _reason(matcher: Any) -> str:
    """Return the first line that says what is wrong."""
    lines = [line.strip() for line in matcher.get_error().splitlines()]
    return next((line for line in lines if line and not line.startswith("<")), "it is not valid")
