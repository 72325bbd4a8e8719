"""Whether the server is well, and what it is: `/healthz`, `/api/v1/meta`."""

from typing import TYPE_CHECKING, Any

from catp.dashboard.context import Context
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
        """What the shell of the pages needs."""
        return {
            "version": app.version, "role": request.scope["catp_role"], "read_only": context.read_only,
            "currency": "USD", "store": context.store.name,
        }  # fmt: skip
