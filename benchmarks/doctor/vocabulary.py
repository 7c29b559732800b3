"""The ids that a case may name: one for each cause, and those that name an effect."""

from __future__ import annotations

SYMPTOMS = frozenset(
    {
        *("vanishing-gradients", "exploding-gradients", "bad-initial-loss", "constant-output"),
        *("loss-not-finite", "cannot-overfit-batch", "forward-fails"),
    }
)
DATA = frozenset(
    {
        *("input-unnormalized", "input-tiny-scale", "wrong-normalization-stats", "input-constant", "input-nonfinite"),
        *("input-layout", "label-out-of-range", "target-shape-broadcast", "mask-interpolated", "mask-misaligned"),
        *("ignore-index-hides-data", "labels-uninformative", "duplicate-samples", "unshuffled-batches"),
        *("class-imbalance", "train-val-leakage", "augmentation-changes-label"),
    }
)
MODEL = frozenset(
    {
        *("symmetric-init", "init-too-large", "init-too-small", "saturating-activations", "dead-relu"),
        *("missing-nonlinearity", "softmax-before-ce", "sigmoid-before-bce-logits", "nll-without-logsoftmax"),
        *("activation-on-logits", "softmax-wrong-dim", "loss-mismatch", "detached-graph", "unregistered-params"),
        *("unused-params", "accidental-weight-sharing", "batch-mixing", "deep-plain-net", "missing-normalization"),
        *("bn-small-batch", "bn-no-running-stats", "bn-bad-momentum", "bias-before-bn", "dropout-too-high"),
        *("dropout-before-bn", "checkerboard-upsampling", "skip-misaligned", "spatial-collapse", "head-size-mismatch"),
    }
)
OPTIMIZATION = frozenset(
    {
        *("lr-too-high", "lr-too-low", "lr-never-decayed", "momentum-too-high", "weight-decay-too-high"),
        *("optimizer-missing-params", "optimizer-stale-params", "loss-reduction-sum", "loss-sign", "dice-on-logits"),
        *("class-weights-inverted", "missing-zero-grad"),
    }
)
MODE = frozenset(
    {
        *("eval-mode-training", "dropout-always-on", "frozen-layers", "bn-not-frozen", "nothing-frozen"),
        "inference-in-train-mode",
    }
)
CAUSES = DATA | MODEL | OPTIMIZATION | MODE
FAMILIES = (("data", DATA), ("model", MODEL), ("optimization", OPTIMIZATION), ("mode", MODE))
LOOP_ONLY = frozenset({"missing-zero-grad", "inference-in-train-mode"})
"""Causes that the arguments of `diagnose` do not show."""


def family(causes: frozenset[str]) -> str:
    """Return the family that most of the causes belong to; the first of several."""
    return max(FAMILIES, key=lambda one: len(causes & one[1]))[0]
