"""Choosers and planners that a learned policy has to beat."""
