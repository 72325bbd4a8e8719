"""Media that tools made: `/artifacts/{sha256}`. They are handed out as what they are, never as a page of ours."""

from typing import TYPE_CHECKING

from catp.dashboard.context import Context
from catp.dashboard.forms import FOREVER
from catp.dashboard.problems import Problem
from catp.store.statements import query

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]

_SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Media that a browser may show in place; everything else is handed over as a file of bytes."""


def add(api: "APIRouter", context: Context) -> None:
    """Add the path."""
    from starlette.responses import Response

    @api.get("/artifacts/{sha256}")
    def artifact(sha256: str, thumb: int | None = None) -> Response:
        rows = context.read(
            lambda connection: query(connection, "SELECT mime, thumb_sha256 FROM artifacts WHERE sha256 = ?", sha256)
        )
        if not rows:
            raise Problem(404, "not-found", f"there is no artifact {sha256[:70]!r}")
        small = thumb is not None and rows[0].thumb_sha256 is not None
        try:
            data = context.store.artifact(rows[0].thumb_sha256 if small else sha256)
        except FileNotFoundError as error:
            raise Problem(404, "artifact-gone", str(error)) from error
        except ValueError as error:
            raise Problem(502, "artifact-corrupt", str(error)) from error
        # what a tool made is never a page of ours: a picture, or bytes to save
        mime = "image/png" if small and data.startswith(b"\x89PNG") else rows[0].mime
        shown = mime in _SHOWN
        headers = {
            "content-security-policy": "default-src 'none'; sandbox", **FOREVER,
            "content-disposition": "inline" if shown else f'attachment; filename="{sha256[:12]}"',
        }  # fmt: skip
        return Response(data, media_type=mime if shown else "application/octet-stream", headers=headers)
