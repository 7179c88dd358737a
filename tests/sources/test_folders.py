import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from padinv.sources.folders import Names

# what os.listdir may give on Linux: bytes that are no UTF-8 arrive as lone surrogates
file_names = st.binary().map(lambda data: data.decode("utf-8", "surrogateescape"))


@given(st.lists(file_names))
def test_is_the_list_it_was_made_from_also_after_pickling(names: list[str]) -> None:
    index = pickle.loads(pickle.dumps(Names(iter(names))))
    assert list(index) == names
    assert list(index[::-2]) == names[::-2]
    assert index.nbytes == sum(len(name.encode("utf-8", "surrogateescape")) for name in names) + 8 * len(names) + 8


@pytest.mark.parametrize("index", [3, -4])
def test_refuses_an_index_outside(index: int) -> None:
    with pytest.raises(IndexError):
        Names("abc")[index]
