"""Search for the settings of extraction that reproduce given features from their videos.

    arrays, videos ─▶ pairs by name ─▶ search on a few rows ─▶ comparison along each array ─▶ places of breaks

`extract.match.match.match_features` is the entry point.
"""
