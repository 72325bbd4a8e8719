"""The canonical form of a plan (`catp.planlang.canonical`), under the name that the data code knows it by."""

from catp.planlang.canonical import canonical_plan

__all__ = ["canonical_plan"]
