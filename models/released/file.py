"""A released model in a file of weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...harness.checks import one_of, positive, require
from ...harness.errors import UsageError
from ...harness.protocols import Released
from ...harness.trust import Trust
from ...harness.types import Dataset
from ...harness.user_code import UserFunction
from ._answers import Ask, AskedModel, Reading, look_at
from ._frames import notes_of

TORCH = (".safetensors", ".pt", ".pth")
PICKLES = (".joblib", ".pkl", ".pickle")
SUFFIXES = (*TORCH, ".keras", ".skops", ".onnx", *PICKLES)


@dataclass(frozen=True)
class File:
    """A model in a file, told by its suffix.

    Formats that hold no code come first: `.safetensors`, `.pt` and `.pth` with tensors only, `.keras` with Keras's own
    layers, `.skops` with types that skops lists as safe, `.onnx`. Everything else of them, and `.joblib`, `.pkl` and
    `.pickle`, can run code when it is read and needs `--trust`.

    An estimator that was fitted on named columns is asked with the cells of the file in these columns, texts included.

    Attributes:
        path: the file.
        answers: what the model's numbers are: `probabilities`, or `logits` as a torch module often gives.
        build: for weights of torch: a function from shape and number of classes to the module they belong to.
        batch_size: most records in one call, at least 1.
        training_records: how many records the model trained on, where its owner says; at least 1.
        classes: names of the classes in the order of the columns that answers have, where these have no names; empty:
            the order of the data's classes, which is `values`, or sorted, and puts `positive` last.
    """

    path: Path
    answers: Literal["probabilities", "logits"] = "probabilities"
    build: UserFunction | None = None
    batch_size: int = 256
    training_records: int | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        allowed = f"a file that ends in {', '.join(SUFFIXES)}"
        if self.path.suffix in (".h5", ".hdf5"):
            allowed = 'a .keras file: tf.keras.models.load_model("net.h5", compile=False).save("net.keras")'
        require(self.path.suffix in SUFFIXES, "path", self.path.name, allowed)
        one_of(("probabilities", "logits"), answers=self.answers)
        positive(batch_size=self.batch_size)
        if self.training_records is not None:
            positive(training_records=self.training_records)
        if self.build is not None:
            require(self.path.suffix in TORCH, "build", self.build.name, "left out: only weights of torch need it")

    def open(self, dataset: Dataset, trust: Trust) -> Released:
        """Read the model and ask it about two records, or more where these leave its form open (`look_at`).

        Raises:
            UsageError: no such file, it cannot be read or needs trust, a package is missing, or its answers are none
                for these data.
        """
        if not self.path.is_file():
            raise UsageError(f"{self.path}: no such file")
        reading = Reading(self.answers, dataset.n_classes, self.path.name, dataset.class_names, self.classes)
        ask = self._ask(dataset, trust)
        model = AskedModel(ask, reading, self.batch_size)
        look_at(model, dataset)
        return Released(
            model, self.path.name, self._sha256(), (), self.training_records, notes_of(ask), self.batch_size
        )

    def _ask(self, dataset: Dataset, trust: Trust) -> Ask:
        suffix = self.path.suffix
        if suffix in TORCH:
            from ._torch_files import by_module, torch_module

            return by_module(torch_module(self.path, self.build, dataset, trust))
        if suffix == ".keras":
            from ._keras_files import by_network, keras_network

            return by_network(keras_network(self.path, trust))
        if suffix == ".onnx":
            from ._onnx_files import by_onnx

            return by_onnx(self.path, dataset)
        from ._sklearn_files import pickled_estimator, probabilities_of, skops_estimator

        read = skops_estimator if suffix == ".skops" else pickled_estimator
        return probabilities_of(read(self.path, trust), dataset, self.path.name)

    def _sha256(self) -> str:
        """Digest of the file; with an architecture from the user's code, of both digests."""
        file = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return file if self.build is None else hashlib.sha256(f"{file} {self.build.sha256}".encode()).hexdigest()
