"""`metrics.json`, the HTML pages (report, comparison, benchmark table) and PNG pictures."""
