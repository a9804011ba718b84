// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {Limits} from "contracts/interfaces/Types.sol";
import {ReserveActions} from "./ReserveActions.sol";

/// @dev Trees of budgets, and what the handler knows of their sums. Charges come from jobs, sessions and offers.
abstract contract BudgetActions is ReserveActions {
    uint256 private constant MAX_BUDGETS = 10;
    uint256 private constant LEVELS = 3;
    uint256 private constant UNLIMITED = type(uint96).max;

    /* TREES */

    function createBudget(uint256 owner, uint256 seed) external action {
        vm.assume(budgetIds.length < MAX_BUDGETS);
        _plant(buyers[owner % 2].addr, seed);
        _done();
    }

    function _plant(address owner, uint256 seed) internal {
        Limits memory limits = _someLimits(seed);
        vm.prank(owner);
        _grow(budgets.createBudget(address(usd), limits, new address[](0)), 0, owner, limits);
    }

    /// @dev By the owner or by the spender of the budget above; three levels at most.
    function createChild(uint256 parent, uint256 seed, uint256 by) external action {
        vm.assume(budgetIds.length != 0 && budgetIds.length < MAX_BUDGETS);
        _branch(budgetIds[parent % budgetIds.length], seed, by);
        _done();
    }

    function _branch(uint256 parent, uint256 seed, uint256 by) internal {
        Node storage above = nodes[parent];
        vm.assume(!above.revoked && _depth(parent) < LEVELS);
        Limits memory limits = _someLimits(seed);
        vm.prank(by % 2 == 0 ? above.owner : above.limits.spender);
        _grow(budgets.createChild(parent, limits, new address[](0)), parent, above.owner, limits);
    }

    /// @dev Below what is spent already no lifetime can be set; a period goes on with what it has taken.
    function setBudget(uint256 which, uint256 seed) external action {
        (uint256 id, Node storage node) = _node(which);
        vm.assume(!node.revoked);
        Limits memory limits = _someLimits(seed);
        bytes memory call = abi.encodeCall(ISpendingBudgets.setBudget, (id, limits));
        (bool ok,) = _attempt(node.owner, address(budgets), call, limits.lifetime < node.spent ? 8 : 0);
        if (!ok) return;
        node.periodSpent = node.limits.period == 0 ? 0 : _periodSpent(node);
        node.periodIndex = limits.period == 0 ? 0 : _now() / limits.period;
        node.limits = limits;
        _done();
    }

    function listPayee(uint256 which, uint256 payee, uint256 listed) external action {
        (uint256 id, Node storage node) = _node(which);
        address account = _holder(payee);
        mayPay[id][account] = listed % 4 != 0;
        vm.prank(node.owner);
        budgets.setProviders(id, _one(account), mayPay[id][account]);
        _done();
    }

    /// @dev Seldom: one call in four.
    function revokeBudget(uint256 which, uint256 chance) external action {
        vm.assume(chance % 4 == 0);
        (uint256 id, Node storage node) = _node(which);
        vm.assume(!node.revoked);
        bytes memory call = abi.encodeCall(ISpendingBudgets.revoke, (id));
        node.revoked = _must(chance % 8 == 0 ? node.owner : node.limits.spender, address(budgets), call, 8);
        _done();
    }

    /// @dev Nobody but the owner, or the spender above, changes a budget; nobody but the three workplaces charges it.
    function meddle(uint256 which, uint256 what) external action {
        (uint256 id, Node storage node) = _node(which);
        bytes memory call = abi.encodeCall(ISpendingBudgets.setBudget, (id, _someLimits(what)));
        if (what % 4 == 1) call = abi.encodeCall(ISpendingBudgets.revoke, (id));
        if (what % 4 == 2) call = abi.encodeCall(ISpendingBudgets.release, (id, 1));
        if (what % 4 == 3) {
            call = abi.encodeCall(
                ISpendingBudgets.charge, (id, node.limits.spender, node.owner, providers[0].account, classes[0], 1)
            );
        }
        if (!_mustNot(anyone, address(budgets), call, 8)) _done();
    }

    function _grow(uint256 id, uint256 parent, address owner, Limits memory limits) private {
        budgetIds.push(id);
        Node storage node = nodes[id];
        (node.parent, node.owner, node.limits) = (parent, owner, limits);
        node.periodIndex = limits.period == 0 ? 0 : _now() / limits.period;
    }

    function _someLimits(uint256 seed) private view returns (Limits memory limits) {
        uint256[] memory r = new uint256[](6);
        for (uint256 i; i < r.length; ++i) {
            r[i] = uint256(keccak256(abi.encode(seed, i)));
        }
        limits.spender = spenders[r[0] % spenders.length].addr;
        limits.perAction = uint96(r[1] % 2 == 0 ? UNLIMITED : bound(r[1], 1e9, 2e12));
        limits.perPeriod = uint96(r[2] % 2 == 0 ? UNLIMITED : bound(r[2], 1e10, 5e12));
        limits.lifetime = uint96(r[3] % 2 == 0 ? UNLIMITED : bound(r[3], 1e10, 2e13));
        uint32[4] memory periods = [uint32(0), 1 hours, 1 days, 7 days];
        limits.period = periods[r[4] % 4];
        if (r[5] % 4 == 0) limits.expiry = uint40(_now() + bound(r[5], 1 days, 60 days));
        limits.listed = r[5] % 5 == 0;
    }

    /* CHOICES */

    function _node(uint256 seed) internal view returns (uint256 id, Node storage node) {
        vm.assume(budgetIds.length != 0);
        id = budgetIds[seed % budgetIds.length];
        return (id, nodes[id]);
    }

    /// @dev A budget of `owner`, starting the search anywhere; 0 if there is none.
    function _budgetOf(address owner, uint256 seed) internal view returns (uint256 id) {
        for (uint256 i; i < budgetIds.length; ++i) {
            id = budgetIds[(seed % budgetIds.length + i) % budgetIds.length];
            if (nodes[id].owner == owner) return id;
        }
        return 0;
    }

    /// @dev Who agrees to what is paid from a budget, or without one.
    function _agreeing(address payer, uint256 budgetId) internal view returns (Account memory) {
        address account = budgetId == 0 ? payer : nodes[budgetId].limits.spender;
        for (uint256 i; i < 2 * 3; ++i) {
            Account memory party = i < 3 ? buyers[i] : spenders[i - 3];
            if (party.addr == account) return party;
        }
        revert State_NoParty(account);
    }

    function _depth(uint256 id) private view returns (uint256 depth) {
        for (; id != 0; id = nodes[id].parent) {
            ++depth;
        }
    }

    /* RULES AND SUMS */

    /// @dev Charging units of a class: what is charged, and whether it is forbidden.
    function _chargeRule(uint256 budgetId, address payee, uint256 id, uint256 units)
        internal
        view
        returns (uint256 rule, uint256 value)
    {
        if (budgetId == 0) return (0, 0);
        if (termsOf[id].paymentToken != address(usd)) return (8, 0);
        if (termsOf[id].priceFeed != address(0) && !_feedIsGood()) return (17, 0);
        value = _costOf(id, units);
        rule = _budgetRule(budgetId, payee, value);
    }

    /// @dev Whether a charge fits every level.
    function _budgetRule(uint256 level, address payee, uint256 value) internal view returns (uint256) {
        for (; level != 0; level = nodes[level].parent) {
            Node storage node = nodes[level];
            Limits storage limits = node.limits;
            if (node.revoked || (limits.expiry != 0 && _now() > limits.expiry)) return 8;
            if (limits.listed && !mayPay[level][payee]) return 8;
            if (value > limits.perAction || node.spent + value > limits.lifetime) return 8;
            if (limits.period != 0 && _periodSpent(node) + value > limits.perPeriod) return 8;
        }
        return 0;
    }

    function _charged(uint256 level, uint256 value) internal {
        for (; level != 0; level = nodes[level].parent) {
            Node storage node = nodes[level];
            node.spent += value;
            if (node.limits.period == 0) continue;
            node.periodSpent = _periodSpent(node) + value;
            node.periodIndex = _now() / node.limits.period;
        }
    }

    function _released(uint256 level, uint256 value) internal {
        for (; level != 0; level = nodes[level].parent) {
            nodes[level].spent -= value;
        }
    }

    function _periodSpent(Node storage node) private view returns (uint256) {
        return _now() / node.limits.period == node.periodIndex ? node.periodSpent : 0;
    }
}
