"""Files of pictures: where they lie below a folder, and their pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..harness.errors import UsageError
from ..harness.types import Float32

SUFFIXES = (".png", ".jpg", ".jpeg")
Colours = Literal["grey", "rgb"]
_MODES = {"grey": "L", "rgb": "RGB"}
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, by name; names that begin with a dot are passed over."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Every file below a folder, at any depth; names that begin with a dot are passed over.

    Args:
        folder: where to look.
        above: folders above it, resolved.

    Raises:
        UsageError: a link leads to a folder above it, so that there is no end.
    """
    here = folder.resolve()
    if here in above:
        raise UsageError(f"{folder}: a link to a folder above it")
    for entry in entries(folder):
        if entry.is_dir():
            yield from below(entry, (*above, here))
        else:
            yield entry


def check_picture(file: Path) -> None:
    """Refuse what is no file with the name of a picture."""
    if file.suffix.lower() not in SUFFIXES or not file.is_file():
        raise UsageError(f"{file}: not one of {', '.join(SUFFIXES)}")


def read_pictures(files: Sequence[Path], size: tuple[int, int] | None, colours: Colours) -> Float32:
    """Pictures in [0, 1]: float32 (n, h, w), or (n, 3, h, w) for `rgb`.

    They are turned as their EXIF data say; transparency is dropped.

    Args:
        files: at least one.
        size: height and width to which every picture is scaled; None where all have one size.
        colours: `grey` or `rgb`.

    Raises:
        UsageError: a file is no picture, has more than 8 bits a channel or more pixels than Pillow opens without a
            warning, or sizes differ without `size`.
    """
    first = _picture(files[0], size, colours)
    pixels = np.empty((len(files), *first.shape), dtype=np.uint8)
    for i, file in enumerate(files):
        picture = _picture(file, size, colours)
        if picture.shape != first.shape:
            sizes = [f"{shape[0]} x {shape[1]}" for shape in (first.shape, picture.shape)]
            raise UsageError(f"{files[0]} is {sizes[0]} and {file} is {sizes[1]} pixels: give a size to scale all to")
        pixels[i] = picture
    channels_first = pixels if pixels.ndim == 3 else np.moveaxis(pixels, -1, 1)
    return np.ascontiguousarray(channels_first) / np.float32(255)


def _picture(file: Path, size: tuple[int, int] | None, colours: Colours) -> Any:
    """Pixels of one file, uint8 (h, w) or (h, w, 3)."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # else it is on the terminal and read
            opening = Image.open(file)
        with opening as opened:
            if opened.mode not in _EIGHT_BITS:
                raise UsageError(f"{file}: pixels of mode {opened.mode}: only 8 bits a channel are read")
            picture = ImageOps.exif_transpose(opened).convert(_MODES[colours])
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError(f"{file}: cannot be read as a picture ({error})") from error
    if size is not None:
        height, width = size
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture)
