"""The encoder half of pickled weights, once, to the safetensors that are read here."""

import tempfile
from pathlib import Path

from imagen.errors import UserError
from imagen.files import publish
from imagen.text.encoders import encoder_class
from imagen.text.model_files import read_json
from imagen.text.pretrained import load_pretrained


def convert_weights(folder: Path) -> list[Path]:
    """Write the encoder in `folder`/pytorch_model.bin beside it, as safetensors of the same numbers; the new files.

    Nothing that is in the file is run, and no code that came with the model.

    Raises:
        UserError: if there are safetensors already, or no pickled weights, or they do not load.
    """
    if not (folder / "pytorch_model.bin").is_file():
        raise UserError(f"{folder} holds no pytorch_model.bin: there is nothing to convert; fetch the model first")
    if list(folder.glob("model*.safetensors")):
        raise UserError(f"{folder} has safetensors already: nothing is to be converted")
    leaf = encoder_class(read_json(folder / "config.json"))
    with tempfile.TemporaryDirectory(dir=folder, prefix=".converting-") as place:
        # dtype: as it is stored
        model = load_pretrained(leaf, folder, dtype="auto", use_safetensors=False, weights_only=True)
        model.save_pretrained(place)
        # The index, which names the shards of a large model, comes last: a model without one is not there yet.
        made = sorted(Path(place).glob("model*"), key=lambda file: file.suffix == ".json")
        for file in made:
            publish(file, folder / file.name)
    return [folder / file.name for file in made]
