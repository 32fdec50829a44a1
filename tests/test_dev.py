"""./dev, the one file that a fresh machine needs."""

import ast
import importlib.util
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
DEV = ROOT / "dev"
VERBS = ("demo", "test", "long", "check", "bench", "fmt", "pictures")


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file as a module, working in a copy of what it reads."""
    for name in (
        "pyproject.toml",
        "requirements.lock",
        "bench/mcp-proxy.lock",
        "tests/clients/package-lock.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = SourceFileLoader("penstock_dev", str(DEV))
    spec = importlib.util.spec_from_loader("penstock_dev", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "CLIENTS", tmp_path / "tests" / "clients")
    monkeypatch.setattr(module, "PROXY_LOCK", tmp_path / "bench" / "mcp-proxy.lock")
    return module


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(DEV), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


def test_help_names_every_verb() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(f"\n  {verb} " in done.stdout for verb in VERBS)


@pytest.mark.parametrize("arguments", [(), ("launch",)])
def test_a_wrong_call_ends_with_status_2_and_names_the_verbs(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert all(verb in done.stderr for verb in VERBS)


def test_an_old_python_can_read_the_file_far_enough_to_be_told_that_it_is_old() -> None:
    tree = ast.parse(DEV.read_text(), feature_version=(3, 6))
    # Python 3.6 knows no such import, and the parser does not tell.
    assert not [
        node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]


def test_an_old_python_is_told_what_to_install(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "MINIMUM", (3, 99))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(dev.Failed, match=r"(?s)needs 3\.99 or newer.*\n    apt install python3"):
        dev.ensure_python()


def test_what_it_starts_keeps_what_it_has_compiled(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert "PYTHONDONTWRITEBYTECODE" not in dev.environment()
    compiling = "--compile-bytecode"
    assert compiling in dev.installer(dev.VENV, "uv")
    assert compiling not in dev.installer(dev.VENV, None), "pip does it unasked"


def test_the_locks_belong_to_this_project_and_name_no_address(dev: ModuleType) -> None:
    assert dev.check_locks() == 0


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("pyproject.toml", '"msgspec>=0.22"', '"msgspec>=0.23"'),
        ("requirements.lock", "aiohttp==", "aiohttp @ https://packages.invalid/aiohttp-"),
        ("requirements.lock", "aiohttp==3.14.5 \\\n    --hash=", "aiohttp==3.14.5\n# "),
        ("bench/mcp-proxy.lock", "anyio==", "--index-url https://packages.invalid/\nanyio=="),
        (
            "tests/clients/package-lock.json",
            '"integrity"',
            '"resolved": "https://packages.invalid", "integrity"',
        ),
    ],
)
def test_a_stale_or_careless_lock_is_found(
    dev: ModuleType, tmp_path: Path, name: str, old: str, new: str
) -> None:
    text = (tmp_path / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new, 1))
    assert dev.check_locks() == 1


def test_a_half_made_environment_is_removed_and_a_whole_one_is_kept(dev: ModuleType, tmp_path: Path) -> None:
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    dev.clear_half_made(venv)
    assert not venv.exists(), "it has no Python"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    dev.clear_half_made(venv)
    assert venv.exists()
    (venv / dev.MAKING).touch()
    dev.clear_half_made(venv)
    assert not venv.exists(), "somebody was interrupted while making it"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    (venv / dev.STAMP).write_text('{"python": "/usr/bin/python3.10"}')
    dev.clear_half_made(venv)
    assert not venv.exists(), "it was made with another Python than the one that its link leads to now"


def test_a_missing_venv_module_is_answered_with_the_line_that_installs_it(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(dev.Failed, match=r"\n    apt install python3[.0-9]*-venv\n"):
        dev.make_venv(tmp_path / ".venv", None)
    assert not (tmp_path / ".venv").exists()
