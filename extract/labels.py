"""Class names: `normal`, and the class lists of UCF-Crime and XD-Violence in the data sets' own order.

Pure names without any import, so that every package can use them (`evaluate` included).
"""

NORMAL = "normal"
"""Label of a video, and class 0 of a detector, without any anomaly."""

UCF_CRIME_CLASSES = (
    NORMAL, "abuse", "arrest", "arson", "assault", "burglary", "explosion", "fighting", "roadaccidents",
    "robbery", "shooting", "shoplifting", "stealing", "vandalism",
)  # fmt: skip

XD_VIOLENCE_CLASSES = (NORMAL, "fighting", "shooting", "riot", "abuse", "car accident", "explosion")

XD_VIOLENCE_CODES = dict(zip(("A", "B1", "B2", "B4", "B5", "B6", "G"), XD_VIOLENCE_CLASSES, strict=True))
"""Class name of each code in XD-Violence's file names and lists (`…_label_B2-G-0`)."""
