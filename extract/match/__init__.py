"""How were these features made? The search for the settings that reproduce them from the videos.

    arrays, videos ─▶ pairs by name ─▶ search on a few rows ─▶ comparison along each array ─▶ places of breaks

`extract.match.match.match_features` is the entry point.
"""
