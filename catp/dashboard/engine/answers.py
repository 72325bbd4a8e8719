"""Questions to an engine over HTTP, with an end to every patience: in seconds, in bytes, and with nonsense."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from catp.dashboard.engine.scrape import Scrape, Unreadable, read_metrics
from catp.dashboard.forms import without_user
from catp.planners.served import engine_headers

if TYPE_CHECKING:
    import httpx

__all__ = ["Answers", "Unreachable"]

_MOST_BYTES = 2 * 1024 * 1024


class Unreachable(OSError):
    """The engine does not answer, or not as an engine does; the message says what happened and what to do."""


class Answers:
    """One client, made when it is needed.

    Args:
        patience: most seconds of an answer, connecting included.
        transport: of httpx; None: the network.
    """

    def __init__(self, patience: float, transport: "httpx.AsyncBaseTransport | None" = None) -> None:
        self._patience, self._transport = patience, transport
        self._client: httpx.AsyncClient | None = None

    async def ready(self, url: str) -> tuple[bool, str]:
        """Return whether requests are taken, and why not."""
        status, body = await self._get(f"{url}/ready", (200, 503))
        found = _object(body, "/ready")
        return status == 200, str(found.get("reason") or "")[:200]

    async def stalled(self, url: str) -> bool:
        """Return whether requests run and no step ends."""
        _, body = await self._get(f"{url}/progress", (200, 503))
        return _object(body, "/progress").get("stalled") is True

    async def card(self, url: str) -> Mapping[str, Any]:
        """Return what it says of its model: `id`, `max_model_len`, `plans`, `adapters`; empty if it does not tell."""
        status, body = await self._get(f"{url}/v1/models", (200, 401, 403, 404))
        cards = _object(body, "/v1/models").get("data") if status == 200 else []
        known = [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []
        base = next((card for card in known if card.get("parent") is None), None)
        if base is None:
            return {}
        context = base.get("max_model_len")
        return {
            "id": str(base.get("id"))[:200], "context": context if isinstance(context, int) else None,
            "plans": base.get("plans") is True,
            "adapters": [str(card.get("id"))[:200] for card in known if card.get("parent") is not None][:50],
        }  # fmt: skip

    async def metrics(self, url: str, at: float) -> Scrape:
        """Return its figures."""
        status, body = await self._get(f"{url}/metrics", (200, 401, 403))
        if status != 200:
            raise Unreachable(
                "it shows figures to an admin only: set CATP_ENGINE_KEY to the key of a tenant with admin = true"
            )
        try:
            # text of that size takes a moment to read
            return await asyncio.to_thread(read_metrics, body.decode("utf-8", "replace"), at)
        except Unreadable as error:
            raise Unreachable(str(error)) from error

    async def requests(self, url: str, limit: int) -> tuple[float, list[Any]]:
        """Return its clock and its requests of late."""
        status, body = await self._get(f"{url}/v1/requests?limit={limit}", (200, 401, 403, 404))
        if status == 404:
            raise Unreachable("this engine has no /v1/requests: it is older than this dashboard")
        if status != 200:
            raise Unreachable("it shows requests to those it knows: set CATP_ENGINE_KEY to a key of its")
        found = _object(body, "/v1/requests")
        rows, now = found.get("data"), found.get("now")
        if not isinstance(rows, list) or not isinstance(now, int | float):
            raise Unreachable("its /v1/requests is not a list of requests")
        return float(now), rows[:limit]

    async def close(self) -> None:
        """Close its connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _get(self, url: str, known: tuple[int, ...]) -> tuple[int, bytes]:
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(transport=self._transport)
        where = httpx.URL(url).path if _is_url(url) else without_user(url)[:100]
        try:
            async with (
                asyncio.timeout(self._patience),
                self._client.stream("GET", url, headers=engine_headers(), timeout=self._patience) as answer,
            ):
                body = bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > _MOST_BYTES:
                        raise Unreachable(f"its {where} is larger than {_MOST_BYTES // 1024 // 1024} MB")
                if answer.status_code not in known:
                    raise Unreachable(f"its {where} answers with status {answer.status_code}: it is no engine of catp")
                return answer.status_code, bytes(body)
        except (TimeoutError, httpx.TimeoutException):
            raise Unreachable(f"its {where} does not answer within {self._patience:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            if isinstance(error, Unreachable):
                raise
            why = str(error)[:200] or type(error).__name__
            raise Unreachable(f"nobody answers at {without_user(url)[:200]}: {why}") from error


def _object(body: bytes, where: str) -> dict[str, Any]:
    found: Any = None
    with suppress(ValueError, RecursionError):
        found = json.loads(body)
    if not isinstance(found, dict):
        raise Unreachable(f"its {where} is no JSON object: it is no engine of catp")
    return found


def _is_url(url: str) -> bool:
    import httpx

    try:
        httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        return False
    return True
