"""CATP: plan paid tool calls, price the plan, run it concurrently, account for every cent."""

__version__ = "0.1.0"
