"""PATE: a student of the noisy votes of teachers that never share a record."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..harness.checks import open_unit, positive, require
from ..harness.errors import NotApplicable
from ..harness.mechanisms import vote_noise, votes_claim
from ..harness.protocols import Recipe, Trained, task_of
from ..harness.seeds import derive, generator
from ..harness.types import Float64, Guarantee, Ints, TrainingData
from ._plain import PlainAnswers, PlainTraining
from ._supported import require_supported

LEAST_RECORDS = 10
"""Records that a teacher must have; with fewer it has nothing to teach."""


@dataclass(frozen=True)
class PATE(PlainAnswers):
    """Private aggregation of teacher ensembles with the Gaussian noisy maximum.

    GNMax of Papernot et al. (2018, arXiv:1802.08908), after Papernot et al. (2017, arXiv:1610.05755). The model's
    records are dealt into disjoint parts, the recipe trains a teacher on each, and the teachers vote on public records,
    whose labels are never read. The class with most votes after noise becomes the label, and the recipe trains the
    student on these records and labels alone.

    The claim is independent of the data: one Gaussian mechanism for all queries together, whose number is fixed in
    advance. The papers' smaller epsilon, which depends on how the teachers agreed, would itself have to be protected;
    it is not claimed. No query is refused (no Confident-GNMax).

    Attributes:
        target_epsilon: epsilon of the claim, greater than 0.
        target_delta: delta of the claim, below one over the number of training records.
        teachers: number of teachers, at least 2; a margin of votes must exceed the noise, so many help.
        queries: public records that are labelled for the student, at least 1; the noise grows with their square root.
    """

    guarantee: ClassVar[Guarantee] = "formal"

    target_epsilon: float = 8.0
    target_delta: float = 1e-5
    teachers: int = 50
    queries: int = 200

    def __post_init__(self) -> None:
        positive(target_epsilon=self.target_epsilon)
        open_unit(target_delta=self.target_delta)
        require(self.teachers >= 2, "teachers", self.teachers, ">= 2")
        require(self.queries >= 1, "queries", self.queries, ">= 1")

    def supports(self, recipe: Recipe, records: int) -> str | None:
        """Support every recipe, with enough records for each teacher and a delta that means something."""
        if task_of(recipe) == "regression":
            return f"PATE votes on classes: not this {recipe.framework} regressor"
        if records < LEAST_RECORDS * self.teachers:
            return (
                f"PATE: {self.teachers} teachers of a {recipe.framework} recipe need at least {LEAST_RECORDS} records"
                f" each, {records} are there"
            )
        if self.target_delta * records >= 1:
            return f"target_delta={self.target_delta:g}: must be below 1 / {records}, one over the training records"
        return None

    def supports_data(self, public: int, users: bool) -> str | None:  # noqa: ARG002 - teachers are dealt records
        """Support data with a public record for every query."""
        if public < self.queries:
            return f"PATE: {self.queries} queries need as many public records, members of no model; {public} are there"
        return None

    def training_parameters(self) -> Mapping[str, object]:
        """Every parameter changes the weights."""
        return dataclasses.asdict(self)

    def train(
        self, recipe: Recipe, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]
    ) -> Iterator[Trained]:
        """Yield one student for each entry of `rows` and `seeds`, in order.

        Raises:
            NotApplicable: `supports` has a reason against it, or there are fewer public records than queries.
        """
        require_supported(self, recipe, rows)
        if len(data.public) < self.queries:
            raise NotApplicable(
                f"PATE: {self.queries} queries need as many public records, members of no model; {len(data.public)} are"
                f" there for {recipe.framework} students"
            )
        for own_rows, seed in zip(rows, seeds, strict=True):
            yield self._student(recipe, data, own_rows, seed)

    def _student(self, recipe: Recipe, data: TrainingData, rows: Ints, seed: int) -> Trained:
        asked = data.public[generator(seed, "queries").permutation(len(data.public))[: self.queries]]
        x = data.x[asked]
        counts = self._votes(recipe, data, rows, (asked, seed))
        deviation = vote_noise(self.target_epsilon, self.target_delta, len(asked))
        noisy = counts + generator(seed, "votes").normal(0.0, deviation, counts.shape)
        labelled = TrainingData(x, noisy.argmax(axis=1), data.n_classes, data.bounds, columns=data.columns)
        student = recipe.fit(labelled, np.arange(len(x)), derive(seed, "student"))
        return Trained(student, votes_claim(deviation, self.target_delta, len(labelled.y), self.teachers))

    def _votes(self, recipe: Recipe, data: TrainingData, rows: Ints, about: tuple[Ints, int]) -> Float64:
        """How many teachers vote for each class: float64 (queries, classes), rows sum to `teachers`."""
        asked, seed = about
        order = generator(seed, "teachers").permutation(len(rows))
        parts = [rows[part] for part in np.array_split(order, self.teachers)]
        seeds = [derive(seed, "teacher", number) for number in range(self.teachers)]
        several = [len(np.unique(data.y[part])) > 1 for part in parts]
        taught = [k for k in range(self.teachers) if several[k]]
        counts = np.zeros((len(asked), data.n_classes))
        for k in range(self.teachers):  # recipes need two classes; who saw one class votes for it
            if not several[k]:
                counts[:, data.y[parts[k][0]]] += 1
        own = replace(data, public=np.arange(0))
        trained = PlainTraining().train(recipe, own, [parts[k] for k in taught], [seeds[k] for k in taught])
        for teacher in trained:
            votes = teacher.model.logits(data.x[asked]).argmax(axis=1)
            counts[np.arange(len(asked)), votes] += 1
        return counts
