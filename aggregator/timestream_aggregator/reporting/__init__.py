"""The faces to the cluster and to people: probes, metrics, status, and the report to the API server."""
