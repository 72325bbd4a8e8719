"""What runs: requests and their branches, paged blocks, the scheduler's step, the engine's loop. No torch here."""

__all__: list[str] = []
