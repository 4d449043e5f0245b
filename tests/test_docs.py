"""What can be checked of the documentation: commands, files, YAML, Python, links and paths that it names."""

import configparser
import importlib
import re
import shlex
import shutil
import sys
import textwrap
import tomllib
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from privassay.harness import catalog, cli, evidence, plan, policy, yamlfile
from privassay.harness.errors import UsageError
from privassay.harness.evaluation import ArtifactWriter, NamedAttack, evaluate
from privassay.tests.support import small

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TOP = "harness|attacks|defenses|models|experiments|tests|docs"
ADD_A_COMPONENT = ROOT / "docs/howto/add-a-component.md"
EVALUATE = ROOT / "docs/howto/evaluate-your-models.md"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    language: str
    text: str

    @property
    def path(self):
        """Where its first line says it goes, e.g. `# attacks/membership/gini.py`; None if it does not say."""
        found = re.match(r"# (\S+/\S+\.py)\n", self.text)
        return found[1] if found else None

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}: {self.text.strip().splitlines()[0][:40]}"


def blocks_of(page):
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(page, language, textwrap.dedent(text)) for _, language, text in found]


def prose_of(page):
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
YAML = [block for block in BLOCKS if block.language == "yaml"]
PYTHON = [block for block in BLOCKS if block.language == "python"]


def commands_in(text):
    """Command lines of privassay in shell blocks and CI files."""
    lines = re.findall(r"^[ -]*(?:run: )?(?:\.venv/bin/)?(privassay .*)$", text, re.MULTILINE)
    return [line for line in lines if not line.startswith("privassay:")]


IN_BLOCKS = [(block.page, line) for block in BLOCKS for line in commands_in(block.text)]
INLINE = [(page, line) for page in PAGES for line in re.findall(r"`(privassay [^`]+)`", prose_of(page))]


def identify(pair):
    return f"{pair[0].name}: {pair[1][:60]}"


def parse(line):
    arguments = shlex.split(line, comments=True)[1:]
    return cli._parser().parse_args(arguments)


@pytest.mark.parametrize("pair", IN_BLOCKS, ids=identify)
def test_command_lines_are_accepted(pair):
    assert callable(parse(pair[1]).command)


@pytest.mark.parametrize("pair", INLINE, ids=identify)
def test_commands_in_sentences_exist(pair):
    words = pair[1].split()[1:]
    if words == ["--help"]:
        return
    if len(words) > 1:
        parse(pair[1])
    else:  # `privassay gate` names the command; its arguments are elsewhere
        assert words[0] in commands()


def commands():
    helped = re.search(r"positional arguments:\n.*\n((?:    \w.*\n)+)", cli._parser().format_help())[1]
    return set(re.findall(r"^    (\w+)", helped, re.MULTILINE))


def test_the_verdict_table_of_the_readme_is_that_of_todays_quickstart():
    run = plan.make(ROOT / "experiments/quickstart.yaml").run_id
    assert f"quickstart (run {run})" in (ROOT / "README.md").read_text()


def test_every_command_is_shown_in_the_readme():
    shown = {line.split()[1] for line in commands_in((ROOT / "README.md").read_text())}
    assert shown == commands()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(target)
    assert dead == []


def anchors(page):
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_in_backticks_exist(page):
    made_by_the_reader = {block.path for block in blocks_of(page)}
    paths = re.findall(rf"`((?:{TOP})/[\w./*-]*)`", prose_of(page))
    missing = [path for path in paths if not list(ROOT.glob(path.rstrip("/")))]
    assert set(missing) - made_by_the_reader == set()


def test_the_pages_are_checked_at_all():
    assert len(PAGES) >= 12
    assert len(IN_BLOCKS) >= 12
    assert {kind_of(block) for block in YAML} == {"experiment", "policy", "ci"}
    assert len(PYTHON) >= 5


def kind_of(block):
    content = yamlfile.parse_value(block.text, str(block))
    if isinstance(content, dict) and {"models", "attacks"} & set(content):
        return "experiment"
    if isinstance(content, dict) and {"rules", "apiVersion"} & set(content):
        return "policy"
    return "ci"


@pytest.mark.parametrize("block", [b for b in YAML if kind_of(b) == "policy"], ids=str)
def test_policies_validate(block, tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text(block.text)
    assert policy.load(file).rules


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """What a reader has who followed the pages: packages of his own in which the entry points are declared."""
    for page in (EVALUATE, ADD_A_COMPONENT):
        declare(next(tomllib.loads(b.text)["project"] for b in blocks_of(page) if b.language == "toml"), tmp_path)
    put(tmp_path / "my_package/patients.py", program(EVALUATE, "my_package/patients.py"))
    attack = program(ADD_A_COMPONENT, "attacks/membership/gini.py").replace("from ...harness", "from privassay.harness")
    put(tmp_path / "my_attacks/gini.py", attack)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    catalog.targets.cache_clear()
    yield tmp_path
    catalog.targets.cache_clear()
    for name in [n for n in sys.modules if n.partition(".")[0] in ("my_package", "my_attacks")]:
        del sys.modules[name]


def declare(project, folder):
    """What pip leaves of a package's entry points."""
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = configparser.ConfigParser()
    groups.read_dict(project["entry-points"])
    with (info / "entry_points.txt").open("w") as file:
        groups.write(file)


def put(file, text):
    file.parent.mkdir(exist_ok=True)
    (file.parent / "__init__.py").touch()
    file.write_text(text)


def program(page, path):
    return next(block.text for block in blocks_of(page) if block.path == path)


@pytest.mark.parametrize("block", [b for b in YAML if kind_of(b) == "experiment"], ids=str)
def test_experiments_pass_every_check_of_a_run(block, installed, monkeypatch):
    rng = np.random.default_rng(0)
    np.savez(installed / "patients.npz", x=rng.random((5000, 12)), y=rng.integers(0, 3, 5000))
    shutil.copytree(ROOT / "experiments/policies", installed / "policies")
    file = installed / "experiment.yaml"
    file.write_text(block.text)
    monkeypatch.chdir(installed)
    planned = plan.make(file)
    assert len(planned.specs) == len(planned.config.candidate_pairs())
    for line in commands_in("\n".join(b.text for b in blocks_of(block.page))):
        if line.startswith("privassay run"):
            assert plan.make(file, parse(line).set)


def test_data_that_cannot_be_read_is_one_line(installed):
    data = catalog.build("datasets", "patients", {"path": str(installed / "absent.npz")}, "here")
    with pytest.raises(UsageError, match=r"absent\.npz: not a file with x and y"):
        data.load()


@pytest.fixture
def gini_in_the_catalogue(monkeypatch):
    """The tutorial's attack where the tutorial puts it: its file as a module, its line in the catalogue."""
    name = "privassay.attacks.membership.gini"
    module = types.ModuleType(name)
    module.__package__ = "privassay.attacks.membership"
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(program(ADD_A_COMPONENT, "attacks/membership/gini.py"), name, "exec"), module.__dict__)
    line = next(b.text for b in PYTHON if b.page == ADD_A_COMPONENT and b.text.startswith('"'))
    for key, target in re.findall(r'"(\w+)": "([\w.:]+)",', line):
        monkeypatch.setitem(catalog.BUILT_IN["attacks"], key, target)
    catalog.targets.cache_clear()
    yield
    catalog.targets.cache_clear()


def test_the_tutorials_attack_runs_and_is_measured(gini_in_the_catalogue, small_setting, tmp_path):
    result = evaluate(
        small.attack("gini", draws=3), small.pool(small_setting), small_setting, None, ArtifactWriter(tmp_path)
    )
    assert (result.status, result.reason) == ("ok", "")
    assert result.metrics["auc"].value > 0.5  # the small models over-fit: members are answered with less doubt


def test_the_tutorials_tests_pass(gini_in_the_catalogue):
    scope = {"__name__": "tutorial"}
    exec(program(ADD_A_COMPONENT, "tests/attacks/test_gini.py"), scope)
    tests = [value for name, value in scope.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()


def test_a_third_partys_attack_is_found_by_its_entry_point(installed, small_setting, tmp_path):
    assert catalog.targets("attacks")["gini"] == "my_attacks.gini:Gini"
    attack = catalog.build("attacks", "gini", {}, "here")
    named = NamedAttack("gini", attack, catalog.identity(attack, "gini"))
    result = evaluate(named, small.pool(small_setting), small_setting, None, ArtifactWriter(tmp_path))
    assert (result.status, result.reason) == ("ok", "")


def test_the_evidence_is_read_as_shown(example_run, monkeypatch, capsys):
    page = ROOT / "docs/evidence-format.md"
    (block,) = [b for b in PYTHON if b.page == page]
    (example_run / "out").symlink_to(example_run)
    monkeypatch.chdir(example_run)
    exec(block.text, {})
    assert "mlp/none mia/lira/auc" in capsys.readouterr().out


def test_every_python_block_is_run_by_some_test():
    run = {"my_package/patients.py", "attacks/membership/gini.py", "tests/attacks/test_gini.py"}
    rest = [b for b in PYTHON if b.path not in run]
    in_catalogue = [b for b in rest if re.fullmatch(r'"\w+": "[\w.:]+",\n', b.text)]
    assert [str(b) for b in rest if b not in in_catalogue and b.page.name != "evidence-format.md"] == []


def test_catalogue_lines_name_what_exists(gini_in_the_catalogue):
    lines = [b.text for b in PYTHON if re.fullmatch(r'"\w+": "[\w.:]+",\n', b.text)]
    assert lines
    for key, target in re.findall(r'"(\w+)": "([\w.:]+)",', "".join(lines)):
        assert catalog.targets("attacks")[key] == f"privassay.{target}"


def test_every_key_of_the_evidence_is_described():
    schema = evidence.Evidence.model_json_schema()
    keys = {key for part in (schema, *schema["$defs"].values()) for key in part.get("properties", {})}
    described = set(re.findall(r"`([^`]+)`", (ROOT / "docs/evidence-format.md").read_text()))
    assert keys - described == set()


def test_every_key_of_an_experiment_is_described():
    schema = plan.config.ExperimentConfig.model_json_schema()
    text = EVALUATE.read_text()
    for key, value in schema["properties"].items():
        section = schema["$defs"].get(str(value.get("$ref", "")).rpartition("/")[2], {})
        for name in [f"{key}.{inner}" for inner in section.get("properties", {})] or [key]:
            assert f"`{name}`" in text, name


@pytest.mark.parametrize("name", [*catalog.BUILT_IN["attacks"], *catalog.BUILT_IN["defenses"]])
def test_every_attack_and_defence_has_its_section_on_methods(name):
    assert re.search(rf"^### {name}$", (ROOT / "docs/methods.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_promises_what_no_measurement_can(page):
    assert re.findall(r"\b(?:compliant|certified|anonymous|guaranteed)\b", page.read_text(), re.IGNORECASE) == []
