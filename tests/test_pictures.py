"""Labelled grids."""

import numpy as np

from imagen.pictures import LABEL_HEIGHT, LABEL_WIDTH, labelled_grid

RED = (255, 0, 0)


def test_a_picture_keeps_its_shape_in_the_middle_of_its_cell():
    grid = np.asarray(labelled_grid([[np.full((4, 8, 3), RED, np.uint8)]], [""], [""], cell=48))
    cell = grid[LABEL_HEIGHT : LABEL_HEIGHT + 48, LABEL_WIDTH : LABEL_WIDTH + 48]
    rows, columns = np.nonzero((cell == RED).all(axis=-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (12, 35, 0, 47)
    assert len(rows) == 24 * 48


def test_squares_fill_their_cells_and_large_pictures_are_made_smaller():
    for side in (8, 96):
        grid = np.asarray(labelled_grid([[np.full((side, side, 3), RED, np.uint8)]], [""], [""], cell=48))
        assert ((grid == RED).all(axis=-1)).sum() == 48 * 48
