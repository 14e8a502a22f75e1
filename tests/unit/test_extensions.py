"""Which offers of permessage-deflate are taken: RFC 7692 section 7.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.headers import build_extension
from websockets.typing import ExtensionName

from sora_ws.push.extensions import DEFLATE, deflate_answer

BARE = {"server_no_context_takeover": None, "client_no_context_takeover": None}

TAKEN = {
    "permessage-deflate": BARE,
    "Permessage-Deflate ; CLIENT_MAX_WINDOW_BITS": BARE,
    "permessage-deflate; client_max_window_bits=8; server_no_context_takeover": BARE,
    "permessage-deflate; server_max_window_bits=15": {**BARE, "server_max_window_bits": "15"},
    'permessage-deflate; server_max_window_bits="12"': {**BARE, "server_max_window_bits": "12"},
    "x-webkit-deflate-frame, permessage-deflate": BARE,
    "permessage-deflate; server_max_window_bits=8, permessage-deflate": BARE,
}
DECLINED = (
    "",
    "permessage-bzip2",
    "permessage-deflate; server_max_window_bits=8",  # our window is larger
    "permessage-deflate; server_max_window_bits",
    "permessage-deflate; server_max_window_bits=",
    "permessage-deflate; server_max_window_bits=012",
    "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; server_max_window_bits=²",
    "permessage-deflate; server_max_window_bits*=utf-8''12",
    "permessage-deflate; client_max_window_bits=7",
    "permessage-deflate; client_max_window_bits=x",
    "permessage-deflate; server_no_context_takeover=1",
    "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; unknown",
    "permessage-deflate;",
)


@pytest.mark.parametrize("offer", TAKEN)
def test_taken(offer: str) -> None:
    """The first that can be met, whatever stands before it."""
    assert deflate_answer(offer) == TAKEN[offer]


@pytest.mark.parametrize("offer", DECLINED)
def test_declined(offer: str) -> None:
    """What is wrong, unknown or not to be met opens the line without compression."""
    assert deflate_answer(offer) is None


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_an_answer_or_none(before: str, behind: str) -> None:
    """A header is never a fault of ours."""
    deflate_answer(f"{before}{DEFLATE}{behind}")


@given(
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(12, 15),
    st.none() | st.just(True) | st.integers(9, 15),  # zlib itself takes no 8
)
def test_a_client_of_others_takes_the_answer(
    server_forgets: bool, client_forgets: bool, server_bits: int | None, client_bits: int | bool | None
) -> None:
    """What is answered to an offer of the `websockets` library is one that it can work with."""
    client = ClientPerMessageDeflateFactory(server_forgets, client_forgets, server_bits, client_bits)
    answer = deflate_answer(build_extension([(ExtensionName(DEFLATE), client.get_request_params())]))
    assert answer is not None
    agreed = client.process_response_params(list(answer.items()), [])
    assert agreed.remote_no_context_takeover
    assert agreed.local_no_context_takeover
