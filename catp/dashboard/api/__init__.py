"""The HTTP API under `/api/v1`: one module for each resource, each with `add(api, context)`."""
