"""Pictures that are resized on arrival: the same views, bit for bit, as of the whole picture."""

import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
import torch

from extract.config import ExtractConfig
from extract.pictures import PictureReceiver, Pictures
from extract.preprocess import make_views, reduce_frames, reduced_views
from tests.extract.test_encoder import natural_picture

Result = TypeVar("Result")
CPU = torch.device("cpu")
SIZES = [(1080, 1920), (1280, 720), (361, 641), (224, 224), (256, 341), (300, 40), (40, 300), (7, 5), (1, 1)]
SETTINGS = [
    {},
    {"crops": 5},
    {"crops": 10, "resize": "shorter-256"},
    {"crops": 10, "resize": "340x256", "resampling": "bilinear", "antialias": False},
    {"crop": 7, "resize": "340x256"},
    {"crop": 3, "colour": "bgr", "antialias": False},
    {"crop": 5, "resize": "squash"},
    {"resize": "letterbox"},
    {"crop": 5, "resize": "letterbox", "resampling": "nearest"},
]


def in_a_thread(function: Callable[[], Result]) -> Result:
    """The receiver limits torch in threads of its own."""
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_reduced_pictures_give_the_same_views(settings: dict) -> None:
    views = ExtractConfig(**settings).views

    def differing() -> list[tuple[int, int]]:
        torch.set_num_threads(1)
        found = []
        for size in SIZES:
            frames = torch.from_numpy(np.stack([natural_picture(*size, seed) for seed in (0, 1)]))
            reduced = reduce_frames(frames, views)
            if not torch.equal(make_views(reduced, reduced_views(views)), make_views(frames, views)):
                found.append(size)
        return found

    threads = torch.get_num_threads()
    try:
        assert in_a_thread(differing) == []
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("size", SIZES)
def test_several_pictures_at_once_are_resized_like_single_ones(size: tuple[int, int]) -> None:
    frames = torch.from_numpy(np.stack([natural_picture(*size, seed) for seed in range(3)]))
    views = ExtractConfig().views
    together = reduce_frames(frames, views)
    assert all(
        torch.equal(together[n], reduce_frames(frames[n : n + 1], views)[0]) for n in range(len(frames))
    )


def receive(frames: np.ndarray, **settings: object) -> Pictures:
    receiver = PictureReceiver(ExtractConfig(**settings).views, CPU)
    return in_a_thread(lambda: receiver(frames))


@pytest.mark.parametrize(
    ("size", "settings", "shape"),
    [
        ((240, 320), {}, (240, 320, 3)),  # 1.5 times the bytes of the view: stays whole
        ((1080, 1920), {}, (224, 224, 3)),
        ((1080, 1920), {"crops": 10}, (224, 398, 3)),
        ((1080, 1920), {"crops": 10, "resize": "340x256"}, (256, 340, 3)),
        ((1080, 1920), {"resize": "letterbox"}, (224, 224, 3)),
        ((20, 4000), {}, (20, 4000, 3)),  # would be larger if it were resized
    ],
)
def test_what_is_kept_of_a_picture(size: tuple[int, int], settings: dict, shape: tuple[int, ...]) -> None:
    frames = natural_picture(*size)[None]
    received = receive(frames, **settings)
    assert received.frames_NHWC.shape == (1, *shape)
    assert received.nbytes == np.prod(shape)
    assert received.frames_NHWC.is_contiguous()
    views = make_views(received.frames_NHWC, received.views)
    assert torch.equal(views, make_views(torch.from_numpy(frames), ExtractConfig(**settings).views))


@pytest.mark.parametrize("size", [(240, 320), (1080, 1920)])
def test_received_pictures_have_memory_of_their_own(size: tuple[int, int]) -> None:
    frames = natural_picture(*size)[None].copy()
    received = receive(frames)
    before = received.frames_NHWC.clone()
    frames[:] = 0
    assert torch.equal(received.frames_NHWC, before)


def test_torch_gets_one_thread_only_in_the_threads_of_the_receiver() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        receiver = PictureReceiver(ExtractConfig().views, CPU)

        def count_there() -> int:
            receiver(natural_picture(8, 8)[None])
            return torch.get_num_threads()

        assert in_a_thread(count_there) == 1
        assert in_a_thread(torch.get_num_threads) == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
