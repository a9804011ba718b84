// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {Limits} from "contracts/interfaces/Types.sol";
import {SpendingBudgetsBase} from "./SpendingBudgetsBase.t.sol";

/// @dev The limits a charge must fit, at whichever level they are.
contract SpendingBudgetsLevelsTest is SpendingBudgetsBase {
    uint256[] private _ids;
    /// @dev Which level of the chain has the limit of the test.
    uint256 private _at;

    /// @dev Any chain, any level of it.
    modifier atAnyLevel(uint256 depth, uint256 level) {
        _ids = _chain(bound(depth, 1, DEPTH));
        _at = bound(level, 0, _ids.length - 1);
        _;
    }

    /* REVERTS */

    function testFuzz_RevertWhen_LevelIsRevoked(uint256 depth, uint256 level, uint96 value)
        public
        atAnyLevel(depth, level)
    {
        _revoke(_ids[_at]);
        _expect(ISpendingBudgets.SpendingBudgets_Revoked.selector, _ids[_at], value, 0);
        _spend(_ids, value);
        assertEq(budgets.leftOf(_ids[_ids.length - 1]), 0, "left");
    }

    function testFuzz_RevertWhen_LevelIsExpired(uint256 depth, uint256 level, uint40 expiry, uint256 late)
        public
        atAnyLevel(depth, level)
    {
        expiry = uint40(bound(expiry, 1, type(uint40).max - 1));
        late = bound(late, uint256(expiry) + 1, type(uint40).max);
        Limits memory limits = _limits(spenders[_at]);
        limits.expiry = expiry;
        _set(_ids[_at], limits);
        vm.warp(late);
        _expect(ISpendingBudgets.SpendingBudgets_Expired.selector, _ids[_at], late, expiry);
        _spend(_ids, 1);
        assertEq(budgets.leftOf(_ids[_ids.length - 1]), 0, "left");
    }

    function testFuzz_RevertWhen_ProviderIsNotListed(uint256 depth, uint256 level, address listed)
        public
        atAnyLevel(depth, level)
    {
        vm.assume(listed != provider.addr);
        Limits memory limits = _limits(spenders[_at]);
        limits.listed = true;
        _set(_ids[_at], limits);
        _list(_ids[_at], listed, true);
        _expect(ISpendingBudgets.SpendingBudgets_ProviderNotListed.selector, _ids[_at], provider.addr, address(0));
        _spend(_ids, 1);
    }

    /// @dev A list below, or above, doesn't stand in for a level's own.
    function test_RevertWhen_ProviderIsListedElsewhere() public {
        uint256[] memory ids = _chain(3);
        Limits memory limits = _limits(spenders[1]);
        limits.listed = true;
        _set(ids[1], limits);
        _list(ids[0], provider.addr, true);
        _list(ids[2], provider.addr, true);
        _expect(ISpendingBudgets.SpendingBudgets_ProviderNotListed.selector, ids[1], provider.addr, address(0));
        _spend(ids, 1);
    }

    function testFuzz_RevertWhen_OverAction(uint256 depth, uint256 level, uint96 cap, uint256 value)
        public
        atAnyLevel(depth, level)
    {
        cap = uint96(bound(cap, 0, NO_CAP - 1));
        Limits memory limits = _limits(spenders[_at]);
        limits.perAction = cap;
        _set(_ids[_at], limits);
        value = bound(value, uint256(cap) + 1, NO_CAP);
        _expect(ISpendingBudgets.SpendingBudgets_OverAction.selector, _ids[_at], value, cap);
        _spend(_ids, value);
    }

    /// @dev What no budget can hold is refused by the lowest level, however high its cap.
    function testFuzz_RevertWhen_ValueIsBeyondAnyCap(uint256 depth, uint256 value) public {
        uint256[] memory ids = _chain(bound(depth, 1, DEPTH));
        value = bound(value, uint256(NO_CAP) + 1, type(uint256).max);
        _expect(ISpendingBudgets.SpendingBudgets_OverAction.selector, ids[ids.length - 1], value, NO_CAP);
        _spend(ids, value);
    }

    function testFuzz_RevertWhen_OverPeriod(uint256 depth, uint256 level, uint96 cap, uint96 first, uint256 value)
        public
        atAnyLevel(depth, level)
    {
        cap = uint96(bound(cap, 0, NO_CAP - 1));
        first = uint96(bound(first, 0, cap));
        Limits memory limits = _limits(spenders[_at]);
        (limits.period, limits.perPeriod) = (PERIOD, cap);
        _set(_ids[_at], limits);
        _spend(_ids, first);
        value = bound(value, uint256(cap) - first + 1, uint256(NO_CAP) - first);
        _expect(ISpendingBudgets.SpendingBudgets_OverPeriod.selector, _ids[_at], value, cap - first);
        _spend(_ids, value);
    }

    function testFuzz_RevertWhen_OverLifetime(uint256 depth, uint256 level, uint96 cap, uint96 first, uint256 value)
        public
        atAnyLevel(depth, level)
    {
        cap = uint96(bound(cap, 0, NO_CAP - 1));
        first = uint96(bound(first, 0, cap));
        Limits memory limits = _limits(spenders[_at]);
        limits.lifetime = cap;
        _set(_ids[_at], limits);
        _spend(_ids, first);
        value = bound(value, uint256(cap) - first + 1, NO_CAP - first);
        _expect(ISpendingBudgets.SpendingBudgets_OverLifetime.selector, _ids[_at], value, cap - first);
        _spend(_ids, value);
    }

    /// @dev A level that refuses undoes those below it.
    function test_RevertWhen_OneLevelRefusesNoneIsCharged() public {
        uint256[] memory ids = _chain(DEPTH);
        Limits memory limits = _limits(spenders[0]);
        limits.lifetime = 5;
        _set(ids[0], limits);
        _expect(ISpendingBudgets.SpendingBudgets_OverLifetime.selector, ids[0], 6, 5);
        _spend(ids, 6);
        _assertSpent(ids, 0);
    }

    /// @dev Of two levels that refuse, the lower one is named.
    function test_RevertWhen_TwoLevelsRefuse() public {
        uint256[] memory ids = _chain(3);
        _revoke(ids[0]);
        Limits memory limits = _limits(spenders[1]);
        limits.perAction = 9;
        _set(ids[1], limits);
        _expect(ISpendingBudgets.SpendingBudgets_OverAction.selector, ids[1], 10, 9);
        _spend(ids, 10);
    }

    /* SUCCESS */

    /// @dev Exactly what every cap of a level allows passes, and then nothing more does.
    function testFuzz_Charge_FitsExactly(uint256 depth, uint256 level, uint96 cap) public atAnyLevel(depth, level) {
        cap = uint96(bound(cap, 0, NO_CAP - 1));
        Limits memory limits = _limits(spenders[_at]);
        (limits.perAction, limits.perPeriod, limits.lifetime, limits.period) = (cap, cap, cap, PERIOD);
        _set(_ids[_at], limits);
        uint256 lowest = _ids[_ids.length - 1];
        assertEq(budgets.leftOf(lowest), cap, "left before");
        _spend(_ids, cap);
        _assertSpent(_ids, cap);
        assertEq(budgets.leftOf(lowest), 0, "left after");
        _spend(_ids, 0);
        bytes4 reason = cap == 0
            ? ISpendingBudgets.SpendingBudgets_OverAction.selector
            : ISpendingBudgets.SpendingBudgets_OverPeriod.selector;
        _expect(reason, _ids[_at], 1, 0);
        _spend(_ids, 1);
    }

    function testFuzz_Charge_UpToTheSecondOfExpiry(uint256 depth, uint256 level, uint40 expiry)
        public
        atAnyLevel(depth, level)
    {
        expiry = uint40(bound(expiry, 1, type(uint40).max));
        Limits memory limits = _limits(spenders[_at]);
        limits.expiry = expiry;
        _set(_ids[_at], limits);
        vm.warp(expiry);
        _spend(_ids, 1);
        _assertSpent(_ids, 1);
    }

    function testFuzz_Charge_ForeverWithoutExpiry(uint40 late) public {
        uint256[] memory ids = _chain(2);
        vm.warp(late);
        _spend(ids, 1);
        _assertSpent(ids, 1);
    }

    function testFuzz_Charge_OfAListedProvider(uint256 depth, uint256 level) public atAnyLevel(depth, level) {
        Limits memory limits = _limits(spenders[_at]);
        limits.listed = true;
        _set(_ids[_at], limits);
        _list(_ids[_at], provider.addr, true);
        _spend(_ids, 1);
        _assertSpent(_ids, 1);
    }

    /* PERIODS */

    /// @dev The cap is whole again from the first second of the next period, not a second before.
    function testFuzz_Period_RollsOver(uint256 depth, uint256 level, uint32 period, uint256 skipped, uint96 cap)
        public
        atAnyLevel(depth, level)
    {
        (period, cap) = (uint32(bound(period, 1, 365 days)), uint96(bound(cap, 1, NO_CAP / 4)));
        skipped = bound(skipped, 1, 100);
        Limits memory limits = _limits(spenders[_at]);
        (limits.period, limits.perPeriod) = (period, cap);
        _set(_ids[_at], limits);
        uint256 index = _now() / period;
        _spend(_ids, cap);
        vm.warp((index + 1) * period - 1);
        _expect(ISpendingBudgets.SpendingBudgets_OverPeriod.selector, _ids[_at], 1, 0);
        _spend(_ids, 1);
        vm.warp((index + skipped) * period);
        assertEq(budgets.leftOf(_ids[_ids.length - 1]), cap, "whole again");
        _spend(_ids, cap);
        assertEq(budgets.leftOf(_ids[_ids.length - 1]), 0, "used up again");
        ISpendingBudgets.Budget memory budget = budgets.budgetOf(_ids[_at]);
        assertEq(budget.periodIndex, index + skipped, "period");
        assertEq(budget.periodSpent, cap, "spent in the period");
        assertEq(budget.spent, 2 * uint256(cap), "spent in all");
    }

    /// @dev Charges of one period add up.
    function testFuzz_Period_AddsUp(uint80 a, uint80 b, uint256 later) public {
        uint256 id = _chain(1)[0];
        Limits memory limits = _limits(spenders[0]);
        limits.period = PERIOD;
        _set(id, limits);
        _spend(id, spenders[0], a);
        uint256 left = PERIOD - 1 - _now() % PERIOD;
        vm.warp(_now() + bound(later, 0, left));
        _spend(id, spenders[0], b);
        assertEq(_periodSpent(id), uint256(a) + b, "spent in the period");
    }

    /// @dev Levels have periods of their own.
    function test_Period_OfEachLevel() public {
        uint256[] memory ids = _chain(2);
        Limits memory daily = _limits(spenders[1]);
        (daily.period, daily.perPeriod) = (1 days, 10);
        Limits memory weekly = _limits(spenders[0]);
        (weekly.period, weekly.perPeriod) = (7 days, 25);
        _set(ids[1], daily);
        _set(ids[0], weekly);
        vm.warp(7 days * (START / 7 days + 1));
        for (uint256 day; day < 2; ++day) {
            _spend(ids, 10);
            vm.warp(_now() + 1 days);
        }
        assertEq(budgets.leftOf(ids[1]), 5, "the week has less left than the day");
        _expect(ISpendingBudgets.SpendingBudgets_OverPeriod.selector, ids[0], 6, 5);
        _spend(ids, 6);
        _spend(ids, 5);
    }

    function testFuzz_Period_OfZeroIsNone(uint96 cap, uint96 value, uint40 later) public {
        uint256 id = _chain(1)[0];
        Limits memory limits = _limits(spenders[0]);
        limits.perPeriod = cap;
        _set(id, limits);
        _spend(id, spenders[0], value);
        vm.warp(later);
        assertEq(budgets.leftOf(id), NO_CAP - value, "only the lifetime counts");
        assertEq(_periodSpent(id), 0, "no period to spend in");
        _spend(id, spenders[0], NO_CAP - value);
        assertEq(_spent(id), NO_CAP, "spent");
    }

    /* leftOf */

    /// @dev The least of what every level has left by any of its caps; that fits, and one more doesn't.
    function testFuzz_LeftOf(uint256 depth, Limits[DEPTH] memory all, uint96 first) public {
        uint256[] memory ids = _chain(bound(depth, 1, DEPTH));
        uint256 expected = type(uint256).max;
        for (uint256 i; i < ids.length; ++i) {
            (all[i].spender, all[i].expiry, all[i].listed) = (spenders[i], 0, false);
            _set(ids[i], all[i]);
        }
        first = uint96(bound(first, 0, budgets.leftOf(ids[ids.length - 1])));
        _spend(ids, first);
        for (uint256 i; i < ids.length; ++i) {
            expected = _min(expected, _min(all[i].perAction, all[i].lifetime - first));
            if (all[i].period != 0) expected = _min(expected, all[i].perPeriod - first);
        }
        assertEq(budgets.leftOf(ids[ids.length - 1]), expected, "left");
        // By whichever cap of whichever level it is.
        vm.expectRevert();
        _spend(ids, expected + 1);
        _spend(ids, expected);
        assertEq(_spent(ids[0]), uint256(first) + expected, "spent");
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
