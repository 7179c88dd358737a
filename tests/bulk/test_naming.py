from __future__ import annotations

from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from padinv.bulk import output_names
from padinv.bulk.naming import is_name, names_of_faces, same_file
from padinv.bulk.outputs import SUFFIXES

FILES = ["x", "X", "a-x", "ü", "u\u0308", "x:y", "x" * 250, "x.png", "x.png_", "x.safetensors", "", "..", "con", "x.",
         "x ", "\udcff", "\udcfe", "x\ny", "-x", "x?y", "~x", "\x1b[2J"]  # fmt: skip
paths = st.lists(
    st.tuples(st.sampled_from("abAB"), st.sampled_from(FILES), st.sampled_from([".png", ".jpg", ".PNG"])).map(
        lambda parts: f"/{parts[0]}/{parts[1]}{parts[2]}"
    ),
    unique=True,
)


@given(paths, st.data())
def test_names_are_stable_and_no_two_are_equal(paths: list[str], data: st.DataObject) -> None:
    names = output_names(paths, {})
    assert list(names) == paths
    assert len({name.casefold() for name in names.values()}) == len(paths)
    assert all(len(name.encode()) <= 210 and not set(name) & set('/\\:*?"<>|') for name in names.values())
    # Whatever part of a run was done before it was interrupted, it goes on with the same names.
    done = data.draw(st.lists(st.sampled_from(paths), unique=True)) if paths else []
    assert output_names(paths, {path: names[path] for path in done}) == names


@given(paths, st.data())
def test_files_of_two_photographs_never_meet(paths: list[str], data: st.DataObject) -> None:
    """Whatever they are called, in one run or in two, with one face or with several."""
    now = data.draw(st.lists(st.sampled_from(paths), unique=True)) if paths else []
    first = output_names([path for path in paths if path not in now], {})
    names = {**first, **output_names(now, first)}
    assert all(map(is_name, names.values()))
    files: dict[str, str] = {}
    for path, name in names.items():
        for own in names_of_faces(name, data.draw(st.integers(1, 2))):
            for suffix in SUFFIXES.values():
                file = PurePath(same_file(f"{own}{suffix}"))
                assert files.setdefault(str(file), path) == path
    assert not {str(PurePath(file).parent) for file in files} & set(files)  # no file where another has its folder


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("...jpg", "__"),
        (".jpg", "_jpg"),
        (".part-x.png", "_part-x"),
        ("con.jpg", "_con"),
        ("nul.txt.jpg", "_nul.txt"),
        ("console.jpg", "console"),
        ("a..jpg", "a_"),
        ("a\nb\x1b[2J.png", "a_b_[2J"),
        ("caf\udce9.png", "caf_"),
        ("-rf x.png", "-rf x"),
        ("ü" * 120 + ".png", "ü" * 100),
    ],
)
def test_what_every_file_system_takes(file: str, name: str) -> None:
    assert output_names([f"/p/{file}"], {}) == {f"/p/{file}": name}


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a/b", "a\\b", "a\0", "c:x", ".x", "x" * 250])
def test_what_leads_elsewhere_is_no_name(name: str) -> None:
    assert not is_name(name)


def test_names_of_earlier_runs_are_kept() -> None:
    assert output_names(["/b/x.png"], {"/a/x.png": "x"}) == {"/b/x.png": "x.png"}
    assert output_names(["/a/x.png", "/b/x.png"], {"/a/x.png": "x"}) == {"/a/x.png": "x", "/b/x.png": "b-x"}


def test_every_name_of_a_photograph_may_be_taken() -> None:
    taken: dict[str, str] = {}
    for number in range(8):
        taken[f"/other/{number}"] = output_names(["/b/x.png"], taken)["/b/x.png"]
    assert len(set(taken.values())) == 8
