"""The shape of the house: who may import whom, how long a file is, what is loaded when, and what the papers say."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import models.errors
import tirada.errors
from models import registry
from tests.cli_tools import ROOT, Tirada, clean_environment
from tirada.cli.app import COMMANDS
from tirada.settings import Settings
from tirada.workflows import registry as workflows

PACKAGES = ("models", "tirada")
SOURCES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py"))
#: Room -> the rooms of tirada it may import from, beside itself (design §3); settings is read by cli alone.
ROOMS = {
    "cli": {"workflows", "engine", "output", "store", "settings", "errors"},
    "workflows": {"engine", "sources", "output", "store", "errors"},
    "engine": {"output", "store", "errors"},
    "sources": {"errors"},
    "output": {"errors"},
    "store": {"errors"},
    "settings": {"errors"},
    "errors": set(),
}
LINES_MAX, TEST_LINES_MAX = 400, 450
#: Modules that no help text is worth waiting for.
HEAVY = {"openai", "sqlalchemy", "pydantic_settings", "rich", "PIL", "numpy", "rapidfuzz", "slugify", "filelock"}
HEAVY |= {"dotenv", "pandas", "torch", "diffusers", "httpx2", "py3langid"}


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), str(path))


@functools.cache
def imports(path: Path) -> list[tuple[int, str]]:
    """(line, dotted name) of every import, also of those inside functions; ``from a import b`` gives a.b."""
    return list(_imports(path))


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)


def by_path(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=str)


# --- imports ----------------------------------------------------------------------------------------------------------


@by_path([path for path in SOURCES if path.parts[0] == "models"])
def test_models_import_nothing_of_tirada(path: Path) -> None:
    for line, name in imports(path):
        assert name.partition(".")[0] not in ("tirada", "tests"), f"{path}:{line}: {name}"


@by_path([path for path in SOURCES if path.parts[0] == "tirada" and path.name != "__init__.py"])
def test_imports_go_down_only(path: Path) -> None:
    room = Path(path.parts[1]).stem
    allowed = ROOMS[room] | {room, "__version__"}
    for line, name in imports(path):
        top, _, rest = name.partition(".")
        assert top != "tests", f"{path}:{line}: {name}"
        if top == "tirada":
            assert rest.partition(".")[0] in allowed, f"{path}:{line}: {room} must not import {name}"


def test_every_room_has_its_rule() -> None:
    rooms = {Path(path.parts[1]).stem for path in SOURCES if path.parts[0] == "tirada"} - {"__init__"}
    assert rooms == ROOMS.keys()


def test_the_front_door_knows_the_command_line_only() -> None:
    names = {name for _, name in imports(Path("main.py"))}
    assert names == {"sys", "tirada.cli.main.main"}


@by_path(SOURCES)
def test_only_the_command_line_speaks_to_the_terminal(path: Path) -> None:
    if path.is_relative_to("tirada/cli"):
        return
    for line, name in imports(path):
        assert name.partition(".")[0] not in ("typer", "rich", "click"), f"{path}:{line}: {name}"


@by_path(SOURCES)
def test_prints_and_the_environment_have_one_place_each(path: Path) -> None:
    for node in ast.walk(tree(path)):
        where = f"{path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Name) and node.id == "print":
            assert path == Path("tirada/cli/console.py"), f"{where}: only console.py prints"
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "putenv"):
            assert path == Path("tirada/settings.py"), f"{where}: only settings.py reads the environment"
        if isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr"):
            assert path.parent == Path("tirada/cli"), f"{where}: only the command line knows stdout and stderr"


@pytest.mark.parametrize(("paths", "most"), [(SOURCES, LINES_MAX), (TESTS, TEST_LINES_MAX)], ids=["source", "tests"])
def test_no_file_is_too_long(paths: list[Path], most: int) -> None:
    lengths = {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in paths}
    assert {path: length for path, length in lengths.items() if length > most} == {}


@by_path(SOURCES)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(tree(path))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":", "?"))


@pytest.mark.parametrize(
    ("work", "heavy"),
    [
        ("import tirada.cli.main, tirada.cli.app", HEAVY | {"pydantic"}),
        # Typer itself takes pydantic to read the command line, whatever is on it.
        ("from tirada.cli.main import main; main(['--help'])", HEAVY),
        ("from tirada.cli.main import main; main(['resume', '--help'])", HEAVY),
        ("from tirada.cli.main import main; main(['--version'])", HEAVY),
    ],
)
def test_nothing_heavy_is_loaded_for_a_help_text(work: str, heavy: set[str]) -> None:
    program = f"{work}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}}, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean_environment(), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "typer" in done.stderr.split()
    assert heavy & set(done.stderr.split()) == set()


# --- what is written down is true -------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [models.errors, tirada.errors], ids=["models", "tirada"])
def test_the_drawn_tree_of_errors_is_the_real_one(module: ModuleType) -> None:
    assert module.__doc__
    drawn = re.findall(r"^(?:(\w+)$|[├└]── (\w+) +\S)", module.__doc__, re.MULTILINE)
    root, *leaves = (top or leaf for top, leaf in drawn)
    own = [cls for _, cls in inspect.getmembers(module, inspect.isclass) if cls.__module__ == module.__name__]
    assert {cls.__name__ for cls in own} == {root, *leaves}
    for cls in own:
        assert cls.__name__ == root or cls.__base__ is getattr(module, root)


def test_errors_are_stored_under_names_of_their_own() -> None:
    kinds = [cls.kind for cls in models.errors.ModelError.__subclasses__() if cls.__module__ == "models.errors"]
    assert len(set(kinds)) == len(kinds)


def test_the_example_settings_are_the_settings() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    written = dict(re.findall(r"^#([A-Z_]+)=(.*)$", text, re.MULTILINE))
    fields = Settings.model_fields
    assert set(written) == {name.upper() for name in fields}
    for name, field in fields.items():
        assert written[name.upper()] == ("" if field.default is None else str(field.default)), name
        assert f"# {field.description}\n#{name.upper()}=" in text, name


def test_the_example_settings_can_be_used_as_they_are(tirada: Tirada) -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    Path(".env").write_text(re.sub(r"^#([A-Z_]+=)", r"\1", text, flags=re.MULTILINE), encoding="utf-8")
    assert tirada("1", "--dry-run").code == 0


def test_the_settings_of_the_backends_are_settings() -> None:
    for row in registry.BACKENDS:
        assert {name.lower() for name in row.settings} <= Settings.model_fields.keys()


def test_ci_runs_what_the_readme_says() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "make test" in script.read_text(encoding="utf-8").splitlines()
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("run", "test", "check", "bench"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    for script_path in re.findall(r"(benchmarks/\w+\.py)", makefile):
        assert (ROOT / script_path).is_file(), script_path


def test_the_package_says_what_it_needs() -> None:
    """Every module that is imported from outside comes with the package, or with the extra it belongs to."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split(r"[<>=!\[]", line)[0] for line in project["dependencies"]}
    names = {"PIL": "pillow", "slugify": "python-slugify", "pydantic_settings": "pydantic-settings"}
    names |= {"huggingface_hub": "huggingface-hub", "fpdf": "fpdf2", "fontTools": "fonttools"}
    extra = {re.split(r"[<>=!\[]", line)[0] for line in project["optional-dependencies"]["local"]}
    #: Come along with openai and pydantic-settings, which promise them.
    brought = {"httpx2", "dotenv"}

    def foreign(paths: list[Path]) -> set[str]:
        found = {name.partition(".")[0] for path in paths for _, name in imports(path)}
        rest = found - set(sys.stdlib_module_names) - {*PACKAGES, "__future__"} - brought
        return {names.get(name, name) for name in rest}

    local = [path for path in SOURCES if path.is_relative_to("models/backends/local")]
    assert foreign([path for path in SOURCES if path not in local]) <= needed
    assert foreign(local) <= needed | extra
    assert "torch>=2.6,<2.14" in project["optional-dependencies"]["local"]


# --- the README -------------------------------------------------------------------------------------------------------

README = ROOT / "README.md"
#: Settings that the hub's own library reads.
OF_THE_HUB = ("HF_HUB_OFFLINE",)
#: What stands for something of the reader's own -> something that parses.
OWN_WORDS = {"ID": "abc", "RUN": "abc", "PATH/info.json": "info.json"}


def command_lines(text: str) -> list[list[str]]:
    """Every command of the fenced shell blocks as words, without comments and with continued lines joined."""
    blocks = re.findall(r"^```(?:bash|sh|shell|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line.removeprefix("$ "), comments=True))]


def arguments_of(words: list[str]) -> list[str] | None:
    """What Tirada gets of a command, or None where the command is another program."""
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if re.search(r"(^|/)python[0-9.]*$", words[0]) and words[1:2] == ["main.py"]:
        return words[2:]
    return words[1:] if words[0] == "tirada" else None


def parses(tirada: Tirada, arguments: list[str]) -> str:
    """What is wrong with a command line, or nothing; it is not carried out."""
    arguments = [OWN_WORDS.get(word, word) for word in arguments]
    named = arguments and arguments[0] in (COMMANDS.keys() | set(workflows.names())) - {"batch"}
    # --help is looked at before values are missed, so unknown options are found by a value that nothing takes.
    extra = ["--no-such-option-of-this-test"] if named else ["--dry-run"]
    result = tirada(*arguments, *extra)
    if named:
        return "" if result.err.rstrip().endswith("No such option: --no-such-option-of-this-test") else result.err
    # Without a key or the file at hand, a line that was understood ends in set-up or a missing file.
    absent = any(f"There is no {what}" in result.err for what in ("file", "LoRA file"))
    understood = result.code in (0, 3) or absent or "--writer gpt" in result.err
    return "" if understood else result.err


def test_every_command_of_the_readme_is_understood(tirada: Tirada) -> None:
    wrong: dict[str, str] = {}
    lines = command_lines(README.read_text(encoding="utf-8"))
    for words in lines:
        arguments = arguments_of(words)
        if arguments is None:
            assert not {"main.py", "tirada"} & {word.rpartition("/")[2] for word in words}, f"not looked at: {words}"
        elif said := parses(tirada, arguments):
            wrong[shlex.join(words)] = said
    assert wrong == {}
    assert any(arguments_of(words) for words in lines), "the README shows no command"


def test_the_readme_names_what_there_is() -> None:
    text = README.read_text(encoding="utf-8")
    assert "make run" in text
    assert "make test" in text
    for name in (*COMMANDS, *workflows.names()):
        # A second command of a workflow is typed as two words.
        assert name == "batch" or re.search(rf"\b{name.replace('-', ' ')}\b", text), name
    for row in registry.BACKENDS:
        assert row.flag in text, row.flag
    for name in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+(?==)", text):
        assert name.lower() in Settings.model_fields or name in OF_THE_HUB, name


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("10 1024x576 --draft --stable-diffusion", False),
        ("10 --only-prompts --role photographer_animals --theme 'arctic wildlife' --language es", False),
        ("4 --from output/batch_prompts.csv", False),
        ("10 256x256 --dalle", False),
        ("rerun PATH/info.json", False),
        ("show ID", False),
        ("resume", False),
        ("avatar --bluesky name.bsky.social --dalle", False),
        ("story redo latest --page 3", False),
        ("avatar --blue name.bsky.social", True),
        ("campaign phone --no-such-thing", True),
        ("10 --no-such-thing", True),
        ("10 1x1", True),
        ("histroy", True),
        ("history --no-such-thing", True),
    ],
)
def test_the_reading_of_command_lines(tirada: Tirada, line: str, wrong: bool) -> None:
    """The issue's own lines, and proof that the test above would notice a bad one."""
    assert bool(parses(tirada, shlex.split(line))) == wrong
