"""What packages export: sorted, importable, and never shadowed by a module of the same name."""

import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

PACKAGES = ["catp", "catp.planlang", "catp.tools"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_exported_name_can_be_imported(package: str) -> None:
    module = import_module(package)
    assert module.__all__ == sorted(module.__all__)
    assert len(module.__all__) <= 40
    for name in module.__all__:
        import_module(package)
        first, second = getattr(module, name), getattr(module, name)
        assert first is second, name
        assert not isinstance(first, ModuleType), name


@pytest.mark.parametrize("package", PACKAGES)
def test_unknown_names_are_named(package: str) -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        import_module(package).no_such_name  # noqa: B018 - the access is the test


@pytest.mark.parametrize("statement", ["import catp", "import catp.cli.main", "import catp.planlang, catp.tools"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    heavy = [
        "torch",
        "transformers",
        "numpy",
        "networkx",
        "matplotlib",
        "sqlalchemy",
        "alembic",
        "asyncpg",
        "ray",
        "mcp",
        "PIL",
        "cv2",
        "rich.live",
        "httpx",
        "opentelemetry",
    ]
    code = f"{statement}; import sys; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
