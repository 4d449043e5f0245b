"""Networks of Keras in `.keras` files: plain layers and their weights, without code and without other files."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...harness.errors import UsageError, shortened, told
from ...harness.trust import Trust
from ...harness.types import Float32
from ._answers import Ask

if TYPE_CHECKING:
    import tensorflow as tf

_PARTS = ("activations", "constraints", "initializers", "layers", "models", "regularizers")
_MODULES = frozenset(("keras", *(f"keras.{part}" for part in _PARTS)))
"""Modules whose classes a file may name: they hold building blocks only. `keras.utils` can download files."""

_FUNCTIONAL = ("keras.src.engine.functional", "Functional")
"""What Keras 2.15 writes for a network with branches."""


_READERS = frozenset(("StringLookup", "IntegerLookup", "TextVectorization", "TFSMLayer", "TorchModuleWrapper"))
"""Layers that read further files, programs among them, or stored objects, in one version of Keras or another."""

_DP_MODEL = "DPModelClass"
"""What TensorFlow Privacy calls every DP model, made inside a function where Keras cannot find it again."""

_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")
"""What Keras writes for a network of plain layers. Where the HDF5 file is absent, Keras 2.15 takes a pickle instead
(`model.weights.npz`); where there is more, it unpacks everything for the layers to read."""


def keras_network(path: Path, trust: Trust) -> tf.keras.Model:
    """Read a network.

    Keras's safe mode refuses lambdas, but Keras 2.15 imports any module that the file names and takes any function
    from it (CVE-2025-1550 is the same door in Keras 3), and reads pickled weights. So the file's members, description
    and weights are looked at first.

    Raises:
        UsageError: TensorFlow is not installed, the file cannot be read or holds a DP model of TensorFlow Privacy; or
            it names code or other files, or holds more or less than Keras writes, and trust was not given.
    """
    foreign = sorted(set(_foreign(_description(path))))
    if any(name.endswith(f".{_DP_MODEL}") for name in foreign):  # no trust is asked for what cannot be read
        raise UsageError(
            f"{path}: holds a DP model of TensorFlow Privacy, which Keras cannot read back; save its plain network "
            "instead, whose answers are the same: tf.keras.Model(net.inputs, net.outputs).save(...)"
        )
    if foreign:
        trust.require(path, f"names code that is not of Keras's layers: {', '.join(foreign)}")
    _require_own_members(path, trust)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise UsageError(
            f"{path}: needs TensorFlow ({error}): install it with pip install 'privassay[keras]'"
        ) from error
    if elsewhere := _elsewhere(path):
        trust.require(path, f"its weights refer to other files or places: {', '.join(elsewhere)}")
    try:
        return tf.keras.models.load_model(path, compile=False, safe_mode=not foreign)
    except Exception as error:  # Keras, h5py and zipfile have no common base
        raise UsageError(f"{path}: cannot be read ({told(error)})") from error


def by_network(network: tf.keras.Model) -> Ask:
    """How a network is asked: in inference mode."""
    import tensorflow as tf

    def ask(x: Float32) -> Any:
        return network(tf.constant(x, dtype=tf.float32), training=False).numpy()

    return ask


def _description(path: Path) -> Any:
    """What the file says it holds. A file that is no zip archive is never given to Keras: it would read it as HDF5."""
    try:
        with zipfile.ZipFile(path) as archive:
            description = json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: is no Keras file ({told(error)})") from error
    if isinstance(description, dict):
        description.pop("compile_config", None)  # never read: the network is loaded without its loss
    return description


def _require_own_members(path: Path, trust: Trust) -> None:
    with zipfile.ZipFile(path) as archive:
        held = sorted(archive.namelist())
    strange = sorted({name for name in held if name not in _MEMBERS or held.count(name) > 1})
    if strange:
        trust.require(path, f"holds what Keras does not write for plain layers: {shortened(', '.join(strange))}")
    missing = sorted(set(_MEMBERS) - set(held))
    if missing and not strange:
        raise UsageError(f"{path}: is no Keras file (lacks {', '.join(missing)})")


def _elsewhere(path: Path) -> list[str]:
    """Names in the file of weights that are no data of its own: HDF5 would open any file of this machine for them."""
    import h5py  # type: ignore[import-untyped]  # comes with TensorFlow

    found: list[str] = []
    try:
        with zipfile.ZipFile(path) as archive:
            if _MEMBERS[-1] not in archive.namelist():  # trusted to be otherwise
                return []
            with archive.open(_MEMBERS[-1]) as weights, h5py.File(weights, "r") as file:

                def look(name: str, link: Any) -> None:
                    held = file[name] if isinstance(link, h5py.HardLink) else None
                    if held is None or (isinstance(held, h5py.Dataset) and (held.external or held.is_virtual)):
                        found.append(name)

                file.visititems_links(look)
    except Exception as error:  # h5py and zipfile have no common base
        raise UsageError(f"{path}: cannot be read ({told(error)})") from error
    return sorted(found)


def _foreign(value: Any) -> Iterator[str]:
    """What a description names that is no class of Keras's building blocks, at any depth."""
    if isinstance(value, list):
        for inner in value:
            yield from _foreign(inner)
    if isinstance(value, dict):
        if "class_name" in value and not _building_block(value):
            yield f"{value.get('module') or value.get('registered_name')}.{value['class_name']}"
        for inner in value.values():
            yield from _foreign(inner)


def _building_block(named: dict[str, Any]) -> bool:
    """Whether Keras, as it looks names up, will find a class of its own that runs no stored code and reads no files.

    Without a module it would look in an older table that holds more; functions are written in lower case; where the
    class is not found it takes the registered name.
    """
    module, kind = named.get("module"), str(named["class_name"])
    if named.get("registered_name") not in (None, kind) or "Lambda" in kind or kind in _READERS:
        return False
    return (module, kind) == _FUNCTIONAL or (module in _MODULES and kind.isidentifier() and kind[0].isupper())
