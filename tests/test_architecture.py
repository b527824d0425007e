"""Which room may import which, read from the sources; imports inside functions count too."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src"
MODULES = sorted((SOURCES / "imagen").rglob("*.py"))
ENTRY_POINTS = sorted(ROOT.glob("*.py"))

ORDER = (
    "errors",
    "tensors",
    "devices",
    "randomness",
    "places",
    "files",
    "locks",
    "concurrency",
    "checks",
    "progress",
    "fetching",
    "plugins",
    "instantiation",
    "pictures",
    "shapes",
    "diffusion",
    "networks",
    "text",
    "clip",
    "commandline",
    "data",
    "packing",
    "stages",
    "published",
    "cascade",
    "inputs",
    "evaluation",
    "callbacks",
    "runs",
    "planning",
    "sampling",
    "judging",
    "shipped",
    "web",
    "app",
)
"""A part of the package imports only from the parts before it, and from itself."""

WITHIN_EVALUATION = (
    "statistics",
    "prompts",
    "judges",
    "sweep",
    "results",
    "report",
    "compare",
    "ablation",
    "rating",
    "evaluation",
    "begun",
    "worlds",
)
"""The same for the rooms of `evaluation`."""

MOST_MODULES = 12
"""In one folder: more are a drawer."""

FRAMEWORKS = {"lightning", "pytorch_lightning", "hydra", "omegaconf", "transformers", "datasets", "torchmetrics"}
FILES = {"io", "json", "os", "pathlib", "pickle", "safetensors", "shutil", "tempfile", "yaml"}
FORBIDDEN = {"diffusion": FRAMEWORKS | FILES, "networks": FRAMEWORKS | FILES}

CLIENTS = {"boto3", "botocore", "fsspec", "gcsfs", "s3fs"}
CONNECTIONS = CLIENTS | {"aiohttp", "ftplib", "http", "httpx", "httpx2", "requests", "ssl", "urllib", "urllib3"}
"""Opens connections. `socket` is not among them: locks take the name of this machine from it."""

SLOW = {"torch", "torchvision", "lightning", "transformers", "datasets", "torchmetrics", "torch_fidelity", "matplotlib"}
"""Takes seconds to import, so `--help` must not."""

DRAWS = {"rand", "randn", "randint", "randperm", "normal", "multinomial", "bernoulli"}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    """The dotted name of a module of this package."""
    parts = path.relative_to(SOURCES).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def path_of(name: str) -> Path | None:
    """The file of a module of this package; None if `name` is not one."""
    stem = SOURCES.joinpath(*name.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def part_of(module: str) -> str:
    """The entry of ORDER that `imagen.part.…` belongs to."""
    return module.split(".")[1]


def run_at_import(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """The nodes of a module that run when it is imported: not those in functions, not those for type checkers."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from run_at_import(node.orelse)
            continue
        yield node
        for field in ("body", "orelse", "handlers", "finalbody"):
            yield from run_at_import(getattr(node, field, []))


def imports_of(nodes: Iterator[ast.AST], package: list[str]) -> Iterator[str]:
    """The full names of the modules that the import statements among `nodes` ask for."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            # `from imagen import text` names a module, `from imagen.errors import UserError` does not.
            yield from (f"{module}.{alias.name}" for alias in node.names if path_of(f"{module}.{alias.name}"))


def imports(path: Path, only_at_import: bool = False) -> set[str]:
    tree = tree_of(path)
    package = name_of(path).split(".") if path.is_relative_to(SOURCES) else []
    package = package if path.name == "__init__.py" else package[:-1]
    return set(imports_of(run_at_import(tree.body) if only_at_import else ast.walk(tree), package))


def all_calls() -> Iterator[tuple[Path, ast.Call]]:
    for path in MODULES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call):
                yield path, node


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"


def test_every_part_of_the_package_has_its_place_in_the_order():
    parts = {part_of(name_of(path)) for path in MODULES if name_of(path) != "imagen"}
    assert parts == set(ORDER)


def test_imports_point_one_way():
    backwards = [
        f"{name_of(path)} imports {module}"
        for path in MODULES
        if name_of(path) != "imagen"  # the front door, which imports when it is asked
        for module in imports(path)
        if module.startswith("imagen.") and ORDER.index(part_of(module)) > ORDER.index(part_of(name_of(path)))
    ]
    assert backwards == []


def test_imports_within_evaluation_point_one_way():
    inside = "imagen.evaluation."
    backwards = [
        f"{name_of(path)} imports {module}"
        for path in MODULES
        for module in imports(path)
        if name_of(path).startswith(inside) and module.startswith(inside)
        if WITHIN_EVALUATION.index(module.split(".")[2]) > WITHIN_EVALUATION.index(name_of(path).split(".")[2])
    ]
    assert backwards == []


def test_no_folder_is_a_drawer():
    folders = Counter(path.parent for path in MODULES if path.name != "__init__.py")
    assert [f"{folder.name}: {count}" for folder, count in folders.items() if count > MOST_MODULES] == []


def test_the_mathematics_and_the_networks_know_no_framework_and_no_files():
    forbidden = [
        f"{name_of(path)} imports {module}"
        for path in MODULES
        if name_of(path) != "imagen"
        for module in imports(path)
        if module.split(".")[0] in FORBIDDEN.get(part_of(name_of(path)), ())
    ]
    opened = [
        where(path, call)
        for path, call in all_calls()
        if FORBIDDEN.get(path.relative_to(SOURCES / "imagen").parts[0])
        and ast.unparse(call.func) in {"open", "torch.load", "torch.save", "torch.hub.load"}
    ]
    assert forbidden + opened == []


def test_two_modules_open_connections():
    """One fetches models, one reads archives at a URL that the user gives. Besides, `local_files_only=false` and
    `download=true` let the clients of the model hub fetch for themselves."""
    opening = {name_of(path) for path in MODULES if CONNECTIONS & {name.split(".")[0] for name in imports(path)}}
    assert opening == {"imagen.fetching.download", "imagen.data.shards.remote"}
    connecting = {"socket.socket", "socket.create_connection", "torch.hub.load_state_dict_from_url"}
    assert [where(path, call) for path, call in all_calls() if ast.unparse(call.func) in connecting] == []


def test_no_module_is_called_utils():
    vague = {"utils", "util", "helpers", "misc", "common"}
    assert [name_of(path) for path in MODULES if vague & set(name_of(path).split("."))] == []


@pytest.mark.parametrize("entry_point", ENTRY_POINTS, ids=lambda path: path.name)
def test_help_needs_no_slow_library(entry_point):
    """Follows what is imported before any function runs, from the entry point on, through this package."""
    assert len(entry_point.read_text(encoding="utf-8").splitlines()) <= 30
    reached, waiting = set(), [entry_point]
    while waiting:
        path = waiting.pop()
        for module in imports(path, only_at_import=True):
            parents = [".".join(module.split(".")[:depth]) for depth in range(1, module.count(".") + 2)]
            new = [name for name in parents if name not in reached]
            reached.update(new)
            waiting += [found for name in new if (found := path_of(name))]
    assert {name.split(".")[0] for name in reached} & SLOW == set()


def test_there_are_entry_points():
    assert {"train.py", "sample.py", "evaluate.py"} <= {path.name for path in ENTRY_POINTS}


def test_torch_load_never_runs_what_it_loads():
    loads = [(path, call) for path, call in all_calls() if ast.unparse(call.func) == "torch.load"]
    unsafe = [
        where(path, call)
        for path, call in loads
        if not any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in call.keywords)
    ]
    assert unsafe == []


def test_no_random_draw_comes_from_a_global_state():
    """It would depend on history. torch has `generator=`, numpy and the standard library seeded objects."""
    hidden = []
    for path, call in all_calls():
        library, _, function = ast.unparse(call.func).rpartition(".")
        keywords = {word.arg for word in call.keywords}
        seeded = {"np.random": "default_rng", "numpy.random": "default_rng", "random": "Random"}
        if (library == "torch" and function in DRAWS and "generator" not in keywords) or (
            library in seeded and (function != seeded[library] or not call.args)
        ):
            hidden.append(where(path, call))
    assert hidden == []


def test_one_function_knows_what_a_tilde_means():
    """`imagen.files.user_path`; every path that a user gives goes through it."""
    expanding = {name_of(path) for path, call in all_calls() if ast.unparse(call.func).endswith("expanduser")}
    assert expanding == {"imagen.files"}
    of_configuration = [
        where(path, call)
        for path, call in all_calls()
        if ast.unparse(call.func) == "Path" and ast.unparse(call).startswith("Path(config.")
    ]
    assert of_configuration == []
