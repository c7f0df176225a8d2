"""What stands between files of arrays and the store."""

from __future__ import annotations

import numpy as np
import pytest

from measurand.client.found_arrays import Metered, fitting_chunks, required
from measurand.client.progress import Meter
from measurand.wire.errors import FeatureDisabled


def test_a_package_that_is_missing_is_named_with_how_to_get_it() -> None:
    with pytest.raises(FeatureDisabled, match=r"to_xarray needs no_such_package; pip install 'measurand\[arrays\]'"):
        required("no_such_package", "to_xarray")


def test_chunks_of_a_source_are_kept_if_they_are_neither_tiny_nor_huge() -> None:
    assert fitting_chunks((256, 256), 2) == (256, 256)
    assert fitting_chunks((10, 10), 2) is None
    assert fitting_chunks((1 << 20, 1 << 10), 2) is None
    assert fitting_chunks(None, 2) is None


def test_what_is_read_is_counted() -> None:
    told: list[int] = []
    with Meter(lambda done, _: told.append(done), "iq", None) as meter:
        array = Metered(np.arange(10, dtype="u2"), meter)
        assert array[2:4].tolist() == [2, 3]
        assert array[:].size == array.size
    assert told == [4, 24]
