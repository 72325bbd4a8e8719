"""What a request cost: seconds of the device and money; metrics."""

__all__: list[str] = []
