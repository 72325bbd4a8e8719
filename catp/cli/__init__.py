"""The `catp` command. Sub-commands live in one module each; heavy imports wait until a command needs them."""

from catp.cli.main import main

__all__ = ["main"]
