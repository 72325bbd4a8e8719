"""What goes wrong with checkpoints, in one exception."""

__all__ = ["CheckpointError", "needs"]


class CheckpointError(ValueError):
    """A checkpoint, or the base it builds on, cannot be used; the message names the file and the fix."""


def needs(package: str, what: str) -> ImportError:
    """Return the error for a package that is not installed."""
    return ImportError(f"{what} needs {package}; run: pip install 'catp[policy]'")
