"""Pictures of the user's own: one folder a class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ..harness.checks import one_of, require
from ..harness.errors import UsageError
from ..harness.types import Dataset, Float32

SUFFIXES = (".png", ".jpg", ".jpeg")
Colours = Literal["grey", "rgb"]
_MODES = {"grey": "L", "rgb": "RGB"}
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


@dataclass(frozen=True)
class ImageFolder:
    """PNG and JPEG files in FOLDER/CLASS/, in the order of the names of classes, then of files.

    Classes are numbered in the order of their names. Pictures are turned as their EXIF data say; transparency is
    dropped. Names that begin with a dot are passed over.

    Attributes:
        path: the folder.
        size: height and width to which every picture is scaled; None where all have one size.
        colours: `grey` or `rgb`.
        name: name of the data set; by default the folder's.
        licence: terms under which the pictures may be used.
        public: whether pictures may be shown in a report.
    """

    path: Path
    size: tuple[int, int] | None = None
    colours: Colours = "grey"
    name: str | None = None
    licence: str = "not stated"
    public: bool = False

    def __post_init__(self) -> None:
        one_of(get_args(Colours), colours=self.colours)
        if self.size is not None:
            require(min(self.size) >= 1, "size", self.size, "height and width, at least 1")

    def load(self) -> Dataset:
        """Return the pictures: float32 (n, h, w), or (n, 3, h, w) for `rgb`, in [0, 1].

        Raises:
            UsageError: there is no such folder, fewer than two classes, a class without pictures, a file that is none
                or cannot be read, or pictures of different sizes without `size`.
        """
        if not self.path.is_dir():
            raise UsageError(f"{self.path}: no such folder")
        classes = sorted(entry for entry in self.path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        if len(classes) < 2:
            raise UsageError(f"{self.path}: {len(classes)} classes; at least two folders of pictures are needed")
        files = [_files(folder) for folder in classes]
        return Dataset(
            name=self.name or self.path.resolve().name,
            x=self._pictures([file for members in files for file in members]),
            y=np.repeat(np.arange(len(classes), dtype=np.int64), [len(members) for members in files]),
            n_classes=len(classes),
            bounds=(0.0, 1.0),
            public=self.public,
            licence=self.licence,
        )

    def _pictures(self, files: list[Path]) -> Float32:
        first = self._picture(files[0])
        pixels = np.empty((len(files), *first.shape), dtype=np.uint8)
        for i, file in enumerate(files):
            picture = self._picture(file)
            if picture.shape != first.shape:
                sizes = [f"{shape[0]} x {shape[1]}" for shape in (first.shape, picture.shape)]
                raise UsageError(
                    f"{files[0]} is {sizes[0]} and {file} is {sizes[1]} pixels: give a size to scale all to"
                )
            pixels[i] = picture
        channels_first = pixels if pixels.ndim == 3 else np.moveaxis(pixels, -1, 1)
        return np.ascontiguousarray(channels_first) / np.float32(255)

    def _picture(self, file: Path) -> Any:
        """Pixels of one file, uint8 (h, w) or (h, w, 3)."""
        from PIL import Image, ImageOps

        try:
            with Image.open(file) as opened:
                if opened.mode not in _EIGHT_BITS:
                    raise UsageError(f"{file}: pixels of mode {opened.mode}: only 8 bits a channel are read")
                picture = ImageOps.exif_transpose(opened).convert(_MODES[self.colours])
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UsageError(f"{file}: cannot be read as a picture ({error})") from error
        if self.size is not None:
            height, width = self.size
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(picture)


def _files(folder: Path) -> list[Path]:
    files = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    if not files:
        raise UsageError(f"{folder}: a class without pictures")
    for file in files:
        if file.suffix.lower() not in SUFFIXES or not file.is_file():
            raise UsageError(f"{file}: not one of {', '.join(SUFFIXES)}")
    return files
