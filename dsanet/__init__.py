"""The detectors: DSANet's model, losses, training and inference over feature files."""
