"""Float32 matrix products by oneDNN on AMD CPUs, where torch's MKL keeps to AVX2 kernels."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.library import Library, get_kernel
from torch.nn.functional import pad

_BLOCK = 1024  # tokens of a product
_STEP = 64  # tokens; what is left of a block is filled up with zeros to a multiple of it
_SMALLEST = 2**20  # multiplications of a product; smaller ones cost oneDNN more than they save


@contextmanager
def onednn_products() -> Iterator[bool]:
    """Within it, oneDNN computes float32 products, where this CPU gains by it.

    AMD CPUs with AVX-512: oneDNN uses it, MKL does not, and takes about twice as long. Sums are
    rounded in another order; precision is float32 in both.

    Yields:
        Whether it does.
    """
    cpu = torch.cpu.get_capabilities()
    gains = "AMD" in cpu.get("cpu_name", "") and bool(cpu.get("avx512_f"))
    if not gains or not torch.backends.mkldnn.is_available():
        yield False
        return
    library = Library("aten", "IMPL")  # its kernels are in force while it lives
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*Overriding a previously registered kernel")
        for name, ours in (("mm", _mm), ("mm.out", _mm), ("addmm", _addmm), ("addmm_", _addmm_)):
            _register(library, name, ours)
    try:
        yield True
    finally:
        del library


def _register(library: Library, name: str, ours: Callable[..., Tensor | None]) -> None:
    """Where `ours` returns None, torch's own kernel computes the product."""
    torchs = get_kernel(f"aten::{name}", "CPU")

    def kernel(keys: Any, *args: Any, **kwargs: Any) -> Any:
        product = ours(*args, **kwargs)
        return torchs.call_boxed(keys, *args, **kwargs) if product is None else product

    library.impl(name, kernel, "CPU", with_keyset=True, allow_override=True)


def _mm(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor | None:
    if out is None:
        return _product(left, right)
    shape = left.shape[:1] + right.shape[1:]
    product = _product(left, right) if out.shape == shape and out.dtype == left.dtype else None
    return None if product is None else out.copy_(product)


def _addmm(
    bias: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor | None:
    usable = bias.shape == right.shape[1:] and bias.dtype == left.dtype and bias.is_contiguous()
    return _product(left, right, bias) if usable and beta == alpha == 1 else None


def _addmm_(
    total: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor | None:
    usable = total.shape == left.shape[:1] + right.shape[1:] and total.dtype == left.dtype
    product = _product(left, right) if usable and beta == alpha == 1 else None
    return None if product is None else total.add_(product)


def _product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor | None:
    """The product, or None where torch's own kernel is to compute it.

    It is put together from blocks along the tokens of a batch, which are the rows of an activation
    and the columns of a transposed one: oneDNN compiles code for every new shape and keeps it, up
    to gigabytes over batches of many lengths.
    """
    if left.dim() != 2 or right.dim() != 2:
        return None
    (rows, inner), (height, columns) = left.shape, right.shape
    fits = inner == height and left.dtype == right.dtype == torch.float32
    if not fits or _tokens(left) < _STEP or rows * inner * columns < _SMALLEST:
        return None
    if left.stride(0) != 1:
        parts = [_linear(_filled(part), right, bias)[: len(part)] for part in left.split(_BLOCK)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)
    blocks = zip(left.t().split(_BLOCK), right.split(_BLOCK), strict=True)
    first, *others = [(_filled(part).t(), _filled(factor)) for part, factor in blocks]
    product = _linear(*first, bias)
    for part, factor in others:
        product += _linear(part, factor, None)
    return product


def _tokens(left: Tensor) -> int:
    return left.shape[1] if left.stride(0) == 1 else left.shape[0]


def _filled(tokens: Tensor) -> Tensor:
    missing = -len(tokens) % _STEP
    return pad(tokens, (0, 0, 0, missing)) if missing else tokens


def _linear(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), bias, "none", [], "")
    return product
