"""What tests of models share."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # it needs torch, which not everybody has
    from models.seamless_model import SeamlessModel


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models take longer with two."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tiny_seamless: Path) -> "SeamlessModel":
    from models.seamless_model import SeamlessModel

    return SeamlessModel(tiny_seamless, "cpu")
