"""CATP-Bench, the measured benchmark: tasks with known answers, and every plan really run."""
