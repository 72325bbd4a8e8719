"""The dashboard: an HTTP API over the run store. `catp.dashboard.app.create_app` makes it; see docs/dashboard.md."""
