"""The tool-planning language: one tree, three forms, checked, priced and compiled to a `networkx.DiGraph`.

    plan = parse(text)                       # or from_json(document), or decode(tokens, registry)
    compiled = compile_plan(plan, registry, estimator=...)
    compiled.graph                           # networkx.DiGraph with price, latency and slack

Names are loaded on first use; the modules hold more.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catp.planlang.compile import compile_plan
    from catp.planlang.compiled import CompiledPlan
    from catp.planlang.errors import Diagnostic, PlanError
    from catp.planlang.importers import import_plan
    from catp.planlang.jsonform import from_json, to_json
    from catp.planlang.money import Money, format_usd, parse_usd
    from catp.planlang.nodes import Plan
    from catp.planlang.parser import parse
    from catp.planlang.passes.admit import admit
    from catp.planlang.printer import to_text
    from catp.planlang.registry_view import Estimator, RegistryView
    from catp.planlang.render.mermaid import to_mermaid
    from catp.planlang.render.svg import to_svg
    from catp.planlang.render.tree import to_tree
    from catp.planlang.tokens import decode, encode

_HOME = {
    "CompiledPlan": "compiled",
    "Diagnostic": "errors",
    "Estimator": "registry_view",
    "Money": "money",
    "Plan": "nodes",
    "PlanError": "errors",
    "RegistryView": "registry_view",
    "admit": "passes.admit",
    "compile_plan": "compile",
    "decode": "tokens",
    "encode": "tokens",
    "format_usd": "money",
    "from_json": "jsonform",
    "import_plan": "importers",
    "parse": "parser",
    "parse_usd": "money",
    "to_json": "jsonform",
    "to_mermaid": "render.mermaid",
    "to_svg": "render.svg",
    "to_text": "printer",
    "to_tree": "render.tree",
}

__all__ = [
    "CompiledPlan",
    "Diagnostic",
    "Estimator",
    "Money",
    "Plan",
    "PlanError",
    "RegistryView",
    "admit",
    "compile_plan",
    "decode",
    "encode",
    "format_usd",
    "from_json",
    "import_plan",
    "parse",
    "parse_usd",
    "to_json",
    "to_mermaid",
    "to_svg",
    "to_text",
    "to_tree",
]


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
