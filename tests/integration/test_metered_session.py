"""Metered sessions from deposit to refund: vouchers, batches of claims, a close that loses no voucher."""

from __future__ import annotations

import pytest
from eth_utils.crypto import keccak

from scrip.types_spending import SessionState, SessionTerms
from tests.integration.scene import PRICE, UNIT_PRICE, Scene

PAYER = "buyer"
HELD, DEPOSIT = 50_000, 10_000
NONE, OPEN, CLOSED = range(3)


def selector(error: str) -> bytes:
    """Of one of the sessions' errors, which all have the same arguments."""
    return bytes(keccak(text=f"MeteredSessions_{error}(bytes32,uint256,uint256)")[:4])


def opened(scene: Scene, deposit: int = DEPOSIT, key: str = "key", class_id: int = 0) -> SessionTerms:
    terms = scene.session(PAYER, key, class_id=class_id or scene.class_id)
    scene.send(PAYER, "MeteredSessions", "openSession", terms.to_abi(), deposit)
    return terms


def state(scene: Scene, terms: SessionTerms) -> SessionState:
    return scene.chain.at().session(scene.session_id(terms))


@pytest.fixture
def funded(scene: Scene) -> Scene:
    """The scene, where the payer has credits."""
    scene.give(PAYER, HELD)
    return scene


# What is refused


def test_claim__session_never_opened__is_refused(funded: Scene) -> None:
    terms = funded.session(PAYER)
    found = funded.refusal("provider", "MeteredSessions", "claim", funded.claim(terms, 1))
    assert found == ("MeteredSessions_NotOpen", funded.session_id(terms), NONE, OPEN)


def test_claim__voucher_of_another_key__names_who_signed(funded: Scene) -> None:
    terms = opened(funded)
    found = funded.refusal("provider", "MeteredSessions", "claim", funded.claim(terms, 1, key="agent"))
    expected = (funded.session_id(terms), funded.number("agent"), funded.number("key"))
    assert found == ("MeteredSessions_BadSignature", *expected)


def test_claim__voucher_of_another_session__is_refused(funded: Scene) -> None:
    one, other = opened(funded), opened(funded)
    row = (other.to_abi(), *funded.claim(one, 5)[1:])
    name, session, _, key = funded.refusal("provider", "MeteredSessions", "claim", row)
    expected = ("MeteredSessions_BadSignature", funded.session_id(other), funded.number("key"))
    assert (name, session, key) == expected


def test_claim__more_than_deposited__is_refused(funded: Scene) -> None:
    terms = opened(funded)
    found = funded.refusal("provider", "MeteredSessions", "claim", funded.claim(terms, DEPOSIT + 1))
    assert found == ("MeteredSessions_OverDeposit", funded.session_id(terms), DEPOSIT + 1, DEPOSIT)


def test_claim__more_than_authorised__is_refused(funded: Scene) -> None:
    terms = opened(funded)
    found = funded.refusal("provider", "MeteredSessions", "claim", funded.claim(terms, 101, authorised=100))
    assert found == ("MeteredSessions_OverVoucher", funded.session_id(terms), 101, 100)


@pytest.mark.parametrize("name", ["relayer", "key", PAYER])
def test_claim__rest_of_a_voucher_by_others__is_refused(funded: Scene, name: str) -> None:
    terms = opened(funded)
    funded.send("provider", "MeteredSessions", "claim", funded.claim(terms, 100, authorised=DEPOSIT))
    found = funded.refusal(name, "MeteredSessions", "claim", funded.claim(terms, DEPOSIT))
    expected = (funded.session_id(terms), funded.number(name), funded.number("provider"))
    assert found == ("MeteredSessions_NotParty", *expected)


@pytest.mark.parametrize("units", [4_000, 3_999, 0])
def test_claim__voucher_not_newer__is_refused(funded: Scene, units: int) -> None:
    terms = opened(funded)
    funded.send("provider", "MeteredSessions", "claim", funded.claim(terms, 4_000))
    found = funded.refusal("provider", "MeteredSessions", "claim", funded.claim(terms, units))
    assert found == ("MeteredSessions_NothingNew", funded.session_id(terms), units, 4_000)


def test_open__twice__is_refused(funded: Scene) -> None:
    terms = opened(funded)
    found = funded.refusal(PAYER, "MeteredSessions", "openSession", terms.to_abi(), 1)
    assert found == ("MeteredSessions_AlreadyOpened", funded.session_id(terms), OPEN, NONE)


def test_open__provider_that_cannot_serve__is_refused(funded: Scene) -> None:
    terms = funded.session(PAYER, provider=funded.at("agent"))
    found = funded.refusal(PAYER, "MeteredSessions", "openSession", terms.to_abi(), 1)
    expected = (funded.session_id(terms), funded.number("agent"), funded.class_id)
    assert found == ("MeteredSessions_CannotServe", *expected)


def test_open__credits_of_somebody_else__are_refused(funded: Scene) -> None:
    terms = funded.session(PAYER)
    found = funded.refusal("agent", "MeteredSessions", "openSession", terms.to_abi(), 1)
    expected = (funded.session_id(terms), funded.number("agent"), funded.number(PAYER))
    assert found == ("MeteredSessions_NotParty", *expected)


def test_open__more_than_is_free__is_refused(funded: Scene) -> None:
    job = funded.job(PAYER, max_units=HELD - 99)
    funded.send(PAYER, "JobMarket", "open", job.to_abi(), b"")
    found = funded.refusal(PAYER, "MeteredSessions", "openSession", funded.session(PAYER).to_abi(), 100)
    assert found == ("ERC1155InsufficientBalance", funded.at(PAYER), 99, 100, funded.class_id)


def test_close__before_anybody_asked__is_refused(funded: Scene) -> None:
    terms = opened(funded)
    found = funded.refusal(PAYER, "MeteredSessions", "close", terms.to_abi())
    assert found == ("MeteredSessions_TooEarly", funded.session_id(terms), funded.now, 2**256 - 1)


def test_request_close__by_a_stranger_before_it_expires__is_refused(funded: Scene) -> None:
    terms = opened(funded)
    found = funded.refusal("agent", "MeteredSessions", "requestClose", terms.to_abi())
    expected = (funded.session_id(terms), funded.number("agent"), funded.number(PAYER))
    assert found == ("MeteredSessions_NotParty", *expected)


def test_close_pending__neither_topped_up_nor_closed_early(funded: Scene) -> None:
    terms = opened(funded)
    funded.send(PAYER, "MeteredSessions", "requestClose", terms.to_abi())
    session, close_at = funded.session_id(terms), state(funded, terms).close_at
    found = funded.refusal(PAYER, "MeteredSessions", "topUp", terms.to_abi(), 1)
    assert found == ("MeteredSessions_Closing", session, funded.now, close_at)
    found = funded.refusal("relayer", "MeteredSessions", "close", terms.to_abi())
    assert found == ("MeteredSessions_TooEarly", session, funded.now, close_at)


# The whole of it


def test_session__vouchers_and_top_up__provider_gets_what_the_last_one_says(funded: Scene) -> None:
    scene, terms = funded, opened(funded)
    assert (scene.credits(PAYER), scene.credits("MeteredSessions")) == (HELD - DEPOSIT, DEPOSIT)
    for total in (1, 2_500, DEPOSIT):
        done = scene.send("provider", "MeteredSessions", "claim", scene.claim(terms, total))
        assert scene.event(done, "MeteredSessions", "SessionClaimed")["sessionId"] == scene.session_id(terms)
        assert scene.earned("provider") == total * UNIT_PRICE
    scene.send(PAYER, "MeteredSessions", "topUp", terms.to_abi(), 500)
    scene.send("provider", "MeteredSessions", "claim", scene.claim(terms, DEPOSIT + 300))
    assert state(scene, terms) == SessionState(DEPOSIT + 500, DEPOSIT + 300, 0, False)
    assert scene.credits("MeteredSessions") == 200
    assert scene.chain.at().supply(scene.class_id) == HELD - DEPOSIT - 300
    assert scene.chain.at().backing(scene.class_id) == (HELD - DEPOSIT - 300) * UNIT_PRICE


def test_session__voucher_beyond_the_deposit__pays_what_was_used(funded: Scene) -> None:
    scene, terms = funded, opened(funded)
    scene.system.funded("oracle")
    for by, total in (("provider", 100), ("oracle", 350)):
        scene.send(by, "MeteredSessions", "claim", scene.claim(terms, total, authorised=2 * DEPOSIT))
        assert scene.earned("provider") == total * UNIT_PRICE
    assert state(scene, terms) == SessionState(DEPOSIT, 350, 0, False)


def test_claim_batch__one_row_beyond_its_deposit__the_others_are_paid(funded: Scene) -> None:
    scene = funded
    other = scene.system.create_class(price_per_million=2 * PRICE, max_rate=10**9)
    scene.system.mint(scene.at(PAYER), 10**12)
    scene.send(PAYER, "DemoUSD", "approve", scene.at("CreditReserve"), 10**12)
    scene.send(PAYER, "CreditReserve", "buy", other, 1_000, scene.at(PAYER), 10**12)
    terms = [opened(scene, 1_000, f"key {row}", other if row == 4 else 0) for row in range(5)]
    units = [100, 200, 1_001, 300, 400]
    rows = [
        scene.claim(one, used, f"key {row}") for row, (one, used) in enumerate(zip(terms, units, strict=True))
    ]
    done = scene.send("provider", "MeteredSessions", "claimBatch", scene.at("provider"), rows)
    assert scene.event(done, "MeteredSessions", "ClaimSkipped") == {
        "sessionId": scene.session_id(terms[2]), "reason": selector("OverDeposit"), "given": 1_001,
        "limit": 1_000,
    }  # fmt: skip
    paid = [one["units"] for one in scene.events(done, "MeteredSessions", "SessionClaimed")]
    assert paid == [100, 200, 300, 400]
    assert [state(scene, one).claimed for one in terms] == [100, 200, 0, 300, 400]
    # One burn and one payment for each class, not for each row.
    burned = scene.events(done, "ComputeCredits", "TransferSingle")
    assert [(one["id"], one["value"]) for one in burned] == [(scene.class_id, 600), (other, 400)]
    assert scene.earned("provider") == 600 * UNIT_PRICE + 400 * 2 * UNIT_PRICE
    # What was wrong with the row was its voucher: the session goes on.
    scene.send("provider", "MeteredSessions", "claim", scene.claim(terms[2], 1_000, "key 2"))


def test_claim_batch__all_kinds_of_bad_rows__are_reported_as_claim_would_refuse_them(funded: Scene) -> None:
    scene = funded
    scene.system.register(scene.system.funded("other").address, scene.at("other"))
    foreign = scene.session(PAYER, provider=scene.at("other"))
    scene.send(PAYER, "MeteredSessions", "openSession", foreign.to_abi(), 10)
    never, closed, good, bad = scene.session(PAYER), opened(scene), opened(scene), opened(scene)
    scene.send("provider", "MeteredSessions", "close", closed.to_abi())
    rows = [
        scene.claim(never, 1),
        scene.claim(closed, 1),
        scene.claim(foreign, 1),
        scene.claim(good, 7),
        scene.claim(bad, 0),
        scene.claim(bad, 1, "agent"),
        scene.claim(bad, 2, authorised=1),
    ]
    done = scene.send("provider", "MeteredSessions", "claimBatch", scene.at("provider"), rows)
    skipped = [tuple(one.values()) for one in scene.events(done, "MeteredSessions", "ClaimSkipped")]
    assert skipped == [
        (scene.session_id(never), selector("NotOpen"), NONE, OPEN),
        (scene.session_id(closed), selector("NotOpen"), CLOSED, OPEN),
        (
            scene.session_id(foreign),
            selector("WrongProvider"),
            scene.number("other"),
            scene.number("provider"),
        ),
        (scene.session_id(bad), selector("NothingNew"), 0, 0),
        (scene.session_id(bad), selector("BadSignature"), scene.number("agent"), scene.number("key")),
        (scene.session_id(bad), selector("OverVoucher"), 2, 1),
    ]
    assert (state(scene, good).claimed, scene.earned("provider")) == (7, 7 * UNIT_PRICE)


def test_close__asked_by_the_payer__accepted_voucher_is_paid_before_the_rest_goes_back(funded: Scene) -> None:
    scene, terms = funded, opened(funded)
    done = scene.send(PAYER, "MeteredSessions", "requestClose", terms.to_abi())
    close_at = scene.event(done, "MeteredSessions", "CloseRequested")["closeAt"]
    delay = int(scene.read("MeteredSessions", "CLOSE_DELAY"))
    assert close_at == scene.now + delay
    scene.system.anvil.advance(delay - 60)
    scene.send("provider", "MeteredSessions", "claim", scene.claim(terms, 3_000))
    scene.system.anvil.advance(60)
    done = scene.send("relayer", "MeteredSessions", "close", terms.to_abi())
    assert scene.event(done, "MeteredSessions", "SessionClosed") == {
        "sessionId": scene.session_id(terms), "claimed": 3_000, "refunded": DEPOSIT - 3_000,
    }  # fmt: skip
    assert (scene.credits(PAYER), scene.credits("MeteredSessions")) == (HELD - 3_000, 0)
    assert scene.earned("provider") == 3_000 * UNIT_PRICE
    found = scene.refusal("provider", "MeteredSessions", "claim", scene.claim(terms, 4_000))
    assert found == ("MeteredSessions_NotOpen", scene.session_id(terms), CLOSED, OPEN)
    found = scene.refusal(PAYER, "MeteredSessions", "openSession", terms.to_abi(), 1)
    assert found == ("MeteredSessions_AlreadyOpened", scene.session_id(terms), CLOSED, NONE)


def test_close__by_the_provider__is_at_once(funded: Scene) -> None:
    terms = opened(funded)
    funded.send("provider", "MeteredSessions", "claim", funded.claim(terms, 1))
    funded.send("provider", "MeteredSessions", "close", terms.to_abi())
    assert (state(funded, terms).closed, funded.credits(PAYER)) == (True, HELD - 1)


def test_request_close__session_expired__anybody_may_ask(funded: Scene) -> None:
    terms = opened(funded)
    funded.system.anvil.advance(terms.expires_at - funded.now + 1)
    funded.send("relayer", "MeteredSessions", "requestClose", terms.to_abi())
    assert state(funded, terms).close_at == funded.now + int(funded.read("MeteredSessions", "CLOSE_DELAY"))
