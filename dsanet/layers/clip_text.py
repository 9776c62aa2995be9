"""Class embeddings from CLIP's text tower: fixed text, learned context, or adapters (DSANet, section 3.4).

These are the four modes of DSANet's table 6; bare names and prompts are both fixed text. All classes pass
the tower in one batch, cut to the tokens of the longest text; the cut is exact because the attention is
causal. Fixed text is encoded once and the tower is not kept.

C classes, L tokens, D width.
"""

import hashlib
from collections.abc import Callable, Sequence

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsanet.layers.text_length import MAX_TOKENS, token_limit
from extract.errors import InputError


def tokenize(texts: Sequence[str], learned_tokens: int = 0) -> tuple[Tensor, Tensor]:
    """Token numbers (C, L), cut to the longest text, and the position of each text's end token (C,).

    Raises InputError for a text that exceeds CLIP's 77 tokens with its start and end token and
    `learned_tokens` more.
    """
    tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=MAX_TOKENS)
    limit = token_limit(learned_tokens)
    for text in texts:
        if (count := len(tokenizer.encode(text))) > limit:
            beside = f" beside {learned_tokens} learned ones (context_tokens)" if learned_tokens else ""
            shown = text if len(text) <= 60 else f"{text[:59]}…"
            raise InputError(
                f"the label or prompt {shown!r} has {count} tokens, CLIP takes {limit}{beside}; shorten it"
            )
    tokens_CL = tokenizer(list(texts))
    end_C = tokens_CL.argmax(-1)
    return tokens_CL[:, : int(end_C.max()) + 1], end_C


class TextTower(nn.Module):
    """CLIP's text transformer, frozen. `digest` is the sha256 of its tensors."""

    position: Tensor
    projection: Tensor
    causal_mask: Tensor

    def __init__(self, clip: open_clip.CLIP) -> None:
        super().__init__()
        self.token_embedding: nn.Embedding = clip.token_embedding
        self.blocks: nn.ModuleList = clip.transformer.resblocks
        self.ln_final: nn.LayerNorm = clip.ln_final
        self.register_buffer("position", clip.positional_embedding.detach())
        self.register_buffer("projection", clip.text_projection.detach())
        above_LL = torch.full((MAX_TOKENS, MAX_TOKENS), float("-inf")).triu(1)
        self.register_buffer("causal_mask", above_LL, persistent=False)
        self.requires_grad_(False)
        self.digest = _digest(self.state_dict())

    def forward(
        self, words_CLD: Tensor, end_C: Tensor, after_block: Callable[[int, Tensor], Tensor] | None = None
    ) -> Tensor:
        """(C, D): each text's end token after the final norm, before the projection.

        `words_CLD` are token embeddings; `after_block(i, x)` replaces the output x of block i.
        """
        length = words_CLD.shape[1]
        x_CLD = words_CLD + self.position[:length]
        for i, block in enumerate(self.blocks):
            x_CLD = block(x_CLD, attn_mask=self.causal_mask[:length, :length])
            if after_block is not None:
                x_CLD = after_block(i, x_CLD)
        return self.ln_final(x_CLD[torch.arange(len(end_C), device=end_C.device), end_C])


def _digest(state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(
            state[name].to("cpu", torch.float32).contiguous().numpy().astype("<f4", copy=False).data
        )
    return digest.hexdigest()


class FixedText(nn.Module):
    """Constant class embeddings, computed once; the tower is not kept."""

    text_CD: Tensor

    def __init__(self, text_CD: Tensor) -> None:
        super().__init__()
        self.register_buffer("text_CD", text_CD)

    @classmethod
    @torch.no_grad()
    def encode(cls, tower: TextTower, texts: Sequence[str]) -> "FixedText":
        """The projected embeddings of `texts`, not normalised."""
        tokens_CL, end_C = tokenize(texts)
        return cls(tower(tower.token_embedding(tokens_CL), end_C) @ tower.projection)

    def forward(self) -> Tensor:
        return self.text_CD


class LearnedContext(nn.Module):
    """Learned context vectors before and after each class name (CoOp, as used by VadCLIP)."""

    words_CLD: Tensor
    is_word_CL: Tensor
    end_C: Tensor

    def __init__(self, tower: TextTower, names: Sequence[str], context_tokens: int) -> None:
        super().__init__()
        self.tower = tower
        tokens_CL, end_C = tokenize(names, 2 * context_tokens)
        length = int(end_C.max()) + 1 + 2 * context_tokens
        # One vector per position, as in VadCLIP; positions after the longest text are never used.
        self.context = nn.Parameter(torch.randn(MAX_TOKENS, tower.position.shape[1]) * 0.01)
        words_CLD, is_word_CL = _spread(tower.token_embedding(tokens_CL), end_C, context_tokens, length)
        self.register_buffer("words_CLD", words_CLD, persistent=False)
        self.register_buffer("is_word_CL", is_word_CL, persistent=False)
        self.register_buffer("end_C", end_C + 2 * context_tokens, persistent=False)

    def forward(self) -> Tensor:
        words_CLD = torch.where(
            self.is_word_CL[..., None], self.words_CLD, self.context[: self.words_CLD.shape[1]]
        )
        return self.tower(words_CLD, self.end_C) @ self.tower.projection


def _spread(words_CLD: Tensor, end_C: Tensor, context: int, length: int) -> tuple[Tensor, Tensor]:
    """Token embeddings with `context` empty positions before and after each name, and the mask of tokens.

    Start token, `context` empty positions, the name, `context` empty positions, end token.
    """
    source = torch.arange(words_CLD.shape[1]).expand(len(end_C), -1)
    target = source + context * (source > 0) + context * (source == end_C[:, None])
    keep = source <= end_C[:, None]
    row = torch.arange(len(end_C))[:, None].expand_as(source)
    spread_CLD = words_CLD.new_zeros(len(end_C), length, words_CLD.shape[2])
    spread_CLD[row[keep], target[keep]] = words_CLD[keep]
    is_word_CL = torch.zeros(len(end_C), length, dtype=torch.bool)
    is_word_CL[row[keep], target[keep]] = True
    return spread_CLD, is_word_CL


class AdaptedText(nn.Module):
    """Adapters after the first `layers` blocks (DSANet, eq. 10): they change directions and keep norms."""

    words_CLD: Tensor
    end_C: Tensor

    def __init__(
        self, tower: TextTower, texts: Sequence[str], layers: int, weight: float, learned_projection: bool
    ) -> None:
        super().__init__()
        self.tower, self.weight = tower, weight
        width = tower.position.shape[1]
        self.adapters = nn.ModuleList(_adapter(width) for _ in range(layers))
        self.projection = _adapter(width) if learned_projection else None
        tokens_CL, end_C = tokenize(texts)
        self.register_buffer("words_CLD", tower.token_embedding(tokens_CL), persistent=False)
        self.register_buffer("end_C", end_C, persistent=False)

    def forward(self) -> Tensor:
        text_CD = self.tower(self.words_CLD, self.end_C, self._adapt)
        return text_CD @ self.tower.projection if self.projection is None else self.projection(text_CD)

    def _adapt(self, block: int, x_CLD: Tensor) -> Tensor:
        if block >= len(self.adapters):
            return x_CLD
        adapted_CLD = F.normalize(self.adapters[block](x_CLD), dim=-1) * x_CLD.norm(dim=-1, keepdim=True)
        return (1 - self.weight) * x_CLD + self.weight * adapted_CLD


def _adapter(width: int) -> nn.Sequential:
    linear = nn.Linear(width, width, bias=False)
    nn.init.xavier_uniform_(linear.weight)
    return nn.Sequential(linear, nn.LeakyReLU())
