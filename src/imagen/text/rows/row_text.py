"""Embeddings that come with the rows of the data set: `text.mode=shards`."""

import logging

from imagen.errors import UserError
from imagen.text.encoders import TextEncoder
from imagen.text.model_files import MissingModelError
from imagen.text.rows.row_file import RowReader, fingerprint_in, refuse_other_encoder
from imagen.text.sources import OnlineText

log = logging.getLogger(__name__)


class RowsText(OnlineText):
    """The captions of rows are embedded beside their pictures, and read with them; no table of captions is held.

    Other captions, such as prompts, are encoded when they are asked for. If the encoder's files are missing, rows that
    agree with its settings are used, with a warning.

    Args:
        encoder: the one that must have made the embeddings.
        features: width of a token vector, for an encoder whose files are missing.
    """

    def __init__(self, encoder: TextEncoder, features: int) -> None:
        super().__init__(encoder)
        self._width = features
        self._made_by: dict[str, str | int] | None = None

    @property
    def features(self) -> int:
        try:
            return super().features
        except MissingModelError:
            return self._width

    @property
    def fingerprint(self) -> dict[str, str | int]:
        return self._made_by or super().fingerprint

    def reader(self, first: bytes | None, where: str, name: str) -> RowReader:
        """What reads the rows of a source: loader workers get a copy of it.

        Args:
            first: the file of the first row.
            where: names that row in messages.
            name: of the source.

        Raises:
            UserError: if there is no such file, it is damaged, or another encoder made it.
        """
        if first is None:
            raise UserError(
                f"text.mode=shards: {name} has no embedded captions beside its pictures; write them with `imagen "
                "shards` and read those with data=webdataset, or set text.mode=cached"
            )
        found = fingerprint_in(first, f"{where}, embedded captions")
        wanted = self._wanted(found, name)
        refuse_other_encoder(found, wanted, where)
        self._made_by = wanted
        return RowReader(wanted, self.features)

    def _wanted(self, found: dict[str, str | int], name: str) -> dict[str, str | int]:
        """The fingerprint that rows must have, if one of them has the fingerprint `found`."""
        try:
            return self._encoder.fingerprint
        except MissingModelError as absent:
            log.warning(
                "using the embeddings in %s without comparing their encoder, whose files are missing: %s", name, absent
            )
            return found | self._encoder.settings
