"""A real Kubernetes for demo and tests, built from pinned modules; `python -m tests.cluster` is its face."""
