"""What computes: the only rooms that import torch when they are imported. Load them inside functions."""

__all__: list[str] = []
