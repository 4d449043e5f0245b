"""What can be checked of the documentation: commands, files, YAML, Python, links and paths that it names."""

import configparser
import dataclasses
import importlib
import json
import re
import runpy
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
TEN_MINUTES = ROOT / "docs/howto/audit-your-own-model.md"
EXAMPLES = ROOT / "docs/howto/examples"


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

    @property
    def example(self):
        """The file of `EXAMPLES` that it shows, by its first line, e.g. `# my_model.yaml`; None if there is none."""
        found = re.match(r"# (\w+\.(?:py|yaml))\n", self.text)
        return EXAMPLES / found[1] if found else None

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
    assert {kind_of(block) for block in YAML} == {"experiment", "sections", "policy", "ci"}
    assert len(PYTHON) >= 5


def kind_of(block):
    content = yamlfile.parse_value(block.text, str(block))
    if isinstance(content, dict) and {"models", "attacks", "suite"} & set(content):
        return "experiment"
    if isinstance(content, dict) and {"data", "targets", "audit"} & set(content):
        return "sections"
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


@pytest.mark.parametrize("block", [b for b in YAML if kind_of(b) == "experiment" and not b.example], ids=str)
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


@pytest.mark.parametrize("block", [b for b in YAML if kind_of(b) == "sections"], ids=str)
def test_sections_have_the_keys_of_an_experiment(block):
    content = yamlfile.parse_value(block.text, str(block))
    assert set(content) <= set(plan.config.ExperimentConfig.model_fields)
    if "audit" in content:
        assert plan.config.AuditSection(**{**content["audit"], "candidates": tuple(content["audit"]["candidates"])})
    sources = {("datasets", name): content[name] for name in ("data",) if name in content}
    sources |= {("targets", name): section for name, section in content.get("targets", {}).items()}
    for (kind, name), section in sources.items():
        assert catalog.build(kind, section["component"], plan.config.parameters(section), name)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.example], ids=str)
def test_pages_show_the_examples_as_they_are(block):
    assert block.text == f"# {block.example.name}\n{block.example.read_text()}"


def test_every_example_is_shown_or_run_by_a_command():
    shown = {block.example for block in BLOCKS if block.example}
    named = {path for path in EXAMPLES.iterdir() if f"python {path.name}" in TEN_MINUTES.read_text()}
    assert shown | named == {path for path in EXAMPLES.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The folder of a reader who followed the page up to its first `privassay run`."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        runpy.run_path("make_data.py", run_name="__main__")
    return folder


@pytest.fixture
def reader(prepared, monkeypatch):
    monkeypatch.chdir(prepared)
    monkeypatch.setattr(sys, "path", [*sys.path])  # modules beside an experiment are found by its folder
    yield prepared
    for path in EXAMPLES.glob("*.py"):
        sys.modules.pop(path.stem, None)


RUNS = [line for page, line in IN_BLOCKS if page == TEN_MINUTES]
ALONE = [line for line in RUNS if "models:/" not in line and "http:" not in line]


@pytest.mark.parametrize("line", ALONE, ids=lambda line: line[:90])
def test_the_ten_minutes_pass_every_check_of_a_run(line, reader):
    arguments = parse(line)
    planned = plan.make(arguments.experiment, arguments.set, trust=arguments.trust)
    assert len(planned.specs) + len(planned.targets) == len(planned.config.candidate_pairs())
    assert [file.path for file in planned.trust.used] == (["forest.joblib"] if arguments.trust else [])


@pytest.mark.parametrize("line", [line for line in RUNS if line not in ALONE], ids=lambda line: line[:90])
def test_the_doors_that_need_a_server_have_such_parameters(line, reader):
    arguments = parse(line)
    section = plan.config.load(arguments.experiment, arguments.set).targets["forest"]
    assert catalog.build("targets", section["component"], plan.config.parameters(section), "page")


@pytest.mark.parametrize(
    "line", [line if "out-predictions" in line else pytest.param(line, marks=pytest.mark.slow) for line in ALONE]
)
def test_the_ten_minutes_end_as_shown(line, reader):
    assert cli.main(shlex.split(line)[1:]) == 0
    found = evidence.read(parse(line).out / "evidence.json")
    before, _, after = TEN_MINUTES.read_text().partition(line)
    shown = [*outputs_in(before)[-1:], *outputs_in(after)[:1]][-1]  # the next one, else the last one
    for candidate in found.candidates:
        best = max((attack for attack in candidate.attacks if attack.status == "ok"), key=_low)
        (row,) = re.findall(rf"^ {candidate.model}/ .*\n {candidate.defense} .*$", shown, re.MULTILINE)
        numbers = [float(number) for number in re.findall(r"(?<![\d.\[])0\.\d{3}(?= )", row.splitlines()[0])]
        assert numbers[1] == pytest.approx(best.metrics["auc"].value, abs=0.02)


def outputs_in(text):
    return re.findall(r"```text\n(.*?)```", text, re.DOTALL)


def _low(attack):
    return max(estimate.low for name, estimate in attack.metrics.items() if name.startswith("tpr_at_fpr"))


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
    rest = [b for b in PYTHON if b.path not in run and not b.example]
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


DEFENCES = ROOT / "docs/defences.md"


def rows_of(page, header):
    """Cells of the table whose first column is `header`, a list a row."""
    table = page.read_text().partition(f"\n| {header} |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def test_the_table_of_defences_is_that_of_the_catalogue():
    rows = {row[0].strip("` "): row for row in rows_of(DEFENCES, "defence")}
    assert set(rows) == set(catalog.BUILT_IN["defenses"]) - {"none"}
    for name, (_, kind, _, _, parameters) in rows.items():
        component = catalog.resolve("defenses", name, "test")
        assert kind == component.guarantee
        defaults = {field.name: field.default for field in dataclasses.fields(component)}
        shown = dict(re.findall(r"`(\w+)` ([\w.-]*\w)", parameters))
        assert {key: yamlfile.parse_value(value, key) for key, value in shown.items()} == {
            key: yamlfile.parse_value(json.dumps(value), key) for key, value in defaults.items()
        }, name


def test_every_defence_has_its_source_its_attack_and_its_weakness():
    text = DEFENCES.read_text()
    second = text[text.index("## How each is attacked") :]
    names = re.findall(r"^\| `(\w+)` \|(.*)\|$", second, re.MULTILINE)
    assert {name for name, _ in names} == set(catalog.BUILT_IN["defenses"]) - {"none"}
    assert all(len([cell for cell in cells.split(" | ") if cell.strip()]) == 3 for _, cells in names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_promises_what_no_measurement_can(page):
    assert re.findall(r"\b(?:compliant|certified|anonymous|guaranteed)\b", page.read_text(), re.IGNORECASE) == []
