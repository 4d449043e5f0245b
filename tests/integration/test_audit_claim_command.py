"""`privassay audit claim`, `rates` and `one-run`, from arguments to output and exit code."""

import argparse
import json
import subprocess
import sys

import pytest
from privassay.harness.cli_audit import add_audit
from privassay.harness.errors import ExitCode, UsageError


@pytest.fixture
def audit(capsys):
    """Run an action; return exit code, JSON from stdout and the lines on stderr."""

    def run(action, line):
        parser = argparse.ArgumentParser()
        add_audit(parser.add_subparsers(required=True))
        arguments = parser.parse_args(["audit", action, *line.split(), "--json"])
        code = arguments.command(arguments)
        printed = capsys.readouterr()
        return code, json.loads(printed.out), printed.err.splitlines()

    return run


MNIST = "--noise-multiplier 1.1 --batch-size 256 --records 60000 --delta 1e-5"
ONE_PASS = "--noise-multiplier 0.6 --batch-size 60 --records 60000 --epochs 1 --delta 1e-5"


def test_the_honest_claim_of_poisson_batches(audit):
    code, found, lines = audit("claim", f"{MNIST} --sampler poisson --steps 14040")
    assert (code, found["exit_code"], found["holds"], found["stated"]) == (ExitCode.PASS, 0, None, None)
    assert found["honest"]["epsilon"] == pytest.approx(2.37964, abs=5e-6)
    assert found["honest"]["accountant"] == "pld"
    assert (
        lines[0] == "honest claim: epsilon 2.37964 at delta 1e-05; neighbours differ by adding or removing one record"
    )
    assert sum(line.startswith("  assumes: ") for line in lines) == len(found["honest"]["assumptions"])
    _, renyi, _ = audit("claim", f"{MNIST} --sampler poisson --steps 14040 --accountant rdp")
    assert renyi["honest"]["epsilon"] == pytest.approx(2.59436, abs=5e-6)


@pytest.mark.parametrize("length", ["--epochs 60", "--steps 14040", "--steps 14100"])
def test_a_pass_over_shuffled_records_includes_its_last_smaller_batch(audit, length):
    _, found, _ = audit("claim", f"{MNIST} --sampler shuffled {length}")
    assert found["honest"]["epsilon"] == pytest.approx(54.0458, abs=5e-5)
    assert found["honest"]["event"].startswith("60 passes")


UNEVEN = "--noise-multiplier 2 --batch-size 64 --records 2005 --delta 1e-5 --sampler shuffled"


@pytest.mark.parametrize("length", ["--epochs 5", "--steps 160"])
@pytest.mark.parametrize(("epsilon", "code"), [("4.984", 0), ("4.97", 1)])
def test_a_stated_epsilon_where_batches_do_not_divide_the_records(audit, length, epsilon, code):
    exit_code, found, _ = audit("claim", f"{UNEVEN} {length} --epsilon {epsilon}")
    assert (exit_code, [finding["code"] for finding in found["findings"]]) == (code, ["arithmetic"] * code)
    assert found["honest"]["event"].startswith("5 passes")
    assert (found["stated"]["epochs"], found["stated"]["sample_rate"]) == (5.0, 64 / 2005)


def test_poisson_batches_claimed_as_shuffled_are_claimed_for_as_many_passes(audit):
    line = UNEVEN.replace("shuffled", "poisson --claimed-sampler shuffled --epochs 5")
    _, found, _ = audit("claim", line)
    assert [finding["code"] for finding in found["findings"]] == ["sampler"]
    assert (found["stated"]["steps"], found["stated"]["epochs"]) == (157, 5.0)
    assert found["stated"]["epsilon"] == pytest.approx(4.98331, abs=5e-6)


def test_a_shuffled_loader_that_claims_poisson_amplification_fails(audit):
    code, found, lines = audit("claim", f"{ONE_PASS} --sampler shuffled --claimed-sampler poisson --epsilon 1.4253")
    assert (code, found["exit_code"], found["holds"]) == (ExitCode.FAIL, 1, False)
    assert [finding["code"] for finding in found["findings"]] == ["sampler"]
    assert found["honest"]["epsilon"] == pytest.approx(8.00369, abs=5e-6)
    (line,) = [line for line in lines if line.startswith("sampler: ")]
    for figure in ("1.4253", "8.00369", "7.98766"):
        assert figure in line
    assert lines[-1] == "the stated claim does not hold"


def test_a_claimed_sampler_is_a_claim_without_a_stated_epsilon(audit):
    code, found, _ = audit("claim", f"{ONE_PASS} --sampler shuffled --claimed-sampler poisson")
    assert code == ExitCode.FAIL
    assert found["stated"]["epsilon"] == pytest.approx(1.42526, abs=5e-6)
    assert found["stated"]["accountant"] == "pld"


@pytest.mark.parametrize(("epsilon", "code"), [("8.1", 0), ("7.9", 1)])
def test_a_stated_epsilon_is_recomputed(audit, epsilon, code):
    exit_code, found, lines = audit("claim", f"{ONE_PASS} --sampler shuffled --epsilon {epsilon}")
    assert exit_code == code
    assert [finding["code"] for finding in found["findings"]] == ["arithmetic"] * code
    assert lines[-1] == ("the stated claim does not hold" if code else "the stated claim holds")


def test_batches_of_fixed_size_get_no_amplification(audit):
    _, found, _ = audit("claim", f"{ONE_PASS} --sampler fixed_size")
    assert (found["honest"]["sampler"], found["honest"]["accountant"]) == ("fixed_size", "gaussian")
    assert found["honest"]["epsilon"] > 1000


def test_a_claim_without_noise_is_refuted_and_an_honest_one_is_not_offered(audit):
    line = "--noise-multiplier 0 --batch-size 10 --records 100 --steps 10 --sampler poisson --delta 1e-5"
    code, found, lines = audit("claim", f"{line} --epsilon 8")
    assert (code, found["honest"]) == (ExitCode.FAIL, None)
    assert "honest claim: none can be made" in lines
    with pytest.raises(UsageError, match="without noise no claim can be made"):
        audit("claim", line)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("--records 0", "records=0"),
        ("--batch-size 0", "batch_size=0"),
        ("--batch-size 200", "batch_size=200"),
        ("--delta 0", "delta=0.0"),
        ("--delta nan", "delta=nan"),
        ("--noise-multiplier -1", "noise_multiplier=-1.0"),
        ("--noise-multiplier nan", "noise_multiplier=nan"),
        ("--max-grad-norm 0", "max_grad_norm=0.0"),
        ("--epsilon inf", "epsilon=inf"),
    ],
)
def test_bad_input_is_one_line(audit, changes, message):
    line = "--noise-multiplier 1 --batch-size 10 --records 100 --epochs 1 --sampler poisson --delta 1e-5"
    with pytest.raises(UsageError, match=message) as error:
        audit("claim", f"{line} {changes}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", ["--epochs 0", "--epochs nan", "--epochs inf", "--steps 0"])
def test_a_run_without_steps_is_refused(audit, length):
    with pytest.raises(UsageError, match=r"epochs=|steps="):
        audit("claim", f"--noise-multiplier 1 --batch-size 10 --records 100 --sampler poisson --delta 1e-5 {length}")


def test_rates(audit):
    code, found, lines = audit("rates", "--tp 200 --n-in 1000 --fp 10 --n-out 1000 --delta 1e-5")
    assert code == ExitCode.PASS
    assert found["clopper_pearson"]["value"] == pytest.approx(2.260644438, abs=1e-6)
    assert found["gdp"]["value"] == pytest.approx(5.190641207, abs=1e-6)
    assert found["clopper_pearson"]["ceiling"] == pytest.approx(5.600577494, abs=1e-6)
    assert [found[name]["kind"] for name in ("clopper_pearson", "gdp", "bayesian")] == [
        "lower bound",
        "conditional lower bound",
        "credible interval",
    ]
    assert lines[0].startswith(
        "epsilon >= 2.26064 at delta 1e-05 (lower bound, 95 %; at most 5.60058 could have been shown)"
    )
    assert "independent" in lines[0]
    assert "(credible interval, 95 %;" in lines[2]
    assert len(lines) == 3


def test_rates_at_another_level(audit):
    _, found, lines = audit("rates", "--tp 60 --n-in 100 --fp 10 --n-out 100 --delta 1e-3 --alpha 0.01")
    assert found["clopper_pearson"]["value"] < 1.035249556  # the bound at alpha 0.05
    assert "99 %" in lines[0]


def test_one_run(audit):
    code, found, lines = audit("one-run", "--canaries 1000 --guesses 100 --right 90 --delta 1e-5")
    assert code == ExitCode.PASS
    assert found["one_run"]["value"] == pytest.approx(1.6261435, abs=1e-6)
    assert found["one_run_fdp"]["value"] == pytest.approx(2.4564049, abs=1e-6)
    assert found["one_run"]["ceiling"] == pytest.approx(3.4653763, abs=1e-6)  # with these 100 guesses all right
    assert "fair coin" in lines[0]
    assert "at most 3.46538 could have been shown" in lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("one-run --canaries 10 --guesses 11 --right 1", "guesses=11: must be from 0 to the 10 canaries"),
        ("one-run --canaries 10 --guesses 5 --right 6", "right=6: must be from 0 to the 5 guesses"),
        ("rates --tp 0 --n-in 0 --fp 0 --n-out 3", "n_in=0: must be >= 1"),
    ],
)
def test_impossible_counts_are_named_as_they_were_typed(audit, arguments, message):
    action, _, rest = arguments.partition(" ")
    with pytest.raises(UsageError, match=message):
        audit(action, f"{rest} --delta 1e-5")


def test_a_delta_that_allows_everything_is_remarked_on(audit):
    numbers = "--noise-multiplier 1 --batch-size 100 --records 1000 --sampler poisson --epochs 1"
    assert "publishing one record in full" in audit("claim", f"{numbers} --delta 1e-3")[2][-1]
    assert "publishing" not in " ".join(audit("claim", f"{numbers} --delta 1e-5")[2])


def test_help_loads_nothing_heavy():
    code = (
        "import argparse, sys\n"
        "from privassay.harness.cli_audit import add_audit\n"
        "parser = argparse.ArgumentParser()\n"
        "add_audit(parser.add_subparsers())\n"
        "try:\n"
        "    parser.parse_args(['audit', 'claim', '--help'])\n"
        "finally:\n"
        "    assert not {'numpy', 'scipy', 'dp_accounting', 'pydantic'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--claimed-sampler" in done.stdout
