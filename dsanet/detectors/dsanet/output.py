"""Output of DSANet's forward pass.

B videos, T snippets, D width, C classes (0 = normal).
"""

from typing import NamedTuple

from torch import Tensor


class DSANetOutput(NamedTuple):
    """Float32. Positions beyond a video's length are undefined (0 in the paper variant)."""

    anomaly_BT: Tensor
    """S_det: anomaly logits."""
    classes_BTC: Tensor
    """S_align, the alignment map: cosine / τ."""
    event_BC: Tensor | None
    """Event prototype against the classes: cosine / τ; None without DCSA."""
    background_BC: Tensor | None
    """Background prototype against the classes: cosine / τ; None without DCSA."""
    text_CD: Tensor
    """Class embeddings without the visual cue."""
    video_BTD: Tensor
    """F_video."""
    scores_rec_BT: Tensor | None
    """S_rec in [0, 1]; only in train mode with SG-NM."""
    compact_B: Tensor | None
    """Terms of L_compact (eq. 3), one a video; only in train mode with SG-NM."""
