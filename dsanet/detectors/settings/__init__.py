"""The settings of the detectors, pure data: they are read without PyTorch."""
