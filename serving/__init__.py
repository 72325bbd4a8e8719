"""The local inference engine: continuous batching of constrained plans, with cost- and SLO-aware scheduling.

engine/     what runs: requests, branches, paged blocks, the scheduler's step, the engine's loop (no torch)
policies/   which request goes first: pure functions on frozen views, their fallback, length and cost models (no torch)
model/      what computes: Llama over HF weights, the KV cache, attention backends, adapters, sampling (torch)
programs/   what a request does with logits: write text, write plans, under constraints
metering/   what it cost: seconds and money per request, Prometheus metrics
server/     how it is reached: OpenAI-compatible HTTP, `/v1/plans`, health, tenants
sim/        the same scheduler and policies on traces, with a fitted model of step times
"""

__all__: list[str] = []
