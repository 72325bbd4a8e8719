"""A catalogue as JSON values and back: `catp.catalogue/1`, the tools and types that a planner may use.

    {"schema": "catp.catalogue/1",
     "tools": [{"name", "params": [{"name", "type", "required"?, "default"?, "choices"?, "description"?}], "returns",
                "effects"?, "description"?, "capability"?}],
     "types": [{"name", "fields": [[name, type]], "parent"?, "description"?}]}

Types are spelled and defaults written as in plans (`catp.planlang.jsonform`). The order of tools is kept.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from catp.planlang.errors import PlanError
from catp.planlang.jsonform import from_json, to_json
from catp.planlang.nodes import Input, Plan, ToolName, Value
from catp.planlang.registry_view import Effect, Param, RegistryView, ToolSig
from catp.planlang.types import ANY, BUILTIN_TYPES, TypeDef, TypeTable, parse_type

__all__ = ["CatalogueForm", "Form", "catalogue_form"]


class Form(BaseModel):
    """What comes over the wire: nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ParamForm(Form):
    """One parameter."""

    name: str
    type: str
    required: bool = True
    default: Any = None
    choices: list[str | int | float] = Field(default_factory=list)
    description: str = ""


class ToolForm(Form):
    """One tool."""

    name: str
    params: list[ParamForm] = Field(default_factory=list)
    returns: str
    effects: Effect = "pure"
    description: str = ""
    capability: str = ""


class TypeForm(Form):
    """One record type; fields in order."""

    name: str
    fields: list[list[str]] = Field(default_factory=list)
    parent: str | None = None
    description: str = ""


class CatalogueForm(Form):
    """All of it."""

    schema_: Literal["catp.catalogue/1"] = Field(default="catp.catalogue/1", alias="schema")
    tools: list[ToolForm] = Field(min_length=1)
    types: list[TypeForm] = Field(default_factory=list)

    def view(self) -> RegistryView:
        """Return the registry.

        Raises:
            ValueError: a type, default or name that makes no sense; the message names the place.
        """
        table = TypeTable()
        for number, form in enumerate(self.types):
            where = f"types.{number}"
            if any(len(field) != 2 for field in form.fields):
                raise ValueError(f"{where}.fields: each must be a pair [name, type]")
            fields = tuple((name, parse_type(type_)) for name, type_ in form.fields)
            table = table.with_type(TypeDef(form.name, fields, form.parent, form.description))
        return RegistryView(tuple(_tool(form, number) for number, form in enumerate(self.tools)), table)


def catalogue_form(view: RegistryView) -> dict[str, Any]:
    """Return a registry as JSON values."""
    builtin = {definition.name for definition in BUILTIN_TYPES}
    return {
        "schema": "catp.catalogue/1",
        "tools": [
            {
                "name": sig.name,
                "params": [_param_form(param) for param in sig.params],
                "returns": str(sig.returns),
                "effects": sig.effects,
                "description": sig.description,
                "capability": sig.capability,
            }
            for sig in view
        ],
        "types": [
            {
                "name": one.name,
                "fields": [[name, str(type_)] for name, type_ in one.fields],
                "parent": one.parent,
                "description": one.description,
            }
            for one in view.types.defs.values()  # in the order they were added: parents first
            if one.name not in builtin
        ],
    }


def _param_form(param: Param) -> dict[str, Any]:
    form: dict[str, Any] = {"name": param.name, "type": str(param.type)}
    if not param.required:
        form["required"] = False
    if param.default is not None:
        form["default"] = _value_form(param.default)
        form["required"] = param.required
    if param.choices:
        form["choices"] = list(param.choices)
    if param.description:
        form["description"] = param.description
    return form


def _tool(form: ToolForm, number: int) -> ToolSig:
    params = []
    for place, param in enumerate(form.params):
        where = f"tools.{number}.params.{place}"
        default = _value(param.default, where) if "default" in param.model_fields_set else None
        params.append(
            Param(param.name, parse_type(param.type), param.required, default, tuple(param.choices), param.description)
        )
    return ToolSig(
        ToolName(form.name), tuple(params), parse_type(form.returns), form.effects, form.description, form.capability
    )


def _value_form(value: Value) -> Any:
    """A constant as the form of plans writes it: there it is the default of an input."""
    return to_json(Plan(inputs=(Input("x", ANY, value),)))["inputs"][0]["default"]


def _value(form: Any, where: str) -> Value | None:
    inputs = [{"name": "x", "type": "any", "default": form}]
    try:
        return from_json({"planlang": 1, "inputs": inputs, "steps": [], "outputs": []}).inputs[0].default
    except PlanError as error:
        raise ValueError(f"{where}.default: {error}") from None
