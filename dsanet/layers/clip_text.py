"""Class embeddings from CLIP's text tower: bare names, a prompt, learned context, or adapters (section 3.4).

Table 6's four modes. The tower sees only as many tokens as the longest prompt needs (exact: its
attention is causal), all classes in one batch, and is dropped where nothing in it is trained.
The release differs in `Variant.learned_text_projection` and `normalize_text`.

C classes, L tokens, D width.
"""

import hashlib
from collections.abc import Callable, Sequence

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsanet.detectors.dsanet.config import ModelConfig

MAX_TOKENS = 77


def tokenize(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Tokens (C, L) cut to the longest text, and each end token's position (C,).

    Raises ValueError for a text too long.
    """
    tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=MAX_TOKENS)
    for text in texts:
        if len(tokenizer.encode(text)) > MAX_TOKENS - 2:
            raise ValueError(f"prompt {text!r} has more than {MAX_TOKENS - 2} tokens; shorten it")
    tokens_CL = tokenizer(list(texts))
    end_C = tokens_CL.argmax(-1)
    return tokens_CL[:, : int(end_C.max()) + 1], end_C


class TextTower(nn.Module):
    """CLIP's text transformer, frozen. `digest` names its weights (sha256 of the text tensors)."""

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
        """(C, D): the row of each text's end token after the last norm, not yet projected.

        `words_CLD` are token embeddings; `after_block(i, x)` may change what block i gave.
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
        digest.update(state[name].to(torch.float32).contiguous().numpy().astype("<f4", copy=False).data)
    return digest.hexdigest()


class FixedText(nn.Module):
    """Class embeddings that are not trained: computed once, the tower is not kept."""

    text_CD: Tensor

    def __init__(self, text_CD: Tensor) -> None:
        super().__init__()
        self.register_buffer("text_CD", text_CD)

    @classmethod
    @torch.no_grad()
    def encode(cls, tower: TextTower, texts: Sequence[str]) -> "FixedText":
        tokens_CL, end_C = tokenize(texts)
        return cls(tower(tower.token_embedding(tokens_CL), end_C) @ tower.projection)

    def forward(self) -> Tensor:
        return self.text_CD


class LearnedContext(nn.Module):
    """Learned vectors before and after each name (CoOp style, as in VadCLIP)."""

    words_CLD: Tensor
    is_word_CL: Tensor
    end_C: Tensor

    def __init__(self, tower: TextTower, names: Sequence[str], context_tokens: int) -> None:
        super().__init__()
        self.tower = tower
        tokens_CL, end_C = tokenize(names)
        length = int(end_C.max()) + 1 + 2 * context_tokens
        if length > MAX_TOKENS:
            raise ValueError(
                f"names and context need {length} tokens, CLIP takes {MAX_TOKENS}; lower context_tokens"
            )
        # One vector a position, as in VadCLIP; those behind the longest text are never used.
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
    """Start token first, the name's tokens after `context` free places, the end token after as many more."""
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
    """Lightweight adapters after the first L blocks (eq. 10): the direction is adapted, the norm is kept."""

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


def build_text(tower: TextTower, config: ModelConfig) -> nn.Module:
    """The text module of a config: what `forward()` gives is (C, D), before any normalisation."""
    if config.text_tuning in ("frozen", "manual"):
        return FixedText.encode(tower, config.texts)
    if config.text_tuning == "learned":
        return LearnedContext(tower, config.texts, config.context_tokens)
    return AdaptedText(
        tower,
        config.texts,
        config.adapter_layers,
        config.adapter_weight,
        config.rules.learned_text_projection,
    )
