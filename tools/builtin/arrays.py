"""`np`: numpy, loaded when it is first used. Telling which tools there are, at what price, needs no arrays (12 MiB)."""

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["np"]

if TYPE_CHECKING:
    import numpy as np
else:

    class _Numpy:
        """Keeps what was asked for once, so that it costs no more than the module itself from then on."""

        def __getattr__(self, name: str) -> Any:
            found = getattr(importlib.import_module("numpy"), name)
            setattr(self, name, found)
            return found

    np = _Numpy()
