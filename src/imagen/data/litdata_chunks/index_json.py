"""What the `index.json` of a LitData data set says: the names of its chunks and what their rows hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imagen.checks.foreign import parse_json
from imagen.errors import UserError

NAME = "index.json"

MAX_BYTES = 1 << 28
"""A chunk takes about 100 bytes of it."""

LEAF = {"type": None, "context": None, "children_spec": []}
"""A value in a row, in `data_spec`."""

AGAIN = "write the data set again with litdata.optimize"


@dataclass(frozen=True)
class ChunkIndex:
    """The chunks in order and the columns of a row.

    `files`: names within the folder; `rows`: number of rows of each. `columns` in the order in which a row stores them,
    and `kinds`, LitData's name for how each is stored.
    """

    files: tuple[str, ...]
    rows: tuple[int, ...]
    columns: tuple[str, ...]
    kinds: tuple[str, ...]

    @classmethod
    def read(cls, content: bytes, where: str) -> "ChunkIndex":
        """The same from the bytes of the file, which may be a stranger's. `where` begins the error message.

        Raises:
            UserError: if it is no such index, or one of chunks that are compressed, encrypted or not of rows with named
                columns.
        """
        record = parse_json(content, where, AGAIN)
        config, chunks = (record.get(name) if isinstance(record, dict) else None for name in ("config", "chunks"))
        if not isinstance(config, dict) or not isinstance(chunks, list) or not chunks:
            raise UserError(f"{where}: no index of LitData chunks; {AGAIN}")
        for setting in ("compression", "encryption", "ipc_compression"):
            if config.get(setting) is not None:
                raise UserError(
                    f"{where}: the chunks have {setting}={config[setting]!r:.40}, so that no row can be read by "
                    f"itself; {AGAIN} without it"
                )
        if (loader := config.get("item_loader", "PyTreeLoader")) != "PyTreeLoader":
            raise UserError(f"{where}: chunks for {loader!r:.40} are not read; {AGAIN} from rows with named columns")
        columns, kinds = _columns(config, where), _texts(config.get("data_format"))
        if len(kinds) != len(columns):
            raise UserError(f"{where}: data_format is {kinds!r:.80}, not one kind for each column; {AGAIN}")
        entries = [_entry(chunk, where) for chunk in chunks]
        return cls(tuple(name for name, _ in entries), tuple(rows for _, rows in entries), columns, kinds)


def _columns(config: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The names in `data_spec`: [1, a dictionary whose children are leaves], as a text of JSON in JSON."""
    spec = config.get("data_spec")
    found = parse_json(spec, f"{where}, data_spec", AGAIN) if isinstance(spec, str) else None
    tree = found[1] if isinstance(found, list) and len(found) == 2 else None
    if isinstance(tree, dict) and tree.get("type") == "builtins.dict" and isinstance(tree.get("context"), str):
        names, children = _texts(parse_json(tree["context"], f"{where}, data_spec", AGAIN)), tree.get("children_spec")
        if names and [*dict.fromkeys(names)] == [*names] and children == [LEAF] * len(names):
            return names
    raise UserError(
        f"{where}: rows must be dictionaries whose values are not nested, such as {{image: bytes, caption: text}}; "
        f"{AGAIN} so"
    )


def _texts(value: object) -> tuple[str, ...]:
    """A list of texts; anything else is none."""
    return tuple(value) if isinstance(value, list) and all(isinstance(one, str) for one in value) else ()


def _entry(chunk: object, where: str) -> tuple[str, int]:
    """File name and number of rows of a chunk. The name may not lead out of the folder."""
    name, rows = (chunk.get(key) if isinstance(chunk, dict) else None for key in ("filename", "chunk_size"))
    plain = isinstance(name, str) and name.endswith(".bin") and name.isprintable() and not set(name) & set("/\\:{}?*#%")
    if not plain or not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise UserError(
            f"{where}: {chunk!r:.120} is no chunk with the name of a .bin file and a number of rows; {AGAIN}"
        )
    return str(name), rows
