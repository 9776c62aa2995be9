"""The detectors beside DSANet, one file each: config, model, losses. `dsanet.registry` lists them."""
