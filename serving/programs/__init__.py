"""What a request does with logits: it writes text, or plans, under constraints."""

__all__: list[str] = []
