// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {Limits} from "contracts/interfaces/Types.sol";
import {SpendingBudgetsBase} from "./SpendingBudgetsBase.t.sol";

/// @dev release.
contract SpendingBudgetsReleaseTest is SpendingBudgetsBase {
    /* REVERTS */

    function testFuzz_RevertWhen_ReleasedByAStranger(address caller, uint256 value) public {
        vm.assume(caller != address(market) && caller != address(sessions));
        uint256 id = _chain(1)[0];
        _expect(ISpendingBudgets.SpendingBudgets_NotAuthorised.selector, id, caller, address(market));
        vm.prank(caller);
        budgets.release(id, value);
    }

    function test_RevertWhen_ReleasedByTheExchange() public {
        uint256 id = _chain(1)[0];
        _expect(ISpendingBudgets.SpendingBudgets_NotAuthorised.selector, id, address(exchange), address(market));
        vm.prank(address(exchange));
        budgets.release(id, 1);
    }

    /* SUCCESS */

    function testFuzz_Release(uint256 depth, uint96 charged, uint96 returned, bool bySessions) public {
        uint256[] memory ids = _chain(bound(depth, 1, DEPTH));
        uint256 last = ids.length - 1;
        returned = uint96(bound(returned, 0, charged));
        _spend(ids, charged);
        vm.expectEmit(address(budgets));
        emit ISpendingBudgets.BudgetReleased(ids[last], returned);
        vm.prank(bySessions ? address(sessions) : address(market));
        budgets.release(ids[last], returned);
        _assertSpent(ids, charged - returned);
        assertEq(budgets.leftOf(ids[last]), NO_CAP - charged + returned, "left");
    }

    /// @dev Levels below the one that was charged get nothing back, nor do brothers.
    function testFuzz_Release_OfOneBrother(uint80 a, uint80 b, uint80 returned) public {
        uint256 root = _chain(1)[0];
        uint256 first = _child(root, _limits(spenders[1]));
        uint256 second = _child(root, _limits(spenders[2]));
        _spend(first, spenders[1], a);
        _spend(second, spenders[2], b);
        returned = uint80(bound(returned, 0, a));
        _release(first, returned);
        assertEq(_spent(first), a - returned, "first child");
        assertEq(_spent(second), b, "second child");
        assertEq(_spent(root), uint256(a) + b - returned, "root");
    }

    /// @dev Periods count gross: opening and cancelling uses them up.
    function testFuzz_Release_LeavesThePeriod(uint96 cap, uint96 charged) public {
        uint256[] memory ids = _chain(2);
        cap = uint96(bound(cap, 0, NO_CAP - 1));
        charged = uint96(bound(charged, 0, cap));
        Limits memory limits = _limits(spenders[0]);
        (limits.period, limits.perPeriod) = (PERIOD, cap);
        _set(ids[0], limits);
        _spend(ids, charged);
        _release(ids[1], charged);
        _assertSpent(ids, 0);
        assertEq(_periodSpent(ids[0]), charged, "spent in the period");
        assertEq(budgets.leftOf(ids[1]), cap - charged, "left of the period");
        _expect(ISpendingBudgets.SpendingBudgets_OverPeriod.selector, ids[0], cap - charged + 1, cap - charged);
        _spend(ids, uint256(cap) - charged + 1);
    }

    /// @dev A period that began since is no richer for what an earlier one gets back.
    function testFuzz_Release_InALaterPeriod(uint96 cap) public {
        uint256 id = _chain(1)[0];
        cap = uint96(bound(cap, 1, NO_CAP - 1));
        Limits memory limits = _limits(spenders[0]);
        (limits.period, limits.perPeriod) = (PERIOD, cap);
        _set(id, limits);
        _spend(id, spenders[0], cap);
        vm.warp(_now() + PERIOD);
        _release(id, cap);
        assertEq(budgets.leftOf(id), cap, "one period's cap");
    }

    /// @dev Revoked, expired, unlisted: what comes back is counted, and nothing is held up.
    function testFuzz_Release_OfADeadBudget(uint256 level, uint96 charged, uint96 returned, bool expired) public {
        uint256[] memory ids = _chain(DEPTH);
        level = bound(level, 0, DEPTH - 1);
        returned = uint96(bound(returned, 0, charged));
        _spend(ids, charged);
        if (expired) {
            Limits memory limits = _limits(spenders[level]);
            (limits.expiry, limits.listed, limits.perAction, limits.lifetime) = (1, true, 0, charged);
            _set(ids[level], limits);
        } else {
            _revoke(ids[level]);
        }
        _release(ids[DEPTH - 1], returned);
        _assertSpent(ids, charged - returned);
        assertEq(budgets.leftOf(ids[DEPTH - 1]), 0, "still dead");
    }

    /// @dev Lowered to what was spent, a lifetime grows back only by what returns.
    function testFuzz_Release_AfterTheLifetimeWasLowered(uint96 charged, uint96 returned) public {
        uint256 id = _chain(1)[0];
        returned = uint96(bound(returned, 0, charged));
        _spend(id, spenders[0], charged);
        Limits memory limits = _limits(spenders[0]);
        limits.lifetime = charged;
        _set(id, limits);
        _release(id, returned);
        assertEq(_spent(id), charged - returned, "spent");
        assertEq(budgets.leftOf(id), returned, "left");
    }

    /// @dev What was used up whole can come back whole.
    function test_Release_OfAnEmptyBudget() public {
        uint256[] memory ids = _chain(2);
        _spend(ids, NO_CAP);
        assertEq(budgets.leftOf(ids[1]), 0, "empty");
        _release(ids[1], NO_CAP);
        assertEq(budgets.leftOf(ids[1]), NO_CAP, "whole");
    }

    /// @dev Not that market or sessions would: no level ever has more than its lifetime.
    function testFuzz_Release_MoreThanWasCharged(uint96 lifetime, uint96 charged, uint256 returned) public {
        uint256[] memory ids = _chain(2);
        charged = uint96(bound(charged, 0, lifetime));
        returned = bound(returned, charged, type(uint256).max);
        Limits memory limits = _limits(spenders[0]);
        limits.lifetime = lifetime;
        _set(ids[0], limits);
        _spend(ids, charged);
        _release(ids[1], returned);
        _assertSpent(ids, 0);
        assertEq(budgets.leftOf(ids[0]), lifetime, "the lifetime and no more");
    }

    /// @dev Not that market or sessions would.
    function testFuzz_Release_OfAnUnknownBudget(uint256 id, uint256 value) public {
        vm.assume(id > 2 || id == 0);
        uint256[] memory ids = _chain(2);
        _spend(ids, 7);
        _release(id, value);
        _assertSpent(ids, 7);
        assertEq(budgets.leftOf(id), 0, "nothing to spend");
    }
}
