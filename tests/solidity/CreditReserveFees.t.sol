// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {Base} from "./Base.t.sol";

/// @dev proposeFee, applyFee, what the fee takes from a withdrawal, and collectFees.
contract CreditReserveFeesTest is Base {
    /* proposeFee */

    function testFuzz_RevertWhen_FeeProposedWithoutRole(address caller, uint256 feeBps) public {
        vm.assume(caller != admin.addr);
        _expectNoRole(caller);
        vm.prank(caller);
        reserve.proposeFee(feeBps);
    }

    function testFuzz_RevertWhen_FeeAboveTheBound(uint256 feeBps) public {
        feeBps = bound(feeBps, MAX_FEE_BPS + 1, type(uint256).max);
        _expect(ICreditReserve.CreditReserve_FeeTooHigh.selector, uint256(0), feeBps, MAX_FEE_BPS);
        _propose(feeBps);
    }

    function testFuzz_ProposeFee_HigherWaits(uint256 before, uint256 feeBps) public {
        before = bound(before, 0, MAX_FEE_BPS - 1);
        feeBps = bound(feeBps, before + 1, MAX_FEE_BPS);
        _setFee(before);
        vm.expectEmit(address(reserve));
        emit ICreditReserve.FeeProposed(feeBps, _now() + FEE_DELAY);
        _propose(feeBps);
        assertEq(reserve.feeBps(), before, "fee in force");
        _assertPending(feeBps, _now() + FEE_DELAY);
    }

    function testFuzz_ProposeFee_LowerAppliesAtOnce(uint256 before, uint256 feeBps) public {
        before = bound(before, 0, MAX_FEE_BPS);
        feeBps = bound(feeBps, 0, before);
        _setFee(before);
        vm.expectEmit(address(reserve));
        emit ICreditReserve.FeeSet(feeBps);
        _propose(feeBps);
        assertEq(reserve.feeBps(), feeBps, "fee in force");
        _assertPending(0, 0);
    }

    /// @dev A later proposal starts the wait anew.
    function testFuzz_ProposeFee_Again(uint256 first, uint256 second, uint256 waited) public {
        first = bound(first, 1, MAX_FEE_BPS);
        second = bound(second, 1, MAX_FEE_BPS);
        waited = bound(waited, 1, FEE_DELAY);
        _propose(first);
        vm.warp(START + waited);
        _propose(second);
        _assertPending(second, START + waited + FEE_DELAY);
        vm.warp(START + FEE_DELAY);
        _expect(ICreditReserve.CreditReserve_FeeNotDue.selector, uint256(0), _now(), START + waited + FEE_DELAY);
        reserve.applyFee();
    }

    /// @dev A proposal of what is in force, or less, takes back one that waits.
    function testFuzz_ProposeFee_TakesBackOneThatWaits(uint256 before, uint256 higher) public {
        before = bound(before, 0, MAX_FEE_BPS - 1);
        higher = bound(higher, before + 1, MAX_FEE_BPS);
        _setFee(before);
        _propose(higher);
        _propose(before);
        vm.warp(_now() + FEE_DELAY);
        _expect(ICreditReserve.CreditReserve_FeeNotDue.selector, uint256(0), _now(), type(uint256).max);
        reserve.applyFee();
        assertEq(reserve.feeBps(), before, "fee in force");
    }

    /* applyFee */

    function testFuzz_RevertWhen_NoFeeWasProposed(uint40 when) public {
        when = uint40(bound(when, START, type(uint40).max));
        vm.warp(when);
        _expect(ICreditReserve.CreditReserve_FeeNotDue.selector, uint256(0), when, type(uint256).max);
        reserve.applyFee();
    }

    function testFuzz_RevertWhen_FeeAppliedTooEarly(uint256 feeBps, uint40 when) public {
        _propose(bound(feeBps, 1, MAX_FEE_BPS));
        when = uint40(bound(when, START, START + FEE_DELAY - 1));
        vm.warp(when);
        _expect(ICreditReserve.CreditReserve_FeeNotDue.selector, uint256(0), when, START + FEE_DELAY);
        reserve.applyFee();
    }

    function testFuzz_ApplyFee(uint256 feeBps, uint40 when, address caller) public {
        feeBps = bound(feeBps, 1, MAX_FEE_BPS);
        _propose(feeBps);
        vm.warp(bound(when, START + FEE_DELAY, type(uint40).max));
        vm.expectEmit(address(reserve));
        emit ICreditReserve.FeeSet(feeBps);
        vm.prank(caller);
        reserve.applyFee();
        assertEq(reserve.feeBps(), feeBps, "fee in force");
        _assertPending(0, 0);
        _expect(ICreditReserve.CreditReserve_FeeNotDue.selector, uint256(0), _now(), type(uint256).max);
        reserve.applyFee();
    }

    /// @dev Whoever earned before can always withdraw at the fee it knew.
    function testFuzz_ApplyFee_LeavesTimeToWithdraw(uint256 units, uint256 feeBps, uint256 waited) public {
        uint256 earned = _earn(units);
        _propose(bound(feeBps, 1, MAX_FEE_BPS));
        vm.warp(START + bound(waited, 0, FEE_DELAY));
        _withdraw(earned);
        assertEq(usd.balanceOf(provider.addr), earned, "all of it");
    }

    /* THE FEE ON A WITHDRAWAL */

    function testFuzz_Withdraw_LessTheFee(uint256 units, uint256 amount, uint256 feeBps) public {
        feeBps = bound(feeBps, 0, MAX_FEE_BPS);
        _setFee(feeBps);
        uint256 earned = _earn(units);
        amount = bound(amount, 1, earned);
        uint256 fee = amount * feeBps / BPS;
        uint256 held = usd.balanceOf(address(reserve));
        vm.expectEmit(address(reserve));
        emit ICreditReserve.Withdrawn(provider.addr, address(usd), provider.addr, amount, fee);
        vm.expectEmit(address(usd));
        emit IERC20.Transfer(address(reserve), provider.addr, amount - fee);
        _withdraw(amount);
        assertEq(reserve.earningsOf(provider.addr, address(usd)), earned - amount, "earnings left");
        assertEq(reserve.feesOf(address(usd)), fee, "fees");
        assertEq(usd.balanceOf(provider.addr), amount - fee, "paid");
        assertEq(usd.balanceOf(address(reserve)), held - amount + fee, "reserve's tokens");
    }

    /// @dev The fee is rounded down, each time.
    function testFuzz_Withdraw_InPieces(uint256 units, uint256 first, uint256 feeBps) public {
        feeBps = bound(feeBps, 0, MAX_FEE_BPS);
        _setFee(feeBps);
        uint256 earned = _earn(units);
        first = bound(first, 1, earned - 1);
        _withdraw(first);
        _withdraw(earned - first);
        uint256 fees = reserve.feesOf(address(usd));
        assertEq(fees, first * feeBps / BPS + (earned - first) * feeBps / BPS, "fees");
        assertLe(fees, earned * feeBps / BPS, "no more than of the whole");
        assertEq(usd.balanceOf(provider.addr) + fees, earned, "nothing lost");
    }

    /* collectFees */

    function testFuzz_RevertWhen_FeesCollectedWithoutRole(address caller, uint256 amount) public {
        vm.assume(caller != admin.addr);
        _expectNoRole(caller);
        vm.prank(caller);
        reserve.collectFees(address(usd), amount, caller);
    }

    function testFuzz_RevertWhen_CollectingNothing(address to) public {
        _expect(ICreditReserve.CreditReserve_ZeroAmount.selector, address(reserve), 0, 1);
        vm.prank(admin.addr);
        reserve.collectFees(address(usd), 0, to);
    }

    function testFuzz_RevertWhen_CollectingForNobody(uint256 units, bool toItself) public {
        uint256 fees = _fees(units);
        address to = toItself ? address(reserve) : address(0);
        _expect(ICreditReserve.CreditReserve_BadReceiver.selector, address(reserve), to, address(0));
        vm.prank(admin.addr);
        reserve.collectFees(address(usd), fees, to);
    }

    /// @dev Whoever collects fees reaches neither backing nor earnings.
    function testFuzz_RevertWhen_CollectingMoreThanTheFees(uint256 units, uint256 amount) public {
        uint256 fees = _fees(units);
        amount = bound(amount, fees + 1, type(uint256).max);
        _expect(ICreditReserve.CreditReserve_InsufficientEarnings.selector, address(reserve), amount, fees);
        vm.prank(admin.addr);
        reserve.collectFees(address(usd), amount, admin.addr);
    }

    function testFuzz_CollectFees(uint256 units, uint256 amount, address to) public {
        _assumeStranger(to);
        uint256 fees = _fees(units);
        uint256 earned = reserve.earningsOf(provider.addr, address(usd));
        uint256 backing = reserve.backingOf(plain);
        amount = bound(amount, 1, fees);
        vm.expectEmit(address(reserve));
        emit ICreditReserve.FeesCollected(address(usd), to, amount);
        vm.prank(admin.addr);
        reserve.collectFees(address(usd), amount, to);
        assertEq(reserve.feesOf(address(usd)), fees - amount, "fees left");
        assertEq(usd.balanceOf(to), amount, "paid");
        assertEq(reserve.earningsOf(provider.addr, address(usd)), earned, "earnings untouched");
        assertEq(reserve.backingOf(plain), backing, "backing untouched");
    }

    /* HELPERS */

    function _propose(uint256 feeBps) private {
        vm.prank(admin.addr);
        reserve.proposeFee(feeBps);
    }

    /// @dev Half of what was bought is paid to the provider: a thousand token units or more.
    function _earn(uint256 units) private returns (uint256) {
        units = bound(units, 2e6, MAX_UNITS);
        _buy(alice.addr, plain, units);
        vm.prank(address(market));
        return reserve.payOut(plain, provider.addr, units / 2, units);
    }

    /// @dev The highest fee on half of the provider's earnings.
    function _fees(uint256 units) private returns (uint256) {
        _setFee(MAX_FEE_BPS);
        _withdraw(_earn(units) / 2);
        return reserve.feesOf(address(usd));
    }

    function _withdraw(uint256 amount) private {
        vm.prank(provider.addr);
        reserve.withdraw(address(usd), amount, provider.addr);
    }

    function _assertPending(uint256 bps, uint256 applicableAt) private view {
        (uint256 pending, uint256 due) = reserve.pendingFee();
        assertEq(pending, bps, "pending fee");
        assertEq(due, applicableAt, "pending until");
    }

    function _expectNoRole(address caller) private {
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, FEE_ROLE)
        );
    }
}
