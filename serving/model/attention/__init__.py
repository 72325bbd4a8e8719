"""Attention over paged keys and values, behind one protocol (`base.Attention`)."""

__all__: list[str] = []
