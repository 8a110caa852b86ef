"""What tests of models share."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # it needs torch, which not everybody has
    from models.seamless import SeamlessTranslator
    from models.seamless_model import SeamlessModel


@pytest.fixture(scope="module")
def model(tiny_seamless: Path) -> "SeamlessModel":
    from models.seamless_model import SeamlessModel

    return SeamlessModel(tiny_seamless, "cpu")


@pytest.fixture(scope="module")
def engine(tiny_seamless: Path) -> Iterator["SeamlessTranslator"]:
    from models.seamless import SeamlessTranslator

    engine = SeamlessTranslator(str(tiny_seamless), device="cpu")
    engine.load(lambda done, doing: None)
    yield engine
    engine.close()
