"""Projects of the demo: their tools are played, and they go with it. Any other `demo-…` is somebody's own."""

__all__ = ["DEMO_PROJECTS", "WATCHED"]

WATCHED = "demo-live"
"""Where the run to watch is, and its rehearsals."""

DEMO_PROJECTS = frozenset({"demo-archive", "demo-postcards", "demo-survey", WATCHED})
