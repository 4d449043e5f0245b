"""Audits of a claim of differential privacy: what scores of canaries prove about epsilon.

Every `epsilon_*` returns a `privassay.harness.types.AuditedEpsilon`, which says whether it is a lower bound, a bound
for one family of mechanisms only, a credible interval or a heuristic, and what must be true for it to hold.
"""

from .bayesian import epsilon_bayesian
from .limits import (
    dp_advantage_bound,
    dp_tpr_bound,
    gdp_tpr_bound,
    max_provable_epsilon,
    max_provable_epsilon_one_run,
    rero_bound,
)
from .one_run import epsilon_one_run, epsilon_one_run_group, one_run_p_value
from .one_run_fdp import epsilon_one_run_fdp
from .rates import (
    as_heuristic,
    epsilon_clopper_pearson,
    epsilon_clopper_pearson_both,
    epsilon_from_mu,
    epsilon_gdp,
    mu_gdp,
)
from .scores import METHODS, Method, epsilon_from_scores
from .thresholds import Bonferroni, Explicit, MultiSplit, Split, Threshold

__all__ = [
    "METHODS",
    "Bonferroni",
    "Explicit",
    "Method",
    "MultiSplit",
    "Split",
    "Threshold",
    "as_heuristic",
    "dp_advantage_bound",
    "dp_tpr_bound",
    "epsilon_bayesian",
    "epsilon_clopper_pearson",
    "epsilon_clopper_pearson_both",
    "epsilon_from_mu",
    "epsilon_from_scores",
    "epsilon_gdp",
    "epsilon_one_run",
    "epsilon_one_run_fdp",
    "epsilon_one_run_group",
    "gdp_tpr_bound",
    "max_provable_epsilon",
    "max_provable_epsilon_one_run",
    "mu_gdp",
    "one_run_p_value",
    "rero_bound",
]
