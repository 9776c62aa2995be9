"""Weakly supervised detectors of anomalies in video, DSANet (AAAI 2026) first: training and inference.

The names below are the public API. They are imported when first used: `import dsanet` alone does not load
torch.
"""

from typing import TYPE_CHECKING

__all__ = [
    "CausalScorer",
    "DSANet",
    "Scorer",
    "belief_modulation",
    "build_detector",
    "import_release",
    "infer",
    "load_checkpoint",
    "loss_terms",
    "train",
]

if TYPE_CHECKING:
    from dsanet.causal.scorer import CausalScorer
    from dsanet.checkpoint import import_release, load_checkpoint
    from dsanet.detectors.dsanet.losses import loss_terms
    from dsanet.detectors.dsanet.model import DSANet
    from dsanet.detectors.registry import build_detector
    from dsanet.inference import Scorer, infer
    from dsanet.layers.belief import belief_modulation
    from dsanet.training.train import train
else:
    _MODULE_OF = {
        "CausalScorer": "dsanet.causal.scorer",
        "DSANet": "dsanet.detectors.dsanet.model",
        "Scorer": "dsanet.inference",
        "belief_modulation": "dsanet.layers.belief",
        "build_detector": "dsanet.detectors.registry",
        "import_release": "dsanet.checkpoint",
        "infer": "dsanet.inference",
        "load_checkpoint": "dsanet.checkpoint",
        "loss_terms": "dsanet.detectors.dsanet.losses",
        "train": "dsanet.training.train",
    }

    def __getattr__(name: str) -> object:
        # Imported on use: `dsanet.__main__` must start even if `extract` is another project's package.
        from extract.lazy import lazy_exports

        load, _ = lazy_exports(__name__, _MODULE_OF)
        return load(name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *_MODULE_OF})
