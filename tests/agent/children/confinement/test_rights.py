import pytest

from penstock_agent.children.confinement import rights


@pytest.mark.parametrize(
    ("abi", "handled"), [(1, 0x1FFF), (2, 0x3FFF), (3, 0x7FFF), (4, 0x7FFF), (5, 0xFFFF), (7, 0xFFFF)]
)
def test_each_version_holds_to_what_it_knows(abi: int, handled: int) -> None:
    assert rights.handled(abi) == handled
    assert rights.write(abi) & ~handled == 0


def test_sockets_since_4_and_scopes_since_6() -> None:
    assert [rights.tcp(abi) for abi in (1, 3, 4, 9)] == [0, 0, 3, 3]
    assert [rights.scopes(abi) for abi in (1, 5, 6, 9)] == [0, 0, 3, 3]


def test_reading_is_no_changing_and_writing_makes_no_devices() -> None:
    assert rights.READ & rights.write(7) == rights.EXECUTE | rights.READ_FILE | rights.READ_DIR
    make_char, make_block = 1 << 6, 1 << 11
    assert rights.write(7) & (make_char | make_block | rights.IOCTL_DEV) == 0
    assert rights.DEVICE & ~rights.OF_FILES == 0
