"""Prefect flows over the stages, the composed configuration and the `dsanet` command."""
