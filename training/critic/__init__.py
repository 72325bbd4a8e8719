"""Critics of plan construction with d3rlpy: baselines, a re-ranker of plans, and a gate for policies."""
