"""Per-sample parameter gradients of single layers, from what went in and what came back.

Each rule takes a layer's input and the gradient of its output for some samples, rows ordered
sample by sample, and yields the gradient of each of its parameters for each sample, summed over
everything else the rows hold (timesteps, draws, positions). Goodfellow 2015 ("Efficient
per-example gradient computations") for linear layers; convolutions are one grouped convolution
whose groups are the samples (Rochette, Manoel and Tramel 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Part: TypeAlias = tuple[str, int, Tensor]
"""Name of a parameter in its layer, first element of the part, gradient (samples, length)."""

Rule: TypeAlias = Callable[[nn.Module, Tensor, Tensor, int], Iterator[Part]]
"""(layer, input (rows, ...), output gradient (rows, ...), samples) -> parts."""

_Conv = nn.Conv1d | nn.Conv2d
_Norm = nn.GroupNorm | nn.LayerNorm | nn.modules.batchnorm._BatchNorm


def linear(layer: nn.Module, activation: Tensor, gradient: Tensor, samples: int) -> Iterator[Part]:
    """Rule for `nn.Linear`: weight (out, in), bias (out,)."""
    outgoing = gradient.reshape(samples, -1, gradient.shape[-1])  # (S, n, out)
    if layer.weight.requires_grad:
        incoming = activation.reshape(samples, -1, activation.shape[-1])  # (S, n, in)
        # (S, out, n) @ (S, n, in) -> (S, out, in)
        yield "weight", 0, torch.bmm(outgoing.transpose(1, 2), incoming).flatten(1)
    if _wants_bias(layer):
        yield "bias", 0, outgoing.sum(1)


def convolution(
    layer: nn.Module, activation: Tensor, gradient: Tensor, samples: int
) -> Iterator[Part]:
    """Rule for `nn.Conv1d` and `nn.Conv2d`: weight (out, in / groups, *kernel), bias (out,)."""
    conv = cast(_Conv, layer)
    if _is_pointwise(conv):
        pointwise = _samples_with_positions_last
        yield from linear(
            conv, pointwise(activation, samples), pointwise(gradient, samples), samples
        )
        return
    weight, bias = _convolution_gradients(conv, activation, gradient, samples)
    if weight is not None:
        yield "weight", 0, weight.reshape(samples, -1)  # (S * out, ...) -> (S, out * ...)
    if bias is not None:
        yield "bias", 0, bias.reshape(samples, -1)


def norm(layer: nn.Module, activation: Tensor, gradient: Tensor, samples: int) -> Iterator[Part]:
    """Rule for normalisations y = weight * xhat + bias over channels or over last axes."""
    if isinstance(layer, nn.LayerNorm):
        shape = (samples, -1, layer.weight.numel())
        reduced: tuple[int, ...] = (1,)
    else:
        shape = (samples, -1, *_channels_and_rest(gradient))  # type: ignore[assignment]
        reduced = (1, 3)
    if layer.weight.requires_grad:
        normalised = _normalised(cast(_Norm, layer), activation)
        yield "weight", 0, (gradient * normalised).reshape(shape).sum(reduced)
    if _wants_bias(layer):
        yield "bias", 0, gradient.reshape(shape).sum(reduced)


def embedding(
    layer: nn.Module, activation: Tensor, gradient: Tensor, samples: int
) -> Iterator[Part]:
    """Rule for `nn.Embedding`: weight (entries, width).

    All entries, because which of them were looked up is known to the device alone: asking it
    would make the host wait.
    """
    table = cast(nn.Embedding, layer)
    entries, width = table.weight.shape
    looked_up = activation.reshape(samples, -1)  # (S, n)
    first_entries = torch.arange(samples, device=looked_up.device)[:, None] * entries  # (S, 1)
    weight = gradient.new_zeros(samples * entries, width)
    # adds in one order on every device; that all places exist, the forward pass has seen to
    torch.ops.aten._index_put_impl_(
        weight,
        [(first_entries + looked_up).flatten()],  # (S * n,)
        gradient.reshape(-1, width),  # (S * n, width)
        accumulate=True,
        unsafe=True,
    )
    weight = weight.reshape(samples, entries, width)
    if table.padding_idx is not None:
        weight[:, table.padding_idx].zero_()
    yield "weight", 0, weight.flatten(1)


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: linear,
    nn.Conv1d: convolution,
    nn.Conv2d: convolution,
    nn.GroupNorm: norm,
    nn.LayerNorm: norm,
    nn.BatchNorm1d: norm,
    nn.BatchNorm2d: norm,
    nn.Embedding: embedding,
}


def rule_for(layer: nn.Module) -> Rule | None:
    """Return the rule for a layer, None if there is none for layers of its kind or setting."""
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None:
        return None  # statistics of the batch mix the samples
    if isinstance(layer, nn.Embedding) and (layer.max_norm or layer.scale_grad_by_freq):
        return None
    return next((rule for kind, rule in RULES.items() if isinstance(layer, kind)), None)


def _is_pointwise(conv: _Conv) -> bool:
    """Return whether a convolution is the same linear map at every position."""
    one = (1,) * len(conv.kernel_size)
    return conv.kernel_size == conv.stride == one and conv.groups == 1 and not any(conv.padding)


def _samples_with_positions_last(rows: Tensor, samples: int) -> Tensor:
    """Bring the channels to the end: (S * n, C, ...) -> (S, n * positions, C), a view of it."""
    apart = rows.reshape(samples, -1, rows.shape[1], rows[0, 0].numel())  # (S, n, C, positions)
    return apart.transpose(1, 2).flatten(2).transpose(1, 2)


def _convolution_gradients(
    conv: _Conv, activation: Tensor, gradient: Tensor, samples: int
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of all samples' weights (S * out, ...) and biases (S * out,)."""
    channels = samples * conv.out_channels
    padding = conv.padding
    if isinstance(padding, str) or conv.padding_mode != "zeros":
        mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
        activation = F.pad(activation, conv._reversed_padding_repeated_twice, mode=mode)
        padding = (0,) * len(conv.stride)
    weight = gradient.new_empty(channels, *conv.weight.shape[1:])
    wanted = (False, conv.weight.requires_grad, _wants_bias(conv))
    _, weights, biases = torch.ops.aten.convolution_backward(
        _samples_as_channels(gradient, samples),
        _samples_as_channels(activation, samples),
        weight,
        [channels],
        conv.stride,
        padding,
        conv.dilation,
        False,
        (0,) * len(conv.stride),
        samples * conv.groups,
        wanted,
    )
    return weights, biases


def _samples_as_channels(rows: Tensor, samples: int) -> Tensor:
    """Make every sample a group of channels: (S * n, C, ...) -> (n, S * C, ...)."""
    if samples == 1:
        return rows
    apart = rows.reshape(samples, -1, *rows.shape[1:])
    return apart.transpose(0, 1).flatten(1, 2)


def _normalised(layer: _Norm, activation: Tensor) -> Tensor:
    """Return the layer's output before weight and bias, in the shape of `activation`."""
    if isinstance(layer, nn.LayerNorm):
        return F.layer_norm(activation, layer.normalized_shape, eps=layer.eps)
    if isinstance(layer, nn.GroupNorm):
        return F.group_norm(activation, layer.num_groups, eps=layer.eps)
    return F.batch_norm(activation, layer.running_mean, layer.running_var, eps=layer.eps)


def _channels_and_rest(rows: Tensor) -> tuple[int, int]:
    return rows.shape[1], rows[0, 0].numel()


def _wants_bias(layer: nn.Module) -> bool:
    return layer.bias is not None and bool(layer.bias.requires_grad)
