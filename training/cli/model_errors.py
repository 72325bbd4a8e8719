"""What can be wrong with a policy, as the message of a command."""

from collections.abc import Iterator
from contextlib import contextmanager

from catp.cli.output import EXIT_FAILED, EXIT_USAGE, fail

__all__ = ["model_errors"]


@contextmanager
def model_errors() -> Iterator[None]:
    """Turn errors of checkpoints, files and missing packages into messages."""
    try:
        yield
    except ImportError as error:
        fail(str(error), EXIT_FAILED, help=None if "pip install" in str(error) else "pip install 'catp[train]'")
    except FileExistsError as error:
        fail(str(error), EXIT_USAGE)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), EXIT_FAILED)
    except ValueError as error:  # CheckpointError among them
        fail(str(error), EXIT_USAGE)
