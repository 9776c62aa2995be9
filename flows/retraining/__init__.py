"""Retraining on new footage: a model that is replaced only by one that is not worse."""
