"""One run as a file: `/runs/{id}/export`."""

from typing import TYPE_CHECKING

from catp.dashboard.context import Context
from catp.dashboard.read.export import Format, export

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the path."""
    from starlette.responses import Response

    @api.get("/runs/{id}/export")
    def exported(id: str, format: Format = "json") -> Response:
        file = export(context.store, id, format)
        headers = {"content-disposition": f'attachment; filename="{file.name}"'}
        return Response(file.data, media_type=file.mime, headers=headers)
