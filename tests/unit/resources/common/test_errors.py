"""Errors for an operator: what is not installed is named with its extra."""

import logging

import pytest

from resources.common.errors import MissingExtraError, require


def test_what_is_not_installed_is_named_with_its_extra() -> None:
    require("polars", "frames")
    with pytest.raises(MissingExtraError, match=r'pip install -e "\.\[cluster\]"'):
        require("no_such_package.part", "CROWD_TRACES")
    assert logging.getLogger("crowd_assets").propagate
