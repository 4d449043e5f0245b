"""The files beside evidence.json, opened only when listed, released and unchanged."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .evidence import Artifact, Evidence
from .types import Float64, Ints

Rate = Annotated[float, Field(ge=0, le=1)]


class Unreadable(Exception):
    """A file cannot be shown; the message is the line printed in its place."""


class Curve(BaseModel):
    """Mean ROC of one attack over its targets, with a pointwise interval, on one increasing grid."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    fpr: tuple[Rate, ...] = Field(min_length=2)
    tpr: tuple[Rate, ...]
    low: tuple[Rate, ...]
    high: tuple[Rate, ...]

    @model_validator(mode="after")
    def _aligned(self) -> Curve:
        if not len(self.fpr) == len(self.tpr) == len(self.low) == len(self.high):
            raise ValueError("fpr, tpr, low and high differ in length")
        return self


@dataclass(frozen=True, eq=False)
class Pictures:
    """Reconstructions beside the mean auxiliary image of their class, as images.

    Attributes:
        labels: int64 (c,).
        reconstruction: float64 (c, height, width).
        baseline: float64 (c, height, width).
        bounds: values shown as black and as white.
    """

    labels: Ints
    reconstruction: Float64
    baseline: Float64
    bounds: tuple[float, float]


class Files:
    """Reads what a report may show. Restricted files are never opened."""

    def __init__(self, evidence: Evidence, folder: Path) -> None:
        self._folder = folder.resolve()
        self._listed = {artifact.path: artifact for artifact in evidence.artifacts}

    def status(self, artifact: Artifact) -> str:
        """Outcome of the digest check: `unchanged`, or why the file is not used."""
        try:
            self._read(artifact.path)
        except Unreadable as error:
            return str(error)
        return "unchanged"

    def unusable(self) -> list[str]:
        """Paths of released files that the evidence lists and that are missing or not as listed."""
        released = (artifact for artifact in self._listed.values() if not artifact.restricted)
        return [artifact.path for artifact in released if self.status(artifact) != "unchanged"]

    def listed(self, path: str) -> bool:
        """Whether the evidence lists `path`."""
        return path in self._listed

    def curve(self, path: str) -> Curve:
        """Read a ROC curve.

        Raises:
            Unreadable: the file may not be shown, is missing, was changed or holds something else.
        """
        try:
            return Curve.model_validate_json(self._read(path))
        except ValidationError as error:
            raise Unreadable(f"not a ROC curve: {error.errors()[0]['msg']}") from error

    def pictures(self, path: str) -> Pictures:
        """Read reconstructions.

        Raises:
            Unreadable: the file may not be shown, is missing, was changed or does not hold images.
        """
        content = self._read(path)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                labels, low_high = arrays["labels"].astype(np.int64), arrays["bounds"].astype(np.float64)
                reconstruction, baseline = arrays["reconstruction"], arrays["baseline"]
                low, high = low_high.tolist()
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise Unreadable(f"not a file of reconstructions: {error}") from error
        if not len(labels) == len(reconstruction) == len(baseline):
            raise Unreadable("not a file of reconstructions: arrays differ in length")
        return Pictures(labels, _as_images(reconstruction), _as_images(baseline), (low, high))

    def _read(self, path: str) -> bytes:
        artifact = self._listed.get(path)
        if artifact is None:
            raise Unreadable("not listed in the evidence")
        file = (self._folder / path).resolve()
        if not file.is_relative_to(self._folder):
            raise Unreadable("lies outside the evidence folder: not opened")
        if artifact.restricted or "restricted" in file.relative_to(self._folder).parts[:1]:
            raise Unreadable("restricted: not opened")
        try:
            content = file.read_bytes()
        except OSError as error:
            raise Unreadable(f"missing or unreadable ({error.strerror})") from error
        if hashlib.sha256(content).hexdigest() != artifact.sha256:
            raise Unreadable("digest differs from the evidence: not used")
        return content


def _as_images(samples: np.ndarray) -> Float64:  # type: ignore[type-arg]  # dtype is whatever the file holds
    shape = samples.shape[1:]
    side = int(np.sqrt(shape[0])) if len(shape) == 1 else 0
    if side and side * side == shape[0]:
        shape = (side, side)
    if len(shape) != 2 or not np.issubdtype(samples.dtype, np.number) or not np.isfinite(samples).all():
        raise Unreadable(f"not an image: records of shape {tuple(samples.shape[1:])}")
    return samples.reshape(len(samples), *shape).astype(np.float64)
