"""The pool of a model that somebody else trained: model 0, its references beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from .answers import Asked, Given, Recorded
from .class_order import OrderDoubt, order_doubt
from .errors import UsageError, located
from .events import Observer
from .evidence import Origin
from .kept_answers import finish, log_probabilities
from .named_target import CHECKED, NamedTarget
from .pool import CandidateSpec, Pool, PoolModel
from .recipe_check import recipe_note
from .store import Store
from .training import train_models
from .types import Candidates, Dataset, Float64, Split
from .users import users_of
from .view import Deployed

_OTHER_SIZE = 0.1
"""Share by which training sets of target and references may differ before the evidence says so."""


def released_pool(
    target: NamedTarget, data: tuple[Dataset, Split], store: Store, seed: int, observe: Observer
) -> ReleasedPool:
    """Ask the released model about every record that the store has no answer for, train or read its references.

    Raises:
        InfrastructureError: the model does not answer, or the disk failed; what was answered is kept.
        UsageError: an answer is none, or the columns of answers stand in another order than the classes.
    """
    dataset, split = data
    recorded = Recorded.of(target, dataset, store, observe)
    doubt = _order_doubt(recorded, split)
    if doubt is not None and doubt.refused:
        finish(target, store)  # the way out is to mend the model, which then has to be asked
        with located(target.where):
            raise UsageError(f"{target.released.source}: {doubt.words}")
    models: list[PoolModel] = [recorded]
    if target.trains_references:
        others = replace(split, member=split.member[1:], released=False)
        models += train_models(replace(target.spec, defense_name="references"), (dataset, others), store, seed, observe)
    else:
        models += [
            Given(target, log_probabilities(reference.probabilities)) for reference in target.released.references
        ]
    return ReleasedPool(target.spec, data, models, seed, recorded)


class ReleasedPool(Pool):
    """A pool whose model 0 is a released one."""

    def __init__(
        self,
        spec: CandidateSpec,
        data: tuple[Dataset, Split],
        models: Sequence[PoolModel],
        seed: int,
        recorded: Recorded,
    ) -> None:
        """Bring together; `recorded` is the first of `models`."""
        super().__init__(spec, data, models, seed)
        self._recorded = recorded
        self._split = data[1]

    def rounds(self, k: int, repeats: int) -> Iterator[Float64]:
        """As of any pool; of the released model what it said each time."""
        return super().rounds(k, repeats) if k else self._recorded.rounds(self._audited, repeats)

    def deployed(self, k: int, audited: Candidates, repeats: int) -> Deployed:
        """As of any pool; the released model is asked itself about what is no record of the data set."""
        return super().deployed(k, audited, repeats) if k else Asked(self._recorded.live, repeats)

    def origin(self) -> Origin:
        """Where the released model came from and how it was asked, up to now."""
        recorded, released = self._recorded, self._recorded.target.released
        return Origin(
            component=recorded.target.identity.component,
            source=released.source,
            sha256=released.sha256,
            answers=released.model.answers,
            references=_references_words(recorded.target, self._split),
            queries=recorded.asked + recorded.live.asked,
            kept_answers=recorded.kept,
            notes=(*released.notes, *_notes(recorded, self._split), *self._recipe_notes()),
        )

    def _recipe_notes(self) -> Iterator[str]:
        """How often the released model and its references are right, and what that says of their recipe."""
        wanted = self._dataset.y[self._audited]
        right = [self.released(k).argmax(axis=1) == wanted for k in range(len(self.keys))]
        users = users_of(self._dataset, self._audited)
        if note := recipe_note(right, self._split.member, users):
            yield note


def _references_words(target: NamedTarget, split: Split) -> str:
    count = split.models - 1
    if not count:
        return "none"
    if not target.trains_references:
        return f"{count} whose answers came with the model"
    spec = target.spec
    return f"{count} trained by this run: {spec.recipe_identity.component} behind {spec.defense_identity.component}"


def _notes(recorded: Recorded, split: Split) -> Iterator[str]:
    """Lines about what was asked, where they are needed."""
    target = recorded.target
    doubt = _order_doubt(recorded, split)
    if doubt is not None:
        yield doubt.words
    yield from _size_note(target, split)
    if recorded.kept and not target.released.sha256:
        if target.recognised:
            sure = f"it gives the same answers as then to {CHECKED} records"
        else:
            sure = "little tells" if target.likeness.digest else "nothing tells"
        earlier = "an earlier run" if target.recognised else "a run that was stopped"
        yield (
            f"{recorded.kept} answers are those of {earlier}, and whether the model is still the same, {sure}: "
            "remove the store in the output folder to ask again"
        )
    if target.repeats > 1 and (recorded.answers == recorded.answers[0]).all():
        yield f"it gave the same answers all {target.repeats} times it was asked: `repeats` changes nothing"
    if target.repeats == 1 and not target.likeness.steady:
        yield "it answers the same question differently: an attack with `repeats` would average that away"
    if target.without_features:
        yield "the records have no features here, so the model-free baseline has compared labels only"


def _order_doubt(recorded: Recorded, split: Split) -> OrderDoubt | None:
    """Whether columns of answers seem to stand in another order than the classes, by the model's own members.

    By one record of each user: those of one user are no independent trials.
    """
    dataset, rows = recorded.dataset, split.rows(0)
    if dataset.units is not None:
        rows = rows[np.unique(dataset.units[rows], return_index=True)[1]]
    return order_doubt(recorded.logits()[rows], dataset.y[rows], dataset.class_names)


def _size_note(target: NamedTarget, split: Split) -> Iterator[str]:
    """A line where references train on another number of records than the target did."""
    members = int(split.member[0].sum())
    trained_on = target.released.training_records or members
    sizes = split.member[1:].sum(axis=1)
    if len(sizes) and abs(sizes.mean() - trained_on) > _OTHER_SIZE * trained_on:
        yield (
            f"references train on {sizes.mean():.0f} records, the released model on {trained_on}: they imitate it less "
            "well, so a low result says less"
        )
