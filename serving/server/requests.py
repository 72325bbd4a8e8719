"""Specs become requests of the engine and their programs, without blocking the event loop that asks.

    TextSpec ── tokenizer, grammar ── TextProgram
    PlanSpec ── the policy's speller ─ PlanProgram

To spell a plan's request takes tens of milliseconds, to compile a grammar up to seconds: texts, plans and grammars have
threads of their own, so that none of them waits for another kind, and whoever is served already waits for none.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

from catp.serving.engine.errors import Refused
from catp.serving.engine.program import Program
from catp.serving.engine.request import Request
from catp.serving.programs.grammar import GrammarCompiler, TextConstraint
from catp.serving.programs.grammar import Spec as GrammarSpec
from catp.serving.programs.plan import PlanProgram, width_of
from catp.serving.programs.spelling import Spelling
from catp.serving.programs.text import TextProgram
from catp.serving.server.backend import Constraint, PlanSpec, Spec, TextSpec
from catp.training.policy.session import Speller

__all__ = ["Requests", "Served"]

T = TypeVar("T")


@dataclass(frozen=True)
class Served:
    """What is served: its name, its tokenizer, sizes, and the speller if it is a policy.

    `temperature` is of sampled plans.
    """

    name: str
    spelling: Spelling
    vocabulary: int
    context: int
    speller: Speller | None = None
    device: str = "cpu"
    temperature: float = 1.0


class Requests:
    """Makes requests for what is served.

    Attributes:
        open: how many are being made now.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        # one thread each: tokenizers and spellers are used by one at a time, and Python would run one at a time anyway
        self._texts, self._plans = ThreadPoolExecutor(1, "texts"), ThreadPoolExecutor(1, "plans")
        self._grammars: GrammarCompiler | None = None
        self.open = 0

    async def make(self, spec: Spec, id_: str) -> tuple[Request, Program]:
        """Return a request, without what only the backend knows, and its program.

        Raises:
            Refused: it is wrong, or the server is shutting down.
            NothingFits, PlanningFailed, Unwritable: of a `PlanSpec`, as `Speller.session`.
        """
        self.open += 1
        try:
            if isinstance(spec, PlanSpec):
                return await _in(self._plans, partial(self._plan, spec, id_))
            request = await _in(self._texts, partial(self._text, spec, id_))
            constraint = None if spec.constraint is None else await self._constraint(spec.constraint)
            program = TextProgram(
                self._served.spelling, request.prompt, spec.seeds, spec.sampling, request.bound, stop=spec.stop,
                ignore_eos=spec.ignore_eos, constraint=constraint, echo=spec.echo, stream=spec.stream,
            )  # fmt: skip
            return request, program
        finally:
            self.open -= 1

    def close(self) -> None:
        """Make no more; those being made still are."""
        self._texts.shutdown(wait=False)
        self._plans.shutdown(wait=False)
        if self._grammars is not None:
            self._grammars.close()

    def _text(self, spec: TextSpec, id_: str) -> Request:
        served = self._served
        prompt = self._prompt(spec)
        bad = next((token for token in prompt if not 0 <= token < served.vocabulary), None)
        if bad is not None:
            raise Refused(
                "bad_tokens", f"the prompt holds token {bad}; {served.name} has tokens 0 to {served.vocabulary - 1}"
            )
        if not prompt:
            raise Refused("bad_request", "the prompt is empty; give at least one token")
        room = served.context - len(prompt)
        bound = room if spec.max_tokens is None else spec.max_tokens
        if room < 1 or bound > room:
            raise Refused(
                "too_long",
                f"the prompt has {len(prompt)} tokens and {max(bound, 1)} more are asked for, but {served.name} reads "
                f"{served.context} in all; shorten the prompt or lower max_tokens",
            )
        return Request(id_, prompt, bound, len(spec.seeds))

    def _prompt(self, spec: TextSpec) -> tuple[int, ...]:
        if isinstance(spec.prompt, str):
            return self._served.spelling.encode(spec.prompt)
        if spec.prompt and not isinstance(spec.prompt[0], int):
            messages = [
                {"role": one.role, "content": one.content, **({"name": one.name} if one.name else {})}
                for one in cast(Any, spec.prompt)
            ]
            try:
                return self._served.spelling.chat(messages)
            except ValueError as error:
                raise Refused("bad_request", str(error)) from error
        return cast("tuple[int, ...]", spec.prompt)

    async def _constraint(self, constraint: Constraint) -> Callable[[], TextConstraint]:
        form = constraint.form or '{"type": "object"}'
        spec = GrammarSpec("regex" if constraint.kind == "regex" else "json_schema", form)
        compiler = self._grammars
        if compiler is None:
            compiler = await _in(self._texts, self._compiler)
        return (await compiler.compiled(spec)).start

    def _compiler(self) -> GrammarCompiler:
        """The compiler, made when it is needed first."""
        if self._grammars is None:
            try:
                spelling = self._served.spelling
                self._grammars = GrammarCompiler(spelling.tokenizer, sorted(spelling.eos))
            except (ImportError, ValueError) as error:
                raise Refused("bad_grammar", str(error)) from error
        return self._grammars

    def _plan(self, spec: PlanSpec, id_: str) -> tuple[Request, Program]:
        served = self._served
        if served.speller is None:
            raise Refused(
                "bad_request", f"{served.name} is no policy: it writes text, not plans; serve one such as catp-tiny"
            )
        session = served.speller.session(
            spec.request, spec.shown, samples=spec.samples, beams=spec.beams, seed=spec.seed,
            temperature=served.temperature,
        )  # fmt: skip
        width = width_of(spec.samples, spec.beams, len(spec.shown))
        return Request(id_, tuple(session.prompt), session.room, width), PlanProgram(session, stream=spec.stream)


async def _in(thread: Executor, call: Callable[[], T]) -> T:
    try:
        future = asyncio.get_running_loop().run_in_executor(thread, call)
    except RuntimeError:
        raise Refused("draining", "the server is shutting down; ask another one") from None
    return await future
