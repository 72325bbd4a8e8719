import io
import pickle
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest

from catp.training.digest import file_digest
from catp.training.policy import checkpoint
from catp.training.policy.errors import CheckpointError
from catp.training.policy.models import find_model, models_dir
from catp.training.policy.pull import pull


def pack(kind: str, path: Path, files: Mapping[str, bytes]) -> Path:
    path = path.with_name(path.name + kind)
    if kind == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def files(saved: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(saved.iterdir())}


def installed() -> list[str]:
    return sorted(path.name for path in models_dir().iterdir()) if models_dir().is_dir() else []


def same(saved: Path, found: Path) -> bool:
    return {p.name: p.read_bytes() for p in saved.iterdir()} == {p.name: p.read_bytes() for p in found.iterdir()}


@pytest.mark.parametrize("top", ["", "tiny/", "./tiny/"])
@pytest.mark.parametrize("kind", [".zip", ".tar.gz", ".tgz"])
def test_an_archive_is_installed(saved: Path, files: dict[str, bytes], tmp_path: Path, kind: str, top: str) -> None:
    archive = pack(kind, tmp_path / "a", {top + name: content for name, content in files.items()})
    found = pull(str(archive), "mine", sha256=file_digest(archive))
    assert found == find_model("mine")
    assert same(saved, found)
    checkpoint.load(found)


def test_a_folder_is_installed(saved: Path) -> None:
    assert same(saved, pull(str(saved), "mine"))


def test_a_policy_is_replaced_only_if_asked(saved: Path) -> None:
    pull(str(saved), "mine")
    (models_dir() / "mine" / "mark").write_text("x")
    with pytest.raises(FileExistsError, match="mine is there already"):
        pull(str(saved), "mine")
    assert (models_dir() / "mine" / "mark").exists()
    assert same(saved, pull(str(saved), "mine", replace=True))


@pytest.mark.parametrize("kind", [".zip", ".tar.gz"])
@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "tiny/../../evil", "a/b/c", "..\\evil", "tiny/../catp.json", ".."]
)
def test_names_that_lead_out_are_refused(files: dict[str, bytes], tmp_path: Path, kind: str, name: str) -> None:
    archive = pack(kind, tmp_path / "a", {**files, name: b"evil"})
    with pytest.raises(CheckpointError, match=r"not safe to unpack|files of one folder"):
        pull(str(archive), "mine")
    assert installed() == []
    assert list(tmp_path.rglob("*evil*")) == []


def test_two_files_of_one_name_are_refused(files: dict[str, bytes], tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        for content in (files["catp.json"], b"{}"):
            info = tarfile.TarInfo("catp.json")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(CheckpointError, match="files of one folder"):
        pull(str(tmp_path / "a.tgz"), "mine")


@pytest.mark.parametrize("type_", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, type_: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("catp.json")
        info.type, info.linkname = type_, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(CheckpointError, match="link or a device: not safe"):
        pull(str(tmp_path / "a.tar.gz"), "mine")
    assert installed() == []


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("catp.json")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(CheckpointError, match="is a link: not safe"):
        pull(str(tmp_path / "a.zip"), "mine")


@pytest.mark.parametrize("kind", [".zip", ".tar.gz"])
def test_an_archive_that_unpacks_to_too_much(files: dict[str, bytes], tmp_path: Path, kind: str) -> None:
    archive = pack(kind, tmp_path / "bomb", {**files, "zeros": bytes(30_000_000)})
    assert archive.stat().st_size < 1_000_000
    with pytest.raises(CheckpointError, match="unpacks to more than 1000000 bytes"):
        pull(str(archive), "mine", limit=1_000_000)
    assert installed() == []


@pytest.mark.parametrize("kind", [".zip", ".tar.gz"])
@pytest.mark.parametrize("damage", ["cut", "flip", "text"])
def test_damaged_archives(files: dict[str, bytes], tmp_path: Path, kind: str, damage: str) -> None:
    archive = pack(kind, tmp_path / "a", files)
    content = bytearray(archive.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "flip":
        content[len(content) // 2] ^= 0xFF
    else:
        content = bytearray(b"no archive at all")
    archive.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="damaged"):
        pull(str(archive), "mine")
    assert installed() == []


def no_manifest(files: dict[str, bytes]) -> None:
    del files["catp.json"]


def with_pickle(files: dict[str, bytes]) -> None:
    files["state.pt"] = pickle.dumps({})


def cut_weights(files: dict[str, bytes]) -> None:
    files["model.safetensors"] = files["model.safetensors"][:-8]


def changed_weights(files: dict[str, bytes]) -> None:
    files["model.safetensors"] = files["model.safetensors"][:-8] + bytes(8)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (no_manifest, "has no catp.json"),
        (with_pickle, r"state\.pt is a pickle"),
        (cut_weights, "cut short"),
        (changed_weights, "is damaged: not what catp.json says"),
    ],
)
def test_what_is_no_sound_policy_is_not_installed(
    files: dict[str, bytes], tmp_path: Path, spoil: Callable[[dict[str, bytes]], None], says: str
) -> None:
    spoil(files)
    archive = pack(".zip", tmp_path / "a", files)
    with pytest.raises(CheckpointError, match=says) as caught:
        pull(str(archive), "mine")
    assert str(archive) in str(caught.value)
    assert "nothing was installed" in str(caught.value)
    assert installed() == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 65])
def test_names_that_are_none(saved: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="is no name for a policy"):
        pull(str(saved), name)


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no folder or archive"):
        pull(str(tmp_path / "nothing.zip"), "mine")
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    with pytest.raises(CheckpointError, match=r"neither a folder nor a \.tar\.gz"):
        pull(str(tmp_path / "a.rar"), "mine")


def test_a_file_with_another_digest(saved: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "a"), "zip", saved)
    with pytest.raises(CheckpointError, match="has another SHA-256 than 00"):
        pull(archive, "mine", sha256="00")


def server(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(answer))


def test_an_address_is_fetched_and_checked(saved: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    archive = pack(".tar.gz", tmp_path / "a", files)
    told: list[tuple[int, int | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/old.tar.gz":
            return httpx.Response(302, headers={"location": "https://b.example/a.tar.gz"})
        return httpx.Response(200, content=archive.read_bytes())

    found = pull(
        "https://a.example/old.tar.gz", "mine", sha256=file_digest(archive), client=server(answer),
        progress=lambda got, of: told.append((got, of)),
    )  # fmt: skip
    assert same(saved, found)
    assert told[-1] == (archive.stat().st_size, archive.stat().st_size)


def test_addresses_that_are_not_trusted(files: dict[str, bytes], tmp_path: Path) -> None:
    content = pack(".zip", tmp_path / "a", files).read_bytes()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/down.zip":
            return httpx.Response(302, headers={"location": "http://a.example/a.zip"})
        if request.url.path == "/gone.zip":
            return httpx.Response(404)
        return httpx.Response(200, content=content)

    def refused(url: str, says: str, sha256: str | None = "ab", limit: int = 10**9) -> None:
        with pytest.raises(CheckpointError, match=says):
            pull(url, "mine", sha256=sha256, client=server(answer), limit=limit)
        assert installed() == []

    refused("http://a.example/a.zip", "is no https address")
    refused("file:///etc/passwd", "is no https address")
    refused("https://a.example/a.zip", "needs the SHA-256", sha256=None)
    refused("https://a.example/a.zip", "has another SHA-256")
    refused("https://a.example/down.zip", "which is not https")
    refused("https://a.example/gone.zip", "cannot be fetched: .*404")
    refused("https://a.example/a.zip", "sends more than 1000 bytes", limit=1000)
