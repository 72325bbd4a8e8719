"""Limits of the server, in one frozen place."""

from dataclasses import dataclass

__all__ = ["ServerOptions"]

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How the server behaves; the engine's limits are the engine's.

    Args:
        max_body: most bytes of a request's body.
        body_seconds: most seconds in which a body must have come.
        request_seconds: most seconds from acceptance to the end; then it is cancelled.
        write_seconds: most seconds that one write to a client may take; then it counts as a slow reader.
        stall_seconds: seconds without a step, while requests run, after which `/progress` says 503.
        drain_seconds: seconds that requests get to end after SIGTERM.
        max_choices: most choices (`n`) or samples of one request.
        max_prompts: most prompts in one request for completions.
        max_catalogues: catalogues kept for each tenant; the one used longest ago goes first.
        slo_ttft, slo_tpot, slo_e2e: seconds that requests are measured against if they name none; None: not measured.
    """

    max_body: int = 4 * MIB
    body_seconds: float = 30.0
    request_seconds: float = 600.0
    write_seconds: float = 60.0
    stall_seconds: float = 30.0
    drain_seconds: float = 20.0
    max_choices: int = 128
    max_prompts: int = 128
    max_catalogues: int = 64
    slo_ttft: float | None = None
    slo_tpot: float | None = None
    slo_e2e: float | None = None
