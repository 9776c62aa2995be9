"""Synthetic CCTV footage for the demo and the tests: clips of one street, some with an anomalous event.

A seed stands for one camera above one street. Light, traffic and passers-by vary between clips. An
anomalous clip differs from a normal one only in its event, which is drawn over the same street in a known
span of frames. The same seed gives the same frames and the same bytes; other seeds give other footage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from evaluate.annotations import Segment, write_annotations
from extract.manifest import VideoRecord, write_manifest
from extract.remote.path import AnyPath

WIDTH, HEIGHT, FPS = 320, 240, 30
HORIZON, KERB = 110, 150  # rows: lower edge of the windows' area, upper edge of the road
EVENTS = ("explosion", "fire", "riot")
SPLITS = ("train", "val", "test")

# x264's macroblock tree reads uninitialised memory: without mbtree=0 the bytes differ between processes.
X264 = {"crf": "23", "preset": "veryfast", "g": "48", "x264-params": "mbtree=0"}

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClipPlan:
    """The content of one clip."""

    name: str
    split: str
    label: str
    n_frames: int
    event: tuple[int, int] | None
    """First frame of the event and the frame after its last; None for a normal clip."""
    seed: int
    """Seed of light, traffic, passers-by, event and noise."""
    street: int = 0
    """Seed of the houses."""


def make_footage(
    out: Path,
    *,
    seed: int = 0,
    normal: int = 8,
    per_event: int = 3,
    on_clip: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Path, Path]:
    """Write a data set to `out`: videos/NAME.mp4, manifest.csv and manifest.annotations.csv.

    `normal` and `per_event` are the numbers of training clips, normal and of each event class; the splits val
    and test get half of them, at least one. Existing clips are kept. Returns the paths of the manifest and of
    the annotations.
    """
    videos = out / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    plans = plan_clips(seed, normal, per_event)
    with TemporaryDirectory(dir=videos, prefix=".part-") as drafts:  # of this process alone
        for done, plan in enumerate(plans, start=1):
            if not (path := videos / f"{plan.name}.mp4").exists():
                write_clip(draft := Path(drafts) / path.name, plan)
                draft.rename(path)
            on_clip(done, len(plans))
    records = [VideoRecord(p.name, videos / f"{p.name}.mp4", (p.label,), p.split) for p in plans]
    truth: dict[AnyPath | str, list[Segment]] = {
        videos / f"{p.name}.mp4": [Segment(p.label, *p.event)] for p in plans if p.event and p.split == "test"
    }
    manifest, annotations = out / "manifest.csv", out / "manifest.annotations.csv"
    write_manifest(manifest, records)
    write_annotations(annotations, truth)
    return manifest, annotations


def plan_clips(seed: int, normal: int, per_event: int) -> list[ClipPlan]:
    """Plans of all clips: 96 to 160 frames each, with an event of 32 to 56 frames in anomalous ones."""
    rng = np.random.default_rng(seed)
    plans = []
    for split in SPLITS:
        share = 1 if split == "train" else 2
        for label, count in {"normal": normal, **dict.fromkeys(EVENTS, per_event)}.items():
            for index in range(max(1, count // share)):
                n_frames = int(rng.integers(96, 161))
                length = int(rng.integers(32, 57))
                start = int(rng.integers(16, n_frames - length - 8))
                event = None if label == "normal" else (start, start + length)
                name = f"{split}-{label}-{index:02d}"
                plans.append(ClipPlan(name, split, label, n_frames, event, int(rng.integers(2**32)), seed))
    return plans


def write_clip(path: Path, plan: ClipPlan) -> None:
    """Encode one clip as H.264 in MP4: 320×240 pixels, 30 fps, a key frame every 48 frames, with B-frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=X264)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1  # x264's output depends on its thread count
        for frame in render(plan):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def render(plan: ClipPlan) -> Iterator[np.ndarray]:
    """Yield the frames of a clip, each (240, 320, 3) uint8 RGB."""
    rng = np.random.default_rng(plan.seed)
    light = float(rng.uniform(0.75, 1.1))
    street = Street(_draw_houses(np.random.default_rng(plan.street)), rng)
    event = EVENT_PAINTERS[plan.label](rng) if plan.event else None
    noise = rng.normal(0, 3, (HEIGHT, WIDTH, 1))
    for t in range(plan.n_frames):
        image = street.frame(t)
        if event and plan.event and plan.event[0] <= t < plan.event[1]:
            image = event(image, t - plan.event[0], plan.event[1] - plan.event[0])
        shift = int(rng.integers(WIDTH))
        pixels = np.asarray(image, np.float32) * light + np.roll(noise, shift, axis=1)
        yield pixels.clip(0, 255).astype(np.uint8)


class Street:
    """A street with houses, passers-by on the pavement and cars on the road."""

    def __init__(self, background: Image.Image, rng: np.random.Generator) -> None:
        self.background = background
        self.cars = [
            (
                float(rng.uniform(0, 400)),
                float(rng.choice([-1, 1]) * rng.uniform(1, 4)),
                y,
                _colour(rng, 40, 220),
            )
            for y in rng.permutation([158, 180, 204])[: rng.integers(0, 4)]
        ]
        self.walkers = [
            (
                float(rng.uniform(0, WIDTH)),
                float(rng.uniform(-1, 1)),
                float(rng.uniform(122, 136)),
                _colour(rng, 20, 200),
            )
            for _ in range(rng.integers(0, 5))
        ]

    def frame(self, t: int) -> Image.Image:
        image = self.background.copy()
        draw = ImageDraw.Draw(image)
        for x, speed, y, colour in self.walkers:
            draw_person(draw, (x + speed * t) % WIDTH, y, t, colour)
        for x, speed, y, colour in self.cars:
            left = (x + speed * t) % 400 - 60
            draw.rectangle((left, y, left + 54, y + 16), fill=colour)
            draw.rectangle((left + 11, y - 9, left + 41, y), fill=(90, 110, 130))
            for wheel in (left + 8, left + 38):
                draw.ellipse((wheel, y + 11, wheel + 9, y + 20), fill=(20, 20, 20))
        return image


def _draw_houses(rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (WIDTH, HEIGHT), _muted(rng, 165, 190))
    draw = ImageDraw.Draw(image)
    left = 0
    while left < WIDTH:
        width, top = int(rng.integers(40, 90)), int(rng.integers(15, 60))
        draw.rectangle((left, top, left + width, KERB), fill=_muted(rng, 95, 145))
        for x in range(left + 7, left + width - 9, 16):
            for y in range(top + 8, HORIZON - 12, 20):
                draw.rectangle((x, y, x + 8, y + 11), fill=(60, 70, 85))
        left += width
    draw.rectangle((0, HORIZON + 12, WIDTH, KERB), fill=(135, 132, 128))
    draw.rectangle((0, KERB, WIDTH, HEIGHT), fill=(72, 72, 76))
    for x in range(-10, WIDTH, 44):
        draw.rectangle((x, 195, x + 22, 198), fill=(210, 210, 200))
    return image


def draw_person(draw: ImageDraw.ImageDraw, x: float, y: float, t: int, colour: Colour) -> None:
    """Draw a person, about 24 pixels tall, whose legs move with the frame number `t`."""
    step = 3 * np.sin(t / 3 + x)
    draw.ellipse((x - 3, y - 6, x + 3, y), fill=(205, 170, 140))
    draw.rectangle((x - 4, y, x + 4, y + 11), fill=colour)
    draw.line((x, y + 11, x - step, y + 20), fill=(30, 30, 50), width=3)
    draw.line((x, y + 11, x + step, y + 20), fill=(30, 30, 50), width=3)


Painter = Callable[[Image.Image, int, int], Image.Image]
"""(frame, frames since the start of the event, length of the event in frames) → frame with the event"""


def fire(rng: np.random.Generator) -> Painter:
    """Growing flames with smoke above them."""
    x0, base, size = rng.uniform(60, 260), rng.uniform(140, 190), rng.uniform(1.0, 1.5)

    def paint(image: Image.Image, t: int, length: int) -> Image.Image:
        flicker = np.random.default_rng(int(x0 * 1000) + t)
        grown = size * min(1.0, 0.4 + 2 * t / length)
        layer = Image.new("RGBA", image.size)
        draw = ImageDraw.Draw(layer)
        for _ in range(10):
            x, y, r = x0 + flicker.normal(0, 30), base - flicker.uniform(60, 130) * grown, 26 * grown
            draw.ellipse((x - r, y - r, x + r, y + r), fill=(50, 48, 46, 150))
        for colour, spread, height in (
            ((230, 80, 10), 34, 85),
            ((255, 160, 20), 24, 62),
            ((255, 235, 120), 12, 40),
        ):
            for _ in range(9):
                x = x0 + flicker.normal(0, spread) * grown
                tip = base - flicker.uniform(0.4, 1) * height * grown
                draw.polygon([(x - 11, base), (x + 11, base), (x, tip)], fill=(*colour, 235))
        glow = layer.filter(ImageFilter.GaussianBlur(2))
        return Image.alpha_composite(image.convert("RGBA"), glow).convert("RGB")

    return paint


def explosion(rng: np.random.Generator) -> Painter:
    """A white flash over the whole frame, then a fireball that fades into smoke."""
    x, y = rng.uniform(80, 240), rng.uniform(110, 180)

    def paint(image: Image.Image, t: int, length: int) -> Image.Image:
        age = t / length
        flash = Image.new("RGB", image.size, (255, 248, 225))
        image = Image.blend(image, flash, max(0.0, 0.95 - 2.2 * age))
        layer = Image.new("RGBA", image.size)
        draw = ImageDraw.Draw(layer)
        for share, colour in ((1.0, (60, 52, 48)), (0.75, (235, 110, 20)), (0.45, (255, 225, 130))):
            r = share * (40 + 70 * age)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=(*colour, int(255 * (1 - 0.5 * age))))
        blurred = layer.filter(ImageFilter.GaussianBlur(6))
        return Image.alpha_composite(image.convert("RGBA"), blurred).convert("RGB")

    return paint


def riot(rng: np.random.Generator) -> Painter:
    """A crowd of 90 people running over the road."""
    people = [
        (rng.uniform(0, WIDTH), rng.uniform(-6, 6), rng.uniform(115, 215), _colour(rng, 10, 235))
        for _ in range(90)
    ]
    people.sort(key=lambda person: person[2])

    def paint(image: Image.Image, t: int, length: int) -> Image.Image:
        draw = ImageDraw.Draw(image)
        for x, speed, y, colour in people:
            draw_person(draw, (x + speed * t) % WIDTH, y + 3 * np.sin(t / 2 + x), 3 * t, colour)
        return image

    return paint


EVENT_PAINTERS: dict[str, Callable[[np.random.Generator], Painter]] = {
    "explosion": explosion,
    "fire": fire,
    "riot": riot,
}


def _muted(rng: np.random.Generator, low: int, high: int) -> Colour:
    """A grey with a slight tint, for walls and sky."""
    grey, tint = int(rng.integers(low, high)), rng.integers(-18, 19, 3)
    red, green, blue = (grey + int(value) for value in tint)
    return red, green, blue


def _colour(rng: np.random.Generator, low: int, high: int) -> Colour:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue
