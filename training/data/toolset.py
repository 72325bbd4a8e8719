"""`catp.toolset/1`: the tools a data set's plans could use, as a JSON file beside the trajectories.

`Toolset.of(catalogue)` writes it, `Toolset.load` reads it back; `view()` is what plans are checked against. OpenCATP's
form (one `input` and one `output` type per tool) is read as well.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import Param, RegistryView, ToolSig
from catp.planlang.types import TypeDef, TypeTable, parse_type
from catp.tools.catalogue import Catalogue

__all__ = ["ToolInfo", "ToolInput", "Toolset", "TypeInfo"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ToolInput(_Record):
    """One parameter: its type as the plan language writes it; `optional` ones have defaults."""

    name: str
    type: str
    optional: bool = False


class ToolInfo(_Record):
    """One tool. `usd_per_ms` is OpenCATP's effective rate; ours have a `price_model` in words."""

    name: str
    version: str = "1"
    capability: str = ""
    description: str = ""
    inputs: list[ToolInput] = Field(default_factory=list)
    output: str
    price_model: str | None = None
    accuracy_prior: float | None = None
    input: str | None = None
    usd_per_ms: float | None = None

    @property
    def parameters(self) -> list[ToolInput]:
        """The inputs, also those of OpenCATP's form, which has a single unnamed one."""
        return self.inputs or ([ToolInput(name="input", type=self.input)] if self.input else [])


class TypeInfo(_Record):
    """One record type: field names and their types."""

    name: str
    fields: dict[str, str]
    parent: str | None = None


class Toolset(_Record):
    """All tools on offer, under an id."""

    schema_: str = Field(default="catp.toolset/1", alias="schema")
    id: str
    tools: list[ToolInfo]
    types: list[TypeInfo] = Field(default_factory=list)

    @classmethod
    def of(cls, catalogue: Catalogue, id: str) -> "Toolset":
        """Describe a catalogue; accuracies and prices stay in its profiles."""
        view = catalogue.view()
        tools = [
            ToolInfo(
                name=str(spec.name),
                version=spec.version,
                capability=spec.capability,
                description=spec.signature.description,
                inputs=[
                    ToolInput(name=p.name, type=str(p.type), optional=not p.required) for p in spec.signature.params
                ],
                output=str(spec.signature.returns),
                price_model=spec.price.describe(),
            )
            for spec in catalogue
        ]
        types = [
            TypeInfo(name=d.name, fields={name: str(type_) for name, type_ in d.fields}, parent=d.parent)
            for name, d in sorted(view.types.defs.items())
            if d.fields
        ]
        return cls(id=id, tools=tools, types=types)

    @classmethod
    def load(cls, path: Path) -> "Toolset":
        """Read a toolset file; raise `OSError`, or `ValueError` naming the file and what is wrong with it."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: not a toolset file (catp.toolset/1): {error}") from error

    def save(self, path: Path) -> None:
        """Write the file, the same bytes for the same tools."""
        path.write_text(json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def to_json(self) -> dict[str, Any]:
        """Return the file's content."""
        return self.model_dump(by_alias=True, exclude_none=True)

    @cached_property
    def sha256(self) -> str:
        """The digest records refer to."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    @cached_property
    def by_name(self) -> dict[str, ToolInfo]:
        """The tools by name."""
        return {tool.name: tool for tool in self.tools}

    def view(self) -> RegistryView:
        """Return the signatures to check plans in the plan language against; defaults of parameters are not known."""
        table = TypeTable()
        for info in self.types:
            fields = tuple((name, parse_type(type_)) for name, type_ in info.fields.items())
            table = table.with_type(TypeDef(info.name, fields, info.parent))
        sigs = tuple(
            ToolSig(
                ToolName(tool.name),
                tuple(Param(p.name, parse_type(p.type), required=not p.optional) for p in tool.parameters),
                parse_type(tool.output),
                description=tool.description,
                capability=tool.capability,
            )
            for tool in self.tools
        )
        return RegistryView(sigs, table)
