// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {SessionTerms} from "contracts/interfaces/Types.sol";
import {MeteredSessionsBase} from "./MeteredSessionsBase.t.sol";
import {BurningKey} from "./support/SessionKeys.sol";

/// @dev requestClose and close. With a budget: MeteredSessionsBudget.t.sol.
contract MeteredSessionsCloseTest is MeteredSessionsBase {
    SessionTerms private terms;
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        (terms, id) = _startNew(plain, DEPOSIT);
    }

    /* ASKING: REVERTS */

    function testFuzz_RevertWhen_RequestedOfNoSession(address caller) public {
        SessionTerms memory other = _sessionTerms(plain);
        _expect(IMeteredSessions.MeteredSessions_NotOpen.selector, _id(other), NONE, OPEN);
        vm.prank(caller);
        sessions.requestClose(other);
    }

    function test_RevertWhen_RequestedOfAClosedSession() public {
        _closeByProvider(terms);
        _expect(IMeteredSessions.MeteredSessions_NotOpen.selector, id, CLOSED, OPEN);
        vm.prank(alice.addr);
        sessions.requestClose(terms);
    }

    /// @dev Asking again can't put the closing off, nor bring it nearer.
    function testFuzz_RevertWhen_RequestedTwice(uint256 wait) public {
        uint256 closeAt = _requestClose(terms);
        uint256 when = bound(wait, START, type(uint40).max);
        vm.warp(when);
        _expect(IMeteredSessions.MeteredSessions_Closing.selector, id, when, closeAt);
        vm.prank(alice.addr);
        sessions.requestClose(terms);
        _assertSession(id, DEPOSIT, 0, closeAt, false);
    }

    function testFuzz_RevertWhen_RequestedByAStranger(address caller, uint256 wait) public {
        vm.assume(caller != alice.addr && caller != key.addr);
        vm.warp(bound(wait, START, terms.expiresAt));
        _expect(IMeteredSessions.MeteredSessions_NotParty.selector, id, _number(caller), _number(alice.addr));
        vm.prank(caller);
        sessions.requestClose(terms);
    }

    /// @dev Expiry is over when its second is.
    function test_RevertWhen_RequestedByAStrangerInTheLastSecond() public {
        vm.warp(terms.expiresAt);
        _expect(IMeteredSessions.MeteredSessions_NotParty.selector, id, _number(anyone), _number(alice.addr));
        vm.prank(anyone);
        sessions.requestClose(terms);
        _expectRequested(anyone, uint256(terms.expiresAt) + 1);
    }

    /* ASKING */

    function testFuzz_RequestClose_ByThePayer(uint256 wait) public {
        _expectRequested(alice.addr, bound(wait, START, type(uint40).max - CLOSE_DELAY));
    }

    function testFuzz_RequestClose_ByTheKey(uint256 wait) public {
        _expectRequested(key.addr, bound(wait, START, type(uint40).max - CLOSE_DELAY));
    }

    function testFuzz_RequestClose_ByAnyoneAfterExpiry(address caller, uint256 wait) public {
        _expectRequested(caller, bound(wait, uint256(terms.expiresAt) + 1, type(uint40).max - CLOSE_DELAY));
    }

    /* CLOSING: REVERTS */

    function testFuzz_RevertWhen_ClosingNoSession(uint256 salt) public {
        vm.assume(salt != terms.salt);
        terms.salt = salt;
        _expect(IMeteredSessions.MeteredSessions_NotOpen.selector, _id(terms), NONE, OPEN);
        _closeByProvider(terms);
    }

    function testFuzz_RevertWhen_ClosedTwice(uint256 claimed) public {
        claimed = bound(claimed, 0, DEPOSIT - 1);
        if (claimed != 0) _claim(terms, claimed);
        _startNew(plain, DEPOSIT);
        _closeByProvider(terms);
        _expect(IMeteredSessions.MeteredSessions_NotOpen.selector, id, CLOSED, OPEN);
        _closeByProvider(terms);
        _assertHeld(plain, DEPOSIT);
        _assertCredits(alice.addr, plain, DEPOSIT - claimed, "given back once");
    }

    /// @dev Nobody but the provider closes what nobody asked to close, however old it is.
    function testFuzz_RevertWhen_NobodyAsked(address caller, uint256 wait) public {
        vm.assume(caller != provider.addr);
        uint256 when = bound(wait, START, type(uint40).max);
        vm.warp(when);
        _expect(IMeteredSessions.MeteredSessions_TooEarly.selector, id, when, type(uint256).max);
        vm.prank(caller);
        sessions.close(terms);
    }

    function testFuzz_RevertWhen_DelayIsNotOver(address caller, uint256 wait) public {
        vm.assume(caller != provider.addr);
        uint256 closeAt = _requestClose(terms);
        uint256 when = bound(wait, START, closeAt - 1);
        vm.warp(when);
        _expect(IMeteredSessions.MeteredSessions_TooEarly.selector, id, when, closeAt);
        vm.prank(caller);
        sessions.close(terms);
        _assertSession(id, DEPOSIT, 0, closeAt, false);
    }

    /// @dev The oracle key is hot: it can't give up what its provider hasn't claimed yet.
    function test_RevertWhen_ClosedByTheOracleKey() public {
        _expect(IMeteredSessions.MeteredSessions_TooEarly.selector, id, START, type(uint256).max);
        vm.prank(oracle.addr);
        sessions.close(terms);
    }

    /* CLOSING */

    function testFuzz_Close_ByAnyone(address caller, uint256 claimed, uint256 wait) public {
        claimed = bound(claimed, 0, DEPOSIT);
        if (claimed != 0) _claim(terms, claimed);
        uint256 closeAt = _requestClose(terms);
        vm.warp(bound(wait, closeAt, type(uint40).max));
        _expectClosed(caller, claimed);
    }

    function testFuzz_Close_ByTheProvider(uint256 claimed, uint256 wait) public {
        claimed = bound(claimed, 0, DEPOSIT);
        if (claimed != 0) _claim(terms, claimed);
        vm.warp(bound(wait, START, type(uint40).max));
        _expectClosed(provider.addr, claimed);
    }

    function testFuzz_Close_ByTheProviderWhileClosing(uint256 wait) public {
        uint256 closeAt = _requestClose(terms);
        vm.warp(bound(wait, START, closeAt));
        _expectClosed(provider.addr, 0);
    }

    /// @dev With nothing left the session ends all the same.
    function test_Close_WhenAllIsClaimed() public {
        _claim(terms, DEPOSIT);
        _expectClosed(provider.addr, DEPOSIT);
        _assertHeld(plain, 0);
    }

    /// @dev A payer that takes no calls can't keep its session open, or its credits out.
    function testFuzz_Close_OfAPayerThatTakesNoCalls(uint256 claimed) public {
        claimed = bound(claimed, 1, DEPOSIT);
        _claim(terms, claimed);
        _requestClose(terms);
        vm.etch(alice.addr, address(new BurningKey()).code);
        vm.warp(START + CLOSE_DELAY);
        _expectClosed(anyone, claimed);
    }

    /// @dev The whole way out without payer, key or provider: expiry, request, delay.
    function testFuzz_Close_OfAnAbandonedSession(address caller, uint256 claimed) public {
        claimed = bound(claimed, 0, DEPOSIT);
        if (claimed != 0) _claim(terms, claimed);
        vm.warp(uint256(terms.expiresAt) + 1);
        vm.prank(caller);
        sessions.requestClose(terms);
        uint256 closeAt = _now() + CLOSE_DELAY;
        vm.warp(closeAt);
        _expectClosed(caller, claimed);
    }

    /// @dev Only this session's part comes out of what the sessions hold.
    function testFuzz_Close_LeavesOthersAlone(uint256 other, uint256 claimed) public {
        other = bound(other, 1, MAX_UNITS);
        claimed = bound(claimed, 0, DEPOSIT);
        (, bytes32 otherId) = _startNew(plain, other);
        if (claimed != 0) _claim(terms, claimed);
        _closeByProvider(terms);
        _assertHeld(plain, other);
        _assertOpen(otherId, other, 0);
    }

    /* HELPERS */

    function _expectRequested(address caller, uint256 when) private {
        vm.warp(when);
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.CloseRequested(id, caller, when + CLOSE_DELAY);
        vm.prank(caller);
        sessions.requestClose(terms);
        _assertSession(id, DEPOSIT, 0, when + CLOSE_DELAY, false);
        _assertHeld(plain, DEPOSIT);
    }

    function _expectClosed(address caller, uint256 claimed) private {
        uint256 left = DEPOSIT - claimed;
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.SessionClosed(id, claimed, left);
        vm.prank(caller);
        sessions.close(terms);
        _assertSession(id, DEPOSIT, claimed, _now(), true);
        _assertHeld(plain, 0);
        _assertCredits(alice.addr, plain, left, "back to the payer");
        assertEq(credits.totalSupply(plain), left, "supply");
    }
}
