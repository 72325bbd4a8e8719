"""Which request goes first, and how much fits in a step: pure functions on frozen views."""

__all__: list[str] = []
