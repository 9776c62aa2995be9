"""Retraining on new footage: a challenger replaces the champion only if it is not worse."""
