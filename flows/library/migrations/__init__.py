"""Alembic's folder: how the library's tables came to be what they are, step by step."""
