// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Vm} from "forge-std/Vm.sol";
import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {Limits} from "contracts/interfaces/Types.sol";
import {SpendingBudgetsBase} from "./SpendingBudgetsBase.t.sol";

/// @dev createBudget and createChild.
contract SpendingBudgetsCreateTest is SpendingBudgetsBase {
    /* createBudget: REVERTS */

    function testFuzz_RevertWhen_SpenderIsZero(Limits memory limits) public {
        limits.spender = address(0);
        _expect(ISpendingBudgets.SpendingBudgets_ZeroSpender.selector, 1, address(0), address(0));
        _budget(alice.addr, limits);
    }

    function testFuzz_RevertWhen_ListIsTooLong(uint256 extra) public {
        address[] memory list = _accounts(MAX_PROVIDERS + bound(extra, 1, 20));
        _expect(ISpendingBudgets.SpendingBudgets_TooManyProviders.selector, 1, list.length, MAX_PROVIDERS);
        budgets.createBudget(address(usd), _limits(bob.addr), list);
    }

    /* createBudget: SUCCESS */

    function testFuzz_CreateBudget(address owner, Limits memory limits) public {
        vm.assume(limits.spender != address(0));
        vm.expectEmit(address(budgets));
        emit ISpendingBudgets.BudgetCreated(1, owner, 0, address(usd), limits);
        assertEq(_budget(owner, limits), 1, "id");
        _assertFresh(1, 0, 1, owner, limits);
        assertEq(budgets.budgetCount(), 1, "count");
    }

    function testFuzz_CreateBudget_Another(address owner, address other, Limits memory limits) public {
        vm.assume(limits.spender != address(0));
        uint256[] memory ids = _chain(2);
        vm.prank(owner);
        uint256 id = budgets.createBudget(other, limits, _nobody());
        assertEq(id, 3, "ids go up");
        ISpendingBudgets.Budget memory budget = budgets.budgetOf(id);
        assertEq(budget.owner, owner, "owner of its own tree");
        assertEq(budget.token, other, "token of its own tree");
        _assertFresh(ids[0], 0, 1, alice.addr, _limits(spenders[0]));
    }

    function testFuzz_CreateBudget_WithProviders(uint256 count, address stranger) public {
        address[] memory list = _accounts(bound(count, 1, MAX_PROVIDERS));
        vm.expectEmit(address(budgets));
        emit ISpendingBudgets.ProvidersSet(1, list, true);
        uint256 id = budgets.createBudget(address(usd), _limits(bob.addr), list);
        for (uint256 i; i < list.length; ++i) {
            assertTrue(budgets.isListed(id, list[i]), "listed");
        }
        vm.assume(uint160(stranger) == 0 || uint160(stranger) > MAX_PROVIDERS);
        assertFalse(budgets.isListed(id, stranger), "a stranger isn't listed");
        assertFalse(budgets.isListed(id + 1, list[0]), "nor is anyone in another budget");
    }

    function test_CreateBudget_WithoutProvidersTellsOfNone() public {
        vm.recordLogs();
        _budget(alice.addr, _limits(bob.addr));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 1, "one event");
        assertEq(logs[0].topics[0], ISpendingBudgets.BudgetCreated.selector, "BudgetCreated");
    }

    /* createChild: REVERTS */

    function testFuzz_RevertWhen_ParentIsUnknown(uint256 parent, uint256 made) public {
        made = bound(made, 1, DEPTH);
        _chain(made);
        vm.assume(parent == 0 || parent > made);
        _expect(ISpendingBudgets.SpendingBudgets_UnknownBudget.selector, parent, parent, made);
        _child(parent, _limits(bob.addr));
    }

    function testFuzz_RevertWhen_ParentIsRevoked(bool byOwner, uint96 lifetime) public {
        uint256 root = _chain(1)[0];
        _revoke(root);
        Limits memory limits = _limits(bob.addr);
        limits.lifetime = lifetime;
        _expect(ISpendingBudgets.SpendingBudgets_Revoked.selector, root, lifetime, 0);
        vm.prank(byOwner ? alice.addr : spenders[0]);
        budgets.createChild(root, limits, _nobody());
    }

    function testFuzz_RevertWhen_CreatorIsAStranger(address caller, uint256 depth) public {
        uint256[] memory ids = _chain(bound(depth, 1, DEPTH));
        uint256 last = ids.length - 1;
        vm.assume(caller != alice.addr && caller != spenders[last]);
        _expect(ISpendingBudgets.SpendingBudgets_NotController.selector, ids[last], caller, alice.addr);
        vm.prank(caller);
        budgets.createChild(ids[last], _limits(bob.addr), _nobody());
    }

    /// @dev A spender divides its own budget, not those made from it.
    function test_RevertWhen_CreatorSpendsALevelAbove() public {
        uint256[] memory ids = _chain(2);
        _expect(ISpendingBudgets.SpendingBudgets_NotController.selector, ids[1], spenders[0], alice.addr);
        vm.prank(spenders[0]);
        budgets.createChild(ids[1], _limits(bob.addr), _nobody());
    }

    function testFuzz_RevertWhen_TooDeep(bool byOwner) public {
        uint256[] memory ids = _chain(DEPTH);
        _expect(ISpendingBudgets.SpendingBudgets_TooDeep.selector, ids[DEPTH - 1], DEPTH + 1, DEPTH);
        vm.prank(byOwner ? alice.addr : spenders[DEPTH - 1]);
        budgets.createChild(ids[DEPTH - 1], _limits(bob.addr), _nobody());
    }

    function test_RevertWhen_SpenderOfAChildIsZero() public {
        uint256 root = _chain(1)[0];
        _expect(ISpendingBudgets.SpendingBudgets_ZeroSpender.selector, root + 1, address(0), address(0));
        _child(root, _limits(address(0)));
    }

    function testFuzz_RevertWhen_ListOfAChildIsTooLong(uint256 extra) public {
        uint256 root = _chain(1)[0];
        address[] memory list = _accounts(MAX_PROVIDERS + bound(extra, 1, 20));
        _expect(ISpendingBudgets.SpendingBudgets_TooManyProviders.selector, root + 1, list.length, MAX_PROVIDERS);
        vm.prank(alice.addr);
        budgets.createChild(root, _limits(bob.addr), list);
    }

    /* createChild: SUCCESS */

    function testFuzz_CreateChild(uint256 depth, bool byOwner, Limits memory limits) public {
        vm.assume(limits.spender != address(0));
        uint256[] memory ids = _chain(bound(depth, 1, DEPTH - 1));
        uint256 last = ids.length - 1;
        vm.expectEmit(address(budgets));
        emit ISpendingBudgets.BudgetCreated(ids[last] + 1, alice.addr, ids[last], address(usd), limits);
        vm.prank(byOwner ? alice.addr : spenders[last]);
        uint256 id = budgets.createChild(ids[last], limits, _nobody());
        assertEq(id, ids[last] + 1, "id");
        _assertFresh(id, ids[last], ids.length + 1, alice.addr, limits);
        assertEq(budgets.budgetCount(), ids.length + 1, "count");
    }

    function test_CreateChild_WithProviders() public {
        uint256 root = _chain(1)[0];
        vm.expectEmit(address(budgets));
        emit ISpendingBudgets.ProvidersSet(root + 1, _one(provider.addr), true);
        vm.prank(spenders[0]);
        uint256 id = budgets.createChild(root, _limits(bob.addr), _one(provider.addr));
        assertTrue(budgets.isListed(id, provider.addr), "listed in the child");
        assertFalse(budgets.isListed(root, provider.addr), "not in the parent");
    }

    /// @dev Revoked for itself only: what is above it goes on, and can be divided again.
    function test_CreateChild_BesideARevokedOne() public {
        uint256[] memory ids = _chain(2);
        _revoke(ids[1]);
        uint256 id = _child(ids[0], _limits(bob.addr));
        _spend(id, bob.addr, 1);
        assertEq(_spent(id), 1, "spent");
    }

    /* VIEWS */

    function testFuzz_RevertWhen_BudgetOfIsUnknown(uint256 id) public {
        vm.assume(id == 0 || id > 2);
        _chain(2);
        _expect(ISpendingBudgets.SpendingBudgets_UnknownBudget.selector, id, id, 2);
        budgets.budgetOf(id);
    }

    function testFuzz_ViewsOfAnUnknownBudgetAreEmpty(uint256 id) public {
        vm.assume(id == 0 || id > 2);
        _chain(2);
        assertEq(budgets.ownerOf(id), address(0), "owner");
        assertEq(budgets.spenderOf(id), address(0), "spender");
        assertEq(budgets.leftOf(id), 0, "left");
        assertFalse(budgets.isListed(id, provider.addr), "listed");
    }

    /* HELPERS */

    function _accounts(uint256 count) private pure returns (address[] memory list) {
        list = new address[](count);
        for (uint256 i; i < count; ++i) {
            list[i] = address(uint160(i + 1));
        }
    }
}
