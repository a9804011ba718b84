// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {Limits} from "contracts/interfaces/Types.sol";
import {Symbolic} from "./Symbolic.sol";

/// @dev Budgets up to four levels deep, in any state in which no level has more left than its lifetime, and none more left
/// in its period than the period's cap. The proofs show that every call keeps that, so that it holds always, and that a
/// charge fits each level. A charge climbs level by level in one loop; the proofs follow it to the root.
contract BudgetsCheck is Symbolic {
    // Where the contract keeps its nodes.
    uint256 private constant NODES = 0;
    ISpendingBudgets private budgets;

    /// @dev A node as it is stored; `check_level_isWhatBudgetOfSays` holds it against the contract's own view. Read this way
    /// there is nothing to decide, and no path to follow but those of the call.
    struct Level {
        uint256 perAction;
        uint256 period;
        uint256 parent;
        uint256 expiry;
        bool revoked;
        bool listed;
        uint256 left;
        int256 periodLeft;
        uint256 periodIndex;
        uint256 depth;
        uint256 perPeriod;
        uint256 lifetime;
        bytes32 parties;
        address spender;
    }

    function setUp() public {
        budgets = ISpendingBudgets(_deployInAnyState("SpendingBudgets", abi.encode(_system())));
        _anyTime();
    }

    function check_level_isWhatBudgetOfSays(uint32 id) public view {
        ISpendingBudgets.Budget memory budget = budgets.budgetOf(id);
        Level memory level = _level(id);
        assert(budget.parent == level.parent && budget.depth == level.depth && budget.revoked == level.revoked);
        assert(budget.limits.spender == level.spender && budget.limits.perAction == level.perAction);
        assert(budget.limits.perPeriod == level.perPeriod && budget.limits.lifetime == level.lifetime);
        assert(budget.limits.period == level.period && budget.limits.expiry == level.expiry);
        assert(budget.limits.listed == level.listed && budget.spent == level.lifetime - level.left);
        if (level.period == 0) return;
        assert(budget.periodIndex == level.periodIndex);
        assert(int256(budget.periodSpent) == int256(level.perPeriod) - level.periodLeft);
    }

    /* CHARGES */

    function check_charge_fitsALoneBudget(address[4] memory parties, uint256 value) public {
        _checkCharge(1, 1, parties, value);
    }

    function check_charge_fitsTheRootOfFourLevels(address[4] memory parties, uint256 value) public {
        _checkCharge(4, 1, parties, value);
    }

    function check_charge_fitsTheSecondOfFourLevels(address[4] memory parties, uint256 value) public {
        _checkCharge(4, 2, parties, value);
    }

    function check_charge_fitsTheThirdOfFourLevels(address[4] memory parties, uint256 value) public {
        _checkCharge(4, 3, parties, value);
    }

    function check_charge_fitsTheLowestOfFourLevels(address[4] memory parties, uint256 value) public {
        _checkCharge(4, 4, parties, value);
    }

    /// @dev Two charges in the same second: the caps bind their sum.
    function check_charge_capsBindTheSum(address[4] memory parties, uint96 first, uint96 second) public {
        Level memory before = _chain(1)[0];
        vm.assume(!before.revoked && !before.listed && before.expiry == 0);
        _charge(1, parties, first);
        _charge(1, parties, second);
        uint256 sum = uint256(first) + second;
        assert(sum <= before.left && _level(1).left == before.left - sum);
        if (before.period != 0) assert(sum <= before.perPeriod);
    }

    /// @dev Who isn't the budget's spender, doesn't pay from its owner, or counts in another token, charges nothing.
    function check_charge_ofItsPartiesOnly(address[4] memory parties, uint256 value) public {
        ISpendingBudgets.Budget memory budget = budgets.budgetOf(1);
        vm.assume(_level(1).parties == keccak256(abi.encode(budget.limits.spender, budget.owner, budget.token)));
        vm.assume(budget.parent == 0);
        _charge(1, parties, value);
        assert(parties[0] == budget.limits.spender && parties[1] == budget.owner && parties[3] == budget.token);
    }

    function check_charge_leavesOtherBudgetsAlone(address[4] memory parties, uint256 value, uint32 other) public {
        _chain(1);
        vm.assume(other > 1);
        Level memory before = _level(other);
        _charge(1, parties, value);
        _assertSameLevel(before, _level(other));
    }

    /* RELEASES */

    /// @dev Never reverts, never gives a level more than its lifetime, and leaves the period as it is: periods count gross.
    function check_release_neverRevertsNorGivesTooMuch(uint256 value) public {
        Level[] memory before = _chain(2);
        vm.assume(before[0].left <= before[0].lifetime && before[1].left <= before[1].lifetime);
        assert(_call(address(budgets), MARKET, abi.encodeCall(budgets.release, (2, value))));
        for (uint256 i; i < 2; ++i) {
            uint256 spent = before[i].lifetime - before[i].left;
            before[i].left += value < spent ? value : spent;
            _assertSameLevel(before[i], _level(i + 1));
        }
    }

    /// @dev A charge that is given back in full leaves the lifetime as it was.
    function check_release_undoesACharge(address[4] memory parties, uint256 value) public {
        Level memory before = _chain(1)[0];
        vm.assume(before.left <= before.lifetime);
        _assumePlain(before);
        _charge(1, parties, value);
        assert(_call(address(budgets), SESSIONS, abi.encodeCall(budgets.release, (1, value))));
        assert(_level(1).left == before.left);
    }

    /* CHANGES */

    /// @dev Whatever the limits become: what is spent stays counted, and both rules still hold.
    function check_setBudget_keepsWhatIsSpent(address caller, Limits memory limits) public {
        ISpendingBudgets.Budget memory before = _budget(2, 1);
        ISpendingBudgets.Budget memory above = budgets.budgetOf(1);
        vm.prank(caller);
        budgets.setBudget(2, limits);
        ISpendingBudgets.Budget memory now_ = budgets.budgetOf(2);
        assert(caller == before.owner || (caller == above.limits.spender && !above.revoked));
        assert(!before.revoked);
        assert(now_.spent == before.spent && now_.spent <= limits.lifetime);
        if (limits.period != 0 && before.limits.period != 0) {
            uint256 index = block.timestamp / before.limits.period;
            assert(now_.periodSpent == (index == before.periodIndex ? before.periodSpent : 0));
        }
        _assertSame(above, budgets.budgetOf(1));
    }

    function check_createChild_startsEmpty(address caller, Limits memory limits) public {
        ISpendingBudgets.Budget memory above = _budget(1, 0);
        uint256 id = budgets.budgetCount() + 1;
        // No budget has a number that wasn't given yet.
        vm.assume(id > 1 && _word(id, 0) == 0);
        vm.prank(caller);
        assert(budgets.createChild(1, limits, new address[](0)) == id);
        ISpendingBudgets.Budget memory child = budgets.budgetOf(id);
        assert(caller == above.owner || caller == above.limits.spender);
        assert(child.spent == 0 && child.periodSpent == 0 && !child.revoked && child.parent == 1);
        assert(child.owner == above.owner && child.token == above.token && child.depth == 2);
    }

    /// @dev Revoking is for good: no call brings a revoked budget back or charges it.
    function check_revoke_isForGood(address caller, address[4] memory parties, uint256 value, Limits memory limits)
        public
    {
        ISpendingBudgets.Budget memory before = _budget(2, 1);
        vm.assume(before.revoked);
        bytes[3] memory calls = [
            abi.encodeCall(budgets.setBudget, (2, limits)),
            abi.encodeCall(budgets.createChild, (2, limits, new address[](0))),
            abi.encodeCall(budgets.revoke, (2))
        ];
        for (uint256 i; i < calls.length; ++i) {
            assert(!_call(address(budgets), caller, calls[i]));
        }
        bytes memory charge =
            abi.encodeCall(budgets.chargeValue, (2, parties[0], parties[1], parties[2], parties[3], value));
        assert(!_call(address(budgets), EXCHANGE, charge));
        assert(budgets.budgetOf(2).revoked);
    }

    /* HELPERS */

    /// @dev One level is in any state, the others are alive and have neither periods nor lists: no level looks at another's.
    function _checkCharge(uint256 levels, uint256 any, address[4] memory parties, uint256 value) private {
        Level[] memory before = _chain(levels);
        for (uint256 i; i < levels; ++i) {
            if (i + 1 != any) _assumePlain(before[i]);
        }
        _charge(levels, parties, value);
        for (uint256 i; i < levels; ++i) {
            Level memory now_ = _level(i + 1);
            assert(value <= before[i].perAction);
            assert(value <= before[i].left);
            assert(now_.left == before[i].left - value);
        }
        Level memory old = before[any - 1];
        Level memory changed = _level(any);
        assert(!old.revoked);
        assert(old.expiry == 0 || block.timestamp <= old.expiry);
        assert(!old.listed || budgets.isListed(any, parties[2]));
        if (old.period != 0) assert(value <= old.perPeriod && changed.periodLeft >= 0);
        (old.left, old.periodLeft, old.periodIndex) = (changed.left, changed.periodLeft, changed.periodIndex);
        _assertSameLevel(old, changed);
    }

    function _assumePlain(Level memory level) private pure {
        vm.assume(!level.revoked && !level.listed && level.expiry == 0 && level.period == 0);
    }

    function _charge(uint256 id, address[4] memory parties, uint256 value) private {
        vm.prank(EXCHANGE);
        budgets.chargeValue(id, parties[0], parties[1], parties[2], parties[3], value);
    }

    /// @dev Budgets 1, 2, ... where each is the parent of the next.
    function _chain(uint256 levels) private view returns (Level[] memory chain) {
        chain = new Level[](levels);
        for (uint256 i; i < levels; ++i) {
            chain[i] = _level(i + 1);
            vm.assume(chain[i].parent == i && chain[i].periodLeft <= int256(chain[i].perPeriod));
        }
    }

    /// @dev A budget below `parent`. `budgetOf` reverts unless what is left is at most the lifetime.
    function _budget(uint256 id, uint256 parent) private view returns (ISpendingBudgets.Budget memory budget) {
        budget = budgets.budgetOf(id);
        vm.assume(budget.parent == parent && budget.depth == parent + 1);
        // What a period has taken is at most what 96 bits hold, and never negative.
        vm.assume(budget.periodSpent <= type(uint96).max);
    }

    function _level(uint256 id) private view returns (Level memory level) {
        (uint256 a, uint256 b, uint256 c) = (_word(id, 0), _word(id, 1), _word(id, 2));
        (level.perAction, level.period, level.parent) = (uint96(a), uint32(a >> 96), uint32(a >> 128));
        (level.expiry, level.revoked, level.listed) = (uint40(a >> 192), a >> 232 & 0xff != 0, a >> 240 & 0xff != 0);
        (level.left, level.periodLeft) = (uint96(b), int104(uint104(b >> 96)));
        (level.periodIndex, level.depth) = (uint40(b >> 200), b >> 240);
        (level.perPeriod, level.lifetime) = (uint96(c), uint96(c >> 96));
        (level.parties, level.spender) = (bytes32(_word(id, 3)), address(uint160(_word(id, 4))));
    }

    function _word(uint256 id, uint256 index) private view returns (uint256) {
        return uint256(vm.load(address(budgets), bytes32(uint256(keccak256(abi.encode(id, NODES))) + index)));
    }

    function _assertSameLevel(Level memory a, Level memory b) private pure {
        assert(keccak256(abi.encode(a)) == keccak256(abi.encode(b)));
    }

    function _assertSame(ISpendingBudgets.Budget memory a, ISpendingBudgets.Budget memory b) private pure {
        assert(a.owner == b.owner && a.token == b.token && a.parent == b.parent && a.depth == b.depth);
        assert(a.revoked == b.revoked && a.spent == b.spent);
        assert(a.periodSpent == b.periodSpent && a.periodIndex == b.periodIndex);
        Limits memory x = a.limits;
        Limits memory y = b.limits;
        assert(x.spender == y.spender && x.perAction == y.perAction && x.perPeriod == y.perPeriod);
        assert(x.lifetime == y.lifetime && x.period == y.period && x.expiry == y.expiry && x.listed == y.listed);
    }
}
