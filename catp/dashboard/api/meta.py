"""Whether the server is well, and what it is: `/healthz`, `/api/v1/meta`."""

from typing import TYPE_CHECKING, Any, get_args

from catp.dashboard.context import Context
from catp.dashboard.feed import ENGINE_SAMPLE
from catp.dashboard.read.how import FIGURES_HOW
from catp.runtime.events import EventType
from catp.store.statements import query

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["add"]


def add(app: "FastAPI", context: Context) -> None:
    """Add the paths to the application; they are asked before there is a store."""
    from fastapi import Request

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        """200 if the store answers, else a problem with 503."""
        context.missing()
        context.read(lambda connection: query(connection, "SELECT 1"))
        return {"status": "ok"}

    @app.get("/api/v1/meta")
    def meta(request: Request) -> dict[str, Any]:
        """What all pages need: `events` are the types of messages on the stream, `how` is how figures are computed."""
        return {
            "version": app.version, "role": request.scope["catp_role"], "read_only": context.read_only,
            "currency": "USD", "store": context.store.name,
            "events": [*get_args(EventType), ENGINE_SAMPLE], "how": FIGURES_HOW,
        }  # fmt: skip
