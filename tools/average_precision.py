# SPDX-License-Identifier: MIT
"""Average precision of scores against truth, as the C++ side's metrics/average_precision."""
import numpy as np


def average_precision(scores, truth):
    """Area under the precision envelope over recall; None without positives."""
    truth = truth[np.argsort(-scores, kind="stable")]
    if not truth.any():
        return None
    precision = np.cumsum(truth) / np.arange(1, len(truth) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[truth > 0].mean())


def mean_average_precision(scores, truth):
    per_label = [average_precision(s, t) for s, t in zip(scores.T, truth.T)]
    return 100 * float(np.mean([a for a in per_label if a is not None])), per_label
