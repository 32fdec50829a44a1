from penstock.tunnel import limits


def test_the_largest_message_that_a_link_can_make_is_legal() -> None:
    header = 10
    principal = header + 32 + limits.MAX_PRINCIPAL
    opened = header + limits.MAX_METADATA + limits.MAX_DATA
    assert limits.BATCH - 1 + principal + opened <= limits.MAX_MESSAGE
    assert limits.BATCH - 1 + header + limits.MAX_METADATA <= limits.MAX_MESSAGE


def test_a_principal_fits_into_a_frame() -> None:
    assert 32 + limits.MAX_PRINCIPAL <= limits.MAX_METADATA


def test_the_free_window_holds_whole_frames() -> None:
    assert limits.FREE_WINDOW % limits.MAX_DATA == 0
    assert limits.MAX_WINDOW % limits.FREE_WINDOW == 0


def test_the_largest_request_fits_into_a_window_and_into_the_budget() -> None:
    assert limits.MAX_REQUEST <= limits.MAX_WINDOW
    assert limits.MAX_REQUEST - limits.FREE_WINDOW <= limits.REQUEST_BUDGET


def test_a_link_is_dead_before_its_exchanges_are_given_up_and_the_agent_waits_longer_than_the_origin() -> (
    None
):
    assert limits.HEARTBEAT * (limits.MISSES + 0.5) < limits.GRACE < limits.ORPHANED < limits.REVOKE_GRACE
