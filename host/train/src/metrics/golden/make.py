"""Writes golden.json: answers and what scikit-learn makes of them. python make.py"""

import json
import pathlib

import numpy as np
import sklearn
from sklearn import metrics as m

random = np.random.default_rng(7)
cases = []


def round_trip(values):
    return [float(v) for v in np.asarray(values, float).ravel()]


def two_classes(name, rows, share, digits):
    truth = (random.random(rows) < share).astype(int)
    scores = np.clip(random.normal(0.35 + 0.3 * truth, 0.2), 0, 1)
    scores = np.round(scores, digits)  # few digits make many ties
    said = (scores > 0.5).astype(int)
    p = np.column_stack([1 - scores, scores])
    fpr, tpr, _ = m.roc_curve(truth, scores, drop_intermediate=False)
    cases.append({
        "name": name, "classes": 2, "truth": truth.tolist(), "said": said.tolist(), "probabilities": round_trip(p),
        "confusion": m.confusion_matrix(truth, said, labels=[0, 1]).tolist(),
        "roc": {"x": round_trip(fpr), "y": round_trip(tpr)},
        "metrics": {
            "accuracy": m.accuracy_score(truth, said),
            "precision": m.precision_score(truth, said, zero_division=0),
            "recall": m.recall_score(truth, said), "f1": m.f1_score(truth, said),
            "roc_auc": m.roc_auc_score(truth, scores), "pr_auc": m.average_precision_score(truth, scores),
            "log_loss": m.log_loss(truth, p, labels=[0, 1]), "brier": m.brier_score_loss(truth, scores),
        },
    })


def many_classes(name, rows, classes):
    truth = random.integers(0, classes, rows)
    raw = np.exp(random.normal(0, 1, (rows, classes)) + 1.2 * np.eye(classes)[truth])
    p = raw / raw.sum(axis=1, keepdims=True)
    said = p.argmax(axis=1)
    labels = list(range(classes))
    metrics = {
        "accuracy": m.accuracy_score(truth, said),
        "roc_auc": m.roc_auc_score(truth, p, multi_class="ovr", average="macro", labels=labels),
        "pr_auc": float(np.mean([m.average_precision_score(truth == c, p[:, c]) for c in labels])),
        "log_loss": m.log_loss(truth, p, labels=labels),
        "brier": m.brier_score_loss(truth, p, labels=labels, scale_by_half=False),
    }
    for kind in ["macro", "weighted"]:
        precision, recall, f1, _ = m.precision_recall_fscore_support(truth, said, average=kind, zero_division=0)
        metrics |= {f"precision_{kind}": precision, f"recall_{kind}": recall, f"f1_{kind}": f1}
    cases.append({
        "name": name, "classes": classes, "truth": truth.tolist(), "said": said.tolist(),
        "probabilities": round_trip(p), "confusion": m.confusion_matrix(truth, said, labels=labels).tolist(),
        "metrics": {k: float(v) for k, v in metrics.items()},
    })


def numbers(name, rows, scale, offset):
    truth = offset + scale * random.normal(size=rows)
    said = truth + scale * 0.4 * random.normal(size=rows)
    cases.append({
        "name": name, "values": round_trip(truth), "predicted": round_trip(said),
        "metrics": {
            "rmse": m.root_mean_squared_error(truth, said), "mae": m.mean_absolute_error(truth, said),
            "r2": m.r2_score(truth, said),
        },
    })


two_classes("balanced, all different", 150, 0.5, 12)
two_classes("rare, many ties", 200, 0.12, 1)
two_classes("two scores only", 60, 0.4, 0)
many_classes("three classes", 120, 3)
many_classes("seven classes", 140, 7)
numbers("around zero", 80, 1.0, 0.0)
numbers("large offset", 80, 3.0, 1e6)

out = {"scikit-learn": sklearn.__version__, "cases": cases}
(pathlib.Path(__file__).parent / "golden.json").write_text(json.dumps(out) + "\n")
