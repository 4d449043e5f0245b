"""Distillation: a student that learns the answers of a teacher, and never the labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ..harness.checks import one_of, positive
from ..harness.errors import UsageError
from ..harness.protocols import Recipe, Trained, task_of
from ..harness.seeds import derive
from ..harness.types import Float32, Ints, TrainingData
from ._loops import loops_for
from ._plain import PlainTraining
from ._regularised import LoopDefense
from ._supported import require_supported


@dataclass(frozen=True)
class Distillation(LoopDefense):
    """A teacher trains plainly on the members; a student of the same recipe learns its answers and is released.

    A heuristic. `on: public` is knowledge distillation (Hinton et al. 2015, arXiv:1503.02531) as a defence (Shejwalkar
    and Houmansadr 2021, arXiv:1906.06589): the student sees public records only, without their labels. It can still
    repeat what the teacher remembers (Jagielski et al. 2023, arXiv:2303.03446). `on: members` is self-distillation:
    the student sees the members, with the teacher's answers for labels.

    The student's loss is temperature^2 x the cross-entropy between both models' answers at that temperature (Hinton et
    al., section 2); its gradient is that of the divergence. Deviation from Shejwalkar and Houmansadr: all public
    records are used, not those on which the teacher is most certain. The teacher is the very model that plain training
    gives for the seed; the student has first weights and batches of its own. It replaces a Keras model's own loss and
    keeps its penalties. The student of a regressor descends on the squared difference from its teacher's numbers, which
    have no temperature.

    Attributes:
        on: `public` or `members`: the records that the student learns on.
        temperature: divides the logits of teacher and student, greater than 0; 1 for regressors.
    """

    title: ClassVar[str] = "distillation"
    frameworks: ClassVar[tuple[str, ...]] = ("torch", "keras")

    on: Literal["public", "members"] = "public"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        one_of(("public", "members"), on=self.on)
        positive(temperature=self.temperature)

    def supports(self, recipe: Recipe, records: int) -> str | None:
        """Support recipes as all of these defences do, regressors at temperature 1 only."""
        reason = super().supports(recipe, records)
        if reason is None and task_of(recipe) == "regression" and self.temperature != 1:
            reason = (
                f"distillation of a {recipe.framework} regressor learns numbers, which have no temperature: "
                "leave temperature at 1"
            )
        return reason

    def supports_data(self, public: int, users: bool) -> str | None:  # noqa: ARG002 - students learn from records
        """Support data with public records, where the student learns on them."""
        if self.on == "public" and public == 0:
            return "distillation on public records: the data have none; use on: members"
        return None

    def train(self, recipe: Any, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]) -> Iterator[Trained]:
        """Yield one student for each entry of `rows` and `seeds`, in order; nothing formal.

        Raises:
            NotApplicable: `supports` has a reason against it.
            UsageError: there are no public records, or the framework is not installed, or training diverged.
        """
        require_supported(self, recipe, rows)
        if self.on == "public" and len(data.public) == 0:
            raise UsageError("distillation on public records: the data have none; use on: members")
        unlabelled = dataclasses.replace(data, y=np.zeros_like(data.y))
        teachers = PlainTraining().train(recipe, data, rows, seeds)
        for own_rows, seed, teacher in zip(rows, seeds, teachers, strict=True):
            seen = data.public if self.on == "public" else own_rows
            own_seed = derive(seed, "student")
            loop = self._student_of(teacher.model, data.x[seen], recipe, own_seed)
            yield Trained(recipe.fit_by(loop, unlabelled, seen, own_seed), mechanism=None)

    def _student_of(self, teacher: Any, x: Float32, recipe: Any, seed: int) -> Any:
        """The loop of a student that learns what `teacher` answers to records `x`."""
        loops = loops_for(recipe)
        if task_of(recipe) == "regression":
            return loops.student_of_numbers(teacher.scaled(x), recipe, seed)
        return loops.student(teacher.logits(x), self.temperature, recipe, seed)
