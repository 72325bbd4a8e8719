"""Compiler passes: each a pure function from plan to plan (with what it changed, in words) or an analysis."""
