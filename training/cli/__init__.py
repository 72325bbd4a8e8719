"""`catp data` and `catp bench`; loaded by name from `catp.cli.lazy`, so that `catp` never imports training."""
