"""Where downloaded data sets are kept: one rule for everything that reads or writes them."""

import os
from pathlib import Path

CACHE_VARIABLE = "PRIVASSAY_CACHE"


def cache_folder() -> Path:
    """The folder that `PRIVASSAY_CACHE` names, else `privassay` in the user's cache folder. It need not exist."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "privassay"
