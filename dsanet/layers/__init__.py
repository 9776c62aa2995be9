"""Building blocks of the detectors: plain arguments in, tensors out; no configs and no file access."""
