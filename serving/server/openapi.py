"""The documentation of bodies that are read by hand: JSON Schemas of the forms, as components of `/openapi.json`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["body_of", "document"]

_PLACE = "#/components/schemas/{model}"


def body_of(form: type[BaseModel]) -> dict[str, Any]:
    """Return what an endpoint says of its body."""
    content = {"application/json": {"schema": {"$ref": _PLACE.format(model=form.__name__)}}}
    return {"requestBody": {"required": True, "content": content}}


def document(app: "FastAPI", forms: Mapping[str, type[BaseModel]]) -> None:
    """Have `/openapi.json` define the forms, by name."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        whole = plain()
        _, defined = models_json_schema([(form, "validation") for form in forms.values()], ref_template=_PLACE)
        whole.setdefault("components", {}).setdefault("schemas", {}).update(defined["$defs"])
        return whole

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way
