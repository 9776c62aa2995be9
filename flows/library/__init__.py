"""The library: every video ever seen, where it lies, who labelled it and when, what came of it."""
