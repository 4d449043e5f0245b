"""The report as a reader meets it: opened in headless Chromium, wide and narrow."""

import re
import shutil
import subprocess
from html import escape

import numpy as np
import pytest
from privassay.harness import report

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
    """Label, visible width and full width of every box that could scroll."""
    host = tmp_path / "host.html"
    host.write_text(
        f'<iframe sandbox="allow-same-origin" srcdoc="{escape(html.read_text())}"'
        f' style="width:{width}px; height:900px; border:0"></iframe>'
        "<script>onload = () => { document.title = [...frames[0].document.querySelectorAll('.scroll')].map("
        "box => `${box.ariaLabel}=${box.clientWidth}=${box.scrollWidth}`).join('|') }</script>"
    )
    dom = chromium(tmp_path / "profile", "--dump-dom", host.as_uri())
    boxes = re.search(r"<title>([^<]*)</title>", dom)[1].split("|")
    return [(label, int(visible), int(full)) for label, visible, full in (box.split("=") for box in boxes)]


@pytest.mark.parametrize("width", [1200, 390])
def test_no_table_is_cut_off(html, tmp_path, width):
    boxes = boxes_in_a_frame(html, tmp_path, width)
    assert len(boxes) > 10
    assert [box for box in boxes if box[2] > box[1] and box[0] != "Reconstructions"] == []


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
