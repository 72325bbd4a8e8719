"""Writing text: one walker per choice; walkers that wrote the same so far share a branch.

    prompt ── one row of logits, a draw per walker ─┬─ token a ── walkers 0, 2     they part where they differ
                                                    └─ token b ── walker 1         (a fork, blocks by reference)

So n choices of one prompt cost one prompt, and greedy twins cost one text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from catp.serving.engine.errors import FinishReason
from catp.serving.engine.program import Control, Result
from catp.serving.engine.request import Branch, Read
from catp.serving.engine.sampling import Draw, Drawn, Sampling
from catp.serving.programs.grammar import Constraint
from catp.serving.programs.spelling import Spelling, Stream
from catp.serving.server.events import TextDelta, TokenLogprob, TopLogprob

__all__ = ["TextProgram"]


@dataclass
class _Walker:
    """One choice: its tokens, its text up to where it is certain, and what it still holds back."""

    index: int
    seed: int
    stream: Stream
    constraint: Constraint | None
    tokens: list[int] = field(default_factory=list)
    drawn: int = 0
    held: str = ""
    """Text that may be the beginning of a stop text."""
    finish: FinishReason | None = None


class TextProgram:
    """A `Program` that writes `len(seeds)` choices after a prompt.

    Args:
        spelling: of the model.
        prompt: token ids.
        seeds: of the walkers.
        sampling: how to draw.
        bound: most tokens of a choice.
        stop: texts that end a choice and are left out of it.
        ignore_eos: go on after the end-of-text token.
        constraint: starts the constraint of a choice; None: any text.
        echo: send the prompt's text first.
        stream: send text as it comes; otherwise each choice is sent whole.
    """

    def __init__(
        self, spelling: Spelling, prompt: Sequence[int], seeds: Sequence[int], sampling: Sampling, bound: int, *,
        stop: Sequence[str] = (), ignore_eos: bool = False, constraint: Callable[[], Constraint] | None = None,
        echo: bool = False, stream: bool = True,
    ) -> None:  # fmt: skip
        self._spelling, self._prompt, self._sampling, self._bound = spelling, tuple(prompt), sampling, bound
        self._stop = tuple(stop)
        self._eos = frozenset() if ignore_eos else spelling.eos
        self._echo, self._streamed = echo, stream
        self._walkers = [
            _Walker(index, seed, spelling.stream(), None if constraint is None else constraint())
            for index, seed in enumerate(seeds)
        ]
        self._at: dict[int, list[_Walker]] = {}
        """The walkers of a branch, by its number."""
        self._waiting: dict[int, list[TextDelta]] = {}
        self._penalties = (
            sampling.repetition_penalty != 1 or sampling.presence_penalty != 0 or sampling.frequency_penalty != 0
        )

    def begin(self, root: Branch, control: Control) -> None:
        """Ask for the first token of every choice."""
        if self._echo:
            text = self._spelling.decode(self._prompt)
            for walker in self._walkers:
                self._send(TextDelta(walker.index, text), control)
        first = self._walkers[0].constraint
        opening = () if first is None else first.opening
        (ids,) = {self._write(walker, opening, None, control) for walker in self._walkers}
        if self._walkers[0].finish is None:
            self._go_on(root, self._walkers, ids, len(ids), control)
        else:  # all of it is forced, or as much as there may be: every choice is the same, and nothing is computed
            control.wrote(len(ids), forced=len(ids))
            self._end(control)

    def advance(self, results: Sequence[Result], control: Control) -> None:
        """Take what was drawn, part walkers that differ, and ask for the next tokens."""
        for result in results:
            branch = result.branch
            drawn = zip(self._at.pop(branch.number), result.drawn, strict=True)
            open_ = [(walker, self._take(walker, one, control)) for walker, one in drawn]
            alive = sorted((one for one in open_ if one[0].finish is None), key=lambda one: (one[1], one[0].index))
            ways = [(list(ids), [one[0] for one in group]) for ids, group in groupby(alive, key=lambda one: one[1])]
            length = len(branch.tokens)
            branches = [branch, *(control.fork(branch, length) for _ in ways[1:])]
            for way, (ids, walkers) in zip(branches, ways, strict=False):
                self._go_on(way, walkers, ids, len(ids) - 1, control)
            for last in {ids for walker, ids in open_ if walker.finish is not None}:
                control.wrote(len(last), forced=len(last) - 1)
            if not ways:
                control.close(branch)
        self._end(control)

    def _end(self, control: Control) -> None:
        """End the request if all choices have ended."""
        reasons = {walker.finish for walker in self._walkers}
        if None not in reasons:
            control.finish("length" if reasons == {"length"} else "stop")

    def _go_on(
        self, branch: Branch, walkers: Sequence[_Walker], ids: Sequence[int], forced: int, control: Control
    ) -> None:
        self._at[branch.number] = list(walkers)
        draws = tuple(
            Draw(
                self._sampling, walker.seed, walker.drawn, self._prompt if self._penalties else (),
                tuple(walker.tokens) if self._penalties else (),
                None if walker.constraint is None else walker.constraint.allowed(),
            )
            for walker in walkers
        )  # fmt: skip
        control.extend(branch, ids, [Read(len(branch.tokens) + len(ids) - 1, draws)], forced=forced)

    def _take(self, walker: _Walker, drawn: Drawn, control: Control) -> tuple[int, ...]:
        """Give a walker its token and what the constraint forces behind it; return the ids it goes on with."""
        walker.drawn += 1
        forced = () if walker.constraint is None else walker.constraint.advance(drawn.token)
        return self._write(walker, (drawn.token, *forced), drawn, control)

    def _write(self, walker: _Walker, ids: Sequence[int], drawn: Drawn | None, control: Control) -> tuple[int, ...]:
        """Add tokens to a choice until it ends; return those that were added. `drawn` is the first of them."""
        for place, token in enumerate(ids):
            last = place == len(ids) - 1 and walker.constraint is not None and walker.constraint.stopped
            self._add(walker, token, drawn if place == 0 else None, last, control)
            if walker.finish is not None:
                return tuple(ids[: place + 1])
        return tuple(ids)

    def _add(self, walker: _Walker, token: int, drawn: Drawn | None, last: bool, control: Control) -> None:
        """Add one token to a choice, and end it if that is the end."""
        walker.tokens.append(token)
        text = walker.held + ("" if token in self._eos else walker.stream.add(token))
        reason: FinishReason | None = None
        cut = min((at for at in (text.find(stop) for stop in self._stop) if at >= 0), default=None)
        if cut is not None:
            text, reason = text[:cut], "stop"
        elif token in self._eos or last:
            reason = "stop"
        elif len(walker.tokens) >= self._bound:
            reason = "length"
        walker.held = "" if reason is not None else _beginning(text, self._stop)
        certain = text[: len(text) - len(walker.held)]
        walker.finish = reason
        shown = () if drawn is None or self._sampling.logprobs is None else (self._logprob(drawn),)
        self._send(TextDelta(walker.index, certain, (token,), shown, reason), control)

    def _logprob(self, drawn: Drawn) -> TokenLogprob:
        raw = self._spelling.raw
        top = tuple(TopLogprob(token, raw(token), logprob) for token, logprob in drawn.top)
        return TokenLogprob(drawn.token, raw(drawn.token), drawn.logprob, top)

    def _send(self, delta: TextDelta, control: Control) -> None:
        if self._streamed:
            control.emit(delta)
            return
        waiting = self._waiting.setdefault(delta.index, [])
        waiting.append(delta)
        if delta.finish is not None:
            control.emit(
                replace(
                    delta, text="".join(one.text for one in waiting),
                    tokens=tuple(token for one in waiting for token in one.tokens),
                    logprobs=tuple(logprob for one in waiting for logprob in one.logprobs),
                )
            )  # fmt: skip


def _beginning(text: str, stops: Sequence[str]) -> str:
    """Return the longest end of `text` with which a stop text begins."""
    most = max((len(stop) for stop in stops), default=1) - 1
    for length in range(min(most, len(text)), 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stops):
            return text[-length:]
    return ""
