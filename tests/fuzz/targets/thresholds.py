"""The thresholds file: the result is finite numbers or a `ModelError` of one line."""

from math import isfinite

from tests.fuzz.targets.files import written
from worker.model_allowlist import ModelError
from worker.thresholds_file import provenance_warnings, read_provenance, read_thresholds

CLASSES = ("Genus species folium", "Genus species flos", "other, with a comma")
HEADER = b"class,top1_minval,top1_maxval,top2_minval,top2_maxval,correct_percentage\n"
SEEDS = [
    HEADER + b"Genus species folium,0.5,0.9,0.1,0.2,0.95\n",
    HEADER.replace(b"top2_minval", b"top2_minval model=0a1b precision=float32 input=8x8x3"),
    HEADER + b'Genus species flos,,,,,\n"other, with a comma",nan,inf,-1e999,0x1,1_0\n',
    b"\xef\xbb\xbf" + HEADER.replace(b"\n", b"\r\n") + b"\r\n",
    b"a,b,c,d,e,f\nGenus species folium,1,1,1,1,1\nGenus species folium,1,1,1,1,1\n",
    HEADER + b'"Genus species flos,1\n1",1',
    b"sep=;\n" + HEADER.replace(b",", b";") + b"Genus species folium;0,5;90 %;0,1;;1\n",
    HEADER + b'0 Genus species folium,"0,5",0.9,0.1,0.2,98\n',
    (HEADER + b"Genus species flos,0.5,0.9,0.1,0.2,1\n").decode().encode("utf-16"),
    b"",
]
WORDS = [b"Genus species folium", b"class", b"top1_minval", b",", b'"', b"nan", b"1e999", b"\r", b"\0"]
WORDS += [b" model=", b" precision=", b";", b"%", b"sep=;", b"_"]


def run(data: bytes) -> None:
    path = written(data)
    try:
        warnings = provenance_warnings(path, {"model": "0a1b", "precision": "bfloat16"})
        assert all("\n" not in each and len(each) < 500 for each in warnings)
        assert all(len(value) <= 64 for value in read_provenance(path).values())
        found = read_thresholds(path, CLASSES)
    except ModelError as error:
        assert str(error) and "\n" not in str(error)
        return
    assert found.keys() <= set(CLASSES) and all(isfinite(each.value) for each in found.values())
