"""The words of the doctor: every id with what it means and what it takes to see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["data", "model", "optimization", "mode", "symptoms"]
Needs = Literal["", "loop", "val"]


@dataclass(frozen=True)
class Term:
    """A word of the vocabulary.

    Args:
        id: the word.
        family: what it belongs to.
        meaning: what is so.
        needs: what it takes beside net, batches, loss and optimizer: "loop" (the loop, transform or schedule) or "val"
            (validation batches); empty where nothing.
    """

    id: str
    family: Family
    meaning: str
    needs: Needs = ""

    @property
    def symptom(self) -> bool:
        """Whether the word names an effect, not a cause."""
        return self.family == "symptoms"


_MEANINGS: dict[Family, dict[str, str]] = {
    "data": {
        "input-unnormalized": "inputs are far from zero mean / unit scale (for example raw 0..255)",
        "input-tiny-scale": "inputs vary hardly at all (for example divided by 255 twice)",
        "wrong-normalization-stats": (
            "mean/std used for normalising do not belong to these inputs (wrong range, channel order, other data set)"
        ),
        "input-constant": "inputs (or a channel, or most images) are constant: the picture content is lost",
        "input-nonfinite": "NaN or Inf in the inputs or targets",
        "input-layout": "image memory layout is scrambled (HWC data reshaped or viewed as CHW instead of permuted)",
        "label-out-of-range": (
            "target values outside what the loss and the output width accept (1..K, 255, {0,255} for BCE, ...)"
        ),
        "target-shape-broadcast": "target and output shapes differ and are silently broadcast by the loss",
        "mask-interpolated": (
            "segmentation masks were resized with interpolation: fractional values or false in-between classes on "
            "the borders"
        ),
        "mask-misaligned": "a geometric transform was applied to the image but not (or differently) to the mask",
        "ignore-index-hides-data": "ignore_index removes a real class or most of the targets from the loss",
        "labels-uninformative": (
            "labels do not go with the images (shuffled or off-by-one pairing): no relation to the input beyond chance"
        ),
        "duplicate-samples": "the same image occurs many times in the batches, or with contradictory labels",
        "unshuffled-batches": "batches are sorted by class (one or few classes per batch)",
        "class-imbalance": "a class (or the foreground) is so rare that the plain loss can ignore it",
        "train-val-leakage": "the same or nearly the same samples in training and validation data",
        "augmentation-changes-label": (
            "an augmentation turns a sample into one of another class or destroys its content"
        ),
    },
    "model": {
        "symmetric-init": (
            "units of a layer have identical weights and identical gradients (zero or constant initialisation) "
            "and stay identical"
        ),
        "init-too-large": "activations grow with depth because of too large initial weights",
        "init-too-small": (
            "signal shrinks with depth because of too small initial weights (includes Xavier or the framework's "
            "default on deep ReLU stacks without normalisation)"
        ),
        "saturating-activations": (
            "sigmoid / tanh units sit in their flat range or squash the signal from layer to layer"
        ),
        "dead-relu": "ReLU units that are zero for every sample and get no gradient",
        "missing-nonlinearity": (
            "consecutive linear or conv layers with no activation between them: the stack is (nearly) one linear map"
        ),
        "softmax-before-ce": (
            "probabilities instead of logits go into a cross-entropy loss that applies log-softmax itself"
        ),
        "sigmoid-before-bce-logits": "sigmoid outputs go into BCE-with-logits",
        "nll-without-logsoftmax": "raw scores (or plain probabilities) go into NLLLoss",
        "activation-on-logits": "the output layer has a ReLU / tanh / other activation although the loss wants logits",
        "softmax-wrong-dim": "softmax / log-softmax over the wrong dimension (batch or space instead of classes)",
        "loss-mismatch": (
            "the loss does not fit the task or output (for example MSE for many classes, BCE on values outside [0,1])"
        ),
        "detached-graph": (
            "the graph is cut (detach, .data, no_grad, argmax, numpy, .item()): layers before the cut get no gradient"
        ),
        "unregistered-params": (
            "tensors or layers used in forward but not registered in the module (python list or dict)"
        ),
        "unused-params": "registered trainable parameters that the loss does not depend on",
        "accidental-weight-sharing": "one module object used as several consecutive layers ([block] * n)",
        "batch-mixing": (
            "the output for a sample depends on other samples of the batch (wrong view / permute / reduction), "
            "batch norm aside"
        ),
        "deep-plain-net": "very deep stack with no skip connections: degradation",
        "missing-normalization": (
            "deep net with no normalisation layer and no substitute for it (symptom of unstable scale)"
        ),
        "bn-small-batch": "batch norm computes its statistics from too few values (batch of 1 or 2, 1x1 maps)",
        "bn-no-running-stats": "track_running_stats=False: inference depends on the composition of the batch",
        "bn-bad-momentum": "batch-norm momentum makes the running statistics useless (about 1, or 0)",
        "bias-before-bn": "redundant bias in a layer followed by batch norm",
        "dropout-too-high": "dropout removes nearly all units (keep/drop probability confused)",
        "dropout-before-bn": "dropout feeding batch norm: variance shift between training and inference",
        "checkerboard-upsampling": "transposed conv whose kernel is not a multiple of its stride: uneven overlap",
        "skip-misaligned": (
            "encoder features are joined with decoder features that belong to another place of the image"
        ),
        "spatial-collapse": "feature maps shrink to 1x1 (or nothing) long before the head",
        "head-size-mismatch": "number of outputs does not fit the labels (too many or too few)",
    },
    "optimization": {
        "lr-too-high": "steps are so long that the loss rises, oscillates or blows up",
        "lr-too-low": "steps are so short that nothing is learned in any reasonable time",
        "lr-never-decayed": "constant learning rate to the end of training",
        "momentum-too-high": "momentum / betas make steps overshoot",
        "weight-decay-too-high": "weight decay dominates the loss gradient: weights shrink to zero",
        "optimizer-missing-params": "trainable parameters that get gradients are not in the optimizer",
        "optimizer-stale-params": "the optimizer holds parameters of another (older) model object",
        "loss-reduction-sum": (
            "the loss is summed over samples or pixels, so that gradients scale with batch or picture size"
        ),
        "loss-sign": "the wrong direction is optimised (a score or a negated loss is minimised)",
        "dice-on-logits": "an overlap loss (Dice, Jaccard, Tversky) is computed on raw logits",
        "class-weights-inverted": "loss weights favour the frequent class",
        "missing-zero-grad": "gradients are accumulated across steps by mistake",
    },
    "mode": {
        "eval-mode-training": "the model (or its batch norm / dropout) is in eval mode although it is to be trained",
        "dropout-always-on": "dropout is active in eval mode too (functional dropout without training=self.training)",
        "frozen-layers": "layers with requires_grad=False that have no trained weights: random features are kept",
        "bn-not-frozen": "frozen (pretrained) backbone whose batch norms still run in training mode and drift",
        "nothing-frozen": "whole pretrained net is trained at once at a rate fit for a new head",
        "inference-in-train-mode": "evaluation runs with the model in training mode",
    },
    "symptoms": {
        "vanishing-gradients": "gradients of early layers are many orders of magnitude below those of late layers",
        "exploding-gradients": "gradients grow by many orders of magnitude",
        "bad-initial-loss": "loss before training is far from that of an uninformed guess",
        "constant-output": "outputs do not depend on the input",
        "loss-not-finite": "loss or gradients become NaN or Inf",
        "cannot-overfit-batch": "a short probe cannot fit one fixed batch",
        "forward-fails": (
            "forward, loss or backward raises an exception (the cause, where known, is a finding of its own)"
        ),
    },
}
_NEEDS: dict[str, Needs] = {
    "augmentation-changes-label": "loop",
    "lr-never-decayed": "loop",
    "missing-zero-grad": "loop",
    "inference-in-train-mode": "loop",
    "train-val-leakage": "val",
}

VOCABULARY: dict[str, Term] = {
    id: Term(id, family, meaning, _NEEDS.get(id, ""))
    for family, meanings in _MEANINGS.items()
    for id, meaning in meanings.items()
}
"""Every word, in the order of the vocabulary."""
SYMPTOMS = tuple(_MEANINGS["symptoms"])
"""Words that name an effect: emitted where no cause explains it."""
