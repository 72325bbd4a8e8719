"""Telemetry: runs as OpenTelemetry spans and metrics. Off by default; loads OpenTelemetry only when it is on.

    agent = Agent(telemetry=True)      # or CATP_TELEMETRY=1, or `telemetry = true` in catp.toml

It uses the providers that the application has configured. If there are none, it exports over OTLP/HTTP as the standard
`OTEL_*` variables say. See docs/telemetry.md.
"""

from catp.telemetry.hooks import TelemetryError, observed_planning, observed_run, telemetry_for

__all__ = ["TelemetryError", "observed_planning", "observed_run", "telemetry_for"]
