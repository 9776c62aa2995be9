"""Scores of other programs: their files read, matched with videos, and fitted to the videos' frames."""
