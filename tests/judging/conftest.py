import pytest
from halves import COLOURS, SIDES, save_pictures


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory):
    """48 captioned pictures of 16 kinds. Every third row, of which there are 16, shows each kind once."""
    kinds = [(name, side) for name in COLOURS for side in SIDES]
    rows = [kinds[(index // 3 + 5 * (index % 3)) % 16] for index in range(48)]
    return save_pictures(tmp_path_factory.mktemp("own") / "halves", rows)
