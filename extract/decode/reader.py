"""Reading exact frames of a video by number; `decoder_choice` says which decoder reads which video."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from extract.decode.decoder_choice import Choice, choose_decoder
from extract.decode.decoders import Frames, Picture, decode_all, decode_sparse, decode_with_decord
from extract.decode.packets import Tick, VideoError
from extract.decode.probe import VideoInfo, probe
from extract.decode.torchcodec_decoder import decode_with_torchcodec


class FrameReader:
    """Reads frames of one probed video.

    `decoder` and `reason` name the decoder used and why; they are final after the last frame: a decoder
    that fails is replaced: torchcodec by `pyav-sparse`, others by `pyav-full`.
    """

    def __init__(self, info: VideoInfo, choice: Choice = "auto", card: str = "cuda") -> None:
        """`card` is the CUDA device of `nvdec`.

        Raises VideoError if `choice` is decord and decord can't read this video correctly.
        """
        self.info = info
        self.decoder, self.reason = choose_decoder(info, choice)
        self._card = card

    def frames(self, indices: Sequence[int], tick: Tick = lambda: None) -> Frames:
        """(frame number, (H, W, 3) uint8 RGB) in ascending order, each frame once.

        `tick` is called for every packet or frame on the way. Raises VideoError naming the first missing
        frame.
        """
        missing = sorted(set(indices))
        for number in (*missing[:1], *missing[-1:]):
            if not 0 <= number < self.info.n_frames:
                raise VideoError(f"has no frame {number}, only 0 to {self.info.n_frames - 1}", number)
        while missing and self.decoder != "pyav-full":
            try:
                for number, picture in self._decode(missing, tick):
                    missing.remove(number)
                    yield number, picture
            except VideoError as error:
                self.reason = f"{self.decoder}: {error}"
                self.decoder = "pyav-sparse" if self.decoder in ("torchcodec", "nvdec") else "pyav-full"
        if missing:
            yield from decode_all(self.info, missing, tick)

    def _decode(self, indices: Sequence[int], tick: Tick) -> Frames:
        """The frames by the decoder that was chosen, which may fail."""
        if self.decoder == "pyav-sparse":
            return decode_sparse(self.info, indices, tick)
        if self.decoder == "decord":
            return decode_with_decord(self.info, indices, tick)
        device = "cpu" if self.decoder == "torchcodec" else self._card
        return decode_with_torchcodec(self.info, indices, tick, device)


def read_frames(
    path: Path, indices: Sequence[int], decoder: Choice = "auto"
) -> Iterator[tuple[int, Picture]]:
    """Read frames of a video; the file is probed first.

    Args:
        path: The video file.
        indices: Frame numbers from 0, in presentation order; duplicates are ignored.
        decoder: `auto` or `pyav` for the fastest decoder that returns correct frames; or `decord`,
            `torchcodec`, `nvdec`.

    Returns:
        An iterator of (frame number, picture), in ascending order of the numbers. A picture is (H, W, 3)
        uint8 RGB, upright.

    Raises:
        FileNotFoundError: The file does not exist.
        VideoError: A frame can't be decoded or does not exist; `frame` is its number (a ValueError). Raised
            by the call if the file is not a video or decord returns wrong frames for it, else by the
            iterator.

    Examples:
        >>> from pathlib import Path
        >>> from extract import read_frames
        >>> [(number, picture.shape) for number, picture in read_frames(Path("video.mp4"), [24, 8])]
        [(8, (96, 128, 3)), (24, (96, 128, 3))]
    """
    return FrameReader(probe(path), decoder).frames(indices)
