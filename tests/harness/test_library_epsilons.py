"""What the libraries say about a Poisson-subsampled Gaussian mechanism, beside what we say.

The Renyi accountants of all three state a valid bound at every order they try, so they differ where one has an order
that another has not: TensorFlow Privacy's default orders are ours; Opacus's stop at 63, so it is given ours.
"""

import re

import pytest
from privassay.harness.accounting import dp_sgd_claim
from privassay.harness.types import DPMechanism, ObservedSampling

OUR_ORDERS = [*(order / 10 for order in range(11, 110)), *range(11, 64), 128, 256, 512, 1024]

# records, batch size, epochs, noise multiplier, delta
RUNS = [
    (60_000, 256, 15, 1.1, 1e-5),
    (60_000, 600, 30, 0.7, 1e-5),
    (5_000, 250, 20, 2.0, 1e-4),
    (1_000, 1_000, 10, 4.0, 1e-4),
    (800, 7, 3, 0.55, 1e-3),
    (100_000, 500, 2, 3.0, 1e-6),
]


def ours(records, batch_size, epochs, multiplier, delta, accountant="rdp"):
    rate = batch_size / records
    steps = -(-epochs * records // batch_size)
    sampling = ObservedSampling("poisson", rate, steps, steps * rate)
    return dp_sgd_claim(DPMechanism(multiplier, 1.0, sampling, delta), accountant).epsilon


def steps_of(records, batch_size, epochs):
    return -(-epochs * records // batch_size)


@pytest.mark.keras
@pytest.mark.parametrize(("records", "batch_size", "epochs", "multiplier", "delta"), RUNS)
def test_tensorflow_privacys_statement(records, batch_size, epochs, multiplier, delta):
    library = pytest.importorskip(
        "tensorflow_privacy.privacy.analysis.compute_dp_sgd_privacy_lib", reason="needs the [keras] extra"
    )
    statement = library.compute_dp_sgd_privacy_statement(
        records, batch_size, epochs, multiplier, delta, used_microbatching=False
    )
    said = float(re.search(r"Poisson sampling \(\*\):\s+([\d.]+)", statement)[1])
    assert said == pytest.approx(ours(records, batch_size, epochs, multiplier, delta), abs=1e-3)


@pytest.mark.keras
@pytest.mark.parametrize(("records", "batch_size", "epochs", "multiplier", "delta"), [RUNS[0], *RUNS[2:4]])
def test_tensorflow_privacys_tight_accountant(records, batch_size, epochs, multiplier, delta):
    """By privacy-loss distributions; its cells are of fixed width, ours follow epsilon."""
    library = pytest.importorskip(
        "tensorflow_privacy.privacy.analysis.compute_dp_sgd_privacy_lib", reason="needs the [keras] extra"
    )
    said = library._compute_dp_sgd_example_privacy(
        epochs, multiplier, delta, False, batch_size / records, library.AccountantType.PLD
    )
    assert said == pytest.approx(ours(records, batch_size, epochs, multiplier, delta, "pld"), abs=1e-3)


@pytest.mark.parametrize(("records", "batch_size", "epochs", "multiplier", "delta"), RUNS)
def test_opacus_with_our_orders(records, batch_size, epochs, multiplier, delta):
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(multiplier, batch_size / records, steps_of(records, batch_size, epochs))]
    said = accountant.get_epsilon(delta, alphas=OUR_ORDERS)
    assert said == pytest.approx(ours(records, batch_size, epochs, multiplier, delta), abs=1e-3)


@pytest.mark.parametrize(("records", "batch_size", "epochs", "multiplier", "delta"), RUNS)
@pytest.mark.filterwarnings("ignore:Optimal order is the largest alpha")
def test_opacus_with_its_own_orders_is_never_below(records, batch_size, epochs, multiplier, delta):
    """It has no order between 64 and 1024, where weak mechanisms have theirs."""
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(multiplier, batch_size / records, steps_of(records, batch_size, epochs))]
    said, here = accountant.get_epsilon(delta), ours(records, batch_size, epochs, multiplier, delta)
    assert said >= here - 1e-6
    if here > 0.5:
        assert said == pytest.approx(here, abs=1e-3)
