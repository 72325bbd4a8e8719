"""How the engine is reached: HTTP, compatible with OpenAI's API, and `/v1/plans`."""

__all__: list[str] = []
