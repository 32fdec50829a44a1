"""Any frame, for Hypothesis."""

from hypothesis import strategies as st

from penstock.tunnel.fields import Key
from penstock.tunnel.frames import (
    Attach,
    Credit,
    Data,
    Done,
    DoneReason,
    End,
    EndReason,
    Frame,
    GoAway,
    GoAwayReason,
    Head,
    Hello,
    Lane,
    Ledger,
    Lost,
    Method,
    Notice,
    Offer,
    Open,
    Ping,
    Principal,
    Purpose,
    Role,
    Welcome,
)

u16, u32, u64 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
text8 = st.text(st.characters(codec="utf-8"), max_size=60)
text16 = st.text(st.characters(codec="utf-8"), max_size=300)
names = st.lists(text8, max_size=4).map(tuple)
headers = st.lists(st.tuples(text8, text16), max_size=4).map(tuple)
boots = st.binary(min_size=16, max_size=16)
digests = st.binary(min_size=32, max_size=32)
keys = st.builds(Key, boots, u64)
data = st.binary(max_size=400) | st.just(bytes(16 * 1024))
parts = st.binary(max_size=100)

frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(
        Hello, st.sampled_from(Role), text8, boots, u64, st.sampled_from(Lane),
        st.lists(u16, max_size=3).map(tuple), digests, names,
    ),
    st.builds(
        Welcome, u16, text8, boots, u16, text16, u32, u32, u64, u32, st.lists(text16, max_size=3).map(tuple)
    ),
    st.builds(Offer, digests, names),
    st.builds(Ping, u64, st.booleans()),
    st.builds(GoAway, st.sampled_from(GoAwayReason), u32),
    st.builds(Lost, boots | st.just(b"")),
    st.builds(Ledger, digests, u64, digests, u64, st.binary(min_size=64, max_size=64)),
    st.builds(Notice, u32, u32, st.booleans(), st.booleans()),
    st.builds(Principal, digests, st.builds(Principal.pack, parts, parts, parts)),
    st.builds(
        Open, keys, u64, text8, text8, st.sampled_from(Method), st.sampled_from(Purpose), digests, u32, u32,
        u64, headers, data, st.booleans(),
    ),
    st.builds(Head, keys, u16, headers, data, st.booleans()),
    st.builds(Data, keys, u64, data, st.booleans()),
    st.builds(End, keys, u64, st.sampled_from(EndReason)),
    st.builds(Credit, keys, u64, u64),
    st.builds(Attach, keys, u32, u64, u64, u64),
    st.builds(Done, keys, st.sampled_from(DoneReason)),
)  # fmt: skip
