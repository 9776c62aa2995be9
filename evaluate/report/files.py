"""The files of a report folder. Without imports: a finished report is found without what makes one."""

METRICS_FILE = "metrics.json"
PAGE_FILE = "index.html"
TABLE_FILE = "videos.csv"
"""All videos, if there are more than MAX_CARDS."""
MAX_CARDS = 300
"""Videos that the page shows, those of the largest error."""
