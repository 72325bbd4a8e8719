"""Runs a compiled plan: a pure reducer decides, an asyncio shell acts, a ledger keeps every cent."""
