"""A demonstration release on scikit-learn's digits: a forest, a server of it, a table of its answers.

python -m privassay.experiments.released_demo serve --port N
python -m privassay.experiments.released_demo predictions FOLDER
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ..harness.seeds import generator
from ..harness.splits import released_split, subset
from ..harness.types import Bools, Dataset, Float32
from ._records import check_records
from .digits import Digits

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

RECORDS, MEMBERS, OUTSIDERS = 1797, 720, 720
REFERENCES = 8
SEED = 0


@dataclass(frozen=True)
class ReleasedDigits:
    """The digits (`Digits`), with who trained on them the forest that this module serves.

    720 records are members of it, 720 are not, and 357 are left as the attacker's sample of the population. Who is
    what does not depend on `records`. The records are compared by how much ink they have, in thirds (`ink`: light,
    medium, heavy), which stands for a group of people.

    Attributes:
        records: how many are taken, a fixed random few, at most 1797.
    """

    records: int = RECORDS

    def __post_init__(self) -> None:
        check_records(self.records, RECORDS)

    def load(self) -> Dataset:
        """Return the images, float32 (records, 8, 8) in [0, 1], with labels 0 to 9 and membership."""
        digits, rng = Digits().load(), generator(SEED, "released digits")
        state = np.full(RECORDS, -1, dtype=np.int8)
        state[:MEMBERS] = 1
        state[MEMBERS : MEMBERS + OUTSIDERS] = 0
        ink = digits.x.mean(axis=(1, 2))
        third = np.digitize(ink, np.quantile(ink, (1 / 3, 2 / 3)))
        whole = replace(
            digits,
            name="released_digits",
            sensitive={"ink": np.array(["light", "medium", "heavy"])[third]},
            released_member=rng.permutation(state),
        )
        return subset(whole, np.sort(rng.permutation(RECORDS)[: self.records]))


def released_forest() -> RandomForestClassifier:
    """The forest that is released, trained on its members; it takes records (n, 64)."""
    data = ReleasedDigits().load()
    assert data.released_member is not None
    return _forest(data, data.released_member == 1, SEED)


def recorded() -> dict[str, np.ndarray[Any, Any]]:
    """What `predictions.npz` holds.

    Returns:
        For n = 1797 records: `label` (n,), `member` int8 (n,) with -1 for the population, `ink` (n,),
        `probabilities` float32 (n, 10) of the released forest, and of forests on paired random halves of its members
        and non-members `references` float32 (8, n, 10) and `reference_member` bool (8, n).
    """
    data = ReleasedDigits().load()
    _, split = released_split(data, REFERENCES, None, SEED)
    member = np.zeros((REFERENCES, len(data)), dtype=bool)
    member[:, split.pool] = split.member[1:]
    references = [_forest(data, rows, SEED + 1 + i).predict_proba(_flat(data)) for i, rows in enumerate(member)]
    return {
        "label": data.y,
        "member": np.asarray(data.released_member),
        "ink": data.sensitive["ink"],
        "probabilities": released_forest().predict_proba(_flat(data)).astype(np.float32),
        "references": np.array(references, dtype=np.float32),
        "reference_member": member,
    }


def serve(port: int) -> int:
    """Serve the released forest with `mlflow models serve` on this machine until somebody ends it."""
    import mlflow.sklearn

    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    # MLflow finds the server that it starts (uvicorn) by the PATH.
    environment["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    options = ["--host", "127.0.0.1", "--port", str(port), "--env-manager", "local", "--workers", "1"]
    signal.signal(signal.SIGTERM, _leave)
    with TemporaryDirectory(prefix="privassay-demo-") as folder:
        mlflow.sklearn.save_model(
            released_forest(),
            f"{folder}/model",
            serialization_format="cloudpickle",  # skops would ask to trust the nodes of trees
            pyfunc_predict_fn="predict_proba",
            pip_requirements=["scikit-learn"],
        )
        command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", f"{folder}/model", *options]
        process = subprocess.Popen(command, env=environment, cwd=folder)  # noqa: S603 - our own words
        try:
            return process.wait()
        finally:
            process.terminate()
            process.wait()


def _leave(_signal: int, _frame: object) -> None:
    sys.exit(128 + signal.SIGTERM)


def _flat(data: Dataset) -> Float32:
    return data.x.reshape(len(data), -1)


def _forest(data: Dataset, rows: Bools, seed: int) -> RandomForestClassifier:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(100, random_state=seed, n_jobs=1).fit(_flat(data)[rows], data.y[rows])


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m privassay.experiments.released_demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="serve the released forest on this machine")
    serving.add_argument("--port", type=int, required=True)
    writing = commands.add_parser("predictions", help="write predictions.npz, the answers of the released forest")
    writing.add_argument("folder", type=Path)
    arguments = parser.parse_args(argv)
    if arguments.command == "serve":
        return serve(arguments.port)
    np.savez_compressed(arguments.folder / "predictions.npz", **recorded())
    return 0


if __name__ == "__main__":
    sys.exit(main())
