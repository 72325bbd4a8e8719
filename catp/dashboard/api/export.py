"""One run as a file: `/runs/{id}/export`."""

from typing import TYPE_CHECKING

from catp.dashboard.context import Context
from catp.dashboard.problems import Problem
from catp.dashboard.read.export import Format, NoTelemetry, export
from catp.tools.catalogue import Catalogue

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["add"]


def add(api: "APIRouter", context: Context) -> None:
    """Add the path."""
    from starlette.responses import Response

    @api.get("/runs/{id}/export")
    def exported(id: str, format: Format = "json") -> Response:
        try:
            file = export(context.store, id, format, lambda: context.declared.catalogue() or Catalogue([]))
        except NoTelemetry as error:
            raise Problem(501, "extra-missing", str(error)) from None
        headers = {"content-disposition": f'attachment; filename="{file.name}"'}
        return Response(file.data, media_type=file.mime, headers=headers)
