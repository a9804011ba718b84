// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {Limits} from "contracts/interfaces/Types.sol";
import {SpendingBudgetsBase} from "./SpendingBudgetsBase.t.sol";

/// @dev Any sequence of calls, answered by the contract as by a model that keeps plain sums: the same charges pass, the
/// others fail with the same error and the same values, and after every call the same is spent and left at every level.
contract SpendingBudgetsModelTest is SpendingBudgetsBase {
    /// @dev What the model keeps of a budget.
    struct Level {
        uint256 parent;
        bool revoked;
        Limits limits;
        uint256 spent;
        uint256 periodIndex;
        uint256 periodSpent;
    }

    uint256 private constant STEPS = 40;

    mapping(uint256 budgetId => Level) private _levels;
    uint256 private _count;
    /// @dev What charges to a budget may still give back.
    mapping(uint256 budgetId => uint256) private _returnable;
    /// @dev Charges that passed and failed: a test in which nothing happened shows nothing.
    uint256 private _passed;
    uint256 private _refused;

    /// @dev Two branches: 1 over 2, 3; 2 over 4; 4 over 5.
    function setUp() public override {
        super.setUp();
        uint256[5] memory parents = [uint256(0), 1, 1, 2, 4];
        for (uint256 i; i < parents.length; ++i) {
            Limits memory limits = _someLimits(uint256(keccak256(abi.encode(i))));
            limits.listed = false;
            limits.expiry = 0;
            uint256 id = parents[i] == 0 ? _budget(alice.addr, limits) : _child(parents[i], limits);
            _know(id, parents[i], limits);
        }
    }

    function testFuzz_AgreesWithTheModel(uint256 seed) public {
        for (uint256 i; i < STEPS; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i)));
            uint256 id = 1 + dice % _count;
            _step(id, (dice >> 8) % 100, dice >> 16);
            _agree();
        }
        assertGt(_passed + _refused, 0, "some charges");
    }

    /* STEPS */

    function _step(uint256 id, uint256 what, uint256 dice) private {
        if (what < 55) _tryCharge(id, dice);
        else if (what < 72) _giveBack(id, dice);
        else if (what < 84) vm.warp(_now() + dice % 3 days);
        else if (what < 94) _trySet(id, dice);
        else if (what < 97) _flipListed(id, dice);
        else if (what < 98) _endIt(id);
        else _tryCreate(id, dice);
    }

    function _tryCharge(uint256 id, uint256 dice) private {
        // Around what is left, so that charges often just fit and often just don't.
        uint256 left = budgets.leftOf(id);
        uint256 value = dice % 4 == 0 ? left + (dice >> 8) % 3 : (dice >> 8) % (left + 2);
        address spender = _levels[id].limits.spender;
        bytes memory reason = _refusal(id, value);
        if (reason.length != 0) {
            vm.expectRevert(reason);
            _refused++;
        } else {
            _passed++;
            _returnable[id] += value;
            for (uint256 up = id; up != 0; up = _levels[up].parent) {
                _levels[up].spent += value;
                _levels[up].periodSpent = _inPeriod(_levels[up]) + value;
                _levels[up].periodIndex = _index(_levels[up]);
            }
        }
        _spend(id, spender, value);
    }

    function _giveBack(uint256 id, uint256 dice) private {
        uint256 value = dice % (_returnable[id] + 1);
        _returnable[id] -= value;
        for (uint256 up = id; up != 0; up = _levels[up].parent) {
            _levels[up].spent -= value;
        }
        _release(id, value);
    }

    function _trySet(uint256 id, uint256 dice) private {
        Level storage level = _levels[id];
        Limits memory limits = _someLimits(dice);
        if (level.revoked) {
            _expect(ISpendingBudgets.SpendingBudgets_Revoked.selector, id, limits.lifetime, 0);
        } else if (limits.lifetime < level.spent) {
            _expect(ISpendingBudgets.SpendingBudgets_BelowSpent.selector, id, limits.lifetime, level.spent);
        } else {
            level.periodSpent = level.limits.period == 0 || limits.period == 0 ? 0 : _inPeriod(level);
            level.limits = limits;
            level.periodIndex = _index(level);
        }
        _set(id, limits);
    }

    function _flipListed(uint256 id, uint256 dice) private {
        _list(id, provider.addr, dice % 3 != 0);
    }

    function _endIt(uint256 id) private {
        if (_levels[id].revoked) _expect(ISpendingBudgets.SpendingBudgets_Revoked.selector, id, 0, 0);
        _levels[id].revoked = true;
        _revoke(id);
    }

    function _tryCreate(uint256 parent, uint256 dice) private {
        Limits memory limits = _someLimits(dice);
        uint256 depth = _depth(parent) + 1;
        if (_levels[parent].revoked) {
            _expect(ISpendingBudgets.SpendingBudgets_Revoked.selector, parent, limits.lifetime, 0);
            _child(parent, limits);
        } else if (depth > DEPTH) {
            _expect(ISpendingBudgets.SpendingBudgets_TooDeep.selector, parent, depth, DEPTH);
            _child(parent, limits);
        } else {
            uint256 id = _child(parent, limits);
            assertEq(id, _count + 1, "id");
            _know(id, parent, limits);
        }
    }

    function _know(uint256 id, uint256 parent, Limits memory limits) private {
        Level storage level = _levels[id];
        (level.parent, level.limits, _count) = (parent, limits, id);
        level.periodIndex = _index(level);
    }

    /// @dev Small numbers, so that caps meet; now and then no cap, no periods, an expiry, a list.
    function _someLimits(uint256 dice) private view returns (Limits memory limits) {
        limits.spender = spenders[dice % DEPTH];
        limits.perAction = _someCap(dice >> 16, 60);
        limits.perPeriod = _someCap(dice >> 32, 150);
        limits.lifetime = _someCap(dice >> 48, 600);
        limits.period = (dice >> 64) % 4 == 0 ? 0 : uint32(1 hours * (1 + (dice >> 72) % 36));
        if ((dice >> 80) % 5 == 0) limits.expiry = uint40(_now() + (dice >> 88) % 4 days);
        limits.listed = (dice >> 96) % 5 == 0;
    }

    function _someCap(uint256 dice, uint256 top) private pure returns (uint96) {
        // forge-lint: disable-next-line(unsafe-typecast)
        return dice % 4 == 0 ? NO_CAP : uint96((dice >> 8) % top);
    }

    /* THE MODEL */

    /// @dev The error a charge must fail with, or nothing: from the lowest level up, as the design has it.
    function _refusal(uint256 id, uint256 value) private view returns (bytes memory) {
        for (uint256 up = id; up != 0; up = _levels[up].parent) {
            bytes memory reason = _refusalAt(up, _levels[up], value);
            if (reason.length != 0) return reason;
        }
        return "";
    }

    function _refusalAt(uint256 up, Level storage level, uint256 value) private view returns (bytes memory) {
        Limits memory limits = level.limits;
        if (level.revoked) return _error(ISpendingBudgets.SpendingBudgets_Revoked.selector, up, value, 0);
        if (limits.expiry != 0 && _now() > limits.expiry) {
            return _error(ISpendingBudgets.SpendingBudgets_Expired.selector, up, _now(), limits.expiry);
        }
        if (limits.listed && !budgets.isListed(up, provider.addr)) {
            bytes4 reason = ISpendingBudgets.SpendingBudgets_ProviderNotListed.selector;
            return _error(reason, up, _number(provider.addr), 0);
        }
        if (value > limits.perAction) {
            return _error(ISpendingBudgets.SpendingBudgets_OverAction.selector, up, value, limits.perAction);
        }
        if (limits.period != 0 && _inPeriod(level) + value > limits.perPeriod) {
            uint256 rest = _sub(limits.perPeriod, _inPeriod(level));
            return _error(ISpendingBudgets.SpendingBudgets_OverPeriod.selector, up, value, rest);
        }
        if (level.spent + value > limits.lifetime) {
            uint256 rest = limits.lifetime - level.spent;
            return _error(ISpendingBudgets.SpendingBudgets_OverLifetime.selector, up, value, rest);
        }
        return "";
    }

    /// @dev Invariant 8, and that contract and model say the same of every budget.
    function _agree() private view {
        for (uint256 id = 1; id <= _count; ++id) {
            Level storage level = _levels[id];
            ISpendingBudgets.Budget memory budget = budgets.budgetOf(id);
            assertEq(budget.spent, level.spent, "spent");
            assertLe(budget.spent, budget.limits.lifetime, "locked and spent within the lifetime");
            assertEq(budget.revoked, level.revoked, "revoked");
            _assertLimits(budget.limits, level.limits);
            if (level.limits.period != 0) {
                assertEq(budget.periodSpent, level.periodSpent, "spent in the period");
                assertEq(budget.periodIndex, level.periodIndex, "period");
            }
            assertEq(budgets.leftOf(id), _left(id), "left");
        }
    }

    function _left(uint256 id) private view returns (uint256 least) {
        least = type(uint256).max;
        for (uint256 up = id; up != 0; up = _levels[up].parent) {
            Level storage level = _levels[up];
            Limits memory limits = level.limits;
            if (level.revoked || (limits.expiry != 0 && _now() > limits.expiry)) return 0;
            least = _min(least, _min(limits.perAction, limits.lifetime - level.spent));
            if (limits.period != 0) least = _min(least, _sub(limits.perPeriod, _inPeriod(level)));
        }
    }

    function _inPeriod(Level storage level) private view returns (uint256) {
        return level.periodIndex == _index(level) ? level.periodSpent : 0;
    }

    function _index(Level storage level) private view returns (uint256) {
        return level.limits.period == 0 ? 0 : _now() / level.limits.period;
    }

    function _depth(uint256 id) private view returns (uint256 depth) {
        for (; id != 0; id = _levels[id].parent) {
            depth++;
        }
    }

    function _error(bytes4 reason, uint256 id, uint256 given, uint256 limit) private pure returns (bytes memory) {
        return abi.encodeWithSelector(reason, id, given, limit);
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }

    function _sub(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a - b : 0;
    }
}
