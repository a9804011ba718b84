// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ICreditExchange} from "contracts/interfaces/ICreditExchange.sol";
import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {Limits, Offer} from "contracts/interfaces/Types.sol";
import {CreditExchangeBase} from "./CreditExchangeBase.t.sol";
import {DishonestToken} from "./support/DishonestToken.sol";

/// @dev fillFor: a spender buys for the owner of its budget. Bob owns the budget; alice sells.
contract CreditExchangeBudgetTest is CreditExchangeBase {
    address private agent = makeAddr("agent");

    /* REVERTS */

    function testFuzz_RevertWhen_MakerBuys(uint256 budgetId) public {
        ICreditExchange.Fill memory order = _order(_stocked(false), UNITS);
        bytes32 id = exchange.hashOffer(order.offer);
        _expect(ICreditExchange.CreditExchange_BudgetForSelling.selector, id, 0, 1);
        _fillFor(agent, budgetId, order);
    }

    function testFuzz_RevertWhen_CallerIsNotTheSpender(address caller) public {
        vm.assume(caller != agent);
        uint256 budgetId = _budget(bob.addr, _limits(agent));
        ICreditExchange.Fill memory order = _order(_stocked(true), UNITS);
        _expect(ISpendingBudgets.SpendingBudgets_NotSpender.selector, budgetId, caller, agent);
        _fillFor(caller, budgetId, order);
    }

    function testFuzz_RevertWhen_BudgetIsUnknown(uint256 budgetId) public {
        vm.assume(budgetId != 0);
        ICreditExchange.Fill memory order = _order(_stocked(true), UNITS);
        _expect(ISpendingBudgets.SpendingBudgets_UnknownBudget.selector, budgetId, budgetId, 0);
        _fillFor(agent, budgetId, order);
    }

    /// @dev No budget is not a budget that costs nothing.
    function test_RevertWhen_BudgetIsZero() public {
        ICreditExchange.Fill memory order = _order(_stocked(true), UNITS);
        _expect(ISpendingBudgets.SpendingBudgets_UnknownBudget.selector, uint256(0), uint256(0), uint256(0));
        _fillFor(agent, 0, order);
    }

    /// @dev The one who pays and receives is whom an offer must be meant for.
    function test_RevertWhen_OfferIsMeantForTheSpender() public {
        uint256 budgetId = _budget(bob.addr, _limits(agent));
        Offer memory offer = _stocked(true);
        offer.taker = agent;
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        bytes32 id = exchange.hashOffer(offer);
        _expect(ICreditExchange.CreditExchange_NotTaker.selector, id, bob.addr, agent);
        _fillFor(agent, budgetId, order);
    }

    function test_RevertWhen_TokenIsNotTheBudgets() public {
        uint256 budgetId = _budget(bob.addr, _limits(agent));
        Offer memory offer = _stocked(true);
        offer.token = address(new DishonestToken());
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        _expect(ISpendingBudgets.SpendingBudgets_WrongToken.selector, budgetId, offer.token, address(usd));
        _fillFor(agent, budgetId, order);
    }

    function testFuzz_RevertWhen_PriceDoesNotFit(uint96 cap, uint128 units) public {
        Limits memory limits = _limits(agent);
        limits.perAction = uint96(bound(cap, 0, TOTAL - 1));
        uint256 budgetId = _budget(bob.addr, limits);
        Offer memory offer = _stocked(true);
        units = uint128(bound(units, 1, UNITS));
        uint256 price = _partOf(offer, units);
        vm.assume(price > limits.perAction);
        ICreditExchange.Fill memory order = _order(offer, units);
        _expect(ISpendingBudgets.SpendingBudgets_OverAction.selector, budgetId, price, limits.perAction);
        _fillFor(agent, budgetId, order);
        assertEq(exchange.filledOf(exchange.hashOffer(offer)), 0, "filled");
    }

    function test_RevertWhen_MakerIsNotListed() public {
        Limits memory limits = _limits(agent);
        limits.listed = true;
        uint256 budgetId = _budget(bob.addr, limits);
        ICreditExchange.Fill memory order = _order(_stocked(true), UNITS);
        _expect(ISpendingBudgets.SpendingBudgets_ProviderNotListed.selector, budgetId, alice.addr, address(0));
        _fillFor(agent, budgetId, order);
        vm.prank(bob.addr);
        budgets.setProviders(budgetId, _one(alice.addr), true);
        assertEq(_fillFor(agent, budgetId, order), TOTAL, "price once alice is listed");
    }

    function test_RevertWhen_BudgetIsRevoked() public {
        uint256 budgetId = _budget(bob.addr, _limits(agent));
        ICreditExchange.Fill memory order = _order(_stocked(true), UNITS);
        vm.prank(bob.addr);
        budgets.revoke(budgetId);
        _expect(ISpendingBudgets.SpendingBudgets_Revoked.selector, budgetId, TOTAL, 0);
        _fillFor(agent, budgetId, order);
    }

    function test_RevertWhen_OwnerDidNotApprove() public {
        uint256 budgetId = _budget(bob.addr, _limits(agent));
        ICreditExchange.Fill memory order = _order(_stocked(true), UNITS);
        vm.prank(bob.addr);
        usd.approve(address(exchange), 0);
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientAllowance.selector, address(exchange), 0, uint256(TOTAL)
            )
        );
        _fillFor(agent, budgetId, order);
        assertEq(budgets.budgetOf(budgetId).spent, 0, "spent");
    }

    function testFuzz_RevertWhen_CostAboveTheSpendersLimit(uint256 limit) public {
        uint256 budgetId = _budget(bob.addr, _limits(agent));
        ICreditExchange.Fill memory order = _order(_stocked(true), UNITS);
        order.limit = bound(limit, 0, TOTAL - 1);
        bytes32 id = exchange.hashOffer(order.offer);
        _expect(ICreditExchange.CreditExchange_OverLimit.selector, id, TOTAL, order.limit);
        _fillFor(agent, budgetId, order);
    }

    /* SUCCESS */

    function testFuzz_FillFor(uint128 units, uint128 price, uint128 part, uint8 bps) public {
        bps = uint8(bound(bps, 0, MAX_EXCHANGE_FEE));
        _setExchangeFee(bps);
        uint256 budgetId = _budget(bob.addr, _limits(agent));
        Offer memory offer = _fuzzed(true, units, bound(price, 0, MAX_TOTAL - 1));
        part = uint128(bound(part, 1, offer.units));
        uint256 due = _partOf(offer, part);
        uint256 before = usd.balanceOf(bob.addr);
        ICreditExchange.Fill memory order = _order(offer, part);
        _expectFilled(offer, part, due, _feeOf(due, bps));
        vm.expectEmit(address(budgets));
        emit ISpendingBudgets.BudgetCharged(budgetId, alice.addr, due);
        assertEq(_fillFor(agent, budgetId, order), due, "price");
        assertEq(budgets.budgetOf(budgetId).spent, due, "spent");
        assertEq(usd.balanceOf(bob.addr), before - due, "the owner pays");
        assertEq(usd.balanceOf(alice.addr), due - _feeOf(due, bps), "seller's tokens");
        _assertCredits(bob.addr, plain, part, "the owner receives");
        _assertCredits(agent, plain, 0, "spender's credits");
        _assertNoCustody(offer);
    }

    /// @dev Every level up to the owner's is charged.
    function test_FillFor_OfAChild() public {
        uint256 root = _budget(bob.addr, _limits(anyone));
        vm.prank(anyone);
        uint256 child = budgets.createChild(root, _limits(agent), new address[](0));
        ICreditExchange.Fill memory order = _order(_stocked(true), UNITS);
        assertEq(_fillFor(agent, child, order), TOTAL, "price");
        assertEq(budgets.budgetOf(child).spent, TOTAL, "spent of the child");
        assertEq(budgets.budgetOf(root).spent, TOTAL, "spent of the root");
        _assertCredits(bob.addr, plain, UNITS, "the owner receives");
    }

    /* HELPERS */

    function _fillFor(address spender, uint256 budgetId, ICreditExchange.Fill memory order) private returns (uint256) {
        vm.prank(spender);
        return exchange.fillFor(budgetId, order);
    }
}
