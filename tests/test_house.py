"""The architecture can be seen: imports go down the floors only, and the door opens at once."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "saltjax"
# From the roof to the cellar. A room imports itself and what stands after it.
FLOORS = (
    "cli",
    "api",
    "report",
    "pocket",
    "study",
    "layers",
    "neurons",
    "evaluate",
    "train",
    "data",
    "models",
    "transfer",
    "vocab",
    "hub",
    "errors",
)


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "saltjax" and len(parts) > 1 and parts[1] in FLOORS:
                yield parts[1]


def test_imports_go_down_only():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room not in FLOORS:
            continue
        for other in imported_rooms(path):
            if FLOORS.index(other) < FLOORS.index(room):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {other}")
    assert not wrong


def test_every_room_has_its_place():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms <= set(FLOORS)


def test_help_needs_none_of_the_heavy_libraries():
    """`saltjax --help` answers at once because it imports none of them; the time itself is not a test's business."""
    code = (
        "import sys; sys.argv = ['saltjax', '--help']\n"
        "from saltjax.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'jax', 'numpy', 'torch', 'transformers', 'gensim', 'orbax', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout
