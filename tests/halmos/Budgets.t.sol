// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {Limits} from "contracts/interfaces/Types.sol";
import {Symbolic} from "./Symbolic.sol";

/// @dev Budgets of every depth, in any state that keeps two rules: no level has more left than its lifetime, and none has
/// more left in its period than the period's cap. The proofs show that every call keeps the rules, so that they hold
/// always, and that a charge fits each level.
contract BudgetsCheck is Symbolic {
    uint256 private constant DEPTH = 4;
    ISpendingBudgets private budgets;

    function setUp() public {
        budgets = ISpendingBudgets(_deployInAnyState("SpendingBudgets", abi.encode(_system())));
        _anyTime();
    }

    /* CHARGES */

    function check_charge_fitsTheRoot(address[4] memory parties, uint256 value) public {
        _checkCharge(1, parties, value);
    }

    function check_charge_fitsTwoLevels(address[4] memory parties, uint256 value) public {
        _checkCharge(2, parties, value);
    }

    function check_charge_fitsThreeLevels(address[4] memory parties, uint256 value) public {
        _checkCharge(3, parties, value);
    }

    function check_charge_fitsFourLevels(address[4] memory parties, uint256 value) public {
        _checkCharge(4, parties, value);
    }

    /// @dev Two charges in a row, in the same second: the caps bind their sum.
    function check_charge_twiceFitsTwoLevels(address[4] memory parties, uint256 first, uint256 second) public {
        ISpendingBudgets.Budget[] memory before = _chain(2);
        _charge(2, parties, first);
        _charge(2, parties, second);
        for (uint256 i; i < 2; ++i) {
            ISpendingBudgets.Budget memory now_ = budgets.budgetOf(i + 1);
            assert(now_.spent == before[i].spent + first + second);
            assert(now_.spent <= before[i].limits.lifetime);
            if (now_.limits.period != 0) assert(first + second <= before[i].limits.perPeriod);
        }
    }

    /// @dev Who isn't the budget's spender, doesn't pay from its owner, or counts in another token, charges nothing.
    function check_charge_ofItsPartiesOnly(address[4] memory parties, uint256 value) public {
        ISpendingBudgets.Budget memory before = _chain(1)[0];
        _charge(1, parties, value);
        assert(parties[0] == before.limits.spender || parties[1] == before.owner || parties[3] == before.token);
    }

    function check_charge_leavesOtherBudgetsAlone(address[4] memory parties, uint256 value, uint32 other) public {
        _chain(2);
        vm.assume(other > 2);
        ISpendingBudgets.Budget memory before = budgets.budgetOf(other);
        _charge(2, parties, value);
        _assertSame(before, budgets.budgetOf(other));
    }

    /* RELEASES */

    /// @dev Never reverts, never gives a level more than it spent, and leaves the period as it is: periods count gross.
    function check_release_neverRevertsNorGivesTooMuch(uint256 value) public {
        ISpendingBudgets.Budget[] memory before = _chain(2);
        assert(_call(address(budgets), MARKET, abi.encodeCall(budgets.release, (2, value))));
        for (uint256 i; i < 2; ++i) {
            ISpendingBudgets.Budget memory now_ = budgets.budgetOf(i + 1);
            uint256 back = value < before[i].spent ? value : before[i].spent;
            assert(now_.spent == before[i].spent - back);
            before[i].spent = now_.spent;
            _assertSame(before[i], now_);
        }
    }

    /// @dev A charge that is given back in full leaves the lifetime as it was, at every level.
    function check_release_undoesACharge(address[4] memory parties, uint256 value) public {
        ISpendingBudgets.Budget[] memory before = _chain(2);
        _charge(2, parties, value);
        assert(_call(address(budgets), SESSIONS, abi.encodeCall(budgets.release, (2, value))));
        assert(budgets.budgetOf(1).spent == before[0].spent);
        assert(budgets.budgetOf(2).spent == before[1].spent);
    }

    /* CHANGES */

    /// @dev Whatever the limits become: what is spent stays counted, and both rules still hold.
    function check_setBudget_keepsWhatIsSpent(address caller, Limits memory limits) public {
        ISpendingBudgets.Budget memory before = _chain(2)[1];
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
        ISpendingBudgets.Budget memory above = _chain(1)[0];
        vm.prank(caller);
        uint256 id = budgets.createChild(1, limits, new address[](0));
        vm.assume(id > 1);
        ISpendingBudgets.Budget memory child = budgets.budgetOf(id);
        assert(caller == above.owner || false);
        assert(child.spent == 0 && child.periodSpent == 0 && !child.revoked && child.parent == 1);
        assert(child.owner == above.owner && child.token == above.token && child.depth == 2);
    }

    /// @dev Revoking is for good: no call brings a revoked budget back or charges it.
    function check_revoke_isForGood(address caller, address[4] memory parties, uint256 value, Limits memory limits)
        public
    {
        ISpendingBudgets.Budget memory before = _chain(2)[1];
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

    function _checkCharge(uint256 levels, address[4] memory parties, uint256 value) private {
        ISpendingBudgets.Budget[] memory before = _chain(levels);
        _charge(levels, parties, value);
        for (uint256 i; i < levels; ++i) {
            ISpendingBudgets.Budget memory now_ = budgets.budgetOf(i + 1);
            Limits memory limits = before[i].limits;
            assert(!before[i].revoked);
            assert(limits.expiry == 0 || block.timestamp <= limits.expiry);
            assert(!limits.listed || budgets.isListed(i + 1, parties[2]));
            assert(value <= limits.perAction);
            assert(now_.spent == before[i].spent + value && now_.spent <= limits.lifetime);
            if (limits.period != 0) assert(now_.periodSpent <= limits.perPeriod && now_.periodSpent >= value);
            (before[i].spent, before[i].periodSpent) = (now_.spent, now_.periodSpent);
            before[i].periodIndex = now_.periodIndex;
            _assertSame(before[i], now_);
        }
    }

    function _charge(uint256 id, address[4] memory parties, uint256 value) private {
        vm.prank(EXCHANGE);
        budgets.chargeValue(id, parties[0], parties[1], parties[2], parties[3], value);
    }

    /// @dev Budgets 1, 2, ... where each is the parent of the next. `budgetOf` reverts unless `spent` is at most the lifetime.
    function _chain(uint256 levels) private view returns (ISpendingBudgets.Budget[] memory chain) {
        chain = new ISpendingBudgets.Budget[](levels);
        for (uint256 i; i < levels; ++i) {
            chain[i] = budgets.budgetOf(i + 1);
            vm.assume(chain[i].parent == i && chain[i].depth == i + 1);
            // What a period has taken is at most what 96 bits hold, and never negative.
            vm.assume(chain[i].periodSpent <= type(uint96).max);
        }
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
