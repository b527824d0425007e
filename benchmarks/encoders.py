"""What a T5 encoder of the shapes world knows about a caption, by linear probes on held-out compositions:

    python benchmarks/encoders.py assets/shapes_t5 cache/random_t5

The probes are those of the model card (imagen.shipped.t5_report). Prints a Markdown table, a column for each folder.
"""

import sys
from pathlib import Path

from transformers import AutoTokenizer, T5EncoderModel

from imagen.shipped.t5_report import probe, probed_scenes


def main(folders: list[Path]) -> None:
    """One column for each folder with a T5EncoderModel and its tokenizer."""
    seen, unseen = probed_scenes()
    figures = []
    for folder in folders:
        encoder = T5EncoderModel.from_pretrained(folder, dtype="float32", local_files_only=True).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        figures.append(probe(encoder, tokenizer, seen, unseen))
    print("| |" + "|".join(f" {folder.name} " for folder in folders) + "|\n|:--|" + "--:|" * len(folders))
    for name in figures[0]:
        print(f"| {name} | " + " | ".join(f"{column[name]:.3f}" for column in figures) + " |")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
