"""report.html and the one-page summary: pure functions of evidence.json and of the files it lists.

The page is one file that needs no network and no script, so that it opens from a mail, in MLflow's sandboxed
frame and on paper. Names and reasons come from the user's files and are escaped; a file that is missing or
was changed becomes a line in the report.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from . import audit_words, metric_words, record_words, wording
from .coverage import GLOSSARY, coverage, limits
from .evidence import AttackResult, Candidate, Evidence, RuleVerdict, evidence_path, read, write_atomically
from .front import FEWEST, Front, against_dp_sgd, front
from .report_figures import SHAPES, LineStyle, Point, line_styles, picture, privacy_utility, roc
from .report_files import Curve, Files, Unreadable
from .report_summary import summary_markdown
from .types import Estimate, Family, PrivacyClaim, Verdict

__all__ = ["render", "summary_markdown", "write"]

_TEMPLATE = "report.html.jinja"
_MOST_PICTURES = 20  # classes shown for one attack: keeps the page small enough for MLflow's preview
_LONG_NAME = 24
_FEW = 6  # candidates whose details are all open when the page is
_NO_BAND = "No grey band: the evidence does not say how many members and outsiders this model has."
_UNMET = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE)
_FAMILIES: tuple[tuple[Family, str], ...] = (
    ("membership", "Membership inference"),
    ("inversion", "Model inversion"),
    ("attribute", "Attribute inference"),
)


@dataclass(frozen=True)
class RocFigure:
    """ROC curves of a candidate; `legend` pairs attack ids with styles, `notices` say what is missing."""

    svg: Markup | None
    legend: list[tuple[str, LineStyle]]
    notices: list[str]


@dataclass(frozen=True)
class Scatter:
    """The privacy-utility plot; `unplaced` are the numbers that found no room in it."""

    svg: Markup
    unplaced: tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """Reconstructions of one attack: (label, reconstruction, baseline) with the images as data URIs."""

    attack: AttackResult
    images: list[tuple[int, str, str]]
    notices: list[str]


@dataclass(frozen=True, eq=False)
class CandidateView:
    """One candidate as the page shows it."""

    number: int
    candidate: Candidate
    evidence: Evidence
    files: Files = field(repr=False)

    @property
    def verdict(self) -> str:
        """Overall verdict, or `NO POLICY`."""
        return wording.overall(self.evidence, self.candidate.id)

    @property
    def rules(self) -> list[RuleVerdict]:
        """Rules that were applied to it."""
        return [v for v in self.evidence.verdicts if v.candidate == self.candidate.id]

    @property
    def unmet(self) -> list[tuple[str, list[RuleVerdict]]]:
        """Rules that it did not meet, by verdict: those that are broken apart from those left open."""
        groups = [(verdict, [v for v in self.rules if v.verdict is verdict]) for verdict in _UNMET]
        return [(verdict.value, rules) for verdict, rules in groups if rules]

    @property
    def role(self) -> str:
        """`release candidate`, `comparison`, or nothing where the experiment names no release candidate."""
        release = wording.release_candidate(self.evidence)
        if release is None:
            return ""
        return "release candidate" if self.candidate.id == release else "comparison"

    @cached_property
    def strongest(self) -> wording.Strongest | None:
        """The membership attack it is judged by."""
        return wording.strongest(self.candidate)

    @property
    def limiting(self) -> RuleVerdict | None:
        """The rule on the metric that its strongest attack was picked by."""
        metric = self.strongest.metric if self.strongest else ""
        return next((v for v in self.rules if v.metric.endswith(f"/{metric}")), None)

    @property
    def contradicted(self) -> bool:
        """Whether an attack did better than the formal claim allows."""
        return self.strongest is not None and wording.contradicts(self.strongest, self.candidate.claim)

    @property
    def ceiling(self) -> PrivacyClaim | None:
        """The claim that bounds what the strongest attack finds out about records, or about users."""
        return wording.claim_for(self.strongest, self.candidate.claim) if self.strongest else self.candidate.claim

    @property
    def inversions(self) -> list[AttackResult]:
        """Inversion attacks that ran."""
        return [a for a in self.candidate.attacks if a.family == "inversion" and a.status == "ok"]

    @property
    def best_lift(self) -> Estimate | None:
        """The inversion lift with the largest lower bound."""
        lifts = [a.metrics["lift"] for a in self.inversions if "lift" in a.metrics]
        return max(lifts, key=lambda estimate: estimate.low, default=None)

    def posteriors(self) -> list[tuple[float, float, float, float, float | None]]:
        """For each prior: prior, posterior at the TPR and at both interval ends, and the claim's ceiling.

        All at the realised FPR; at the nominal one where that was not measured or nobody was flagged.
        """
        if self.strongest is None or self.strongest.metric != wording.HEADLINE:
            return []
        claim, rate = self.ceiling, self.strongest.estimate
        fpr = wording.by_guessing(self.strongest) or wording.NOMINAL_FPR
        rows = []
        for prior in wording.PRIORS:
            value, low, high = (wording.posterior(prior, t, fpr) for t in (rate.value, rate.low, rate.high))
            most = wording.posterior(prior, wording.tpr_ceiling(claim, fpr), fpr) if claim else None
            rows.append((prior, value, low, high, most))
        return rows

    @cached_property
    def roc(self) -> RocFigure:
        """ROC curves of every membership attack that ran."""
        found: list[tuple[AttackResult, Curve]] = []
        notices: list[str] = []
        for attack in self.candidate.attacks:
            if attack.family != "membership" or attack.status != "ok":
                continue
            try:
                found.append((attack, self.files.curve(self._file("release/curves", attack, "json"))))
            except Unreadable as error:
                notices.append(f"{attack.id}: curve not drawn ({error})")
            if wording.tied(attack):
                notices.append(f"{attack.id}: {wording.TIED}")
        if not found:
            return RocFigure(None, [], notices or ["No membership attack produced a curve."])
        drawn = [attack for attack, _ in found]
        top = self.strongest.attack if self.strongest else None
        styles = line_styles(len(found), drawn.index(top) if top in drawn else None)
        curves = [(curve, style) for (_, curve), style in zip(found, styles, strict=True)]
        names = [attack.id + wording.remark(self.evidence, attack) for attack in drawn]
        per_side = self._per_side()
        notices += [_NO_BAND] if per_side is None else []
        svg = roc(curves, self.ceiling, per_side)
        return RocFigure(Markup(svg), list(zip(names, styles, strict=True)), notices)  # noqa: S704  # our own SVG

    def _per_side(self) -> int | None:
        """Members of one target, and as many outsiders; None of a released model, where they may differ."""
        if self.candidate.origin is not None:
            return None
        if self.strongest and wording.about_users(self.strongest.estimate):
            return self.strongest.estimate.n // 2
        return self.evidence.provenance.data.pool // 2

    @cached_property
    def grids(self) -> list[Grid]:
        """Reconstructions of every inversion attack that ran."""
        return [self._grid(attack) for attack in self.inversions]

    def _grid(self, attack: AttackResult) -> Grid:
        if self.files.listed(self._file("restricted/pictures", attack, "npz")):
            return Grid(attack, [], ["Pictures are restricted: the data is not declared public."])
        try:
            found = self.files.pictures(self._file("release/pictures", attack, "npz"))
        except Unreadable as error:
            return Grid(attack, [], [f"Pictures not shown ({error})."])
        shown = [
            (int(label), picture(image, found.bounds), picture(mean, found.bounds))
            for label, image, mean in zip(found.labels, found.reconstruction, found.baseline, strict=True)
        ]
        notices = []
        if len(shown) > _MOST_PICTURES:
            notices.append(f"The first {_MOST_PICTURES} of {len(shown)} classes are shown.")
        return Grid(attack, shown[:_MOST_PICTURES], notices)

    def _file(self, kind: str, attack: AttackResult, suffix: str) -> str:
        return f"{kind}/{self.candidate.model}/{self.candidate.defense}/{attack.id}.{suffix}"


def render(evidence: Evidence, folder: Path) -> str:
    """The report as HTML.

    Args:
        evidence: the run.
        folder: where the files that `evidence.artifacts` lists are; their digests are checked before use.
    """
    files = Files(evidence, folder)
    candidates = wording.release_first(evidence)
    views = [CandidateView(i, c, evidence, files) for i, c in enumerate(candidates, start=1)]
    found = front(evidence)
    page = _environment().get_template(_TEMPLATE)
    return page.render(
        evidence=evidence,
        files=files,
        unusable=files.unusable(),
        views=views,
        verdict=wording.overall(evidence),
        headline=wording.headline(evidence),
        scatter=_scatter(views, found),
        front=found,
        marks={mark.candidate.id: mark for mark in found.marks},
        canaries=any(mark.canaries for mark in found.marks),
        against=against_dp_sgd(evidence, found),
        many=len(views) > _FEW,
        shapes=SHAPES,
        families=_FAMILIES,
        coverage=coverage(evidence),
        limits=limits(evidence),
        glossary=GLOSSARY,
    )


def write(source: Path, out: Path) -> None:
    """Write the report of a run's folder, or of its evidence.json, to the file `out`.

    Raises:
        UsageError: the evidence cannot be read.
        InfrastructureError: `out` cannot be written.
    """
    file = evidence_path(source)
    write_atomically(out, render(read(file), file.parent).encode())


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    environment.filters["foldable"] = foldable
    environment.filters["kind"] = record_words.kind
    environment.globals.update(
        wording=wording,
        attacks_of=attacks_of,
        by_baseline=by_baseline,
        difference_columns=difference_columns,
        metric_columns=metric_columns,
        methods=methods,
        primary_words=primary_words,
        audit_words=audit_words,
        metric_words=metric_words,
        record_words=record_words,
    )
    return environment


def _scatter(views: list[CandidateView], found: Front) -> Scatter | None:
    by_id = {view.candidate.id: view for view in views}
    points = [
        Point(
            number=by_id[mark.candidate.id].number,
            verdict=by_id[mark.candidate.id].verdict,
            kind=record_words.kind(mark.candidate),
            leakage=mark.leakage,
            accuracy=mark.accuracy,
            best=mark.candidate.id in found.best,
        )
        for mark in found.marks
    ]
    if len(points) < FEWEST:
        return None
    rules = [rule for view in views for rule in view.rules if rule.metric.endswith(f"/{wording.HEADLINE}")]
    limits_set = {rule.limit for rule in rules if rule.limit is not None}
    limit = limits_set.pop() if len(limits_set) == 1 else None
    attacker = "the strongest attack" if found.attack is None else "the primary attack"
    whose = "Members"
    if any(mark.canaries for mark in found.marks):
        whose, limit = "Canaries", None  # no policy sets a limit for them
    svg, unplaced = privacy_utility(points, limit, f"{whose} flagged by {attacker}")
    return Scatter(Markup(svg), unplaced)  # noqa: S704  # our own SVG


def breakable(text: str) -> Markup:
    """`text`, escaped, with a place to break the line inside CamelCase names."""
    return Markup("<wbr>").join(re.split(r"(?<=[a-z])(?=[A-Z])", text))


def foldable(name: str) -> Markup:
    """`name`, escaped; a long one may break after a slash or an underscore."""
    pieces = re.split(r"(?<=[/_])(?=[^/_])", name) if len(name) > _LONG_NAME else [name]
    return Markup("<wbr>").join(pieces)


def by_baseline(views: Iterable[CandidateView]) -> list[tuple[str, list[CandidateView]]]:
    """Candidates that were compared, under the one they were compared with."""
    found: dict[str, list[CandidateView]] = {}
    for view in views:
        for baseline in dict.fromkeys(row.baseline for row in view.candidate.comparisons):
            found.setdefault(baseline, []).append(view)
    return list(found.items())


def difference_columns(views: Iterable[CandidateView]) -> list[str]:
    """Full names of all metrics that these candidates were compared by, in the order of first appearance."""
    return list(dict.fromkeys(row.metric for view in views for row in view.candidate.comparisons))


def attacks_of(family: Family, *candidates: Candidate) -> list[AttackResult]:
    """Every attack of one family on `candidates`."""
    return [attack for c in candidates for attack in c.attacks if attack.family == family]


def metric_columns(attacks: Iterable[AttackResult]) -> list[str]:
    """Names of all metrics of `attacks`, in the order of first appearance; Bayes security is 1 - advantage."""
    names = dict.fromkeys(name for attack in attacks for name in attack.metrics)
    return [name for name in names if name != "bayes_security"]


def primary_words(evidence: Evidence) -> str:
    """What the primary attack is, where it gave no result, and what its numbers are free of."""
    words = [f"Primary attack of this experiment file: {evidence.primary}."]
    found = [(c.id, a) for c in evidence.candidates for a in c.attacks if a.id == evidence.primary]
    words += [f"On {c}: {a.status.replace('_', ' ')}, {a.reason}." for c, a in found if a.status != "ok"]
    if any(attack.status == "ok" for _, attack in found):
        words.append("For one candidate and one metric its numbers are not the best of several.")
    return " ".join(words)


def methods(candidates: Iterable[Candidate]) -> list[tuple[str, str]]:
    """How intervals were made: (method with its number of units, the metrics made that way)."""
    used: dict[str, dict[str, None]] = {}
    for name, estimate in _named_estimates(candidates):
        how = f"{estimate.method}; n = {estimate.n:,} {estimate.over}; level {100 * estimate.level:g} %"
        used.setdefault(how, {})[metric_words.metric_label(name)] = None
    return [(how, ", ".join(names)) for how, names in used.items()]


def _named_estimates(candidates: Iterable[Candidate]) -> Iterator[tuple[str, Estimate]]:
    for candidate in candidates:
        yield from candidate.utility.items()
        for attack in candidate.attacks:
            yield from attack.metrics.items()
