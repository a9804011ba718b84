// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ClassTerms, SessionTerms} from "contracts/interfaces/Types.sol";
import {MeteredSessionsBase} from "./MeteredSessionsBase.t.sol";
import {AllowList} from "./support/Wallets.sol";

/// @dev Sessions of classes with rules of their own. What a class forbids, it forbids to deposits; never to claims and
/// never to what goes back.
contract MeteredSessionsClassesTest is MeteredSessionsBase {
    /* EXPIRED */

    function testFuzz_ExpiredClass(uint256 used, uint256 late) public {
        used = bound(used, 1, DEPOSIT);
        ClassTerms memory class_ = _saleTerms();
        class_.expiry = uint40(START + 10 days);
        uint256 classId = _createClass(class_);
        _buy(alice.addr, classId, DEPOSIT + 1);
        (SessionTerms memory terms, bytes32 id) = _open(classId, DEPOSIT);
        SessionTerms memory second = _sessionTerms(classId);
        uint256 when = bound(late, START + 10 days + 1, START + 29 days);
        vm.warp(when);
        _expect(IComputeCredits.ComputeCredits_Expired.selector, classId, when, class_.expiry);
        _openSession(second, 1);
        _expect(IComputeCredits.ComputeCredits_Expired.selector, classId, when, class_.expiry);
        _topUp(terms, 1);
        _assertWayOut(terms, id, used, 1);
    }

    /* PAUSED */

    function testFuzz_PausedClass(uint256 used, uint256 pause) public {
        used = bound(used, 1, DEPOSIT);
        pause = bound(pause, 1, 14 days);
        _buy(alice.addr, plain, DEPOSIT + 1);
        (SessionTerms memory terms, bytes32 id) = _open(plain, DEPOSIT);
        SessionTerms memory second = _sessionTerms(plain);
        vm.prank(admin.addr);
        credits.pauseClass(plain, uint40(START + pause));
        _expect(IComputeCredits.ComputeCredits_Paused.selector, plain, START, START + pause);
        _openSession(second, 1);
        _expect(IComputeCredits.ComputeCredits_Paused.selector, plain, START, START + pause);
        _topUp(terms, 1);
        _assertWayOut(terms, id, used, 1);
    }

    /* CLOSED */

    function testFuzz_ClosedClass(uint256 used) public {
        used = bound(used, 1, DEPOSIT);
        (SessionTerms memory terms, bytes32 id) = _startNew(plain, DEPOSIT);
        _close(plain);
        _assertWayOut(terms, id, used, 0);
        uint256 left = DEPOSIT - used;
        if (left == 0) return;
        vm.prank(alice.addr);
        assertEq(reserve.reclaim(plain, left), reserve.backingOf(plain) + _price(DEPOSIT) - _earned(), "reclaimed");
    }

    /* ACCOUNT-BOUND */

    /// @dev A deposit is no transfer: what comes back comes back to the same account.
    function testFuzz_AccountBoundClass(uint256 used) public {
        used = bound(used, 1, DEPOSIT);
        ClassTerms memory class_ = _saleTerms();
        class_.transferable = false;
        (SessionTerms memory terms, bytes32 id) = _startNew(_createClass(class_), DEPOSIT);
        _assertWayOut(terms, id, used, 0);
    }

    /* CAPPED */

    /// @dev What sessions hold for an account counts as the account's, whether claimed or not, until they are closed.
    function testFuzz_CappedClass(uint256 deposit, uint256 used) public {
        (uint256 classId, uint256 cap) = _cappedClass();
        deposit = bound(deposit, 1, cap);
        used = bound(used, 1, deposit);
        _buy(alice.addr, classId, cap);
        (SessionTerms memory terms,) = _open(classId, deposit);
        assertEq(credits.depositedOf(alice.addr, classId), deposit, "deposited");
        _expectOverCap(classId, cap);
        _claim(terms, used);
        assertEq(credits.depositedOf(alice.addr, classId), deposit, "deposited after a claim");
        _expectOverCap(classId, cap);
        _closeByProvider(terms);
        assertEq(credits.depositedOf(alice.addr, classId), 0, "deposited after closing");
        assertEq(credits.balanceOf(alice.addr, classId), cap - used, "balance");
        _buy(alice.addr, classId, used);
        _expectOverCap(classId, cap);
    }

    function testFuzz_CappedClass_SeveralSessions(uint256 first, uint256 second, uint256 added) public {
        (uint256 classId, uint256 cap) = _cappedClass();
        first = bound(first, 1, cap - 2);
        second = bound(second, 1, cap - first - 1);
        added = bound(added, 1, cap - first - second);
        _buy(alice.addr, classId, cap);
        (SessionTerms memory a,) = _open(classId, first);
        (SessionTerms memory b,) = _open(classId, second);
        _topUp(a, added);
        assertEq(credits.depositedOf(alice.addr, classId), first + added + second, "deposited");
        _closeByProvider(a);
        assertEq(credits.depositedOf(alice.addr, classId), second, "deposited in the other");
        _closeByProvider(b);
        assertEq(credits.depositedOf(alice.addr, classId), 0, "deposited in none");
        assertEq(credits.balanceOf(alice.addr, classId), cap, "balance");
    }

    /// @dev Even a session with nothing left must be closed for its deposit to stop counting.
    function test_CappedClass_AllClaimed() public {
        (uint256 classId, uint256 cap) = _cappedClass();
        (SessionTerms memory terms,) = _startNew(classId, cap);
        _claim(terms, cap);
        _expectOverCap(classId, cap);
        _closeByProvider(terms);
        _buy(alice.addr, classId, cap);
        assertEq(credits.balanceOf(alice.addr, classId), cap, "balance");
    }

    /* ELIGIBILITY */

    /// @dev Who may no longer hold the class still gets back what is its own.
    function testFuzz_EligibleClass(uint256 used) public {
        used = bound(used, 1, DEPOSIT);
        AllowList list = new AllowList();
        ClassTerms memory class_ = _saleTerms();
        class_.eligibility = address(list);
        uint256 classId = _createClass(class_);
        list.allow(alice.addr);
        (SessionTerms memory terms, bytes32 id) = _startNew(classId, DEPOSIT);
        list.forbid(alice.addr);
        _assertWayOut(terms, id, used, 0);
    }

    /* GRANTED */

    /// @dev Granted credits pay nothing, and are burned all the same.
    function testFuzz_GrantedClass(uint256 used) public {
        used = bound(used, 1, DEPOSIT);
        uint256 classId = _createClass(_grantTerms());
        vm.prank(issuer.addr);
        credits.grant(alice.addr, classId, DEPOSIT);
        (SessionTerms memory terms, bytes32 id) = _open(classId, DEPOSIT);
        vm.expectEmit(address(reserve));
        emit ICreditReserve.PaidOut(classId, provider.addr, used, 0);
        assertEq(_claim(terms, used), used, "units");
        assertEq(_earned(), 0, "earned");
        _closeByProvider(terms);
        _assertSession(id, DEPOSIT, used, _now(), true);
        assertEq(credits.balanceOf(alice.addr, classId), DEPOSIT - used, "balance");
        assertEq(credits.totalSupply(classId), DEPOSIT - used, "supply");
    }

    /* WATCHED AND WINDOWED */

    /// @dev Rules about receipts are for jobs: what a session pays, its payer's key signed.
    function testFuzz_WindowedClass(uint256 used) public {
        used = bound(used, 1, DEPOSIT);
        (SessionTerms memory terms, bytes32 id) = _startNew(_createClass(_windowedTerms()), DEPOSIT);
        _assertWayOut(terms, id, used, 0);
    }

    /* HELPERS */

    function _open(uint256 classId, uint256 units) private returns (SessionTerms memory terms, bytes32 id) {
        terms = _sessionTerms(classId);
        id = _openSession(terms, units);
    }

    function _topUp(SessionTerms memory terms, uint256 units) private {
        vm.prank(alice.addr);
        sessions.topUp(terms, units);
    }

    function _cappedClass() private returns (uint256 classId, uint256 cap) {
        cap = DEPOSIT;
        ClassTerms memory class_ = _saleTerms();
        // forge-lint: disable-next-line(unsafe-typecast)
        class_.maxPerHolder = uint128(cap);
        classId = _createClass(class_);
    }

    /// @dev Alice has all she may have: one unit more is refused.
    function _expectOverCap(uint256 classId, uint256 cap) private {
        uint256 cost = reserve.costOf(classId, 1);
        _fund(alice.addr, cost);
        uint256 counted = credits.balanceOf(alice.addr, classId) + credits.depositedOf(alice.addr, classId) + 1;
        assertEq(counted, cap + 1, "counted towards the cap");
        _expect(IComputeCredits.ComputeCredits_HolderCap.selector, classId, counted, cap);
        vm.prank(alice.addr);
        reserve.buy(classId, 1, alice.addr, cost);
    }

    /// @dev A claim is paid in full, and closing gives back the rest: alice then has it besides what she `kept`.
    function _assertWayOut(SessionTerms memory terms, bytes32 id, uint256 used, uint256 kept) private {
        uint256 worth = _worth(terms.classId, used);
        assertEq(_claim(terms, used), used, "units");
        assertEq(_earned(), worth, "earned");
        uint256 closeAt = _requestClose(terms);
        vm.warp(closeAt);
        vm.prank(anyone);
        sessions.close(terms);
        _assertSession(id, DEPOSIT, used, closeAt, true);
        _assertHeld(terms.classId, 0);
        assertEq(credits.balanceOf(alice.addr, terms.classId), DEPOSIT - used + kept, "balance");
    }
}
