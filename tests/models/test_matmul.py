"""Products by oneDNN: the same numbers as torch's, to rounding, wherever a model computes them."""

import resource
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from inverse_rlhf.models.matmul import onednn_products


@pytest.fixture
def onednn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The kernels in force, whether this CPU gains by them or not."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch is built without oneDNN")
    gains = {"cpu_name": "AMD", "avx512_f": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: gains)
    with onednn_products() as used:
        assert used
        yield


@pytest.mark.parametrize(
    ("name", "avx512", "used"),
    [("AMD EPYC", True, True), ("AMD EPYC", False, False), ("Intel(R) Xeon(R)", True, False)],
)
def test_it_is_used_where_it_gains(
    name: str, avx512: bool, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = {"cpu_name": name, "avx512_f": avx512}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu)
    with onednn_products() as found:
        assert found == (used and torch.backends.mkldnn.is_available())


def matrices(*shapes: tuple[int, int], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def exact(left: Tensor, right: Tensor) -> Tensor:
    return (left.double() @ right.double()).float()


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("rows", [3, 64, 350, 2500])
def test_every_layout_gives_the_exact_product(rows: int) -> None:
    left, right, bias = matrices((rows, 200), (200, 100), (1, 100))
    expected = exact(left, right)
    out, total = torch.empty(2 * rows, 150)[::2, :100], torch.ones(rows, 100)
    found = {
        "contiguous": left @ right,
        "transposed": left.t().contiguous().t() @ right.t().contiguous().t(),
        "gaps": torch.cat([left, left], 1)[:, :200] @ torch.cat([right, right], 1)[:, :100],
        "reversed": left.flip(1) @ right.flip(0),
        "out": torch.mm(left, right, out=out),
        "bias": torch.addmm(bias[0], left, right) - bias,
        "bias, transposed": torch.addmm(bias[0], left.t().contiguous().t(), right) - bias,
        "bias with gaps": torch.addmm(bias.t().repeat(1, 2)[:, 0], left, right) - bias,
        "bias expanded": torch.addmm(bias[0, :1].expand(100), left, right) - bias[0, 0],
        "bias of rows": torch.addmm(total, left, right) - 1,
        "scaled": torch.addmm(bias[0], left, right, beta=0.5) - 0.5 * bias,
        "in place": total.addmm_(left, right) - 1,
    }
    for name, product in found.items():
        torch.testing.assert_close(product, expected, rtol=1e-4, atol=1e-4, msg=name)
    assert found["out"] is out


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("tokens", [300, 2500])
def test_gradients_are_those_of_the_product(tokens: int) -> None:
    inputs, weight, seen = matrices((tokens, 200), (100, 200), (tokens, 100))
    layer = torch.nn.Linear(200, 100)
    with torch.no_grad():
        layer.weight.copy_(weight)
    inputs.requires_grad_()
    layer(inputs).backward(seen)
    torch.testing.assert_close(inputs.grad, exact(seen, weight), rtol=1e-4, atol=1e-4)
    summed = exact(seen.t(), inputs.detach())
    torch.testing.assert_close(layer.weight.grad, summed, rtol=1e-4, atol=1e-3)
    bias = torch.arange(200.0)
    found = torch.addmm(bias, seen.t(), inputs.detach()) - bias
    torch.testing.assert_close(found, summed, rtol=1e-4, atol=1e-3)


@pytest.mark.usefixtures("onednn")
def test_expanded_inputs_are_read_as_they_are() -> None:
    row, right = matrices((1, 200), (200, 100))
    for count in (300, 320):
        torch.testing.assert_close(row.expand(count, 200) @ right, (row @ right).expand(count, 100))
    for count in (128, 150):
        column = row.t()[:count].expand(count, 200)
        expected = exact(column, right)
        torch.testing.assert_close(column @ right, expected, rtol=1e-4, atol=1e-4)
    weight = torch.randn(200, 100, requires_grad=True)
    right.t().contiguous().mm(weight).sum().backward()
    torch.testing.assert_close(
        weight.grad, right.sum(1, keepdim=True).expand(200, 100), rtol=1e-4, atol=1e-4
    )


@pytest.mark.usefixtures("onednn")
def test_memory_does_not_grow_with_the_number_of_shapes() -> None:
    layer = torch.nn.Linear(128, 512)

    def read(lengths: range) -> None:
        for length in lengths:
            layer(torch.ones(length, 128)).square().sum().backward()

    read(range(1000, 1050))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read(range(1050, 1350))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # KiB


@pytest.mark.usefixtures("onednn")
def test_what_it_does_not_compute_is_left_to_torch() -> None:
    left, right = matrices((300, 200), (200, 100), dtype=torch.bfloat16)
    assert (left @ right).dtype == torch.bfloat16
    assert (left.double() @ right.double()).dtype == torch.float64
    assert torch.mm(torch.empty(0, 200), torch.empty(200, 100)).shape == (0, 100)
    with pytest.raises(RuntimeError, match="dtype"):
        torch.mm(left.float(), right.float(), out=torch.empty(300, 100, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="must be a matrix"):
        torch.mm(torch.ones(3, 300, 200), right.float())
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        torch.mm(torch.ones(300, 200), torch.ones(100, 300))
