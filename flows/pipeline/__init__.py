"""The pipeline: its flows, stages, cache and Prefect artifacts; `dsanet score` and `dsanet bench`."""
