"""Cost-aware offline reinforcement learning of the policy from logged plans."""
