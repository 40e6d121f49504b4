"""The engine for Ray clusters: outside only the Jobs REST API; what runs inside the cluster is in `inside`."""
