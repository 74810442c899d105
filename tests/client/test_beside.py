"""Images, figures, histograms and tables arrive in the spool as docs/spool.md says, whatever was given."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.client.conftest import Scripts
from tracker.agent.spool import JobSpools


def media(scripts: Scripts) -> list[dict[str, Any]]:
    return [one for one in scripts.messages() if one.get("event") == "media"]


def notes(scripts: Scripts) -> dict[str, str]:
    return {one["key"]: one["reason"] for one in scripts.messages() if one.get("event") == "note"}


def picture(line: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(line["data"])))


def test_arrays_become_the_picture_they_are(scripts: Scripts) -> None:
    scripts.run("""
        import numpy as np, torchlike
        rgb = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
        tracker.log_image("rgb", rgb, step=3)
        tracker.log_image("grey", rgb[:, :, 0], step=3)
        tracker.log_image("alpha", np.dstack([rgb, rgb[:, :, :1]]), step=3)
        tracker.log_image("float", rgb / 255, step=3)
        tracker.log_image("tensor", torchlike.Tensor(rgb.transpose(2, 0, 1)), step=3)
        tracker.log_image("ints", rgb.astype(np.int64), step=3)
        tracker.log_image("mask", rgb[:, :, 0] > 50, step=3)
        tracker.log_image("strided", rgb[::2, ::-1], step=3)
    """, PYTHONPATH=_with_torchlike(scripts))  # fmt: skip
    rgb = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    seen = {one["name"]: np.asarray(picture(one)) for one in media(scripts)}
    assert {one["step"] for one in media(scripts)} == {3}
    for name in ("rgb", "float", "tensor", "ints"):
        assert (seen[name] == rgb).all(), name
    assert (seen["grey"] == rgb[:, :, 0]).all()
    assert (seen["alpha"] == np.dstack([rgb, rgb[:, :, :1]])).all()
    assert (seen["mask"] == (rgb[:, :, 0] > 50) * 255).all()
    assert (seen["strided"] == rgb[::2, ::-1]).all()


def _with_torchlike(scripts: Scripts) -> str:
    """A module whose tensors know what torch's do, for torch itself weighs a gigabyte."""
    (scripts.home / "torchlike.py").write_text(
        "class Tensor:\n"
        "    def __init__(self, array): self.array = array\n"
        "    def detach(self): return self\n"
        "    def cpu(self): return self\n"
        "    def __array__(self, dtype=None, copy=None): return self.array\n"
        "    @property\n"
        "    def dtype(self): return self.array.dtype\n"
    )
    return f"{scripts.env['PYTHONPATH']}:{scripts.home}"


def test_files_bytes_pillow_and_figures_are_taken_as_they_are(scripts: Scripts) -> None:
    scripts.run("""
        import io, matplotlib; matplotlib.use("agg")
        import matplotlib.pyplot as plt
        from PIL import Image
        picture = Image.new("RGB", (8, 6), "red")
        for kind in ("PNG", "JPEG", "GIF", "WEBP"):
            picture.save(f"p.{kind}")
            tracker.log_image(kind, f"p.{kind}", step=1)
        tracker.log_image("bytes", open("p.PNG", "rb").read(), step=1)
        tracker.log_image("pillow", picture, step=1)
        tracker.log_image("cmyk", picture.convert("CMYK"), step=1)
        figure, axes = plt.subplots()
        axes.plot([1, 2, 4])
        tracker.log_figure("figure", figure, step=1)
        tracker.log_figure("axes", axes, step=1)
        tracker.log_figure("module", plt, step=1)
    """)
    seen = {one["name"]: picture(one) for one in media(scripts)}
    assert [seen[kind].format for kind in ("PNG", "JPEG", "GIF", "WEBP")] == ["PNG", "JPEG", "GIF", "WEBP"]
    assert {seen[name].size for name in ("PNG", "JPEG", "bytes", "pillow", "cmyk")} == {(8, 6)}
    assert seen["figure"].size == seen["axes"].size == seen["module"].size == (640, 480)
    assert notes(scripts) == {}


def test_an_image_that_is_too_large_is_made_smaller_and_that_is_said(scripts: Scripts) -> None:
    scripts.run("""
        import numpy as np
        noise = np.random.default_rng(1).integers(0, 255, (1200, 1600, 3), dtype=np.uint8)
        tracker.log_image("noise", noise, step=0)
    """)
    (line,) = media(scripts)
    assert len(base64.b64decode(line["data"])) <= 760_000
    assert picture(line).size[0] < 1600
    assert "1600 x 1200 pixels were too many" in notes(scripts)["image noise"]


def test_the_largest_image_and_table_fit_into_lines_that_an_agent_ships(scripts: Scripts) -> None:
    scripts.run("""
        tracker.log_image("\\U0001f409" * 500, b"\\xff\\xd8\\xff" + bytes(759_997), step=0)
        tracker.log_table("t", ["\\u9f8d"] * 500, [["\\u9f8d" * 100] * 500] * 50, step=0)
    """)
    assert [one["kind"] for one in media(scripts)] == ["image", "table"]
    (folder,) = scripts.folders()
    (file,) = folder.iterdir()
    spools, shipped = JobSpools(str(folder.parent.parent)), b""
    while more := spools.read_lines(folder.name, file.stem, len(shipped)):
        assert more.endswith(b"\n")
        shipped += more
    assert shipped == file.read_bytes()


def test_without_pillow_a_large_image_is_refused_with_the_way_out(scripts: Scripts) -> None:
    scripts.run("""
        import sys; sys.modules["PIL"] = None
        import numpy as np
        tracker.log_image("small", np.zeros((4, 4)), step=0)
        tracker.log_image("noise", np.random.default_rng(1).random((1200, 1600, 3)), step=0)
    """)
    assert [one["name"] for one in media(scripts)] == ["small"]
    assert "pip install Pillow" in notes(scripts)["image noise"]


def test_histograms_count_what_is_there(scripts: Scripts) -> None:
    scripts.run("""
        import numpy as np
        tracker.log({"loss": 1}, step=7)
        tracker.log_histogram("list", [0, 1, 1, [2, 4]], bins=4)
        tracker.log_histogram("array", np.array([[0, 1, 1], [2, 4, np.nan]], dtype=np.float32), bins=4)
        tracker.log_histogram("odd", [float("nan"), float("inf"), -float("inf"), float("inf"), 3.0], step=8)
        tracker.log_histogram("none", [], step=8)
        tracker.log_histogram("ints", np.arange(10), step=8, bins=2)
        tracker.log_histogram("generator", (one for one in (True, 2.0)), step=8, bins=1)
    """)
    seen = {one["name"]: one for one in media(scripts)}
    assert (seen["list"]["low"], seen["list"]["high"], seen["list"]["counts"]) == (0, 4, [1, 2, 1, 1])
    assert seen["array"]["counts"] == [1, 2, 1, 1]
    assert seen["array"]["not_finite"] == {"NaN": 1}
    assert (seen["list"]["step"], seen["odd"]["step"]) == (7, 8)
    assert seen["odd"]["not_finite"] == {"NaN": 1, "Infinity": 2, "-Infinity": 1}
    assert seen["odd"]["counts"] == [1]
    assert seen["none"]["counts"] == []
    assert seen["ints"]["counts"] == [5, 5]
    assert seen["generator"]["counts"] == [2]


def test_tables_come_in_many_forms(scripts: Scripts) -> None:
    scripts.run("""
        import numpy as np
        class Frame:  # as pandas' and polars' behave
            columns = ["a", "b"]
            def to_dict(self): return {}
            def to_numpy(self): return np.array([[1, "x"], [2, "y"]], dtype=object)
        rows = [[1, "x"], [2, "y"]]
        tracker.log_table("rows", ["a", "b"], rows, step=1)
        tracker.log_table("dicts", [{"a": 1, "b": "x"}, {"b": "y", "a": 2}], step=1)
        tracker.log_table("mapping", {"a": [1, 2], "b": ["x", "y"]}, step=1)
        tracker.log_table("frame", Frame(), step=1)
        tracker.log_table("cells", ["c"], [[None], [True], [float("nan")], [np.float32(0.5)], [object], ["z" * 9999]])
    """)
    seen = {one["name"]: one for one in media(scripts)}
    for name in ("rows", "dicts", "mapping", "frame"):
        assert (seen[name]["columns"], seen[name]["rows"]) == (["a", "b"], [[1, "x"], [2, "y"]]), name
    cells = [row[0] for row in seen["cells"]["rows"]]
    assert cells[:4] == [None, True, "NaN", 0.5]
    assert cells[4] == "<class 'object'>"
    assert len(cells[5]) == 2000


def test_a_table_that_is_too_large_is_cut_at_a_row_and_that_is_said(scripts: Scripts) -> None:
    scripts.run("tracker.log_table('big', ['i', 'text'], [[i, 'x' * 100] for i in range(50_000)], step=0)")
    (line,) = media(scripts)
    assert line["row_count"] == 50_000
    assert 1000 < len(line["rows"]) < 50_000
    assert f"the first {len(line['rows'])} of 50000 rows" in notes(scripts)["table big"]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("tracker.log_image('x', b'<svg onload=alert(1)>')", "PNG, JPEG, WebP or GIF"),
        ("tracker.log_image('x', 'nowhere.png')", "No such file"),
        ("tracker.log_image('x', np.zeros((2, 3, 7)))", "is no image"),
        ("tracker.log_image('x', np.full((2, 2), 37.0))", "from 0 to 1"),
        ("tracker.log_image('x', np.full((2, 2), 300))", "from 0 to 255"),
        ("tracker.log_image('x', None)", "no array"),
        ("tracker.log_image('x', np.zeros((0, 5)))", "pixels"),
        ("tracker.log_image('x', np.array(['a']).reshape(1, 1))", "pixels are numbers"),
        ("tracker.log_image('x', '/dev/zero')", "no plain file"),
        ("tracker.log_figure('x', 3)", "no matplotlib figure"),
        ("tracker.log_histogram('x', 'abc')", "no list of numbers"),
        ("tracker.log_histogram('x', ['abc'])", "no number"),
        ("tracker.log_histogram('x', [1], bins=0)", "1 to 512 bins"),
        ("tracker.log_histogram('x', [-1e308, 1e308])", "too far apart"),
        ("tracker.log_histogram('x', np.array(['a']))", "no numbers"),
        ("tracker.log_table('x', [])", "a table is"),
        ("tracker.log_table('x', [], [[1]])", "needs columns"),
        ("tracker.log_table('x', ['a'], 5)", "TypeError"),
        ("tracker.log_image('x', b'', step='ten')", "PNG"),
        ("tracker.log_histogram('x', [1], step='ten')", "no number"),
    ],
)
def test_what_cannot_be_stored_is_a_note_and_never_an_error(scripts: Scripts, call: str, reason: str) -> None:
    done = scripts.run(f"import numpy as np\n{call}\nprint('goes on')")
    assert done.stdout == "goes on\n"
    assert media(scripts) == []
    ((_, said),) = notes(scripts).items()
    assert reason in said
    assert "is not logged" in done.stderr


def test_switched_off_nothing_is_kept(scripts: Scripts) -> None:
    scripts.run(
        """
        tracker.log_image("x", None); tracker.log_figure("x", None); tracker.log_histogram("x", None)
        tracker.log_table("x", None); tracker.log_artifact("nowhere", copy=True)
        """,
        TRACKER_MODE="off",
    )
    assert list(scripts.home.iterdir()) == []
