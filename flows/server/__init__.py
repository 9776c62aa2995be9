"""Prefect's server, worker and deployments on one machine."""
