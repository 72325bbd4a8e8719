"""The layer table of docs/architecture.md, enforced on the real import graph."""

import ast
import sys
from functools import cache
from pathlib import Path

import networkx as nx

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"planlang": "catp.planlang", "tools": "catp.tools", "training": "catp.training", "serving": "catp.serving"}

# Longest prefix wins. `catp` itself stands for every module of the top folder that has no entry of its own.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "catp.planlang": ("catp.planlang",),
    "catp.tools": ("catp.tools", "catp.planlang"),
    "catp.training": ("catp.training", "catp.tools", "catp.planlang", "catp"),
    "catp.serving": ("catp.serving", "catp.training", "catp.tools", "catp.planlang", "catp"),
    "catp": ("catp", "catp.tools", "catp.planlang"),
}
OUTSIDE = {"catp.planlang": {"networkx"}}
HEAVY = {
    "torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers", "gguf", "bitsandbytes", "cv2",
    "skimage", "sklearn", "scipy", "rapidocr", "onnxruntime", "matplotlib", "ray", "mcp", "asyncpg", "d3rlpy",
    "pyarrow", "h5py", "minari", "gymnasium", "tensorboard", "mlflow", "wandb", "trackio",
    "river", "fastapi", "starlette", "uvicorn", "prometheus_client", "llguidance", "triton",
}  # fmt: skip
TENSORS = "catp.serving.model"
"""Where torch may be imported with the module: nobody outside imports these modules but inside functions."""


def modules() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder, package in [*FOLDERS.items(), ("catp", "catp")]:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *(p for p in parts if p != "__init__")])] = path
    return found


MODULES = modules()


def layer(module: str) -> str:
    return max((name for name in MAY_IMPORT if module == name or module.startswith(name + ".")), key=len)


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def imports(module: str, *, top_level_only: bool = False) -> frozenset[str]:
    tree = parsed(module)
    nodes = _at_import_time(tree) if top_level_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(
                f"{node.module}.{a.name}" if f"{node.module}.{a.name}" in MODULES else node.module for a in node.names
            )
    return frozenset(names)


def _at_import_time(tree: ast.AST) -> list[ast.AST]:
    """Every node that runs when the module is imported: not function bodies, not `if TYPE_CHECKING` blocks."""
    found: list[ast.AST] = []
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        found += [child, *_at_import_time(child)]
    return found


def test_imports_only_from_allowed_layers() -> None:
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        for name in imports(module)
        if (name == "catp" or name.startswith("catp.")) and layer(name) not in MAY_IMPORT[layer(module)]
    ]
    assert wrong == []


def test_language_needs_only_the_standard_library_and_networkx() -> None:
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        if layer(module) in OUTSIDE
        for name in imports(module)
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "catp", *OUTSIDE[layer(module)]}
    ]
    assert wrong == []


def test_no_import_cycles() -> None:
    graph: nx.DiGraph[str] = nx.DiGraph()
    for module in MODULES:
        graph.add_edges_from((module, name) for name in imports(module, top_level_only=True) if name in MODULES)
    assert [c for c in nx.simple_cycles(graph) if len(c) > 1] == []


def test_heavy_libraries_are_imported_lazily() -> None:
    wrong = []
    for module in MODULES:
        inside = module == TENSORS or module.startswith(TENSORS + ".")
        heavy = HEAVY - {"torch", "triton"} if inside else HEAVY
        wrong += [
            f"{module} imports {name}"
            for name in imports(module, top_level_only=True)
            if name.partition(".")[0] in heavy or (name.startswith(TENSORS) and not inside)
        ]
    assert wrong == []


def test_datasets_is_no_package() -> None:
    assert not (ROOT / "datasets" / "__init__.py").exists()
