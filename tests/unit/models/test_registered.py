"""Models of MLflow's registry: which version a name means, which of its files are taken, and what is refused."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import InputError
from tests.support.paths import ROOT
from udfs.models.folder import inspect_model_folder
from udfs.models.registered import choose_files, pin_version, version_folder
from udfs.models.source import describe_model, verified_folder, weight_bytes

mlflow = pytest.importorskip("mlflow", reason="needs the extra [mlflow]")


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A registry in a folder, by the client's own store."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = tmp_path.joinpath("registry").as_uri()
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


@pytest.fixture
def logged(tmp_path: Path, folder: Path) -> Path:
    """What the flavor sentence_transformers logs: the model below, and pickles, code and an environment beside it."""
    root = tmp_path / "logged"
    shutil.copytree(folder, root / "model.sentence_transformer")
    for name in ("MLmodel", "python_model.pkl", "conda.yaml", "requirements.txt", "code/loader.py"):
        root.joinpath(name).parent.mkdir(exist_ok=True)
        root.joinpath(name).write_text("never read")
    root.joinpath("model.sentence_transformer", "training_args.bin").write_bytes(b"\x80\x04never read")
    return root


@pytest.fixture
def registered(client: Any, logged: Path) -> Any:
    """Version 1 of `minilm`, with the alias `champion`."""
    client.create_registered_model("minilm")
    client.create_model_version("minilm", source=str(logged))
    client.set_registered_model_alias("minilm", "champion", "1")
    return client


def refusal(path: str, **settings: Any) -> str:
    with pytest.raises(InputError) as caught:
        describe_model(path, **settings)
    return str(caught.value)


def test_a_version_is_described_as_its_folder_is(registered: Any, folder: Path, tmp_path: Path) -> None:
    plain = describe_model(str(folder))
    spec = describe_model("models:/minilm/1", cache=str(tmp_path / "cache"))
    assert (spec.path, spec.digest, spec.dimension) == ("models:/minilm/1", plain.digest, plain.dimension)
    root = Path(str(spec.folder))
    assert root.parent == tmp_path / "cache" and root.name.startswith("minilm-1-")
    # No pickle and nothing from beside the model's folder is taken, and nothing unfinished is left.
    assert not [name for name in root.rglob("*") if name.suffix in (".bin", ".pkl", ".py", ".yaml")]
    assert [path.name for path in root.parent.iterdir()] == [root.name]
    assert weight_bytes(spec) == weight_bytes(plain)
    with verified_folder(spec) as found:
        assert found.root == str(root)


def test_an_alias_is_its_version_and_a_moved_one_another_model(registered: Any, logged: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    before = describe_model("models:/minilm@champion", cache=cache)
    assert before.path == "models:/minilm/1"
    logged.joinpath("model.sentence_transformer", "vocab.txt").write_text("new")
    registered.create_model_version("minilm", source=str(logged))
    # A version that exists is not another one because an alias could move.
    assert describe_model("models:/minilm@champion", cache=cache) == before
    registered.set_registered_model_alias("minilm", "champion", "2")
    after = describe_model("models:/minilm@champion", cache=cache)
    assert after.path == "models:/minilm/2" and after.digest != before.digest
    # What was pinned stays what it was, on machines that have it and on those that have yet to fetch it.
    with verified_folder(before):
        pass


def test_a_worker_fetches_the_version_that_the_driver_pinned(registered: Any, tmp_path: Path) -> None:
    spec = describe_model("models:/minilm@champion", cache=str(tmp_path / "cache"))
    shutil.rmtree(tmp_path / "cache")
    with verified_folder(spec) as found:
        assert found.digest == spec.digest
    # A worker without the registry finds what is on the shared path.
    mlflow.set_registry_uri(tmp_path.joinpath("none").as_uri())
    with verified_folder(spec):
        pass


def test_a_name_that_was_registered_anew_is_fetched_anew(registered: Any, logged: Path, tmp_path: Path) -> None:
    before = pin_version("models:/minilm/1", str(tmp_path))
    registered.delete_registered_model("minilm")
    registered.create_registered_model("minilm")
    registered.create_model_version("minilm", source=str(logged))
    assert pin_version("models:/minilm/1", str(tmp_path)).folder != before.folder


def test_a_model_and_its_tokenizer_that_lie_apart_are_put_together(client: Any, folder: Path, tmp_path: Path) -> None:
    """As the flavor transformers logs them."""
    logged = tmp_path / "logged"
    logged.joinpath("model").mkdir(parents=True)
    logged.joinpath("components", "tokenizer").mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(folder / name, logged / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, logged / "components" / "tokenizer")
    client.create_registered_model("plain")
    client.create_model_version("plain", source=str(logged))
    spec = describe_model("models:/plain/1", cache=str(tmp_path / "cache"))
    found = inspect_model_folder(str(spec.folder))
    assert (found.model_type, found.pooling, spec.dimension) == ("bert", ("mean",), 8)
    assert Path(str(spec.folder), "tokenizer.json").is_file()


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["config.json", "model.safetensors"], ["config.json", "model.safetensors"]),
        (["a/modules.json", "a/2_Dense/config.json", "a/2_Dense/model.safetensors"], None),
        (["a/modules.json", "../b/model.safetensors", "a/.hidden/x.json", "a/x.pkl", "a/y.bin"], ["modules.json"]),
        (["MLmodel", "data/model.pkl", "model/config.json", "model/pytorch_model.bin"], []),
        ([], []),
    ],
)
def test_only_files_of_the_model_folder_are_chosen(names: list[str], chosen: list[str] | None) -> None:
    expected = [name.removeprefix("a/") for name in names] if chosen is None else chosen
    assert sorted(choose_files(names)) == sorted(expected)


def test_names_that_name_no_version_are_refused_without_a_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    for path in ("models:/a", "models:/a/latest", "models:/a/Production", "models:/a/0", "models:/a@b@c", "models:a/1"):
        assert "names no version of a registered model" in refusal(path)
    assert "models:/a/1 has its version in its name. Remove model.revision." in refusal(
        "models:/a/1", revision="0" * 40
    )
    assert "pip install 'embedlake[mlflow]'" in refusal("models:/a/1")


def test_what_the_registry_does_not_have_is_said(registered: Any, client: Any, tmp_path: Path) -> None:
    assert "the registry has no model nothing, or this user may not see it" in refusal("models:/nothing@champion")
    assert "the registry has no model nothing" in refusal("models:/nothing/1")
    assert "model minilm has no version 9" in refusal("models:/minilm/9")
    assert "model minilm has no alias rival (it has champion)" in refusal("models:/minilm@rival")
    client.create_registered_model("pickled")
    tmp_path.joinpath("pickled").mkdir()
    tmp_path.joinpath("pickled", "model.pkl").write_bytes(b"\x80\x04")
    client.create_model_version("pickled", source=str(tmp_path / "pickled"))
    assert "has no model folder with safetensors weights" in refusal("models:/pickled/1", cache=str(tmp_path / "c"))
    for name in ("a", "b"):
        tmp_path.joinpath("two", name).mkdir(parents=True)
        tmp_path.joinpath("two", name, "modules.json").write_text("[]")
    client.create_registered_model("two")
    client.create_model_version("two", source=str(tmp_path / "two"))
    assert "models:/two/1 has several model folders (a, b)" in refusal("models:/two/1", cache=str(tmp_path / "c"))
    assert not list(tmp_path.glob("c/*"))


def test_a_registry_that_refuses_or_is_gone_is_said_without_its_words(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

    def deny(*_: object) -> None:
        raise MlflowException("secret\nlines", error_code=PERMISSION_DENIED)

    monkeypatch.setattr(mlflow.MlflowClient, "get_model_version", deny)
    assert "does not let this user read models:/a.b.c/1. Ask for EXECUTE" in refusal("models:/a.b.c/1")
    monkeypatch.undo()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_registry_uri("http://user:secret@127.0.0.1:9")
    told = refusal("models:/minilm/1")
    assert "could not be asked for models:/minilm/1" in told and "MLFLOW_REGISTRY_URI" in told
    assert "secret" not in told


def test_a_file_that_cannot_be_fetched_is_said(registered: Any, logged: Path, tmp_path: Path) -> None:
    version = pin_version("models:/minilm/1", str(tmp_path / "cache"))
    tmp_path.joinpath("cache").write_text("a file, where the folder should be")
    with pytest.raises(InputError, match=r"let model\.cache name a folder that driver and executors share"):
        version_folder(version.path, version.folder)
    shutil.rmtree(logged)
    with pytest.raises(InputError, match=r"models:/minilm/1 (could not be fetched|has no model folder)"):
        version_folder(version.path, str(tmp_path / "other"))


def test_the_client_tells_nobody_outside() -> None:
    code = (
        "import os\nfrom udfs.models.registered import pin_version\n"
        "try:\n    pin_version('models:/nothing/1')\n"
        "except Exception:\n    print(os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment["MLFLOW_TRACKING_URI"] = "nowhere:/"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "true\n"
