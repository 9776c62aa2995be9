"""DSANet (AAAI 2026): config and presets, differences of the release, model, losses."""
