import pytest

pytest.register_assert_rewrite(*(f"tests.states.{name}" for name in ("attempts", "ends", "outages", "stage", "truth")))
