# SPDX-License-Identifier: MIT
"""Average precision of scores against truth, as the C++ side's metrics/average_precision."""
import numpy as np


def average_precision(scores, truth):
    """Area under the precision envelope over recall, pictures of equal score taken as one step; None
    without positives."""
    order = np.argsort(-scores, kind="stable")
    scores, truth = scores[order], truth[order]
    if not truth.any():
        return None
    found = np.cumsum(truth)
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    precision = found[ends] / (ends + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * np.diff(found[ends], prepend=0)).sum() / found[-1])


def mean_average_precision(scores, truth):
    per_label = [average_precision(s, t) for s, t in zip(scores.T, truth.T)]
    return 100 * float(np.mean([a for a in per_label if a is not None])), per_label
