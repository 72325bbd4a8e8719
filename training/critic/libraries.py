"""torch and d3rlpy, imported when they are first needed."""

from typing import Any

__all__ = ["libraries"]


def libraries() -> tuple[Any, Any]:
    """Return torch and d3rlpy.

    Raises:
        ImportError: one of them is not installed.
    """
    try:
        import gym_notices.notices  # type: ignore[import-untyped]  # comes with gym

        gym_notices.notices.notices.clear()  # or importing d3rlpy prints that gym is unmaintained
        import d3rlpy
        import torch
    except ImportError as error:
        raise ImportError("critics need torch and d3rlpy: pip install 'catp[train]'") from error
    return torch, d3rlpy
