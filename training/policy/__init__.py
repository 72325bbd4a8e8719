"""The learned policy: checkpoints, and writing and rating plans with one."""
