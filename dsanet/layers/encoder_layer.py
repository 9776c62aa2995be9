"""torch's transformer encoder layer for a batch whose rows several processes compute (`layers.split_batch`).

B bags, T positions, D width, h heads.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from dsanet.layers.split_batch import Dropout, dropout, is_split


class EncoderLayer(nn.TransformerEncoderLayer):
    """`nn.TransformerEncoderLayer` for inputs (B, T, D), with the same weights, names and results."""

    def __init__(self, width: int, heads: int, hidden: int, p: float) -> None:
        super().__init__(width, heads, hidden, p, batch_first=True, norm_first=True)
        self.dropout, self.dropout1, self.dropout2 = Dropout(p), Dropout(p), Dropout(p)

    def _sa_block(
        self,
        x: Tensor,
        attn_mask: Tensor | None,
        key_padding_mask: Tensor | None,
        is_causal: bool = False,
    ) -> Tensor:
        """The attention; torch's own function draws its dropout inside, for the given rows only."""
        if not (self.training and is_split()):
            return super()._sa_block(x, attn_mask, key_padding_mask, is_causal)
        attention = self.self_attn
        qkv = F.linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in qkv)
        scores_BhTT = q @ k.transpose(2, 3) / math.sqrt(attention.head_dim)
        if key_padding_mask is not None:  # −∞ at keys that are not used
            scores_BhTT = scores_BhTT + key_padding_mask[:, None, None]
        mixed = dropout(scores_BhTT.softmax(-1), attention.dropout) @ v
        # Random numbers follow the order in memory, which is (T, B, D) in torch's function.
        out_TBD = attention.out_proj(mixed.permute(2, 0, 1, 3).flatten(2))
        return dropout(out_TBD, self.dropout1.p, axis=1).transpose(0, 1)
