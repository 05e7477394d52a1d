"""What is wrong with a data set: as `maskgym data check` lists it, and as loading refuses it."""

import pytest

from maskgym.data.check import check
from maskgym.data.source import load
from maskgym.data.spec import parse
from maskgym.errors import BadInput


def problems(dataset, patch=8):
    return [str(problem) for problem in check(parse(dataset), patch).problems]


def refusal(dataset, size=(16, 16), **more):
    with pytest.raises(BadInput) as caught:
        load(dataset, size=size, **more)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence
