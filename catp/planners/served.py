"""A policy behind `catp serve`: a `PlanWriter` over HTTP, and how an agent finds the engine that runs.

CATP_ENGINE=http://host:8100   that one; its key, if it wants one, is in CATP_ENGINE_KEY
CATP_ENGINE=off                none
otherwise                      the one that `catp serve` announced on this machine, if it still answers
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catp.config import default_data_dir
from catp.planlang.errors import PlanError
from catp.planlang.jsonform import from_json, to_json
from catp.planlang.money import parse_usd
from catp.planlang.nodes import Plan
from catp.planners.protocol import NothingFits, PlanningFailed, PlanRequest
from catp.planners.wire import read_draft, request_form
from catp.planners.writer import Decided, Draft, Unwritable, Usage

if TYPE_CHECKING:
    import httpx

__all__ = [
    "EngineUnreachable",
    "Running",
    "ServedWriter",
    "announce",
    "engine_headers",
    "find_engine",
    "known_engine",
    "withdraw",
]

_ANNOUNCED = "engine.json"
_ANSWER_S = 0.5
"""How long an engine that was announced may take to say that it is ready."""


class EngineUnreachable(OSError):
    """The engine does not answer, or not in a way that can be read; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Running:
    """An engine: its address without a path, the model that plans, and `cpu` or `cuda`.

    `kappa` and `margin` are the rule of decision that the model was tuned with; see `catp.planners.decide`.
    """

    url: str
    model: str
    device: str = "cpu"
    pid: int = 0
    kappa: float = 0.0
    margin: float = 0.0


def announce(running: Running, directory: Path | None = None) -> Path:
    """Tell agents of this user on this machine that an engine runs; the last one that says so is found."""
    path = (directory or default_data_dir()) / _ANNOUNCED
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(asdict(running)), encoding="utf-8")
    fresh.replace(path)
    return path


def withdraw(path: Path) -> None:
    """Take an announcement back, unless another engine's has replaced it."""
    known = _announced(path)
    if known is not None and known.pid == os.getpid():
        path.unlink(missing_ok=True)


def known_engine(directory: Path | None = None) -> Running | None:
    """Return the engine that agents were told of, whether it runs or not; None if there is none.

    Args:
        directory: where announcements are, the user's data directory by default.
    """
    asked = os.environ.get("CATP_ENGINE", "")
    if asked.lower() in ("off", "0", "none"):
        return None
    return Running(asked.rstrip("/"), "") if asked else _announced((directory or default_data_dir()) / _ANNOUNCED)


def find_engine(model: str | None = None, directory: Path | None = None) -> Running | None:
    """Return the engine that agents should use, None if there is none that is ready.

    Args:
        model: name of the policy it must serve; None: whichever it serves.
        directory: as for `known_engine`.
    """
    known = known_engine(directory)
    if known is None:
        return None
    found = _ask(known, patience=_ANSWER_S if known.model else 5.0)
    return found if found is not None and model in (None, found.model) else None


class ServedWriter:
    """Writes and rates plans by asking an engine; implements `PlanWriter`."""

    def __init__(self, running: Running) -> None:
        self.running, self.name, self.device = running, f"{running.model}@{running.url}", running.device

    async def write(
        self, request: PlanRequest, *, samples: int = 8, beams: int = 0, shown: Sequence[Plan] = (), seed: int = 0,
        decided: Decided | None = None,
    ) -> Draft:  # fmt: skip
        """Write and rate plans; see `PlanWriter`. Cancelling it ends the work on the engine within one step.

        Raises:
            EngineUnreachable: the engine does not answer, is full, or answers nonsense.
        """
        import httpx

        body = await asyncio.to_thread(self._body, request, samples, beams, shown, seed)
        url, headers = f"{self.running.url}/v1/plans", engine_headers()
        # the planner has its own patience: the engine may queue a request for as long as that
        async with httpx.AsyncClient(timeout=httpx.Timeout(None, connect=5.0)) as client:
            try:
                if decided is None:
                    answer = await client.post(url, json=body, headers=headers)
                    return self._draft(answer.status_code, _json(answer.text))
                async with client.stream("POST", url, json={**body, "stream": True}, headers=headers) as stream:
                    return await self._streamed(stream, decided)
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                if isinstance(error, EngineUnreachable):
                    raise
                raise EngineUnreachable(
                    f"{self.running.url} does not answer: {str(error) or type(error).__name__}"
                ) from error

    async def _streamed(self, stream: "httpx.Response", decided: Decided) -> Draft:
        """Tell of steps as they come, and return the draft that comes last."""
        if stream.status_code != 200:
            return self._draft(stream.status_code, _json((await stream.aread()).decode("utf-8", "replace")))
        async for name, data in _events(stream.aiter_lines()):
            if name == "step":
                try:
                    found = from_json({**to_json(Plan()), "steps": [data["step"]]}).steps[0]
                    place = int(data["index"]), int(data["number"])
                except (PlanError, KeyError, TypeError, ValueError, IndexError) as error:
                    raise EngineUnreachable(f"{self.running.url} told of what is no step: {error}") from error
                decided(*place, found)
            elif name in ("draft", "error"):
                return self._draft(200 if name == "draft" else 500, data)
        raise EngineUnreachable(f"{self.running.url} ended its answer without a draft")

    def _body(
        self, request: PlanRequest, samples: int, beams: int, shown: Sequence[Plan], seed: int
    ) -> Mapping[str, Any]:
        return {
            **request_form(request), "model": self.running.model, "samples": samples, "beams": beams,
            "shown": [to_json(plan) for plan in shown], "seed": seed,
        }  # fmt: skip

    def _draft(self, status: int, answer: Mapping[str, Any]) -> Draft:
        if status == 200:
            try:
                return read_draft(answer, _usage(answer["usage"]))
            except (KeyError, TypeError, ValueError) as error:
                raise EngineUnreachable(f"{self.running.url} answered what is no draft: {error}") from error
        problem = answer.get("error")
        problem = problem if isinstance(problem, dict) else {}
        message, code = str(problem.get("message", f"status {status}")), problem.get("code")
        if code == "nothing_fits":
            raise NothingFits(message, "budget")
        if code == "planning_failed":
            raise PlanningFailed(message)
        if code == "unwritable":
            raise Unwritable(message)
        raise EngineUnreachable(f"{self.running.url}: {message}")


def _usage(form: Mapping[str, Any]) -> Usage:
    ours = form["catp"]
    price = ours["price_usd"]
    return Usage(
        int(form["prompt_tokens"]), int(form["completion_tokens"]), float(ours["device_seconds"]),
        None if price is None else parse_usd(price),
    )  # fmt: skip


def _announced(path: Path) -> Running | None:
    try:
        return Running(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _ask(running: Running, patience: float) -> Running | None:
    """Return what an engine says of itself, None unless it is ready and serves a policy."""
    import httpx

    try:
        with httpx.Client(timeout=patience, headers=engine_headers()) as client:
            if client.get(f"{running.url}/ready").status_code != 200:
                return None
            cards = client.get(f"{running.url}/v1/models").json()["data"]
        policies = [card for card in cards if card.get("plans") and card.get("parent") is None]
        rules = [(str(card["id"]), float(card.get("kappa", 0)), float(card.get("margin", 0))) for card in policies]
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not rules:
        return None
    model, kappa, margin = rules[0]
    return replace(running, model=model, kappa=kappa, margin=margin)


def engine_headers() -> dict[str, str]:
    """Return the headers of a request to the engine: its key, if `CATP_ENGINE_KEY` has one."""
    found = os.environ.get("CATP_ENGINE_KEY")
    return {"Authorization": f"Bearer {found}"} if found else {}


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    """Server-sent events with a name: the name, and the data as JSON."""
    name, data = "", list[str]()
    async for line in lines:
        field, _, value = line.partition(":")
        if field == "event":
            name = value.strip()
        elif field == "data":
            data.append(value.removeprefix(" "))
        elif not line:
            if name and data:
                yield name, _json("\n".join(data))
            name, data = "", []


def _json(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
