"""Class names: `normal`, and the class lists of UCF-Crime and XD-Violence in the order of the data sets.

Constants only and no imports, so that every package can use them (`evaluate` included).
"""

NORMAL = "normal"
"""Label of a video without anomalies; class 0 of every detector."""

UCF_CRIME_CLASSES = (
    NORMAL, "abuse", "arrest", "arson", "assault", "burglary", "explosion", "fighting", "roadaccidents",
    "robbery", "shooting", "shoplifting", "stealing", "vandalism",
)  # fmt: skip

XD_VIOLENCE_CLASSES = (NORMAL, "fighting", "shooting", "riot", "abuse", "car accident", "explosion")

XD_VIOLENCE_CODES = dict(zip(("A", "B1", "B2", "B4", "B5", "B6", "G"), XD_VIOLENCE_CLASSES, strict=True))
"""Class name of each code in XD-Violence's file names and lists (`…_label_B2-G-0`)."""
