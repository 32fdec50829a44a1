import pytest

from penstock.tunnel.errors import CloseCode, LocalError, RemoteError, TunnelError


def test_a_remote_error_carries_the_code_that_closes_the_link() -> None:
    with pytest.raises(TunnelError) as caught:
        raise RemoteError(CloseCode.CREDIT, "too much")
    assert caught.value.code == 4004
    assert str(caught.value) == "too much"


def test_a_local_error_is_not_the_fault_of_the_peer() -> None:
    assert not isinstance(LocalError("ours"), RemoteError)


@pytest.mark.parametrize("code", CloseCode)
def test_a_websocket_may_be_closed_with_each_code(code: CloseCode) -> None:
    assert code == 1001 or 4000 <= code <= 4999
