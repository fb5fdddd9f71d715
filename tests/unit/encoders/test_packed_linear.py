"""Linear layers in another layout give the same numbers and are used only where that pays."""

import pytest
import torch

from udfs.encoders import packed_linear
from udfs.encoders.packed_linear import PackedLinear, pack_linears


@pytest.mark.parametrize("shape", [(1, 8), (7, 8), (2, 5, 8), (300, 8)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_gives_the_same_numbers(shape: tuple[int, ...], bias: bool) -> None:
    linear = torch.nn.Linear(8, 12, bias=bias)
    rows = torch.randn(shape)
    with torch.inference_mode():
        assert (PackedLinear(linear)(rows) - linear(rows)).abs().max() < 1e-6


class Gate(torch.nn.Linear):
    """Does more than a linear layer."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(super().forward(input))


def a_model() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Sequential(torch.nn.Linear(8, 16)), Gate(16, 2))


@pytest.mark.parametrize(("pays", "expected"), [(True, 2), (False, 0)])
def test_all_plain_layers_are_replaced_where_it_pays(
    monkeypatch: pytest.MonkeyPatch, pays: bool, expected: int
) -> None:
    monkeypatch.setattr(packed_linear, "_pays", lambda linear: pays)
    model = a_model()
    rows = torch.randn(5, 8)
    with torch.inference_mode():
        before = model(rows)
        assert pack_linears(model) == expected  # type: ignore[arg-type]
        assert sum(isinstance(module, PackedLinear) for module in model.modules()) == expected
        assert (model(rows) - before).abs().max() < 1e-6


@pytest.mark.parametrize(("seconds", "expected"), [((2.0, 1.0), True), ((1.05, 1.0), False), ((1.0, 2.0), False)])
def test_packing_pays_from_a_tenth_upward(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], expected: bool
) -> None:
    taken = iter(seconds)
    monkeypatch.setattr(packed_linear, "_seconds", lambda layer, rows: next(taken))
    assert packed_linear._pays(torch.nn.Linear(8, 12)) is expected


def test_packing_that_changes_numbers_never_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackedLinear, "forward", lambda self, rows: torch.zeros(*rows.shape[:-1], 12))
    assert packed_linear._pays(torch.nn.Linear(8, 12)) is False


def test_a_torch_without_the_operation_skips_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise AttributeError("no such operation")

    monkeypatch.setattr(PackedLinear, "__init__", missing)
    assert packed_linear._pays(torch.nn.Linear(8, 12)) is False


def test_a_model_without_linear_layers_is_left_alone() -> None:
    assert pack_linears(torch.nn.Sequential(torch.nn.Identity())) == 0  # type: ignore[arg-type]
