"""The real scheduler and policies on traces of real traffic, with a fitted model of step times."""

__all__: list[str] = []
