"""Scores of classifiers and segmentations, with intervals; and of what needs no net."""

from provenet.metrics.classification import ClassificationTally
from provenet.metrics.scores import Scores
from provenet.metrics.segmentation import SegmentationTally
from provenet.stats.intervals import Figure

__all__ = ["ClassificationTally", "Figure", "Scores", "SegmentationTally"]
