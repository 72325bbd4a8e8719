"""How good is a planner? Regret, Pareto fronts and off-policy estimates over measured candidate plans."""
