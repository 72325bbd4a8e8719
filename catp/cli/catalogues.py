"""Which tools a command works with: the built-in zoo, or a catalogue named `package.module:attribute`."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from catp.cli.output import EXIT_FAILED, EXIT_USAGE, fail
from catp.tools.catalogue import Catalogue
from catp.tools.errors import ToolUnavailable
from catp.tools.profile import ProfileBook, ProfileError
from catp.tools.spec import ToolSpec

__all__ = ["all_tools", "load_catalogue"]


def load_catalogue(spec: str, profiles: Path | None = None) -> Catalogue:
    """Return the catalogue `spec` names, with learned profiles merged in; end the command with a clear error if not.

    Args:
        spec: `zoo`, or `package.module:attribute` where the attribute is a Catalogue or a sequence of tools.
        profiles: A profile file learned from earlier runs; a missing one is fine.
    """
    catalogue = _zoo() if spec == "zoo" else _from_module(spec)
    if profiles is None or not profiles.exists():
        return catalogue
    try:
        return catalogue.with_profiles(catalogue.profiles.merge(ProfileBook.load(profiles)))
    except ProfileError as error:
        fail(str(error), EXIT_USAGE, help=f"move {profiles} away to start afresh")


def all_tools(spec: str) -> Sequence[ToolSpec]:
    """Return every tool `spec` names, available here or not."""
    if spec == "zoo":
        from catp.tools.builtin import zoo

        return [tool.spec for tool in zoo()]
    return list(_from_module(spec))


def _zoo() -> Catalogue:
    from catp.tools.builtin import default_catalogue

    try:
        return default_catalogue()
    except ToolUnavailable as error:
        fail(str(error), EXIT_FAILED, help="or name your own with --tools package.module:attribute, or CATP_TOOLS")


def _from_module(spec: str) -> Catalogue:
    module_name, separator, attribute = spec.partition(":")
    if not separator or not attribute:
        fail(f"tools {spec!r}: write zoo, or package.module:attribute", EXIT_USAGE)
    sys.path.insert(0, str(Path.cwd()))  # a project's own module, as `python -m` would find it
    try:
        found = getattr(import_module(module_name), attribute)
    except ImportError as error:
        fail(f"tools {spec!r}: cannot import {module_name}: {error}", EXIT_USAGE)
    except AttributeError:
        fail(f"tools {spec!r}: {module_name} has no {attribute!r}", EXIT_USAGE)
    except (Exception, SystemExit) as error:  # the module is the user's own: whatever it raises is for its author
        fail(f"tools {spec!r}: importing {module_name} failed: {type(error).__name__}: {error}", EXIT_USAGE)
    finally:
        sys.path.pop(0)
    if isinstance(found, Catalogue):
        return found
    try:
        return Catalogue(found)
    except (TypeError, ValueError) as error:
        fail(f"tools {spec!r} is neither a Catalogue nor a sequence of tools: {error}", EXIT_USAGE)
