"""The detectors, one file or folder each: config, model, losses. `registry` lists them."""
