"""The length of a text in tokens of CLIP, as far as it is known without tokenizer and PyTorch."""

MAX_TOKENS = 77
"""Tokens that CLIP's text tower takes, with the start and the end token."""


def token_limit(learned_tokens: int) -> int:
    """Tokens left for a text beside its start and end token and `learned_tokens` more."""
    return MAX_TOKENS - 2 - learned_tokens


def surely_fits(text: str, learned_tokens: int = 0) -> bool:
    """True if CLIP takes the text, whatever its tokens are: each has at least one character of ASCII.

    False also where only the tokenizer knows: other characters are several bytes, `&` may begin an entity.
    """
    return text.isascii() and "&" not in text and len(text) <= token_limit(learned_tokens)
