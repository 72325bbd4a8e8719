"""Where a function lives, so that a fresh process can find it again by importing rather than by copying code."""

import functools
import importlib
import importlib.util
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["Target"]

_MAIN = "__main__"
_MAIN_ALIAS = "__mp_main__"
"""The name a worker gives the parent's script, as `multiprocessing` does: `if __name__ == "__main__"` stays false."""


@dataclass(frozen=True, slots=True)
class Target:
    """A module-level function: its module, its qualified name, and the file to load if the name cannot be imported.

    `run_as` is set for a script run with `python -m package.module`.
    """

    module: str
    qualname: str
    file: str | None = None
    run_as: str | None = None

    @classmethod
    def of(cls, function: Callable[..., Any]) -> "Target":
        """Return the target of `function`; raise `ValueError` saying why it cannot run in another process."""
        function = _innermost(function)
        name, qualname = function.__module__, function.__qualname__
        if "<" in qualname:
            raise ValueError(f"{qualname} is defined inside another function, where a worker process cannot find it")
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        spec = getattr(module, "__spec__", None)
        if name == _MAIN and not (file and Path(file).is_file()):
            raise ValueError(f"{qualname} is defined in an interactive session, where a worker process cannot find it")
        if name == _MAIN:  # values of the script's own classes come back under the alias
            sys.modules.setdefault(_MAIN_ALIAS, sys.modules[_MAIN])
        path = str(Path(file).resolve()) if file else None
        return cls(name, qualname, path, spec.name if spec else None)

    def load(self) -> Callable[..., Any]:
        """Import the module here and return the plain function."""
        found: Any = self._import()
        for part in self.qualname.split("."):
            found = getattr(found, part)
        return _innermost(found)

    def _import(self) -> ModuleType:
        if self.module == _MAIN:
            return self._main()
        if self.module in sys.modules:
            return sys.modules[self.module]
        try:
            module = importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if self.file is None or not self.module.startswith(error.name or "?"):
                raise
        else:
            if self.file is None or getattr(module, "__file__", None) == self.file:
                return module
            if Path(getattr(module, "__file__", None) or "").resolve() == Path(self.file):
                return module
        return self._from_file()

    def _from_file(self) -> ModuleType:
        assert self.file is not None
        spec = importlib.util.spec_from_file_location(self.module, self.file)
        if spec is None or spec.loader is None:
            raise ImportError(f"cannot load {self.module} from {self.file}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.module] = module
        spec.loader.exec_module(module)
        return module

    def _main(self) -> ModuleType:
        if _MAIN_ALIAS in sys.modules:
            return sys.modules[_MAIN_ALIAS]
        module = ModuleType(_MAIN_ALIAS)
        sys.modules[_MAIN] = sys.modules[_MAIN_ALIAS] = module
        assert self.file is not None
        if self.run_as and self.run_as != _MAIN:
            found = runpy.run_module(self.run_as, run_name=_MAIN_ALIAS, alter_sys=True)
        else:
            found = runpy.run_path(self.file, run_name=_MAIN_ALIAS)
        module.__dict__.update(found)
        sys.modules[_MAIN] = sys.modules[_MAIN_ALIAS] = module
        return module


def _innermost(function: Any) -> Callable[..., Any]:
    """Return the plain function inside a `Tool` (its `function`), or the function itself."""
    if isinstance(function, functools.partial):
        raise ValueError("a functools.partial has no name a worker process could import; write a function")
    inner: Callable[..., Any] = getattr(function, "function", function)
    return inner
