"""Why a tool cannot run here: the answers behind `ToolSpec.unavailable`."""

import importlib.util
import shutil
from collections.abc import Callable

__all__ = ["needs", "needs_program"]


def needs(*modules: str) -> Callable[[], str | None]:
    """Return a check that all of the zoo's `modules` can be imported; it looks for them without importing them."""

    def reason() -> str | None:
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        return f"needs {', '.join(missing)}: pip install 'catp[tools]'" if missing else None

    return reason


def needs_program(program: str, package: str) -> Callable[[], str | None]:
    """Return a check that `program` is on the PATH; `package` is the Debian package that brings it."""

    def reason() -> str | None:
        return None if shutil.which(program) else f"needs the program {program}: apt install {package}"

    return reason
