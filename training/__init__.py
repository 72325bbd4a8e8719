"""Training on offline trajectories. The folder is reserved; its code starts with the benchmark data set."""

__all__: list[str] = []
