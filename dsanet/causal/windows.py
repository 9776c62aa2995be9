"""The computation of the newest snippet of a moving window, for each detector, without repeated work.

`Windows` is the general case: the whole window passes through the detector, and the last output is used. A
detector's own class leaves out work in two ways, neither of which changes the result by more than rounding:
values of single snippets that neighbouring windows share are computed once and kept (`Windows.start`), and
values that the newest snippet's scores do not depend on are not computed.

What each detector allows, and why:

- mil-ranking scores every snippet by itself: only the newest one is computed.
- clip-tsa: which snippets are selected depends on their position in the window (the noise samples belong to
  positions), so nothing is kept. The convolutions and the classifier run on the last snippets only; the
  scorer, the keys and the values of the non-local block run on the whole window.
- vla-gated: convolutions, memories and the first layer's queries, keys and values have no position and reach
  over a few neighbours: they are computed once per snippet, and again only at the borders of the window.
  Attention and all that follows change with every window, and the video context needs all of them.
- vadclip and dsanet: nothing. The position embedding is added first, and a snippet's position in the window
  changes with every step, with it the local attention's groups. The visual cue of the class scores weights
  all snippets of the window. Class embeddings are computed once, as in every inference.

B windows, T snippets, K crops, D width, E values per snippet, R last snippets, C classes.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dsanet.causal.history import History
from dsanet.detectors.base import Detector
from dsanet.detectors.clip_tsa import CLIPTSA, CLIPTSAOutput
from dsanet.detectors.mil_ranking import MILRanking
from dsanet.detectors.vla_gated import VLAGated, VLAGatedOutput
from dsanet.layers.ragged import prefix_mask
from dsanet.layers.transfer import to_device


class Windows:
    """The window of the last snippets, passed through the detector as a whole."""

    def __init__(self, model: Detector[Any], text_CD: Tensor | None) -> None:
        self.model, self.text_CD = model, text_CD
        self.length = model.config.window_rows
        self.width = model.config.feature_dim

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def padded_length(self) -> int | None:
        """Length to which windows are padded, as in offline inference; None: the longest of a batch."""
        return None if self.model.config.segmented else self.length

    def start(self, crops: int) -> Any:
        """The state of a camera without snippets, for `append` and `window`."""
        return History(self.length, (crops, self.width), self.device)

    def append(self, state: Any, feature_KD: Tensor) -> None:
        """Add the newest snippet."""
        state.append(feature_KD)

    def window(self, state: Any) -> Tensor:
        """(T, K, E): the values that `output` needs, T ≤ length, newest last; valid until the next append."""
        rows: Tensor = state.rows
        return rows

    def output(self, windows_BTE: Tensor, lengths_B: Tensor) -> tuple[Any, Tensor]:
        """The detector's output, and the number of valid snippets in it: the last of them is the newest."""
        return self.model(windows_BTE, lengths_B, self.text_CD), lengths_B


class SingleSnippets(Windows):
    """A detector that scores every snippet by itself."""

    def __init__(self, model: MILRanking, text_CD: Tensor | None) -> None:
        super().__init__(model, text_CD)
        self.length = 1


class LastSnippets(Windows):
    """CLIP-TSA: what the newest snippet depends on, from the selection of the whole window."""

    model: CLIPTSA

    def output(self, windows_BTE: Tensor, lengths_B: Tensor) -> tuple[CLIPTSAOutput, Tensor]:
        mask_BT = prefix_mask(lengths_B, windows_BTE.shape[1], windows_BTE.device)
        on_device_B = to_device(lengths_B, windows_BTE.device)
        selected_BTD = self.model.attention(windows_BTE, on_device_B, mask_BT)
        video_B1D = self._aggregate(selected_BTD, on_device_B, mask_BT)
        anomaly_B1 = self.model.classifier(video_B1D).squeeze(-1).float()
        return CLIPTSAOutput(anomaly_B1, video_B1D.float()), torch.ones_like(lengths_B)

    def _aggregate(self, x_BTD: Tensor, lengths_B: Tensor, mask_BT: Tensor) -> Tensor:
        """(B, 1, D): `Aggregation` at the last snippet; its last convolution reaches back by one snippet."""
        parts = self.model.aggregation
        reach = 2 + max(self.model.config.dilations, default=0)
        last_BRD, valid_BR = last_rows(x_BTD, lengths_B, reach)
        scales_B2 = parts.scales(last_BRD, valid_BR)[:, -2:]
        whole_B2 = _attend(parts.non_local, parts.narrow(x_BTD), lengths_B, mask_BT)
        joined_B2 = torch.cat([scales_B2, whole_B2], dim=-1)
        fused_B1D = parts.norm(F.relu(parts.fuse(joined_B2.transpose(1, 2))[..., -1:])).transpose(1, 2)
        return last_BRD[:, -1:] + fused_B1D


def _attend(block: Any, x_BTD: Tensor, lengths_B: Tensor, mask_BT: Tensor) -> Tensor:
    """(B, 2, D): the non-local block at the last two snippets, zero at one that does not exist."""
    last_B2D, valid_B2 = last_rows(x_BTD, lengths_B, 2)
    key, value = (part(x_BTD) * mask_BT[..., None] for part in (block.key, block.value))
    related_B2T = block.query(last_B2D) @ key.transpose(1, 2) / lengths_B[:, None, None]
    attended_B2D: Tensor = last_B2D + block.out(related_B2T @ value)
    return attended_B2D * valid_B2[..., None]


def last_rows(x_BTD: Tensor, lengths_B: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(B, R, D): the last `count` valid rows, zero before the first row, and (B, R) which of them exist."""
    index_BR = lengths_B[:, None] + torch.arange(-count, 0, device=x_BTD.device)
    valid_BR = index_BR >= 0
    rows_BRD = x_BTD.take_along_dim(index_BR.clamp(min=0)[..., None], dim=1)
    return rows_BRD * valid_BR[..., None], valid_BR


@dataclass
class _Kept:
    """A camera's features and the values computed from them."""

    features: History
    inner: History
    """Values of the snippets that have all their neighbours: final."""
    left_KRE: Tensor | None = None
    """Values at the left border of a window that has moved, whose neighbours have left it."""
    right_KRE: Tensor | None = None
    """Values at the right border, whose neighbours have not arrived."""


class KeptValues(Windows):
    """VLA-Gated: each snippet's values up to the first attention are kept, as (x, queries, keys, values)."""

    model: VLAGated

    def __init__(self, model: VLAGated, text_CD: Tensor | None) -> None:
        super().__init__(model, text_CD)
        self.reach = max(model.config.dilations)

    def start(self, crops: int) -> _Kept:
        return _Kept(super().start(crops), History(self.length, (crops, 4 * self.width), self.device))

    def append(self, state: _Kept, feature_KD: Tensor) -> None:
        """Add the newest snippet; compute the borders, and the snippet that now has all its neighbours."""
        state.features.append(feature_KD)
        rows, reach = state.features.rows, self.reach
        moved = state.features.count > len(rows)
        newest = rows[-2 * reach - 1 :]
        pieces = torch.cat([newest, rows[: 2 * reach + 1]], dim=1) if moved else newest
        right_KPE, *left = self._values(pieces.transpose(0, 1)).split(feature_KD.shape[0])
        state.right_KRE = right_KPE[:, -reach:]
        state.left_KRE = left[0][:, :reach] if moved else None
        if len(newest) > reach:
            state.inner.append(right_KPE[:, -reach - 1])

    def window(self, state: _Kept) -> Tensor:
        assert state.right_KRE is not None
        inner, right = state.inner.rows, state.right_KRE.transpose(0, 1)
        if state.left_KRE is None:
            return torch.cat([inner, right])
        left = state.left_KRE.transpose(0, 1)
        return torch.cat([left, inner[len(left) + len(right) - self.length :], right])

    def _values(self, features_BTD: Tensor) -> Tensor:
        """(B, T, 4 D): the input of the first attention layer, and its queries, keys and values."""
        visual = self.model.visual
        x_BTD = features_BTD + visual.fuse(visual.scales(features_BTD, torch.ones_like(features_BTD[..., 0])))
        x_BTD = visual.memory(x_BTD)
        first = visual.encoder.layers[0]
        attention = first.self_attn
        qkv = F.linear(first.norm1(x_BTD), attention.in_proj_weight, attention.in_proj_bias)
        return torch.cat([x_BTD, qkv], dim=-1)

    def output(self, windows_BTE: Tensor, lengths_B: Tensor) -> tuple[VLAGatedOutput, Tensor]:
        mask_BT = prefix_mask(lengths_B, windows_BTE.shape[1], windows_BTE.device)
        encoder: Any = self.model.visual.encoder
        first, *others = encoder.layers
        x_BTD, *qkv = windows_BTE.chunk(4, dim=-1)
        q, k, v = (part.unflatten(-1, (first.self_attn.num_heads, -1)).transpose(1, 2) for part in qkv)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_BT[:, None, None])
        x_BTD = x_BTD + first.self_attn.out_proj(mixed.transpose(1, 2).flatten(2))
        x_BTD = x_BTD + first.linear2(first.activation(first.linear1(first.norm2(x_BTD))))
        for layer in others:
            x_BTD = layer(x_BTD, src_key_padding_mask=~mask_BT)
        video_BTD = encoder.norm(x_BTD) * mask_BT[..., None]
        context_BD = video_BTD.sum(1) / to_device(lengths_B, video_BTD.device)[:, None]
        newest_B1D, _ = last_rows(video_BTD, to_device(lengths_B, video_BTD.device), 1)
        return self.model.score_rows(newest_B1D, context_BD, self.text_CD), torch.ones_like(lengths_B)


def windows_of(model: Detector[Any], text_CD: Tensor | None, *, reuse: bool = True) -> Windows:
    """The least work that gives a detector's causal scores; without `reuse`, its whole windows."""
    if reuse and isinstance(model, MILRanking):
        return SingleSnippets(model, text_CD)
    if reuse and isinstance(model, CLIPTSA):
        return LastSnippets(model, text_CD)
    if reuse and isinstance(model, VLAGated) and model.config.window_rows > 4 * max(model.config.dilations):
        return KeptValues(model, text_CD)
    return Windows(model, text_CD)
