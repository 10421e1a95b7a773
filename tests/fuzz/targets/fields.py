"""The text of the form fields regions, top_n and consolidate, one per line."""

from gateway.problem import Problem
from gateway.upload.fields import read_upload
from gateway.upload.form import Form
from shared.settings import Settings
from tests.bad_input import encoded

SIZE = (64, 48)
IMAGE = encoded(SIZE, "BMP", "1")
SETTINGS = [Settings(region_order=order, max_regions=20) for order in ("xy", "yx")]
SEEDS = [
    b"",
    b"0,0,10\n5\n1",
    b"40,30,10;1,2,3; 0 , 0 , 48 ;\n1\non",
    b"-1,+5,999999999\n-1\nmaybe",
    b"60,0,10\n0\noff",
    "١,٢,٣\n९\nｔｒｕｅ".encode(),
    b"1,2,3;" * 25,
    b"9" * 400 + b",0,1\n" + b"9" * 400,
]
WORDS = [b",", b";", b"\n", b"-", b"+", b"0", b"48", b"on", b"off", "١".encode(), b"999999999"]


def run(data: bytes) -> None:
    lines = dict(
        zip(("regions", "top_n", "consolidate"), data.decode("utf-8", "replace").split("\n"), strict=False)
    )
    form = Form({"blob": [IMAGE]}, {name: [text] for name, text in lines.items()})
    try:
        _, options = read_upload(form, SETTINGS[len(data) % 2])
    except Problem as problem:
        assert problem.status in (400, 422) and problem.fields.keys() <= lines.keys()
        assert len(problem.detail) < 1000
        return
    assert options.top_n >= 1 and options.inputs <= 20
    for x, y, side in options.regions or ():
        assert x >= 0 and y >= 0 and side >= 1 and x + side <= SIZE[0] and y + side <= SIZE[1]
