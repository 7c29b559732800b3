"""What the cells of a study come to: effects for both goals, with intervals and verdicts."""
