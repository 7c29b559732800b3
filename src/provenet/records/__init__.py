"""What is written to disk about a run, as typed rows and readers; no torch on this floor."""

from provenet.records.run import Choice, EpochRow, EventRow, RunRecord, StepRow

__all__ = ["Choice", "EpochRow", "EventRow", "RunRecord", "StepRow"]
