// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {Limits} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev Trees of budgets that alice owns, one spender a level, charged as the exchange and the market charge them.
abstract contract SpendingBudgetsBase is Base {
    uint256 internal constant DEPTH = 4;
    uint256 internal constant MAX_PROVIDERS = 64;
    uint96 internal constant NO_CAP = type(uint96).max;
    uint32 internal constant PERIOD = 1 days;

    /// @dev The root's first.
    address[] internal spenders;

    function setUp() public virtual override {
        super.setUp();
        for (uint256 i; i < DEPTH; ++i) {
            spenders.push(makeAddr(string.concat("spender-", vm.toString(i))));
        }
    }

    /* TREES */

    /// @dev One budget a level, the root's first, everything allowed.
    function _chain(uint256 depth) internal returns (uint256[] memory ids) {
        ids = new uint256[](depth);
        ids[0] = _budget(alice.addr, _limits(spenders[0]));
        for (uint256 i = 1; i < depth; ++i) {
            ids[i] = _child(ids[i - 1], _limits(spenders[i]));
        }
    }

    function _child(uint256 parent, Limits memory limits) internal returns (uint256) {
        vm.prank(alice.addr);
        return budgets.createChild(parent, limits, _nobody());
    }

    function _set(uint256 budgetId, Limits memory limits) internal {
        vm.prank(alice.addr);
        budgets.setBudget(budgetId, limits);
    }

    function _list(uint256 budgetId, address account, bool listed) internal {
        vm.prank(alice.addr);
        budgets.setProviders(budgetId, _one(account), listed);
    }

    function _revoke(uint256 budgetId) internal {
        vm.prank(alice.addr);
        budgets.revoke(budgetId);
    }

    function _nobody() internal pure returns (address[] memory) {
        return new address[](0);
    }

    /* CHARGES */

    /// @dev Charges the lowest budget of a chain to the provider, as its spender, through the exchange.
    function _spend(uint256[] memory ids, uint256 value) internal {
        _spend(ids[ids.length - 1], spenders[ids.length - 1], value);
    }

    function _spend(uint256 budgetId, address spender, uint256 value) internal {
        vm.prank(address(exchange));
        budgets.chargeValue(budgetId, spender, alice.addr, provider.addr, address(usd), value);
    }

    function _charge(uint256 budgetId, address spender, uint256 classId, uint256 units) internal returns (uint256) {
        vm.prank(address(market));
        return budgets.charge(budgetId, spender, alice.addr, provider.addr, classId, units);
    }

    function _release(uint256 budgetId, uint256 value) internal {
        vm.prank(address(market));
        budgets.release(budgetId, value);
    }

    /* VIEWS AND ASSERTIONS */

    function _spent(uint256 budgetId) internal view returns (uint256) {
        return budgets.budgetOf(budgetId).spent;
    }

    function _periodSpent(uint256 budgetId) internal view returns (uint256) {
        return budgets.budgetOf(budgetId).periodSpent;
    }

    function _assertSpent(uint256[] memory ids, uint256 expected) internal view {
        for (uint256 i; i < ids.length; ++i) {
            assertEq(_spent(ids[i]), expected, string.concat("spent at level ", vm.toString(i)));
        }
    }

    function _assertLimits(Limits memory given, Limits memory expected) internal pure {
        assertEq(given.spender, expected.spender, "spender");
        assertEq(given.perAction, expected.perAction, "per action");
        assertEq(given.perPeriod, expected.perPeriod, "per period");
        assertEq(given.lifetime, expected.lifetime, "lifetime");
        assertEq(given.period, expected.period, "period");
        assertEq(given.expiry, expected.expiry, "expiry");
        assertEq(given.listed, expected.listed, "listed");
    }

    /// @dev A budget nothing was charged to.
    function _assertFresh(uint256 budgetId, uint256 parent, uint256 depth, address owner, Limits memory limits)
        internal
        view
    {
        ISpendingBudgets.Budget memory budget = budgets.budgetOf(budgetId);
        assertEq(budget.owner, owner, "owner");
        assertEq(budget.token, address(usd), "token");
        assertEq(budget.parent, parent, "parent");
        assertEq(budget.depth, depth, "depth");
        assertFalse(budget.revoked, "revoked");
        assertEq(budget.spent, 0, "spent");
        assertEq(budget.periodSpent, 0, "spent in the period");
        assertEq(budget.periodIndex, limits.period == 0 ? 0 : _now() / limits.period, "period");
        _assertLimits(budget.limits, limits);
        assertEq(budgets.ownerOf(budgetId), owner, "ownerOf");
        assertEq(budgets.spenderOf(budgetId), limits.spender, "spenderOf");
    }
}
