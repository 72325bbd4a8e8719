"""The tool-planning language: one tree, three forms, checked, priced and compiled to a `networkx.DiGraph`."""
