from __future__ import annotations

import pytest
from hypothesis import given

from pipeline.authz import acl
from schemas.errors import BadRecord
from tests.strategies import ACLS


@given(ACLS)
def test_the_text_of_an_acl_is_canonical(text: str) -> None:
    """What is written from what was read is the same text."""
    assert acl.acl_text(acl.parse_acl(text)) == text


def test_letters_are_put_in_order() -> None:
    """Flags and rights mean the same in any order and are written in one."""
    assert acl.acl_text(acl.parse_acl("A:df:g=007:xr")) == "A:fd:g=7:rx"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A:g=1:r", "must be type:flags:who:rights"),
        ("X::g=1:r", "type must be A or D"),
        ("A:q:g=1:r", "flags must be different letters"),
        ("A:ff:g=1:r", "flags must be different letters"),
        ("A::alice:r", "who must be"),
        ("A::u=-1:r", "who must be"),
        ("A::u=٣:r", "who must be"),
        ("A::u=:r", "who must be"),
        ("A::u=1:", "has no rights"),
        ("A::u=1:rwq", "rights must be different letters"),
        ("A:i:u=1:r", "need f or d"),
        ("A::u=1:r,", "must be type:flags:who:rights"),
        (",".join(["A::u=1:r"] * 65), "at most 64 entries"),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    """A bad ACL is refused with the reason."""
    with pytest.raises(BadRecord, match=why):
        acl.parse_acl(text)


@pytest.mark.parametrize(
    ("parent", "for_file", "for_directory"),
    [
        ("A::u=1:r", "", ""),
        ("A:f:u=1:r", "A::u=1:r", "A:fi:u=1:r"),
        ("A:d:u=1:r", "", "A:d:u=1:r"),
        ("A:fd:u=1:r", "A::u=1:r", "A:fd:u=1:r"),
        ("A:fdi:u=1:r", "A::u=1:r", "A:fd:u=1:r"),
        ("A:fi:u=1:r", "A::u=1:r", "A:fi:u=1:r"),
        ("A:fn:u=1:r", "A::u=1:r", ""),
        ("A:dn:u=1:r", "", "A::u=1:r"),
        ("A:fdin:u=1:r", "A::u=1:r", "A::u=1:r"),
        ("D:fd:EVERYONE@:w,A:f:g=2:r", "D::EVERYONE@:w,A::g=2:r", "D:fd:EVERYONE@:w,A:fi:g=2:r"),
    ],
)
def test_a_new_object_inherits_what_the_flags_say(
    parent: str, for_file: str, for_directory: str
) -> None:
    """f goes to files, d to directories, i holds only below, n goes one level."""
    assert acl.inherit(parent, is_directory=False) == for_file
    assert acl.inherit(parent, is_directory=True) == for_directory


@given(ACLS)
def test_what_is_inherited_is_an_acl(parent: str) -> None:
    """Inheritance never makes what cannot be read, and never makes a file hand something on."""
    acl.parse_acl(acl.inherit(parent, is_directory=True))
    assert all(not entry.flags for entry in acl.parse_acl(acl.inherit(parent, is_directory=False)))
