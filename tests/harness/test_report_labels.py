"""Numbers in the plot: none lies on another, on a marker or on a leader; a crowd without room is left out."""

from dataclasses import replace

import numpy as np
import pytest
from privassay.harness.report_labels import Ground, edge, place

AREA = np.array([[0.0, 0.0], [400.0, 300.0]])
HALF = 4.0


def ground(anchors, lines=()):
    return Ground(np.asarray(anchors, dtype=float), HALF, np.reshape(lines, (-1, 2, 2)), AREA)


def sizes(count):
    return np.full((count, 2), (15.0, 11.0))


def overlap(one, other):
    """Naive: whether two boxes (low, high) share an area."""
    return all(a_low < b_high and b_low < a_high for a_low, a_high, b_low, b_high in zip(*one, *other, strict=True))


def samples(start, end):
    return [start + (end - start) * t for t in np.linspace(0, 1, 150)]


def faults(anchors, found):
    """Every overlap among labels, markers and leaders, looked for pair by pair."""
    boxes = [(a + at - (7.5, 5.5), a + at + (7.5, 5.5)) for a, at in zip(anchors, found, strict=True)]
    for i, (anchor, at, box) in enumerate(zip(anchors, found, boxes, strict=True)):
        if not (np.all(box[0] >= AREA[0]) and np.all(box[1] <= AREA[1])):
            yield f"{i} leaves the area"
        for j, other in enumerate(anchors):
            if overlap(box, (other - HALF, other + HALF)):
                yield f"{i} lies on marker {j}"
            if i != j and overlap(box, boxes[j]):
                yield f"{i} lies on {j}"
            if i != j and any(np.all((boxes[j][0] < p) & (p < boxes[j][1])) for p in samples(anchor, anchor + at)):
                yield f"the leader of {i} runs through {j}"


CASES = {
    "few": [(100, 100), (300, 200), (200, 60)],
    "one place": [(200, 150)] * 8,
    "corner": [(398, 299), (397, 298), (396, 297), (2, 1)],
    **{
        f"cluster {seed}": np.vstack(
            [
                np.random.default_rng(seed).normal((330, 270), (12, 5), (12, 2)),
                np.random.default_rng(seed + 9).uniform((10, 10), (390, 290), (18, 2)),
            ]
        )
        for seed in range(3)
    },
}


@pytest.mark.parametrize("anchors", CASES.values(), ids=CASES)
def test_nothing_overlaps(anchors):
    anchors = np.asarray(anchors, dtype=float)
    found = place(ground(anchors), sizes(len(anchors)))
    assert all(at is not None for at in found)
    assert list(faults(anchors, found)) == []


def test_the_oracle_sees_overlaps():
    anchors = np.array([(100.0, 100.0), (105.0, 100.0)])
    assert {"0 lies on 1", "0 lies on marker 1"} <= set(faults(anchors, np.zeros((2, 2))))
    away = np.array([(40.0, 0.0), (15.0, 0.0)])
    assert list(faults(anchors, away)) == ["the leader of 0 runs through 1"]


def test_a_lone_number_stands_beside_its_marker_and_off_the_lines():
    bars = [((60, 100), (140, 100)), ((100, 60), (100, 140))]
    (at,) = place(ground([(100, 100)], bars), sizes(1))
    assert np.hypot(*at) < 15
    assert abs(at[0]) > 7.5
    assert abs(at[1]) > 5.5


def test_a_crowd_without_room_is_left_out_and_the_rest_is_not():
    anchors = np.array([(200.0, 150.0)] * 30 + [(170.0, 130.0)])
    small = replace(ground(anchors), area=np.array([[150.0, 110.0], [230.0, 180.0]]))
    found = place(small, sizes(len(anchors)))
    kept = [i for i, at in enumerate(found) if at is not None]
    assert 5 < len(kept) < 30
    assert kept[-1] == 30
    assert list(faults(anchors[kept], [found[i] for i in kept])) == []


def test_the_same_input_gives_the_same_places():
    anchors = CASES["cluster 0"]
    one, two = (np.array(place(ground(anchors), sizes(len(anchors)))) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_a_leader_ends_at_the_edge_of_its_label():
    np.testing.assert_allclose(edge(np.array([30.0, 0.0]), np.array([15.0, 11.0])), (22.5, 0))
    np.testing.assert_allclose(edge(np.array([0.0, -30.0]), np.array([15.0, 11.0])), (0, -24.5))
    np.testing.assert_allclose(edge(np.array([1.0, 1.0]), np.array([15.0, 11.0])), (0, 0))
