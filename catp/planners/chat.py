"""Any chat model as a planner: whoever speaks POST /v1/chat/completions, from a provider to a server on this machine.

    request ── prompt + schema ── model ── plan in JSON ── checked, priced ── candidate
                                    ^                         │ what is wrong
                                    └───── next attempt ──────┘

    ChatPlanner("gpt-4o-mini", input_price="0.15", output_price="0.60")
    ChatPlanner("llama3.1:8b", base_url="http://localhost:11434/v1", fallback=SearchPlanner())
    ChatPlanner.from_spec("openai:llama3.1:8b@http://localhost:11434/v1")

The model only writes plans; what they cost, take and achieve is predicted by the same compiler, estimator and accuracy
model as in the search planner. The values of the inputs are never sent.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planlang.registry_view import ToolSig
from catp.planners.accuracy import AccuracyModel, ConditionModel
from catp.planners.chat_answer import Answer
from catp.planners.chat_client import OPENAI_URL, ChatEndpoint, ChatError
from catp.planners.chat_prompt import correction, messages
from catp.planners.chat_read import Unusable, read_answer
from catp.planners.chat_schema import plan_schema
from catp.planners.chat_spec import price_model, read_spec, shown_spec
from catp.planners.decide import Option, candidate, decide, price_scale
from catp.planners.protocol import Candidate, NothingFits, Planner, PlanningFailed, PlanRequest, Proposal
from catp.planners.refusals import check_request
from catp.planners.repair import RepairRequest, repair_by_search
from catp.planners.typegraph import TypeGraph
from catp.tools.price import Reported, total
from catp.tools.usage import PriceModel

if TYPE_CHECKING:
    import ssl

    import httpx

__all__ = ["MAX_TOOLS", "OTHER_KEY", "ChatPlanner"]

MAX_TOOLS = 128
"""The most tools a model is shown; of more, those that can lead to what is wanted come first."""

OTHER_KEY = "CATP_CHAT_API_KEY"
"""Environment variable with the key for any server but OpenAI's, which alone is sent `OPENAI_API_KEY`."""

_SHOWN_ANSWER = 20_000
"""Characters of an unusable answer that the model sees again beside what is wrong with it."""


@dataclass
class _Bill:
    """What a provider charges for one planning: None once any part of it is unknown."""

    price: PriceModel
    total: Money | None = Money(0)

    def add(self, answer: Answer) -> None:
        charged = None if answer.usage is None else total(self.price.charge(answer.usage))
        self.total = _sum(self.total, charged)

    def unknown(self) -> None:
        self.total = None


class ChatPlanner:
    """Plans by asking a chat model; implements `Planner`. One object may serve any number of requests and event loops.

    Args:
        model: the model's name at the provider.
        base_url: the server's address up to `/v1`.
        api_key: the key; better left in the environment.
        api_key_env: the environment variable with the key, read at each planning. Default: `OPENAI_API_KEY` for
            OpenAI's own address, `CATP_CHAT_API_KEY` for any other. Without a value no key is sent.
        input_price: US dollars per million tokens read, as a decimal such as "0.15".
        output_price: the same for tokens written. Without prices, planning costs what the server states (`usage.cost`),
            or nobody knows.
        timeout_s: seconds for all of one planning.
        attempts: how often one plan may be asked for; the errors of the last one are sent along.
        samples: plans asked for at the same time; more than one needs a `temperature` above 0.
        temperature: of sampling; None leaves it to the server.
        max_tokens: the longest answer, thoughts included.
        accuracy: how accuracies of calls compose.
        fallback: plans instead if the model fails; a note says why.

    Raises:
        ValueError: arguments that cannot be, or contradict each other.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str = OPENAI_URL,
        api_key: str | None = None,
        api_key_env: str | None = None,
        input_price: str | None = None,
        output_price: str | None = None,
        timeout_s: float = 60.0,
        attempts: int = 2,
        samples: int = 1,
        temperature: float | None = 0.0,
        max_tokens: int = 4096,
        accuracy: AccuracyModel | None = None,
        fallback: Planner | None = None,
    ) -> None:
        _validate(model, timeout_s, attempts, samples, temperature, max_tokens)
        env = api_key_env or ("OPENAI_API_KEY" if _is_openai(base_url) else OTHER_KEY)
        self.endpoint = ChatEndpoint(
            model, base_url, api_key=api_key, api_key_env=env, temperature=temperature, max_tokens=max_tokens
        )
        self.name = f"openai:{model}"
        self.timeout_s, self.attempts, self.samples = timeout_s, attempts, samples
        self.accuracy: AccuracyModel = accuracy if accuracy is not None else ConditionModel()
        self.fallback = fallback
        self._price = price_model(input_price, output_price)

    def __repr__(self) -> str:
        return f"ChatPlanner({self.endpoint.model!r}, url={self.endpoint.shown!r}, price={self._price.describe()!r})"

    @classmethod
    def from_spec(cls, spec: str, **options: Any) -> "ChatPlanner":
        """Make a planner of `openai:MODEL[@URL][#in=USD,out=USD,key=VARIABLE,timeout=SECONDS]`.

        `options` are those of the class, for what a text cannot hold (`fallback`).

        Raises:
            ValueError: the text is no such spec; the message says what is wrong with it.
        """
        try:
            model, found = read_spec(spec)
            return cls(model, **{**found, **options})
        except ValueError as error:
            raise ValueError(f"planner {shown_spec(spec)!r}: {error}") from None

    async def plan(self, request: PlanRequest) -> Proposal:
        """Return the model's plans, best first, or raise `PlanningFailed` saying what went wrong last.

        Raises:
            NothingFits: the model wrote good plans, but none within the budget or the deadline.
            PlanningFailed: it cannot be reached, refused, or wrote no usable plan; `price` says what that cost.
        """
        bill = _Bill(self._price)
        try:
            return await self._ask(request, bill)
        except PlanningFailed as error:
            if self.fallback is None:
                error.price = bill.total
                raise
            return await self._instead(self.fallback, request, error, bill)

    async def repair(self, request: RepairRequest) -> tuple[Plan, ...]:
        """Return ways to go on after a failure, best first; see `catp.planners.repair`."""
        return await repair_by_search(request, self.plan)

    def _client(self) -> "httpx.AsyncClient":
        """A client for one planning, so that none outlives its event loop."""
        import httpx

        try:
            return httpx.AsyncClient(timeout=None, verify=_certificates())
        except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
            kind = type(error).__name__  # the text may hold a proxy's password
            raise PlanningFailed(
                f"{self.endpoint.title}: cannot set up HTTP ({kind}): check the variables *_PROXY and SSL_CERT_FILE"
            ) from None

    async def _ask(self, request: PlanRequest, bill: _Bill) -> Proposal:
        check_request(request)
        tools, left_out = await asyncio.to_thread(_shown_tools, request)
        if not tools:
            raise PlanningFailed("the catalogue has no tool that a plan may call: add tools")
        asked = await asyncio.to_thread(messages, request, tools)
        schema = plan_schema(request, tools)
        until = asyncio.get_running_loop().time() + self.timeout_s
        async with self._client() as client:
            talks = [_Talk(self, client, request, schema, until, bill) for _ in range(self.samples)]
            found = await asyncio.gather(*(talk.run(asked) for talk in talks))
        plans = list({one.key: one for one in found if isinstance(one, Option)}.values())
        failed = [one for one in found if isinstance(one, PlanningFailed)]
        if not plans:
            raise next((error for error in failed if isinstance(error, NothingFits)), failed[-1])
        notes = self._notes(request, plans, failed, left_out, bill)
        return Proposal(_ranked(request, plans), exact=False, notes=notes, price=bill.total)

    async def _instead(self, fallback: Planner, request: PlanRequest, error: PlanningFailed, bill: _Bill) -> Proposal:
        try:
            found = await fallback.plan(request)
        except PlanningFailed as second:
            second.price = _sum(bill.total, second.price)
            raise second from error
        note = f"{error}; planned by {found.by or fallback.name} instead"
        price = _sum(bill.total, found.price)
        return replace(found, notes=(note, *found.notes), price=price, by=found.by or fallback.name)

    def _notes(
        self, request: PlanRequest, plans: Sequence[Option], failed: Sequence[PlanningFailed], left_out: int,
        bill: _Bill,
    ) -> tuple[str, ...]:  # fmt: skip
        notes = [f"written by {self.endpoint.title}, not searched for: a better plan may exist"]
        if left_out:
            notes.append(f"the model was shown {MAX_TOOLS} tools; {left_out} were left out")
        if failed:
            notes.append(f"{len(failed)} of {self.samples} answers could not be used; the last: {failed[-1]}")
        if any(not one.priced.price.priced for one in plans):
            notes.append("some plans use tools of unknown price: they come last and are rated as the dearest")
        if any(not one.known for one in plans):
            notes.append("the quality of some plans is unknown: they were ranked by a guess")
        missing = [w.name for w in request.wanted if all(w.name not in _outputs(one.priced.plan) for one in plans)]
        if missing:
            notes.append(f"no plan includes the optional {', '.join(missing)}")
        if bill.total is None:
            unpriced = isinstance(self._price, Reported)
            why = "give its prices per million tokens" if unpriced else "an answer came without tokens, or not at all"
            notes.append(f"nobody knows what the model charged: {why}")
        return tuple(notes)


class _Talk:
    """The conversation about one plan: asking, and asking again with what was wrong."""

    def __init__(
        self, planner: ChatPlanner, client: "httpx.AsyncClient", request: PlanRequest, schema: dict[str, Any],
        until: float, bill: _Bill,
    ) -> None:  # fmt: skip
        self.planner, self.client, self.request = planner, client, request
        self.schema, self.until, self.bill = schema, until, bill

    async def run(self, asked: Sequence[Mapping[str, str]]) -> Option | PlanningFailed:
        """Return the first usable plan, or why there is none."""
        endpoint, attempts = self.planner.endpoint, self.planner.attempts
        said = [dict(message) for message in asked]
        last = Unusable(())
        for _ in range(attempts):
            try:
                answer = await endpoint.ask(self.client, said, self.schema, until=self.until)
            except ChatError as error:
                if error.sent:
                    self.bill.unknown()
                before = f"; its last answer could not be used: {last}" if str(last) else ""
                return PlanningFailed(f"{error}{before}")
            self.bill.add(answer)
            try:
                if answer.problem is not None:
                    raise Unusable([answer.problem])
                return await asyncio.to_thread(read_answer, answer.text, self.request, self.planner.accuracy)
            except Unusable as error:
                last = error
            if answer.text:
                said.append({"role": "assistant", "content": answer.text[:_SHOWN_ANSWER]})
            said.append({"role": "user", "content": correction(str(last))})
        times = f"in {attempts} attempts" if attempts > 1 else "in one attempt"
        message = f"{endpoint.title} wrote no usable plan {times}; the last error: {last}"
        return PlanningFailed(message) if last.limit is None else NothingFits(message, last.limit)


def _ranked(request: PlanRequest, plans: Sequence[Option]) -> tuple[Candidate, ...]:
    """Rank plans as the search planner does; without a price scale, over the plans that there are."""
    goal = request.objective
    scale = price_scale(plans, goal)
    best_first = decide(plans, goal, scale).ranked[: request.candidates]
    return tuple(candidate(option, goal, scale) for option in best_first)


def _shown_tools(request: PlanRequest) -> tuple[list[ToolSig], int]:
    """The tools a model is shown, in the catalogue's order, and how many are not. None of them writes."""
    allowed = [sig for sig in request.registry if sig.effects != "write"]
    if len(allowed) <= MAX_TOOLS:
        return allowed, 0
    useful = {maker.sig.name for maker in TypeGraph(request.registry, request.inputs, request.wanted).makers}
    first = sorted(allowed, key=lambda sig: sig.name not in useful)[:MAX_TOOLS]
    kept = {sig.name for sig in first}
    return [sig for sig in allowed if sig.name in kept], len(allowed) - MAX_TOOLS


@cache
def _certificates() -> "ssl.SSLContext":
    """The certificates that are trusted, read once: that takes longer than all else here but the model."""
    import httpx

    return httpx.create_ssl_context()


def _outputs(plan: Plan) -> set[str]:
    return {output.name for output in plan.outputs}


def _sum(left: Money | None, right: Money | None) -> Money | None:
    return None if left is None or right is None else Money(left + right)


def _validate(
    model: str, timeout_s: float, attempts: int, samples: int, temperature: float | None, max_tokens: int
) -> None:
    if not model.strip():
        raise ValueError("the model has no name: give the name that the provider knows it by")
    if not (timeout_s > 0 and math.isfinite(timeout_s)):
        raise ValueError(f"timeout_s must be a number of seconds above 0, got {timeout_s!r}")
    for name, value in (("attempts", attempts), ("samples", samples), ("max_tokens", max_tokens)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value!r}")
    if temperature is not None and not (temperature >= 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature must be at least 0, got {temperature!r}")
    if samples > 1 and temperature == 0:
        raise ValueError(f"{samples} samples at temperature 0 are one answer paid {samples} times: raise temperature")


def _is_openai(base_url: str) -> bool:
    return base_url.rstrip("/") == OPENAI_URL
