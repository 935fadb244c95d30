"""Writes golden.json: reference figures by scikit-learn.

Run: python golden.py > golden.json  (needs scikit-learn and numpy)
Each case holds the truth, one probability row an answer (null: the row failed)
and the figures. A failed row is given to scikit-learn as an extra predicted
class, which is then left out of the averages.
"""
import json
import sys

import numpy as np
import sklearn
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, matthews_corrcoef, precision_recall_fscore_support

FAILED = -1
BINS = 15


def ece(confidence, right):
    """Over bins of equally many rows, the surest first; equal confidences share a bin."""
    order = np.argsort(-confidence, kind="stable")
    confidence, right = confidence[order], right[order]
    ends = [i + 1 for i in range(len(right)) if i + 1 == len(right) or confidence[i] != confidence[i + 1]]
    total, start = 0.0, 0
    while start < len(right):
        full = (start * BINS // len(right) + 1) * len(right) / BINS
        end = min(e for e in ends if e >= full or e == len(right))
        total += abs(confidence[start:end].sum() - right[start:end].sum())
        start = end
    return total / len(right)


def aurc(confidence, right, rng):
    """The mean over 4,000 random orders of the equal confidences, a failed row's being below all others."""
    risks = []
    for _ in range(4000):
        order = np.lexsort((rng.random(len(right)), -confidence))
        risks.append((np.cumsum(~right[order]) / np.arange(1, len(right) + 1)).mean())
    return float(np.mean(risks)), float(np.std(risks) / np.sqrt(len(risks)))


def case(name, rng, classes, rows, occurring, skill, failures=0.0):
    truth = rng.choice(occurring, rows)
    scores = rng.normal(size=(rows, classes))
    scores[np.arange(rows), truth] += skill
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    p = np.round(p, 4)
    p[:, 0] += 1 - p.sum(1)
    failed = rng.random(rows) < failures
    pred = np.where(failed, FAILED, p.argmax(1))
    every = list(range(classes))
    present = sorted(set(truth) | (set(pred) - {FAILED}))
    precision, recall, f1, support = precision_recall_fscore_support(truth, pred, labels=every, zero_division=0)
    ok = ~failed
    matrix = np.zeros((classes, classes), int)
    if ok.any():
        matrix = confusion_matrix(truth[ok], pred[ok], labels=every)
    truths = np.eye(classes)[truth]
    confidence = np.where(failed, -1, p.max(1))
    # Of equal probabilities the first label goes before the others.
    ranks = np.argsort(-p, axis=1, kind="stable").argsort(1)[np.arange(rows), truth]
    area, area_error = aurc(confidence, pred == truth, rng)
    return {
        "name": name,
        "classes": classes,
        "truth": truth.tolist(),
        "probabilities": [None if f else row.tolist() for f, row in zip(failed, p)],
        "accuracy": accuracy_score(truth, pred),
        "macro_f1": f1_score(truth, pred, labels=present, average="macro", zero_division=0),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "support": support.tolist(),
        "confusion": matrix.tolist(),
        "log_loss": log_loss(truth[ok], p[ok], labels=every),
        "confidence": p[ok].max(1).mean(),
        "weighted_f1": f1_score(truth, pred, labels=every, average="weighted", zero_division=0),
        "mcc": matthews_corrcoef(truth, pred),
        "brier": ((p[ok] - truths[ok]) ** 2).sum(1).mean(),
        "ece": ece(p[ok].max(1), (pred == truth)[ok]),
        "aurc": area,
        "aurc_error": area_error,
        "top_k": [((ranks < k + 1) & ok).mean() for k in range(min(5, classes))],
    }


rng = np.random.default_rng(7)
cases = [
    case("two classes", rng, 2, 50, [0, 1], 1.0),
    case("eight classes", rng, 8, 96, list(range(8)), 2.5),
    case("labels that never occur", rng, 6, 40, [1, 4], 5.0),
    case("one class in truth", rng, 3, 10, [2], 1.0),
    case("failed rows", rng, 5, 80, list(range(5)), 2.0, failures=0.2),
    case("seventy-seven classes", rng, 77, 100, list(range(77)), 4.0),
]
json.dump({"scikit-learn": sklearn.__version__, "cases": cases}, sys.stdout, separators=(",", ":"))
print()
