"""`catp serve` and `catp sim`."""

__all__: list[str] = []
