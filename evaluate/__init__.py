"""Annotations and scores to metrics and a report; numpy, h5py and scikit-learn only."""
