"""Writes statistics.json: tests and intervals by scipy and statsmodels.

Run: python statistics.py > statistics.json  (needs scipy and statsmodels)
"""
import json
import sys

import scipy
import statsmodels
from scipy.stats import beta, binom, binomtest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint


def mcnemar_case(b, c):
    n, k = b + c, min(b, c)
    exact = float(mcnemar([[0, b], [c, 0]], exact=True).pvalue) if n else 1.0
    assert n == 0 or abs(exact - binomtest(k, n).pvalue) < 1e-12
    if n == 0:
        mid = 1.0
    elif b == c:
        mid = 1 - binom.pmf(k, n, 0.5) / 2
    else:
        mid = exact - binom.pmf(k, n, 0.5)
    return {"only_a": b, "only_b": c, "exact": exact, "mid": float(mid), "one_sided": float(binom.cdf(c, n, 0.5))}


p_values = [[0.01, 0.04, 0.03, 0.005], [0.7, 0.8], [0.02], [0.001, 0.001, 0.5]]
json.dump(
    {
        "scipy": scipy.__version__,
        "statsmodels": statsmodels.__version__,
        "mcnemar": [mcnemar_case(b, c) for b, c in [(0, 0), (3, 3), (5, 0), (0, 5), (9, 2), (40, 61), (400, 500), (3000, 3200)]],
        "holm": [{"p": p, "corrected": multipletests(p, method="holm")[1].tolist()} for p in p_values],
        "wilson": [{"hits": k, "rows": n, "interval": list(map(float, proportion_confint(k, n, method="wilson")))} for k, n in [(0, 96), (89, 96), (96, 96), (5, 10_000)]],
        "clopper_pearson": [{"errors": k, "rows": n, "upper": float(beta.ppf(0.95, k + 1, n - k))} for k, n in [(0, 96), (3, 200), (50, 1000)]],
    },
    sys.stdout,
    indent=1,
)
