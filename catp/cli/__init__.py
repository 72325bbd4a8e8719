"""The `catp` command."""
