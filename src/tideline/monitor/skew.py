"""Does the server answer what the bundle answers? A sample of logged rows goes through the offline road once more."""

from __future__ import annotations

import numpy as np

from tideline.bundle import Bundle
from tideline.monitor.records import Check
from tideline.monitor.reference import CLASS, CONFIDENCE, VALUE
from tideline.monitor.window import Batch
from tideline.params import Export
from tideline.predictor import Predictor

SHOWN_IDS = 3


def check_skew(bundle: Bundle, sample: Batch, limits: Export, rows: int) -> Check:
    """Predict at most `rows` rows of a sample again and compare with what was logged.

    Two numbers agree as in the parity check (params.yaml: export), two classes if they are the same and their
    probabilities agree. Statistic: the largest difference (relative; of probabilities absolute). Effect: the share of
    rows that differ; one is a breach. Raises TidelineError if the bundle is broken.
    """
    # Evenly over the sample, which is in order of arrival: a fault that began late is in it, too.
    taken = np.unique(np.linspace(0, len(sample) - 1, min(rows, len(sample))).astype(np.int64))
    columns = {name: values[taken] for name, values in sample.columns.items()}
    found = Predictor(bundle).predict(columns)
    if found.names:
        logged = np.asarray(sample.answers[CONFIDENCE][taken], dtype=np.float64)
        difference = np.abs(found.probabilities.max(axis=1) - logged)
        other = np.array(found.classes, dtype=object) != sample.answers[CLASS][taken]
        differs = other | ~(difference <= limits.probability)
    else:
        logged = np.asarray(sample.answers[VALUE][taken], dtype=np.float64)
        difference = np.abs(found.values - logged) / np.maximum(np.abs(found.values), limits.floor)
        differs = ~(difference <= limits.relative)
    n = len(found)
    remark = f"{int(differs.sum())} of {n} logged rows are answered otherwise offline"
    if differs.any() and sample.ids is not None:
        remark += ": " + ", ".join(str(name) for name in sample.ids[taken][differs][:SHOWN_IDS])
    return Check("log", "served answers", "skew", "quality", float(difference.max()), None, float(differs.mean()),
                 1 / n, remark=remark)  # fmt: skip
