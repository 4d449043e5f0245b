"""The digest of a user's function is that of the user's code behind it, and of nothing else."""

import shutil
import subprocess
import sys
import textwrap

import pytest
from privassay.harness.errors import UsageError
from privassay.harness.user_code import UserFunction

PARTIAL = "import functools\ndef make(width): ...\nbuild = functools.partial(make, width={})\n"
OBJECT = "class Build:\n    def __call__(self): return {}\nbuild = Build()\n"
LIBRARY_CLASS = "import collections\nbuild = collections.Counter\nWIDTH = {}\n"
UNNAMED = "def build(): return {}\nbuild.__module__ = None\n"
ELSEWHERE = "def build(): return {}\nbuild.__module__ = 'no.such.module'\n"
DECORATED = """
    import contextlib
    @contextlib.contextmanager
    def outer(): yield
    build = outer()
    WIDTH = {}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write files of the user's code; whatever was imported from the folder is forgotten."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def forget():
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
                del sys.modules[name]

    def into(folder="user", **files):
        forget()
        for name, text in files.items():
            path = tmp_path / folder / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return tmp_path / folder

    yield into
    forget()


@pytest.mark.parametrize("text", [PARTIAL, OBJECT, LIBRARY_CLASS, UNNAMED, ELSEWHERE, DECORATED])
def test_every_callable_of_a_module_has_that_modules_digest(text, write):
    digests = []
    for width in (64, 999, 64):
        folder = write(uc_callable=textwrap.dedent(text).format(width))
        digests.append(UserFunction("uc_callable:build", folder).sha256)
    assert digests[0] == digests[2] != digests[1]
    assert len(digests[0]) == 64


FIVE = {
    "uc_net": "import uc_layers\nfrom uc_pack import part as alias\ndef build():\n    import uc_lazy\n",
    "uc_layers": "from uc_deep import WIDTH\n",
    "uc_deep": "WIDTH = 1\n",
    "uc_lazy": "RATE = 1\n",
    "uc_pack/part": "from . import inner\nfrom .other import DEPTH\n",
    "uc_pack/inner": "A = 1\n",
    "uc_pack/other": "DEPTH = 1\n",
    "uc_stranger": "B = 1\n",
}


def five(write, changed=None, folder="user"):
    files = {name.replace("/", "__"): text + ("C = 2\n" if name == changed else "") for name, text in FIVE.items()}
    return UserFunction("uc_net:build", write(folder, **files)).sha256


@pytest.mark.parametrize("changed", [name for name in FIVE if name != "uc_stranger"])
def test_what_the_module_imports_is_in_it(changed, write):
    """Also what a package without __init__.py holds, and what is imported only when the function runs."""
    assert five(write) == five(write) != five(write, changed)


def test_files_that_nothing_imports_and_the_folders_name_are_not_in_it(write):
    assert five(write) == five(write, "uc_stranger") == five(write, folder="moved")


def test_the_digest_does_not_depend_on_what_else_is_loaded(write):
    folder = write(uc_net="def build():\n    import uc_lazy\n", uc_lazy="", uc_stranger="def other(): ...\n")
    function = UserFunction("uc_net:build", folder)
    before = function.sha256
    UserFunction("uc_stranger:other", folder).load()
    function.load()()
    assert "uc_lazy" in sys.modules
    assert function.sha256 == before
    code = "import sys, pathlib; from privassay.harness.user_code import UserFunction as F; "
    code += f"print(F('uc_net:build', pathlib.Path({str(folder)!r})).sha256)"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == before


def test_a_function_made_elsewhere_counts_with_both_modules(write, monkeypatch):
    digests = []
    for name, library in ((1, 1), (2, 1), (1, 2)):
        beside = write("library", uc_made=f"def build(): return {library}\n")
        monkeypatch.syspath_prepend(str(beside))
        folder = write(uc_name=f"from uc_made import build\nWIDTH = {name}\n")
        digests.append(UserFunction("uc_name:build", folder).sha256)
    assert len(set(digests)) == 3


def test_installed_packages_and_ours_are_not_in_it(write, monkeypatch):
    """A virtual environment in the experiment's folder, and a checkout of this package beside the file."""
    digests = []
    for version in (1, 2):
        text = "import uc_installed, privassay.harness.errors\nfrom uc_installed import build\n"
        folder = write(
            uc_name=text,
            **{"venv__lib__site-packages__uc_installed": f"def build(): return {version}\n"},
            privassay__harness__errors=f"V = {version}\n",
        )
        monkeypatch.syspath_prepend(str(folder / "venv" / "lib" / "site-packages"))
        digests.append(UserFunction("uc_name:build", folder).sha256)
        shutil.rmtree(folder / "venv")
    assert digests[0] == digests[1]


def test_a_file_that_is_no_python_is_followed_no_further(write):
    folder = write(uc_name="def build():\n    import uc_broken\n", uc_broken="def (")
    first = UserFunction("uc_name:build", folder).sha256
    write(uc_broken="def ((")
    assert UserFunction("uc_name:build", folder).sha256 != first


def test_a_function_without_a_file_says_so(tmp_path):
    assert UserFunction("builtins:len", tmp_path).sha256 == "unknown"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("uc_none", "'uc_none': must be module:function"),
        ("uc_none:build", r"cannot be imported \(ModuleNotFoundError"),
        ("uc_name:absent", "uc_name has no function 'absent'"),
        ("uc_name:WIDTH", "uc_name has no function 'WIDTH'"),
    ],
)
def test_what_is_no_function_is_one_line(name, message, write):
    function = UserFunction(name, write(uc_name="WIDTH = 3\n"))
    with pytest.raises(UsageError, match=message):
        _ = function.sha256
