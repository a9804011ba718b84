// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {Limits} from "contracts/interfaces/Types.sol";
import {SpendingBudgetsBase} from "./SpendingBudgetsBase.t.sol";

/// @dev setBudget, setProviders and revoke.
contract SpendingBudgetsChangeTest is SpendingBudgetsBase {
    /* WHO: REVERTS */

    function testFuzz_RevertWhen_BudgetIsUnknown(uint256 id) public {
        vm.assume(id == 0 || id > 2);
        _chain(2);
        _expect(ISpendingBudgets.SpendingBudgets_UnknownBudget.selector, id, id, 2);
        _set(id, _limits(bob.addr));
        _expect(ISpendingBudgets.SpendingBudgets_UnknownBudget.selector, id, id, 2);
        _list(id, provider.addr, true);
        _expect(ISpendingBudgets.SpendingBudgets_UnknownBudget.selector, id, id, 2);
        _revoke(id);
    }

    /// @dev Not even its spender changes a budget, nor the spender of a level further up.
    function testFuzz_RevertWhen_CallerIsNotTheController(address stranger, uint256 depth, uint256 who) public {
        uint256[] memory ids = _chain(bound(depth, 1, DEPTH));
        uint256 last = ids.length - 1;
        who = bound(who, 0, ids.length);
        address caller = who == ids.length ? stranger : spenders[who];
        vm.assume(caller != alice.addr && (last == 0 || caller != spenders[last - 1]));
        bytes4 reason = ISpendingBudgets.SpendingBudgets_NotController.selector;
        _expect(reason, ids[last], caller, alice.addr);
        vm.prank(caller);
        budgets.setBudget(ids[last], _limits(bob.addr));
        _expect(reason, ids[last], caller, alice.addr);
        vm.prank(caller);
        budgets.setProviders(ids[last], _one(bob.addr), true);
        if (caller == spenders[last]) return;
        _expect(reason, ids[last], caller, alice.addr);
        vm.prank(caller);
        budgets.revoke(ids[last]);
    }

    /// @dev Once a budget is revoked, its spender no longer controls what is below.
    function test_RevertWhen_ControllerIsRevoked() public {
        uint256[] memory ids = _chain(2);
        _revoke(ids[0]);
        bytes4 reason = ISpendingBudgets.SpendingBudgets_NotController.selector;
        vm.startPrank(spenders[0]);
        _expect(reason, ids[1], spenders[0], alice.addr);
        budgets.setBudget(ids[1], _limits(bob.addr));
        _expect(reason, ids[1], spenders[0], alice.addr);
        budgets.setProviders(ids[1], _one(bob.addr), true);
        _expect(reason, ids[1], spenders[0], alice.addr);
        budgets.revoke(ids[1]);
        vm.stopPrank();
    }

    function test_RevertWhen_ControllerWasReplaced() public {
        uint256[] memory ids = _chain(2);
        _set(ids[0], _limits(bob.addr));
        _expect(ISpendingBudgets.SpendingBudgets_NotController.selector, ids[1], spenders[0], alice.addr);
        vm.prank(spenders[0]);
        budgets.revoke(ids[1]);
        vm.prank(bob.addr);
        budgets.revoke(ids[1]);
        assertTrue(budgets.budgetOf(ids[1]).revoked, "revoked by the new one");
    }

    /* setBudget: REVERTS */

    function testFuzz_RevertWhen_SetAfterRevocation(Limits memory limits) public {
        uint256 id = _chain(1)[0];
        _revoke(id);
        _expect(ISpendingBudgets.SpendingBudgets_Revoked.selector, id, limits.lifetime, 0);
        _set(id, limits);
    }

    function testFuzz_RevertWhen_LifetimeIsBelowSpent(uint96 spent, uint96 lifetime) public {
        uint256[] memory ids = _chain(2);
        spent = uint96(bound(spent, 1, NO_CAP));
        _spend(ids, spent);
        Limits memory limits = _limits(spenders[0]);
        limits.lifetime = uint96(bound(lifetime, 0, spent - 1));
        _expect(ISpendingBudgets.SpendingBudgets_BelowSpent.selector, ids[0], limits.lifetime, spent);
        _set(ids[0], limits);
    }

    function testFuzz_RevertWhen_SpenderIsSetToZero(Limits memory limits) public {
        uint256 id = _chain(1)[0];
        limits.spender = address(0);
        _expect(ISpendingBudgets.SpendingBudgets_ZeroSpender.selector, id, address(0), address(0));
        _set(id, limits);
    }

    /* setBudget: SUCCESS */

    function testFuzz_SetBudget(bool byOwner, Limits memory limits, uint96 spent) public {
        vm.assume(limits.spender != address(0));
        spent = uint96(bound(spent, 0, limits.lifetime));
        uint256[] memory ids = _chain(3);
        _spend(ids, spent);
        vm.expectEmit(address(budgets));
        emit ISpendingBudgets.BudgetSet(ids[1], limits);
        vm.prank(byOwner ? alice.addr : spenders[0]);
        budgets.setBudget(ids[1], limits);
        ISpendingBudgets.Budget memory budget = budgets.budgetOf(ids[1]);
        _assertLimits(budget.limits, limits);
        assertEq(budget.spent, spent, "what is spent stays counted");
        assertEq(budget.parent, ids[0], "parent");
        assertEq(budget.depth, 2, "depth");
        assertEq(budget.owner, alice.addr, "owner");
        assertEq(budget.periodIndex, limits.period == 0 ? 0 : _now() / limits.period, "period");
        _assertLimits(budgets.budgetOf(ids[2]).limits, _limits(spenders[2]));
    }

    function testFuzz_SetBudget_ChangesTheSpender(address spender) public {
        vm.assume(spender != address(0) && spender != spenders[1]);
        uint256[] memory ids = _chain(2);
        _set(ids[1], _limits(spender));
        assertEq(budgets.spenderOf(ids[1]), spender, "spender");
        _expect(ISpendingBudgets.SpendingBudgets_NotSpender.selector, ids[1], spenders[1], spender);
        _spend(ids, 1);
        _spend(ids[1], spender, 1);
        assertEq(_spent(ids[0]), 1, "spent");
    }

    function testFuzz_SetBudget_DownToWhatIsSpent(uint96 spent, uint96 raised) public {
        uint256 id = _chain(1)[0];
        _spend(id, spenders[0], spent);
        Limits memory limits = _limits(spenders[0]);
        limits.lifetime = spent;
        _set(id, limits);
        assertEq(budgets.leftOf(id), 0, "nothing left");
        limits.lifetime = raised = uint96(bound(raised, spent, NO_CAP));
        _set(id, limits);
        assertEq(budgets.leftOf(id), raised - spent, "what it was raised by");
    }

    /// @dev A cap below what the period has taken stops the period, and is no way to forget what it took.
    function testFuzz_SetBudget_PeriodBelowSpent(uint96 spent, uint96 lowered, uint96 raised) public {
        uint256 id = _chain(1)[0];
        spent = uint96(bound(spent, 1, NO_CAP - 1));
        lowered = uint96(bound(lowered, 0, spent - 1));
        raised = uint96(bound(raised, uint256(spent) + 1, NO_CAP));
        Limits memory limits = _limits(spenders[0]);
        limits.period = PERIOD;
        _set(id, limits);
        _spend(id, spenders[0], spent);
        limits.perPeriod = lowered;
        _set(id, limits);
        assertEq(_periodSpent(id), spent, "still counted");
        assertEq(budgets.leftOf(id), 0, "nothing left");
        _expect(ISpendingBudgets.SpendingBudgets_OverPeriod.selector, id, 1, 0);
        _spend(id, spenders[0], 1);
        limits.perPeriod = raised;
        _set(id, limits);
        assertEq(_periodSpent(id), spent, "counted all along");
        assertEq(budgets.leftOf(id), raised - spent, "left of the raised cap");
    }

    /// @dev With another length of period, what the running one has taken counts in the one that runs from now on.
    function testFuzz_SetBudget_AnotherPeriod(uint32 before, uint32 then, uint96 spent) public {
        uint256 id = _chain(1)[0];
        Limits memory limits = _limits(spenders[0]);
        limits.period = before = uint32(bound(before, 1, type(uint32).max));
        _set(id, limits);
        _spend(id, spenders[0], spent);
        limits.period = then = uint32(bound(then, 1, type(uint32).max));
        _set(id, limits);
        ISpendingBudgets.Budget memory budget = budgets.budgetOf(id);
        assertEq(budget.periodSpent, spent, "carried over");
        assertEq(budget.periodIndex, _now() / then, "into the period of now");
    }

    /// @dev What earlier periods took is past.
    function testFuzz_SetBudget_InALaterPeriod(uint96 spent, uint256 later) public {
        uint256 id = _chain(1)[0];
        Limits memory limits = _limits(spenders[0]);
        limits.period = PERIOD;
        _set(id, limits);
        _spend(id, spenders[0], spent);
        vm.warp(_now() + bound(later, PERIOD, 10_000 days));
        limits.period = 2 * PERIOD;
        _set(id, limits);
        assertEq(_periodSpent(id), 0, "nothing yet");
    }

    /// @dev Without periods there is nothing to count, so turning them off and on begins anew.
    function testFuzz_SetBudget_PeriodsOffAndOn(uint96 spent) public {
        uint256 id = _chain(1)[0];
        Limits memory limits = _limits(spenders[0]);
        limits.period = PERIOD;
        _set(id, limits);
        _spend(id, spenders[0], spent);
        limits.period = 0;
        _set(id, limits);
        assertEq(_periodSpent(id), 0, "off");
        limits.period = PERIOD;
        _set(id, limits);
        assertEq(_periodSpent(id), 0, "on again");
        assertEq(_spent(id), spent, "the lifetime goes on");
    }

    /// @dev An expired budget can be given more time; its owner trusts its spender anew.
    function testFuzz_SetBudget_RenewsAnExpiredOne(uint40 late) public {
        uint256 id = _chain(1)[0];
        late = uint40(bound(late, START + 1, type(uint40).max));
        Limits memory limits = _limits(spenders[0]);
        limits.expiry = uint40(START);
        _set(id, limits);
        vm.warp(late);
        _expect(ISpendingBudgets.SpendingBudgets_Expired.selector, id, late, START);
        _spend(id, spenders[0], 1);
        limits.expiry = late;
        _set(id, limits);
        _spend(id, spenders[0], 1);
        assertEq(_spent(id), 1, "spent");
    }

    /* setProviders */

    function testFuzz_RevertWhen_ListIsTooLong(uint256 extra, bool listed) public {
        uint256 id = _chain(1)[0];
        address[] memory list = new address[](MAX_PROVIDERS + bound(extra, 1, 20));
        _expect(ISpendingBudgets.SpendingBudgets_TooManyProviders.selector, id, list.length, MAX_PROVIDERS);
        vm.prank(alice.addr);
        budgets.setProviders(id, list, listed);
    }

    function testFuzz_SetProviders(bool byOwner, address account, address other) public {
        vm.assume(account != other);
        uint256[] memory ids = _chain(2);
        address[] memory list = new address[](2);
        (list[0], list[1]) = (account, other);
        vm.startPrank(byOwner ? alice.addr : spenders[0]);
        vm.expectEmit(address(budgets));
        emit ISpendingBudgets.ProvidersSet(ids[1], list, true);
        budgets.setProviders(ids[1], list, true);
        assertTrue(budgets.isListed(ids[1], account) && budgets.isListed(ids[1], other), "both listed");
        assertFalse(budgets.isListed(ids[0], account), "at this level alone");
        vm.expectEmit(address(budgets));
        emit ISpendingBudgets.ProvidersSet(ids[1], _one(other), false);
        budgets.setProviders(ids[1], _one(other), false);
        vm.stopPrank();
        assertTrue(budgets.isListed(ids[1], account), "still listed");
        assertFalse(budgets.isListed(ids[1], other), "taken off");
    }

    function test_SetProviders_OffTheListStopsCharges() public {
        uint256[] memory ids = _chain(2);
        Limits memory limits = _limits(spenders[0]);
        limits.listed = true;
        _set(ids[0], limits);
        _list(ids[0], provider.addr, true);
        _spend(ids, 1);
        _list(ids[0], provider.addr, false);
        _expect(ISpendingBudgets.SpendingBudgets_ProviderNotListed.selector, ids[0], provider.addr, address(0));
        _spend(ids, 1);
    }

    /* revoke */

    function testFuzz_RevertWhen_RevokedTwice(bool bySpender) public {
        uint256 id = _chain(1)[0];
        _revoke(id);
        _expect(ISpendingBudgets.SpendingBudgets_Revoked.selector, id, 0, 0);
        vm.prank(bySpender ? spenders[0] : alice.addr);
        budgets.revoke(id);
    }

    /// @dev By the owner, the spender of the level above, or its own spender; it and all below stop, the rest goes on.
    function testFuzz_Revoke(uint256 level, uint256 who) public {
        uint256[] memory ids = _chain(DEPTH);
        level = bound(level, 0, DEPTH - 1);
        who = bound(who, 0, level == 0 ? 1 : 2);
        address caller = who == 0 ? alice.addr : spenders[level + 1 - who];
        vm.expectEmit(address(budgets));
        emit ISpendingBudgets.BudgetRevoked(ids[level], caller);
        vm.prank(caller);
        budgets.revoke(ids[level]);
        assertTrue(budgets.budgetOf(ids[level]).revoked, "revoked");
        for (uint256 i; i < DEPTH; ++i) {
            if (i >= level) {
                assertEq(budgets.leftOf(ids[i]), 0, "nothing left below");
                _expect(ISpendingBudgets.SpendingBudgets_Revoked.selector, ids[level], 1, 0);
            } else {
                assertEq(budgets.leftOf(ids[i]), NO_CAP - i, "all left above");
            }
            _spend(ids[i], spenders[i], 1);
            if (i > level) assertFalse(budgets.budgetOf(ids[i]).revoked, "only the level itself is marked");
        }
        assertEq(_spent(ids[0]), level, "spent by the levels above");
    }

    /// @dev Nobody can bring it back.
    function test_Revoke_IsForGood() public {
        uint256[] memory ids = _chain(2);
        _revoke(ids[0]);
        _expect(ISpendingBudgets.SpendingBudgets_Revoked.selector, ids[0], NO_CAP, 0);
        _set(ids[0], _limits(spenders[0]));
        _set(ids[1], _limits(spenders[1]));
        _expect(ISpendingBudgets.SpendingBudgets_Revoked.selector, ids[0], 1, 0);
        _spend(ids, 1);
    }
}
