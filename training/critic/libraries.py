"""torch and d3rlpy, imported when they are first needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["libraries", "one_thread"]


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


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: these networks are small, and on a busy machine threads wait for each other."""
    torch, _ = libraries()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
