"""The report as a reader meets it: opened in headless Chromium, wide and narrow."""

import re
import shutil
import subprocess
from html import escape

import numpy as np
import pytest
from privassay.harness import evidence, report
from privassay.harness.types import Verdict
from privassay.tests.support import evidence_example as example

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: the report was not opened in a browser"),
]


FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
]


def chromium(profile, *arguments):
    """Run headless Chromium, in which no host name resolves; returns what it prints."""
    nowhere = "--host-resolver-rules=MAP * ~NOTFOUND"
    command = [CHROMIUM, *FLAGS, nowhere, f"--user-data-dir={profile}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.fixture
def html(example_run):
    file = example_run / "report.html"
    report.write(example_run, file)
    return file


def test_verdict_and_tables_reach_the_reader(html, tmp_path):
    dom = chromium(tmp_path / "profile", "--dump-dom", html.as_uri())
    assert "<h1>FAIL</h1>" in dom
    assert dom.count("<table") >= 9
    assert dom.count("<tr") == html.read_text().count("<tr")
    assert len(re.findall('<svg [^>]*role="img"', dom)) == 4  # privacy-utility plot and one ROC for each candidate
    assert "NOT TESTED" in dom
    assert not re.search(r"(?:src|href|url\()\W*https?:", dom)


@pytest.mark.parametrize("width", [1200, 400])
def test_nothing_is_wider_than_a_sandboxed_frame(html, tmp_path, width):
    """As in MLflow's artefact view: no scripts inside; tables scroll in their own box."""
    host = tmp_path / "host.html"
    host.write_text(
        f'<iframe sandbox="allow-same-origin" srcdoc="{escape(html.read_text())}"'
        f' style="width:{width}px; height:900px; border:0"></iframe>'
        "<script>onload = () => { const page = frames[0].document.documentElement;"
        " document.title = `visible ${page.clientWidth}, wide ${page.scrollWidth}` }</script>"
    )
    dom = chromium(tmp_path / "profile", "--dump-dom", host.as_uri())
    visible, wide = map(int, re.search(r"<title>visible (\d+), wide (\d+)</title>", dom).groups())
    assert width - 20 <= visible == wide  # 20: a scrollbar


def boxes_in_a_frame(html, tmp_path, width):
    """Label, visible width and full width of every box that could scroll, all folded parts open."""
    host = tmp_path / "host.html"
    host.write_text(
        f'<iframe sandbox="allow-same-origin" srcdoc="{escape(html.read_text())}"'
        f' style="width:{width}px; height:900px; border:0"></iframe>'
        "<script>onload = () => { frames[0].document.querySelectorAll('details').forEach(part => part.open = true);"
        " document.title = [...frames[0].document.querySelectorAll('.scroll')].map("
        "box => `${box.ariaLabel}=${box.clientWidth}=${box.scrollWidth}`).join('|') }</script>"
    )
    dom = chromium(tmp_path / "profile", "--dump-dom", host.as_uri())
    boxes = re.search(r"<title>([^<]*)</title>", dom)[1].split("|")
    return [(label, int(visible), int(full)) for label, visible, full in (box.split("=") for box in boxes)]


@pytest.mark.parametrize("width", [1200, 390])
def test_no_table_is_cut_off(html, tmp_path, width):
    boxes = boxes_in_a_frame(html, tmp_path, width)
    assert len(boxes) > 10
    assert [box for box in boxes if box[2] > box[1]] == []


@pytest.fixture
def rich(tmp_path):
    """A page with everything that may stand in one: many candidates, a model trained elsewhere, trusted files."""
    long = "a note of an owner who has much to say about where the model came from " * 3
    origin = example.origin(source="https://models.example.org/" + "x" * 120, notes=(long, long))
    formal = [example.trained(f"dp_sgd_{n}", "formal", 0.8 + 0.02 * n, 0.01 * n) for n in (1, 2, 3)]
    formal[0] = formal[0].model_copy(update={"claim": example.replace(example.claim(), statement="y" * 300)})
    heuristics = [example.trained(f"label_smoothing_{n}", "heuristic", 0.7 + 0.02 * n, 0.03 * n) for n in range(1, 12)]
    elsewhere = example.released("a_model_with_a_long_name").model_copy(update={"origin": origin})
    sections = {f"dp_sgd_{n}": {"component": "dp_sgd"} for n in (1, 2, 3)}
    settings = {"name": "x", "defenses": sections, "attacks": {"lira": {"repeats": 16}}}
    run = example.evidence((*formal, *heuristics, elsewhere), verdicts=(), experiment=settings, primary="lira")
    twins = evidence.Duplicates(repeated=9, across=4)
    run = example.with_data(run, trusted=[("model.pkl", "e" * 64)], duplicates=twins, users=80)
    file = tmp_path / "report.html"
    file.write_text(report.render(run, tmp_path))
    return file


@pytest.mark.parametrize("width", [1200, 390])
def test_a_rich_page_is_not_cut_off(rich, tmp_path, width):
    boxes = boxes_in_a_frame(rich, tmp_path, width)
    assert {"Origin of a_model_with_a_long_name/released", "Privacy against utility"} <= {box[0] for box in boxes}
    assert [box for box in boxes if box[2] > box[1]] == []


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """26 candidates, twelve of them nearly alike, with rules, differences, groups and names as long as real ones."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(4)
    spots = [*rng.normal((0.85, 0.46), (0.008, 0.005), (12, 2)), *rng.uniform((0.4, 0.03), (0.9, 0.45), (13, 2))]
    found = [example.trained("none", "none", 0.85, 0.47)]
    for i, (accuracy, leakage) in enumerate(spots):
        one = example.trained(f"convex_output_perturbation_{i}", "heuristic", accuracy, leakage, half=0.02)
        less = evidence.Comparison(
            baseline="mlp/none", metric="mia/stacked_averaging/tpr_at_fpr_0.01", difference=example.estimate(-0.1)
        )
        changes = {"id": f"logistic_regression/{one.defense}", "model": "logistic_regression"}
        found.append(one.model_copy(update={**changes, "comparisons": (less,), "groups": example.groups()}))
    outcomes = [list(Verdict)[i % 4] for i in range(len(found))]
    verdicts = tuple(example.verdict(c, outcome) for c, outcome in zip(found, outcomes, strict=True))
    settings = {"name": "x", "defenses": {found[3].defense: {"component": "dp_sgd"}}}
    found[3] = found[3].model_copy(update={"guarantee": "formal", "claim": example.claim()})
    run = example.evidence(tuple(found), verdicts=verdicts, experiment=settings, primary="lira")
    file = folder / "report.html"
    file.write_text(report.render(run, folder))
    return file


@pytest.mark.parametrize("width", [1200, 390])
def test_many_candidates_are_not_cut_off(many, tmp_path, width):
    boxes = boxes_in_a_frame(many, tmp_path, width)
    assert {"Policy rules", "Candidates", "Privacy against utility", "Differences from mlp/none"} <= {
        b[0] for b in boxes
    }
    assert len(boxes) > 80
    assert all(visible > 0 for _, visible, _ in boxes)
    assert [box for box in boxes if box[2] > box[1]] == []


@pytest.mark.parametrize("width", [1200, 390])
def test_no_number_in_the_plot_lies_on_another(many, tmp_path, width):
    host = tmp_path / "host.html"
    host.write_text(
        f'<iframe sandbox="allow-same-origin" srcdoc="{escape(many.read_text())}"'
        f' style="width:{width}px; height:900px; border:0"></iframe>'
        "<script>onload = () => { const texts = frames[0].document.querySelectorAll('.wide svg text');"
        " document.title = [...texts].filter(text => /700/.test(text.style.fontWeight)).map(text => {"
        " const box = text.getBBox(); return [text.textContent, box.x, box.y, box.width, box.height] }).join(';') }"
        "</script>"
    )
    dom = chromium(tmp_path / "profile", "--dump-dom", host.as_uri())
    boxes = [entry.split(",") for entry in re.search(r"<title>([^<]*)</title>", dom)[1].split(";")]
    assert sorted(int(box[0]) for box in boxes) == list(range(1, 27))
    corners = np.array([[float(v) for v in box[1:]] for box in boxes])
    low = corners[:, :2] + corners[:, 2:] * (0, 0.2)  # a text's box has room for accents and descenders; digits do not
    high = corners[:, :2] + corners[:, 2:] * (1, 0.8)
    meet = ((low[:, None] < high) & (high[:, None] > low)).all(axis=2)
    assert np.argwhere(meet & ~np.eye(len(boxes), dtype=bool)).tolist() == []


def test_the_page_is_drawn(html, tmp_path):
    from matplotlib.image import imread

    shot = tmp_path / "shot.png"
    chromium(tmp_path / "profile", "--window-size=1200,3000", f"--screenshot={shot}", html.as_uri())
    pixels = imread(shot)[..., :3]
    assert pixels.shape[:2] == (3000, 1200)
    background = (pixels > 0.97).all(axis=2)
    assert 0.6 < background.mean() < 0.97  # a light page that is not blank
    inked = (~background).any(axis=1)
    assert np.count_nonzero(inked) > 1500  # lines of pixels with something on them, down the whole page
    assert inked[2000:].any()
