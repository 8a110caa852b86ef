"""What tests of models share."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # it needs torch, which not everybody has
    from models.seamless_model import SeamlessModel


@pytest.fixture(scope="module")
def model(tiny_seamless: Path) -> "SeamlessModel":
    from models.seamless_model import SeamlessModel

    return SeamlessModel(tiny_seamless, "cpu")
