"""The four stages, one module each: inputs, work, output digest, and the Prefect artifacts.

EXTRACT   videos → features/NAME.h5          frozen CLIP image tower
TRAIN     features → model/                  a detector (model.detector), DSANet by default
INFER     model, features → scores/NAME.h5   windows, and DSANet's belief modulation
EVALUATE  scores, annotations → report/      metrics.json, index.html
"""

from flows.pipeline.stages.evaluate import EVALUATE
from flows.pipeline.stages.extract import EXTRACT
from flows.pipeline.stages.infer import INFER
from flows.pipeline.stages.train import TRAIN

__all__ = ["EVALUATE", "EXTRACT", "INFER", "STAGES", "TRAIN"]

STAGES = (EXTRACT, TRAIN, INFER, EVALUATE)
"""In the order of the pipeline."""
