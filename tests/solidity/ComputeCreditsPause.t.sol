// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ClassTerms, Usage} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev pauseClass: what it stops, what it can't stop, and how long.
contract ComputeCreditsPauseTest is Base {
    uint256 private constant MAX_PAUSE = 14 days;
    uint96 private constant UNITS = 1_000;
    uint256 private granted;

    function setUp() public override {
        super.setUp();
        granted = _createClass(_grantTerms());
        vm.prank(issuer.addr);
        credits.grant(alice.addr, granted, UNITS);
    }

    /* WHO AND HOW LONG */

    function testFuzz_RevertWhen_PauserHasNoRole(address caller, uint40 until) public {
        vm.assume(caller != admin.addr);
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, PAUSER_ROLE)
        );
        vm.prank(caller);
        credits.pauseClass(granted, until);
    }

    function testFuzz_RevertWhen_ClassUnknown(uint256 id, uint40 until) public {
        uint256 count = credits.classCount();
        if (id <= count) id = 0;
        _expect(IComputeCredits.ComputeCredits_UnknownClass.selector, id, id, count);
        _pause(id, until);
    }

    function testFuzz_RevertWhen_PauseTooLong(uint40 until) public {
        until = uint40(bound(until, START + MAX_PAUSE + 1, type(uint40).max));
        _expect(IComputeCredits.ComputeCredits_PauseTooLong.selector, granted, until, START + MAX_PAUSE);
        _pause(granted, until);
    }

    /// @dev A pause that runs can't be made longer.
    function testFuzz_RevertWhen_PauseProlonged(uint40 until, uint40 when, uint40 later) public {
        until = _paused(until);
        when = uint40(bound(when, START, until - 1));
        vm.warp(when);
        later = uint40(bound(later, uint256(until) + 1, type(uint40).max));
        _expect(IComputeCredits.ComputeCredits_PauseTooLong.selector, granted, later, until);
        _pause(granted, later);
    }

    /// @dev Nor can another follow at once: pauses in a row would be a freeze.
    function testFuzz_RevertWhen_PausedAgainTooSoon(uint40 until, uint40 when, uint40 later) public {
        until = _paused(until);
        when = uint40(bound(when, until, until + MAX_PAUSE - 1));
        vm.warp(when);
        later = uint40(bound(later, uint256(when) + 1, type(uint40).max));
        _expect(IComputeCredits.ComputeCredits_PauseTooLong.selector, granted, later, until);
        _pause(granted, later);
    }

    /// @dev Ending a pause early doesn't clear the way for the next one either.
    function testFuzz_RevertWhen_PausedAgainAfterAnEarlyEnd(uint40 until, uint40 end, uint40 when) public {
        until = _paused(until);
        end = uint40(bound(end, START + 1, until));
        vm.warp(end);
        _pause(granted, 0);
        _pause(granted, 0);
        when = uint40(bound(when, end, end + MAX_PAUSE - 1));
        vm.warp(when);
        _expect(IComputeCredits.ComputeCredits_PauseTooLong.selector, granted, uint256(when) + 1, end);
        _pause(granted, when + 1);
    }

    function testFuzz_Pause(uint40 until) public {
        until = uint40(bound(until, START + 1, START + MAX_PAUSE));
        vm.expectEmit(address(credits));
        emit IComputeCredits.ClassPaused(granted, until);
        _pause(granted, until);
        assertEq(credits.pausedUntil(granted), until, "paused until");
        assertEq(credits.pausedUntil(plain), 0, "no other class is paused");
        assertEq(abi.encode(credits.classTerms(granted)), abi.encode(_grantTerms()), "the terms stay");
        assertEq(credits.totalSupply(granted), UNITS, "the supply stays");
    }

    function testFuzz_Pause_MadeShorter(uint40 until, uint40 sooner) public {
        until = _paused(until);
        sooner = uint40(bound(sooner, START + 1, until));
        _pause(granted, sooner);
        assertEq(credits.pausedUntil(granted), sooner, "paused until");
        vm.warp(sooner);
        _lock(UNITS);
        _assertLocked(alice.addr, granted, UNITS, "in use again");
    }

    function testFuzz_Pause_EndedEarly(uint40 until, uint40 when, uint40 past) public {
        until = _paused(until);
        when = uint40(bound(when, START, until));
        vm.warp(when);
        past = uint40(bound(past, 0, when));
        vm.expectEmit(address(credits));
        emit IComputeCredits.ClassPaused(granted, when);
        _pause(granted, past);
        assertEq(credits.pausedUntil(granted), when, "ended now");
        _lock(UNITS);
        _assertLocked(alice.addr, granted, UNITS, "in use again");
    }

    /// @dev Ending what doesn't run changes nothing: the time the next pause is counted from is not moved.
    function testFuzz_Pause_EndedLate(uint40 until, uint40 when) public {
        until = _paused(until);
        when = uint40(bound(when, until, type(uint40).max));
        vm.warp(when);
        _pause(granted, when);
        assertEq(credits.pausedUntil(granted), until, "ended when it did");
        _pause(plain, when);
        assertEq(credits.pausedUntil(plain), 0, "never paused");
    }

    function testFuzz_Pause_AgainAfterAsLong(uint40 until, uint40 when) public {
        until = _paused(until);
        when = uint40(bound(when, until + MAX_PAUSE, type(uint40).max - MAX_PAUSE));
        vm.warp(when);
        _pause(granted, uint40(when + MAX_PAUSE));
        assertEq(credits.pausedUntil(granted), when + MAX_PAUSE, "paused again, for the longest time");
    }

    /* WHAT IT STOPS */

    function testFuzz_RevertWhen_UsedInAPause(uint40 until, uint40 when) public {
        until = _paused(until);
        when = uint40(bound(when, START, until - 1));
        vm.warp(when);
        _expectPaused(granted, when, until);
        vm.prank(issuer.addr);
        credits.grant(bob.addr, granted, 1);
        _expectPaused(granted, when, until);
        _lock(1);
        _expectPaused(granted, when, until);
        _deposit(1);
    }

    function testFuzz_RevertWhen_MintedInAPause(uint40 until) public {
        until = uint40(bound(until, START + 1, START + MAX_PAUSE));
        _pause(plain, until);
        _expectPaused(plain, START, until);
        vm.prank(address(reserve));
        credits.mint(alice.addr, plain, 1);
    }

    /* WHAT IT CAN'T STOP */

    function testFuzz_InAPause_CreditsMove(uint96 units) public {
        units = uint96(bound(units, 0, UNITS));
        _paused(0);
        vm.prank(alice.addr);
        credits.safeTransferFrom(alice.addr, bob.addr, granted, units, "");
        _assertCredits(bob.addr, granted, units, "receiver");
    }

    function testFuzz_InAPause_JobsSettle(uint96 locked, uint96 used) public {
        locked = uint96(bound(locked, 0, UNITS));
        used = uint96(bound(used, 0, locked));
        _lock(locked);
        _paused(0);
        Usage[] memory usages = new Usage[](1);
        usages[0] = Usage(alice.addr, locked, used);
        vm.prank(address(market));
        credits.settle(granted, usages);
        _assertCredits(alice.addr, granted, UNITS - used, "what wasn't used is free");
    }

    function testFuzz_InAPause_SessionsEnd(uint96 units, uint96 used) public {
        units = uint96(bound(units, 0, UNITS));
        used = uint96(bound(used, 0, units));
        _deposit(units);
        _paused(0);
        vm.startPrank(address(sessions));
        credits.spend(granted, used);
        credits.refund(alice.addr, granted, units - used, units);
        _assertCredits(alice.addr, granted, UNITS - used, "what wasn't used is back");
    }

    /// @dev A pause never blocks an exit: holders of a class that was closed take their money while it is paused.
    function testFuzz_InAPause_BackingIsReclaimed(uint96 units) public {
        units = uint96(bound(units, 1, MAX_UNITS));
        uint256 cost = _buy(alice.addr, plain, units);
        _pause(plain, uint40(START + MAX_PAUSE));
        _close(plain);
        vm.prank(alice.addr);
        reserve.reclaim(plain, units);
        assertEq(usd.balanceOf(alice.addr), cost, "the whole backing");
        assertEq(credits.balanceOf(alice.addr, plain), 0, "burned");
    }

    function test_InAPause_ClassesAreCreatedAndClosed() public {
        _paused(0);
        _close(granted);
        assertTrue(credits.isClosed(granted), "closed");
        ClassTerms memory terms = _grantTerms();
        assertEq(_createClass(terms), credits.classCount(), "another class");
    }

    /* HELPERS */

    /// @dev Pauses until a time in the range, or by 0 for as long as can be.
    function _paused(uint40 until) private returns (uint40) {
        until = until == 0 ? uint40(START + MAX_PAUSE) : uint40(bound(until, START + 1, START + MAX_PAUSE));
        _pause(granted, until);
        return until;
    }

    function _pause(uint256 id, uint40 until) private {
        vm.prank(admin.addr);
        credits.pauseClass(id, until);
    }

    function _lock(uint256 units) private {
        vm.prank(address(market));
        credits.lock(alice.addr, granted, units);
    }

    function _deposit(uint256 units) private {
        vm.prank(address(sessions));
        credits.deposit(alice.addr, granted, units);
    }

    function _expectPaused(uint256 id, uint256 when, uint256 until) private {
        _expect(IComputeCredits.ComputeCredits_Paused.selector, id, when, until);
    }
}
