"""What the policy reads and writes: a request as token ids, and plans as token ids with forced tokens between."""
