"""Products by oneDNN: the same numbers as torch's, to rounding, wherever a model computes them."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from inverse_rlhf.matmul import prefer_onednn


@pytest.fixture
def onednn() -> Iterator[None]:
    library = prefer_onednn()
    if library is None:
        pytest.skip("torch's own kernels are used on this CPU")
    yield
    del library


def matrices(*shapes: tuple[int, int], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def exact(left: Tensor, right: Tensor) -> Tensor:
    return (left.double() @ right.double()).float()


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("rows", [3, 300])
def test_every_layout_gives_the_exact_product(rows: int) -> None:
    left, right, bias = matrices((rows, 200), (200, 100), (1, 100))
    expected = exact(left, right)
    out, total = torch.empty(2 * rows, 150)[::2, :100], torch.ones(rows, 100)
    found = {
        "contiguous": left @ right,
        "transposed": left.t().contiguous().t() @ right.t().contiguous().t(),
        "out": torch.mm(left, right, out=out),
        "bias": torch.addmm(bias[0], left, right) - bias,
        "bias of rows": torch.addmm(total, left, right) - 1,
        "scaled": torch.addmm(bias[0], left, right, beta=0.5) - 0.5 * bias,
        "in place": total.addmm_(left, right) - 1,
    }
    for name, product in found.items():
        torch.testing.assert_close(product, expected, rtol=1e-4, atol=1e-4, msg=name)
    assert found["out"] is out


@pytest.mark.usefixtures("onednn")
def test_gradients_are_those_of_the_product() -> None:
    inputs, weight, seen = matrices((300, 200), (100, 200), (300, 100))
    layer = torch.nn.Linear(200, 100)
    with torch.no_grad():
        layer.weight.copy_(weight)
    inputs.requires_grad_()
    layer(inputs).backward(seen)
    torch.testing.assert_close(inputs.grad, exact(seen, weight), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        layer.weight.grad, exact(seen.t(), inputs.detach()), rtol=1e-4, atol=1e-4
    )


@pytest.mark.usefixtures("onednn")
def test_what_it_does_not_compute_is_left_to_torch() -> None:
    left, right = matrices((300, 200), (200, 100), dtype=torch.bfloat16)
    assert (left @ right).dtype == torch.bfloat16
    assert (left.double() @ right.double()).dtype == torch.float64
    assert torch.mm(torch.empty(0, 200), torch.empty(200, 100)).shape == (0, 100)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        torch.mm(torch.ones(300, 200), torch.ones(100, 300))
