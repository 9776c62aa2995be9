"""Raw video to frame features: decoding, a frozen CLIP ViT-B/16, one HDF5 file per video.

The names below are the public API. They are imported when first used: `import extract` alone loads neither
torch nor any decoder.
"""

from typing import TYPE_CHECKING

from extract.lazy import lazy_exports

__all__ = [
    "ExtractConfig",
    "ExtractRuntime",
    "extract_videos",
    "load_encoder",
    "probe",
    "read_features",
    "read_frames",
    "write_features",
]

if TYPE_CHECKING:
    from extract.config import ExtractConfig, ExtractRuntime
    from extract.decode.probe import probe
    from extract.decode.reader import read_frames
    from extract.encoder import load_encoder
    from extract.engine import extract_videos
    from extract.store import read_features, write_features
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "ExtractConfig": "extract.config",
            "ExtractRuntime": "extract.config",
            "extract_videos": "extract.engine",
            "load_encoder": "extract.encoder",
            "probe": "extract.decode.probe",
            "read_features": "extract.store",
            "read_frames": "extract.decode.reader",
            "write_features": "extract.store",
        },
    )
