"""What nodes say to a transaction."""

from __future__ import annotations

import pytest

from scrip.broadcast import Answer, read_answer


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("already known", Answer.ACCEPTED),
        ("AlreadyKnown", Answer.ACCEPTED),
        ("ALREADY_EXISTS: already known", Answer.ACCEPTED),
        ("Known transaction", Answer.ACCEPTED),
        ("transaction already imported", Answer.ACCEPTED),
        ("existing tx with same hash", Answer.ACCEPTED),
        ("nonce too low: next nonce 5, tx nonce 4", Answer.STALE),
        ("OldNonce", Answer.STALE),
        ("nonce is too low", Answer.STALE),
        ("replacement transaction underpriced", Answer.UNDERPRICED),
        ("transaction underpriced: tip needed 25, tip permitted 1", Answer.UNDERPRICED),
        ("max fee per gas less than block base fee", Answer.UNDERPRICED),
        ("FeeTooLow, MaxFeePerGas too low", Answer.UNDERPRICED),
        ("insufficient funds for gas * price + value: have 0 want 5", Answer.REFUSED),
        ("Insufficient funds for gas * price + value", Answer.REFUSED),
        ("intrinsic gas too low", Answer.REFUSED),
        ("exceeds block gas limit", Answer.REFUSED),
        ("tx fee (2.00 ether) exceeds the configured cap (1.00 ether)", Answer.REFUSED),
        ("invalid chain id for signer: have 1 want 5", Answer.REFUSED),
        ("transaction type not supported", Answer.REFUSED),
        ("txpool is full", Answer.UNKNOWN),
        ("internal error", Answer.UNKNOWN),
    ],
)
def test_read_answer__message_of_a_known_node__is_understood(message: str, answer: Answer) -> None:
    assert read_answer(message) is answer
