// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ISpendingBudgets} from "./interfaces/ISpendingBudgets.sol";
import {Limits} from "./interfaces/Types.sol";
import {BudgetCount, BudgetCounts} from "./libraries/BudgetCount.sol";

/// @title BudgetTree
/// @dev Trust model: that of `SpendingBudgets`, which says who may call what is here. This part keeps the trees and the
/// sums: of any level, what is spent and locked never exceeds its lifetime, whoever calls.
abstract contract BudgetTree is ISpendingBudgets {
    /* CONSTANTS */

    uint256 public constant MAX_DEPTH = 4;
    /// @dev Most that one call may list, so that it fits a block. A list may grow over many calls: only single entries of
    /// it are ever read.
    uint256 public constant MAX_PROVIDERS = 64;
    /// @dev What is left in a period where there are no periods: above any amount, which is 96 bits.
    int256 private constant NO_PERIODS = type(int104).max;

    /* STORAGE */

    /// @dev A charge reads slot 0 and writes slot 1 of every level, and reads slot 3 of the lowest.
    struct Node {
        // slot 0
        uint96 perAction;
        uint32 period;
        uint32 parent;
        uint32 root;
        uint40 expiry;
        bool revoked;
        bool listed;
        // slot 1
        BudgetCount count;
        // slot 2: read when a period begins and when something is given back.
        uint96 perPeriod;
        uint96 lifetime;
        // slot 3: hash of spender, owner and token, which a charge names: one read compares all three.
        bytes32 parties;
        // slot 4
        address spender;
    }

    struct Tree {
        address owner;
        address token;
    }

    mapping(uint256 budgetId => Node) private _nodes;
    mapping(uint256 root => Tree) private _trees;
    mapping(uint256 budgetId => mapping(address provider => bool)) private _listed;
    /// @dev As wide as a node keeps ids: past four billion budgets, no more can be made.
    uint32 private _count;

    /* VIEWS */

    /// @inheritdoc ISpendingBudgets
    function budgetCount() external view returns (uint256) {
        return _count;
    }

    /// @inheritdoc ISpendingBudgets
    function budgetOf(uint256 budgetId) external view returns (Budget memory budget) {
        Node storage node = _known(budgetId);
        Tree storage tree = _trees[node.root];
        (budget.owner, budget.token) = (tree.owner, tree.token);
        (budget.parent, budget.depth, budget.revoked) = (node.parent, node.count.depth(), node.revoked);
        budget.limits = Limits({
            spender: node.spender,
            perAction: node.perAction,
            perPeriod: node.perPeriod,
            lifetime: node.lifetime,
            period: node.period,
            expiry: node.expiry,
            listed: node.listed
        });
        budget.spent = node.lifetime - node.count.left();
        if (node.period == 0) return budget;
        (budget.periodSpent, budget.periodIndex) =
        (_periodSpent(node, node.count.periodLeft()), node.count.periodIndex());
    }

    /// @inheritdoc ISpendingBudgets
    function spenderOf(uint256 budgetId) external view returns (address) {
        return _nodes[budgetId].spender;
    }

    /// @inheritdoc ISpendingBudgets
    function ownerOf(uint256 budgetId) external view returns (address) {
        return _trees[_nodes[budgetId].root].owner;
    }

    /// @inheritdoc ISpendingBudgets
    function isListed(uint256 budgetId, address provider) external view returns (bool) {
        return _listed[budgetId][provider];
    }

    /// @inheritdoc ISpendingBudgets
    function leftOf(uint256 budgetId) external view returns (uint256 least) {
        least = type(uint256).max;
        uint256 level = budgetId;
        do {
            Node storage node = _nodes[level];
            if (node.revoked || _isExpired(node.expiry)) return 0;
            (, int256 periodLeft) = _periodNow(node, node.period, node.count);
            least = Math.min(least, Math.min(Math.min(node.perAction, node.count.left()), _floor(periodLeft)));
            level = node.parent;
        } while (level != 0);
    }

    /* INTERNAL: CHARGES */

    /// @dev Reverts unless the budget is spent by `spender` from the credits or tokens of `payer`, counted in `token`.
    function _checkParties(uint256 budgetId, address spender, address payer, address token) internal view {
        if (_nodes[budgetId].parties == _hashParties(spender, payer, token)) return;
        Node storage node = _known(budgetId);
        if (spender != node.spender) revert SpendingBudgets_NotSpender(budgetId, spender, node.spender);
        Tree storage tree = _trees[node.root];
        if (payer != tree.owner) revert SpendingBudgets_WrongPayer(budgetId, payer, tree.owner);
        revert SpendingBudgets_WrongToken(budgetId, token, tree.token);
    }

    /// @dev Charges every level from the budget to the root. A level that refuses undoes those below it.
    function _chargeUp(uint256 budgetId, address payee, uint256 value) internal {
        uint256 level = budgetId;
        do {
            level = _chargeLevel(level, payee, value);
        } while (level != 0);
        emit BudgetCharged(budgetId, payee, value);
    }

    /// @dev Gives back to every level, dead or alive. Can't revert: `left` is never above `lifetime`.
    function _releaseUp(uint256 budgetId, uint256 value) internal {
        uint256 level = budgetId;
        do {
            Node storage node = _nodes[level];
            BudgetCount count = node.count;
            uint256 left = count.left();
            // Even a caller that gave back more than it charged would leave no level more than its lifetime.
            node.count = count.withLeft(left + Math.min(value, node.lifetime - left));
            level = node.parent;
        } while (level != 0);
        emit BudgetReleased(budgetId, value);
    }

    /* INTERNAL: CHANGES */

    function _createRoot(address owner, address token, Limits calldata limits, address[] calldata providers)
        internal
        returns (uint256 budgetId)
    {
        budgetId = ++_count;
        _trees[budgetId] = Tree(owner, token);
        _grow(budgetId, 0, budgetId, 1, limits, providers);
    }

    /// @dev The creator of a child is who will control it: the owner, or the parent's spender.
    function _createChild(address account, uint256 parent, Limits calldata limits, address[] calldata providers)
        internal
        returns (uint256 budgetId)
    {
        Node storage above = _known(parent);
        if (above.revoked) revert SpendingBudgets_Revoked(parent, limits.lifetime, 0);
        (uint256 root, uint256 depth) = (above.root, above.count.depth() + 1);
        if (!_controls(account, root, parent)) {
            revert SpendingBudgets_NotController(parent, account, _trees[root].owner);
        }
        if (depth > MAX_DEPTH) revert SpendingBudgets_TooDeep(parent, depth, MAX_DEPTH);
        budgetId = ++_count;
        _grow(budgetId, parent, root, depth, limits, providers);
    }

    function _set(address account, uint256 budgetId, Limits calldata limits) internal {
        Node storage node = _controlled(account, budgetId);
        if (node.revoked) revert SpendingBudgets_Revoked(budgetId, limits.lifetime, 0);
        uint256 spent = node.lifetime - node.count.left();
        if (limits.lifetime < spent) revert SpendingBudgets_BelowSpent(budgetId, limits.lifetime, spent);
        // What the running period has taken counts in the period that runs from now on, however long either is.
        (, int256 periodLeft) = _periodNow(node, node.period, node.count);
        uint256 periodSpent = node.period == 0 ? 0 : _periodSpent(node, periodLeft);
        _write(budgetId, node, limits, node.count.depth(), spent, periodSpent);
        emit BudgetSet(budgetId, limits);
    }

    function _setProviders(address account, uint256 budgetId, address[] calldata providers, bool listed) internal {
        _controlled(account, budgetId);
        _list(budgetId, providers, listed);
    }

    function _revoke(address account, uint256 budgetId) internal {
        Node storage node = _known(budgetId);
        if (account != node.spender) _controlled(account, budgetId);
        if (node.revoked) revert SpendingBudgets_Revoked(budgetId, 0, 0);
        node.revoked = true;
        emit BudgetRevoked(budgetId, account);
    }

    /* PRIVATE: CHANGES */

    function _grow(
        uint256 budgetId,
        uint256 parent,
        uint256 root,
        uint256 depth,
        Limits calldata limits,
        address[] calldata providers
    ) private {
        Node storage node = _nodes[budgetId];
        // Safe casts: ids come from `_count`.
        (node.parent, node.root) = (uint32(parent), uint32(root));
        _write(budgetId, node, limits, depth, 0, 0);
        Tree storage tree = _trees[root];
        emit BudgetCreated(budgetId, tree.owner, parent, tree.token, limits);
        if (providers.length != 0) _list(budgetId, providers, true);
    }

    /// @dev Writes limits over what is spent already; `spent` is at most the new lifetime.
    function _write(
        uint256 budgetId,
        Node storage node,
        Limits calldata limits,
        uint256 depth,
        uint256 spent,
        uint256 periodSpent
    ) private {
        if (limits.spender == address(0)) {
            revert SpendingBudgets_ZeroSpender(budgetId, address(0), address(0));
        }
        (node.perAction, node.perPeriod, node.lifetime) = (limits.perAction, limits.perPeriod, limits.lifetime);
        (node.period, node.expiry, node.listed) = (limits.period, limits.expiry, limits.listed);
        // Fits: both amounts are 96 bits, so their difference is 97 with its sign; an index is at most the time.
        node.count = BudgetCounts.pack(
            limits.lifetime - spent,
            int256(uint256(limits.perPeriod)) - int256(periodSpent),
            limits.period == 0 ? 0 : block.timestamp / limits.period,
            depth
        );
        Tree storage tree = _trees[node.root];
        node.spender = limits.spender;
        node.parties = _hashParties(limits.spender, tree.owner, tree.token);
    }

    function _list(uint256 budgetId, address[] calldata providers, bool listed) private {
        if (providers.length > MAX_PROVIDERS) {
            revert SpendingBudgets_TooManyProviders(budgetId, providers.length, MAX_PROVIDERS);
        }
        mapping(address provider => bool) storage list = _listed[budgetId];
        for (uint256 i; i < providers.length; ++i) {
            list[providers[i]] = listed;
        }
        emit ProvidersSet(budgetId, providers, listed);
    }

    /* PRIVATE: LEVELS */

    /// @return parent The level above; 0 above the root.
    function _chargeLevel(uint256 level, address payee, uint256 value) private returns (uint256 parent) {
        Node storage node = _nodes[level];
        parent = node.parent;
        if (node.revoked) revert SpendingBudgets_Revoked(level, value, 0);
        if (_isExpired(node.expiry)) revert SpendingBudgets_Expired(level, block.timestamp, node.expiry);
        if (node.listed && !_listed[level][payee]) {
            revert SpendingBudgets_ProviderNotListed(level, payee, address(0));
        }
        if (value > node.perAction) revert SpendingBudgets_OverAction(level, value, node.perAction);
        BudgetCount count = node.count;
        (uint256 index, int256 periodLeft) = _periodNow(node, node.period, count);
        // Safe cast: the value fits perAction, which is 96 bits.
        int256 periodRest = periodLeft - int256(value);
        if (periodRest < 0) revert SpendingBudgets_OverPeriod(level, value, _floor(periodLeft));
        uint256 left = count.left();
        if (value > left) revert SpendingBudgets_OverLifetime(level, value, left);
        // Fits: neither amount grows, and an index is at most the time.
        node.count = BudgetCounts.pack(left - value, periodRest, index, count.depth());
    }

    /// @dev The period that runs now, and what is left in it: the whole cap if nothing was charged in it yet.
    function _periodNow(Node storage node, uint256 period, BudgetCount count)
        private
        view
        returns (uint256 index, int256 left)
    {
        if (period == 0) return (0, NO_PERIODS);
        index = block.timestamp / period;
        left = index == count.periodIndex() ? count.periodLeft() : int256(uint256(node.perPeriod));
    }

    function _periodSpent(Node storage node, int256 periodLeft) private view returns (uint256) {
        // Safe cast: what is left is never above the cap.
        return uint256(int256(uint256(node.perPeriod)) - periodLeft);
    }

    function _isExpired(uint256 expiry) private view returns (bool) {
        return expiry != 0 && block.timestamp > expiry;
    }

    function _floor(int256 amount) private pure returns (uint256) {
        // Safe cast: not negative.
        return amount < 0 ? 0 : uint256(amount);
    }

    /* PRIVATE: WHO */

    function _known(uint256 budgetId) private view returns (Node storage node) {
        node = _nodes[budgetId];
        if (node.count.depth() == 0) revert SpendingBudgets_UnknownBudget(budgetId, budgetId, _count);
    }

    function _controlled(address account, uint256 budgetId) private view returns (Node storage node) {
        node = _known(budgetId);
        (uint256 root, uint256 parent) = (node.root, node.parent);
        if (!_controls(account, root, parent)) {
            revert SpendingBudgets_NotController(budgetId, account, _trees[root].owner);
        }
    }

    /// @dev Whether `account` controls what is directly below `parent`; 0 is above a root. Once a budget is revoked, its
    /// spender controls nothing.
    function _controls(address account, uint256 root, uint256 parent) private view returns (bool) {
        if (account == _trees[root].owner) return true;
        return parent != 0 && account == _nodes[parent].spender && !_nodes[parent].revoked;
    }

    function _hashParties(address spender, address owner, address token) private pure returns (bytes32) {
        return keccak256(abi.encode(spender, owner, token));
    }
}
