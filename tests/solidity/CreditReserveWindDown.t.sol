// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {ClassTerms, JobTerms} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev reclaim and sweepExpired: how the money of a class that ends finds its way home.
contract CreditReserveWindDownTest is Base {
    uint40 private constant EXPIRY = uint40(START + 10 days);
    uint256 private expiring;

    function setUp() public override {
        super.setUp();
        ClassTerms memory terms = _saleTerms();
        terms.expiry = EXPIRY;
        expiring = _createClass(terms);
    }

    /* reclaim: REVERTS */

    function test_RevertWhen_ReclaimingNothing() public {
        _close(plain);
        _expect(ICreditReserve.CreditReserve_ZeroUnits.selector, plain, 0, 1);
        _reclaim(alice.addr, plain, 0);
    }

    function testFuzz_RevertWhen_ReclaimOfUnknownClass(uint256 id, uint256 units) public {
        uint256 count = credits.classCount();
        if (id <= count) id = 0;
        units = bound(units, 1, type(uint256).max);
        _expect(IComputeCredits.ComputeCredits_UnknownClass.selector, id, id, count);
        _reclaim(alice.addr, id, units);
    }

    function testFuzz_RevertWhen_ClassIsAlive(uint128 units, uint40 when) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        _buy(alice.addr, expiring, units);
        vm.warp(bound(when, START, EXPIRY));
        _expect(ICreditReserve.CreditReserve_NotWoundDown.selector, expiring, 0, 1);
        _reclaim(alice.addr, expiring, units);
    }

    function testFuzz_RevertWhen_ReclaimingMoreThanHeld(uint128 held, uint256 units) public {
        held = uint128(bound(held, 1, MAX_UNITS));
        _buy(alice.addr, plain, held);
        _buy(bob.addr, plain, MAX_UNITS);
        _close(plain);
        units = bound(units, uint256(held) + 1, type(uint256).max);
        vm.expectRevert(
            abi.encodeWithSelector(IERC1155Errors.ERC1155InsufficientBalance.selector, alice.addr, held, units, plain)
        );
        _reclaim(alice.addr, plain, units);
    }

    /* reclaim: SUCCESS */

    function testFuzz_Reclaim_OfAClosedClass(uint128 held, uint128 others, uint128 units) public {
        held = uint128(bound(held, 1, MAX_UNITS));
        others = uint128(bound(others, 1, MAX_UNITS));
        units = uint128(bound(units, 1, held));
        uint256 backing = _buy(alice.addr, plain, held) + _buy(bob.addr, plain, others);
        _close(plain);
        uint256 supply = uint256(held) + others;
        uint256 share = units * backing / supply;
        vm.expectEmit(address(reserve));
        emit ICreditReserve.Reclaimed(plain, alice.addr, units, share);
        assertEq(_reclaim(alice.addr, plain, units), share, "share");
        assertEq(usd.balanceOf(alice.addr), share, "paid");
        assertEq(reserve.backingOf(plain), backing - share, "backing");
        assertEq(usd.balanceOf(address(reserve)), backing - share, "reserve's tokens");
        assertEq(credits.totalSupply(plain), supply - units, "supply");
        assertGe((backing - share) * supply, backing * (supply - units), "rate of those who stay");
    }

    function testFuzz_Reclaim_OfAnExpiredClass(uint128 units, uint40 late) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        uint256 paid = _buy(alice.addr, expiring, units);
        vm.warp(bound(late, uint256(EXPIRY) + 1, type(uint40).max));
        assertEq(_reclaim(alice.addr, expiring, units), paid, "a sole holder gets everything back");
        assertEq(reserve.backingOf(expiring), 0, "backing");
    }

    /// @dev Units locked in a job keep their share while the others leave.
    function testFuzz_Reclaim_LeavesTheShareOfJobs(uint128 held, uint128 locked) public {
        held = uint128(bound(held, 1, MAX_UNITS));
        locked = uint128(bound(locked, 1, MAX_UNITS));
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, locked);
        _buy(bob.addr, plain, held);
        _close(plain);
        uint256 backing = reserve.backingOf(plain);
        uint256 back = _reclaim(bob.addr, plain, held);
        _submit(terms, _receipt(jobId, locked));
        assertEq(reserve.earningsOf(provider.addr, address(usd)), backing - back, "the job takes the rest");
        assertGe((backing - back) * PRICE_UNITS, uint256(locked) * PRICE, "at its price or better");
    }

    function testFuzz_Reclaim_OfAGrantPaysNothing(uint96 units) public {
        units = uint96(bound(units, 1, type(uint96).max));
        uint256 id = _createClass(_grantTerms());
        vm.prank(issuer.addr);
        credits.grant(alice.addr, id, units);
        _close(id);
        assertEq(_reclaim(alice.addr, id, units), 0, "paid");
        assertEq(credits.totalSupply(id), 0, "supply");
    }

    /* sweepExpired: REVERTS */

    function testFuzz_RevertWhen_SweepOfUnknownClass(uint256 id) public {
        uint256 count = credits.classCount();
        if (id <= count) id = 0;
        _expect(IComputeCredits.ComputeCredits_UnknownClass.selector, id, id, count);
        reserve.sweepExpired(id);
    }

    function testFuzz_RevertWhen_ClassNeverExpires(uint40 when) public {
        _close(plain);
        vm.warp(bound(when, START, type(uint40).max));
        _expect(ICreditReserve.CreditReserve_TooEarly.selector, plain, vm.getBlockTimestamp(), type(uint256).max);
        reserve.sweepExpired(plain);
    }

    function testFuzz_RevertWhen_SweptTooEarly(uint40 when) public {
        uint256 dueAt = uint256(EXPIRY) + SWEEP_DELAY;
        when = uint40(bound(when, START, dueAt - 1));
        vm.warp(when);
        _expect(ICreditReserve.CreditReserve_TooEarly.selector, expiring, when, dueAt);
        reserve.sweepExpired(expiring);
    }

    /* sweepExpired: SUCCESS */

    function testFuzz_SweepExpired(uint128 held, uint128 reclaimed, uint40 late, address caller) public {
        held = uint128(bound(held, 1, MAX_UNITS));
        reclaimed = uint128(bound(reclaimed, 1, held));
        _buy(alice.addr, expiring, held);
        uint256 other = _buy(bob.addr, plain, held);
        vm.warp(bound(late, EXPIRY + SWEEP_DELAY, type(uint40).max));
        _reclaim(alice.addr, expiring, reclaimed);
        uint256 left = reserve.backingOf(expiring);
        vm.expectEmit(address(reserve));
        emit ICreditReserve.Swept(expiring, issuer.addr, left);
        vm.prank(caller);
        assertEq(reserve.sweepExpired(expiring), left, "swept");
        assertEq(reserve.backingOf(expiring), 0, "backing");
        assertEq(reserve.earningsOf(issuer.addr, address(usd)), left, "issuer's earnings");
        assertEq(reserve.backingOf(plain), other, "other class");
        assertEq(reserve.sweepExpired(expiring), 0, "twice gives nothing");
    }

    function testFuzz_SweepExpired_IsWithdrawnByTheIssuer(uint128 held) public {
        held = uint128(bound(held, 1, MAX_UNITS));
        uint256 cost = _buy(alice.addr, expiring, held);
        vm.warp(EXPIRY + SWEEP_DELAY);
        reserve.sweepExpired(expiring);
        vm.expectEmit(address(usd));
        emit IERC20.Transfer(address(reserve), issuer.addr, cost);
        vm.prank(issuer.addr);
        reserve.withdraw(address(usd), cost, issuer.addr);
        assertEq(_reclaim(alice.addr, expiring, held), 0, "who comes after the sweep finds nothing");
    }

    /// @dev The longest job and the longest challenge window together end well before a sweep.
    function test_SweepDelay_OutlastsEveryJob() public pure {
        uint256 longestWindow = 30 days;
        assertGt(SWEEP_DELAY, MAX_DURATION + longestWindow, "delay");
    }

    function _reclaim(address holder, uint256 id, uint256 units) private returns (uint256) {
        vm.prank(holder);
        return reserve.reclaim(id, units);
    }
}
