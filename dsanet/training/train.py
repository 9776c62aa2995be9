"""Training of any detector, from feature files to a checkpoint (DSANet: sections 3.5 and 4.1)."""

from collections.abc import Callable, Sequence
from pathlib import Path

from dsanet.detectors.base import Detector
from dsanet.detectors.config import DetectorConfig, InferConfig, TrainConfig
from dsanet.training.devices import train_in_processes
from dsanet.training.loop import TrainProgress
from dsanet.training.plan import make_plan
from dsanet.training.run import NO_SELECTION_NOTE, RANDOM_NOTE, TEST_NOTE, is_done, run_training
from extract.encoder import resolve_device
from extract.manifest import VideoRecord

__all__ = ["NO_SELECTION_NOTE", "RANDOM_NOTE", "TEST_NOTE", "train"]


def train(
    records: Sequence[VideoRecord],
    features_dir: Path,
    out_dir: Path,
    model: DetectorConfig,
    config: TrainConfig,
    *,
    infer: InferConfig | None = None,
    device: str = "auto",
    devices: Sequence[str] = (),
    start_from: Path | None = None,
    on_progress: Callable[[TrainProgress], None] | None = None,
    on_epoch: Callable[[int, Detector], None] | None = None,
) -> Path:
    """Train a detector on the `train` records and write a checkpoint to `out_dir`; returns `out_dir`.

    A finished run with the same inputs is not repeated, an interrupted one continues where it was; on a CPU
    both give the bytes of an uninterrupted run. A checkpoint of other inputs can be used until the end, when
    it is replaced in one step.

    Args:
        records: Videos with labels and splits; without `val` records a part of `train` is used to select the
            checkpoint.
        features_dir: Folder with one feature file per record, `<name>.h5`.
        out_dir: Folder of the checkpoint.
        model: Settings of the detector. Classes that do not contain every label are replaced by the sorted
            labels.
        config: Settings of the training.
        infer: Stored in the checkpoint as its default inference settings.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        devices: Several devices of this machine in place of `device`, for example `("cuda:0", "cuda:1")`: one
            process each, which compute every batch together. Results differ from those of one process by
            rounding.
        start_from: A checkpoint with the same `model`, whose weights the training starts from.
        on_progress: Called after every update, in the thread of the training; with several `devices`, in the
            calling thread, with a moment's delay.
        on_epoch: Called at the end of the epochs of `train.validate_every`, with the number of updates so far
            and the detector; a training that continues calls it again for the epochs that it repeats.

    Raises:
        FileNotFoundError: A feature file is missing.
        FeatureFileError: A feature file is damaged (a ValueError); raised before the first step if the bags
            fit in memory, else when the file is first needed.
        ValueError: The videos are unsuitable, for example all normal, or `start_from` does not fit.
        NonFiniteLossError: A loss term is NaN or infinite.

    Examples:
        >>> from pathlib import Path
        >>> from dsanet import train
        >>> from dsanet.detectors.registry import detector_preset
        >>> from extract.manifest import read_manifest
        >>> model, config, infer = detector_preset("mil-ranking", "small")
        >>> records = read_manifest(Path("videos.csv"))
        >>> train(records, Path("ws/features"), Path("ws/model"), model, config, infer=infer)
        PosixPath('ws/model')
    """
    plan = make_plan(records, features_dir, out_dir, model, config, infer, start_from)
    if not is_done(plan):
        if len(devices) > 1:
            train_in_processes(plan, devices, on_progress, on_epoch)
        else:
            run_training(plan, resolve_device(devices[0] if devices else device), on_progress, on_epoch)
    return out_dir
