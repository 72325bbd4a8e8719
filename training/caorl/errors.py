"""Why a training run cannot start, go on or be resumed."""

__all__ = ["ResumeError", "TrainError"]


class TrainError(RuntimeError):
    """Training cannot start or go on; the message names the thing, the place and the fix."""


class ResumeError(TrainError):
    """A run cannot be resumed from its state: files are missing or corrupt, or it belongs to another run."""
