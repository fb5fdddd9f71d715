"""What is found out about a machine without torch is what torch finds."""

from pathlib import Path

import pytest

from udfs.encoders import hardware
from udfs.encoders.hardware import cpu_dtype, free_memory, is_cpu_only, processor


def test_the_processors_type_is_what_torch_would_choose() -> None:
    import torch

    has_bfloat16 = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    assert cpu_dtype("auto") == ("bfloat16" if has_bfloat16 else "float32")
    assert [cpu_dtype(name) for name in ("float32", "bfloat16", "float16")] == ["float32", "bfloat16", "float16"]


def test_only_a_machine_without_the_driver_of_a_gpu_is_known_to_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_driver in (False, True):
        monkeypatch.setattr(hardware, "_has_gpu_driver", lambda has_driver=has_driver: has_driver)
        found = [is_cpu_only(device) for device in ("cpu", "auto", "cuda", "cuda:1")]
        assert found == [True, not has_driver, False, False]


def test_processors_with_other_instructions_have_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for flags in ("sse avx", "avx sse", "sse avx amx_tile"):
        monkeypatch.setattr(hardware, "_described", lambda flags=flags: {"model name": "X", "flags": flags})
        processor.cache_clear()
        found.append(processor())
    processor.cache_clear()
    assert found[0] == found[1] != found[2]
    assert " X " in found[0]


def test_free_memory_is_the_machines_or_the_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_MEMORY_LIMITS", ())
    of_machine = free_memory()
    assert of_machine is None or of_machine > 2**20
    limit, used = tmp_path / "max", tmp_path / "current"
    limit.write_text("5000\n")
    used.write_text("2000\n")
    monkeypatch.setattr(hardware, "_MEMORY_LIMITS", ((limit, used),))
    assert free_memory() == 3000
    limit.write_text("max\n")
    assert free_memory() is None or (free_memory() or 0) > 2**20
