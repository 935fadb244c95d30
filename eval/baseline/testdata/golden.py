"""Writes golden.json: the probabilities of scikit-learn's pipeline for made-up texts.

Run: python golden.py > golden.json  (needs scikit-learn)
"""
import json
import random
import sys

import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

random.seed(3)
words = {
    "card": "card plastic PIN chip wallet swipe card_no x a I naïve".split(),
    "loan": "loan rate mortgage years 30 APR house owe x a I".split(),
    "café": "Café résumé Straße ÖPNV 数据 分析 menu tip x a I".split(),
}


def text(label):
    own, others = words[label], sum(words.values(), [])
    return " ".join(random.choice(own if random.random() < 0.6 else others) + random.choice(["", ",", "!", "?  "]) for _ in range(random.randint(1, 12)))


labels = list(words)
train = [(text(l), l) for l in random.choices(labels, weights=[3, 2, 1], k=60)]
probe = [text(random.choice(labels)) for _ in range(30)] + ["zzz unseen", "!?", "card"]
pipeline = make_pipeline(
    TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=20000),
    LogisticRegression(C=10, tol=1e-9, max_iter=10000),
)
pipeline.fit([t for t, _ in train], [l for _, l in train])
order = list(pipeline.classes_)
p = pipeline.predict_proba(probe)
json.dump(
    {
        "scikit-learn": sklearn.__version__,
        "labels": order,
        "train": [{"text": t, "label": l} for t, l in train],
        "probe": [{"text": t, "probabilities": row.tolist()} for t, row in zip(probe, p)],
    },
    sys.stdout,
    ensure_ascii=False,
    indent=1,
)
