"""The library of a workspace: a SQL database of its videos, their files, labels, features and scores."""
