"""What torch's functions are, by name: linear maps, normalisations, activations and so on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


LINEAR = _names(
    "linear bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d matmul mm bmm einsum "
    "addmm baddbmm embedding multi_head_attention_forward"
)
CONVOLUTION = _names("conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d")
TRANSPOSED = _names("conv_transpose1d conv_transpose2d conv_transpose3d")
NORM = _names("batch_norm layer_norm group_norm instance_norm local_response_norm rms_norm normalize")
RECTIFIER = _names("relu relu6 threshold hardtanh clamp clamp_min leaky_relu prelu rrelu")
SQUASHING = _names("sigmoid tanh hardsigmoid softsign logsigmoid")
PROBABILITIES = _names("softmax sigmoid log_softmax logsigmoid hardsigmoid gumbel_softmax")
ACTIVATION = (
    RECTIFIER | SQUASHING | PROBABILITIES | _names("gelu silu mish elu selu celu softplus hardswish glu exp maximum")
)
DROPOUT = _names("dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout bernoulli")
POOL = _names(
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d adaptive_max_pool2d max_pool2d_with_indices lp_pool2d mean amax"
)
RESIZE = _names("interpolate pixel_shuffle pixel_unshuffle grid_sample")
MERGE = _names("add cat stack sub")
SHAPE = _names(
    "view reshape flatten unflatten permute transpose squeeze unsqueeze contiguous t T.get mT.get movedim moveaxis "
    "swapaxes expand repeat narrow getitem chunk split unbind tile float to type_as clone pad view_as expand_as "
    "requires_grad identity"
)
"""Functions that move numbers about and change none."""
LOSS = _names(
    "cross_entropy nll_loss binary_cross_entropy binary_cross_entropy_with_logits mse_loss l1_loss smooth_l1_loss "
    "huber_loss kl_div poisson_nll_loss gaussian_nll_loss hinge_embedding_loss multi_margin_loss soft_margin_loss "
    "multilabel_margin_loss multilabel_soft_margin_loss cosine_embedding_loss margin_ranking_loss triplet_margin_loss "
    "ctc_loss"
)
ELEMENTWISE = _names("mse_loss l1_loss smooth_l1_loss huber_loss")
"""Losses that compare values, not answers."""
CUTS = _names(
    "detach data.get numpy item tolist array argmax argmin max_indices from_numpy gt lt ge le eq ne greater less bool "
    "long int"
)
"""Functions behind which no gradient flows, where they are given something with a gradient."""

_SAME = {
    **dict.fromkeys(("iadd", "radd"), "add"),
    **dict.fromkeys(("isub", "rsub", "subtract"), "sub"),
    **dict.fromkeys(("imul", "rmul", "multiply"), "mul"),
    **dict.fromkeys(("itruediv", "rtruediv", "truediv", "divide", "true_divide", "rdiv"), "div"),
    **dict.fromkeys(("rmatmul", "imatmul"), "matmul"),
    **dict.fromkeys(("concat", "concatenate"), "cat"),
    **dict.fromkeys(("upsample", "upsample_bilinear", "upsample_nearest"), "interpolate"),
}


def function_name(function: Callable[..., Any]) -> str:
    """Return one name for a function, its method, its operator and its in-place form; "data.get" for a property.

    Example:
        >>> import torch
        >>> function_name(torch.Tensor.__iadd__), function_name(torch.relu_), function_name(torch.Tensor.data.__get__)
        ('add', 'relu', 'data.get')
    """
    name = str(getattr(function, "__name__", type(function).__name__))
    if name in ("__get__", "__set__"):
        return f"{getattr(getattr(function, '__self__', None), '__name__', '')}.{name.strip('_')}"
    bare = name.strip("_")
    return _SAME.get(bare, bare)
