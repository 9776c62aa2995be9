"""Causal scores: each snippet is scored when it arrives, from the snippets before it."""
