"""catp-sim: simulated tasks, tools and plans with an exact oracle. Nothing in here was measured."""
