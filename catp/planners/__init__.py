"""Planners: from a request to ranked candidate plans."""
