"""The local inference engine. The folder is reserved; the engine is built on `catp.planlang`'s decode mask."""

__all__: list[str] = []
