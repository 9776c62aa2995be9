"""The folder and the inputs of a run: configuration, workspace.json, locks, model versions and registry."""
