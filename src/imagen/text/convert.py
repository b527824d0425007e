"""Convert the encoder half of pickled weights to safetensors, the only format that encoders are read from."""

import tempfile
from pathlib import Path

from imagen.errors import UserError
from imagen.files import publish
from imagen.text.encoders import encoder_class
from imagen.text.model_files import read_json
from imagen.text.pretrained import load_pretrained


def convert_weights(folder: Path) -> list[Path]:
    """Write the encoder in `folder`/pytorch_model.bin as safetensors beside it, with the same numbers.

    No code in the file is run, nor any that came with the model.

    Returns:
        The new files.

    Raises:
        UserError: if there are safetensors already, if there are no pickled weights, or if they do not load.
    """
    if not (folder / "pytorch_model.bin").is_file():
        raise UserError(f"{folder} holds no pytorch_model.bin: there is nothing to convert; fetch the model first")
    if list(folder.glob("model*.safetensors")):
        raise UserError(f"{folder} has safetensors already: there is nothing to convert")
    leaf = encoder_class(read_json(folder / "config.json"))
    with tempfile.TemporaryDirectory(dir=folder, prefix=".converting-") as place:
        # dtype="auto": as stored
        model = load_pretrained(leaf, folder, dtype="auto", use_safetensors=False, weights_only=True)
        model.save_pretrained(place)
        # The index of a sharded model comes last: without it the model counts as missing.
        made = sorted(Path(place).glob("model*"), key=lambda file: file.suffix == ".json")
        for file in made:
            publish(file, folder / file.name)
    return [folder / file.name for file in made]
