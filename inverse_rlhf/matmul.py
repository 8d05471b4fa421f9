"""Float32 matrix products by oneDNN on AMD CPUs, where torch's MKL keeps to AVX2 kernels."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.library import Library, get_kernel

_SMALLEST = 2**20  # multiplications of a product; smaller ones cost oneDNN more than they save


def prefer_onednn() -> Library | None:
    """Compute float32 products with oneDNN from here on, where this CPU gains by it.

    AMD CPUs with AVX-512: oneDNN uses it, MKL does not, and takes two to three times as long. Sums
    are rounded in another order; precision is float32 in both.

    Returns:
        The registration, in force while this object lives; None on other CPUs.
    """
    cpu = torch.cpu.get_capabilities()
    if "AMD" not in cpu.get("cpu_name", "") or not cpu.get("avx512_f"):
        return None
    if not torch.backends.mkldnn.is_available():
        return None
    library = Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*Overriding a previously registered kernel")
        for name, ours in (("mm", _mm), ("mm.out", _mm), ("addmm", _addmm), ("addmm_", _addmm_)):
            _register(library, name, ours)
    return library


def _register(library: Library, name: str, ours: Callable[..., Tensor | None]) -> None:
    """Where `ours` returns None, torch's own kernel computes the product."""
    torchs = get_kernel(f"aten::{name}", "CPU")

    def kernel(keys: Any, *args: Any, **kwargs: Any) -> Any:
        product = ours(*args, **kwargs)
        return torchs.call_boxed(keys, *args, **kwargs) if product is None else product

    library.impl(name, kernel, "CPU", with_keyset=True, allow_override=True)


def _mm(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor | None:
    product = _product(left, right)
    if product is None or out is None:
        return product
    return out.copy_(product) if out.shape == product.shape else None


def _addmm(
    bias: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor | None:
    if not beta == alpha == 1 or bias.shape != right.shape[1:] or bias.dtype != left.dtype:
        return None
    return _product(left, right, bias)


def _addmm_(
    total: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor | None:
    if not beta == alpha == 1:
        return None
    product = _product(left, right)
    return None if product is None else total.add_(product)


def _product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor | None:
    (rows, inner), (height, columns) = left.shape, right.shape
    fits = inner == height and left.dtype == right.dtype == torch.float32
    if not fits or rows * inner * columns < _SMALLEST:
        return None
    product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), bias, "none", [], "")
    return product
