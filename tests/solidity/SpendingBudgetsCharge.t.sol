// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {ClassTerms, SaleTerms} from "contracts/interfaces/Types.sol";
import {SpendingBudgetsBase} from "./SpendingBudgetsBase.t.sol";

/// @dev charge and chargeValue: who may call, for whom, and what is charged. `SpendingBudgetsLevels` has the limits.
contract SpendingBudgetsChargeTest is SpendingBudgetsBase {
    /* CALLERS: REVERTS */

    function testFuzz_RevertWhen_ChargedByAStranger(address caller) public {
        vm.assume(caller != address(market) && caller != address(sessions));
        uint256 id = _chain(1)[0];
        _expect(ISpendingBudgets.SpendingBudgets_NotAuthorised.selector, id, caller, address(market));
        vm.prank(caller);
        budgets.charge(id, spenders[0], alice.addr, provider.addr, plain, 1);
    }

    function test_RevertWhen_ChargedByTheExchange() public {
        uint256 id = _chain(1)[0];
        _expect(ISpendingBudgets.SpendingBudgets_NotAuthorised.selector, id, address(exchange), address(market));
        vm.prank(address(exchange));
        budgets.charge(id, spenders[0], alice.addr, provider.addr, plain, 1);
    }

    function testFuzz_RevertWhen_ValueChargedByAStranger(address caller) public {
        vm.assume(caller != address(exchange));
        _expectOnlyExchange(caller);
    }

    function test_RevertWhen_ValueChargedByTheMarketOrSessions() public {
        _expectOnlyExchange(address(market));
        _expectOnlyExchange(address(sessions));
    }

    /* PARTIES: REVERTS */

    function testFuzz_RevertWhen_BudgetIsUnknown(uint256 id, address spender) public {
        vm.assume(id == 0 || id > 2);
        _chain(2);
        _expect(ISpendingBudgets.SpendingBudgets_UnknownBudget.selector, id, id, 2);
        _charge(id, spender, plain, 1);
    }

    function testFuzz_RevertWhen_ValueOfAnUnknownBudget(uint256 id, address spender) public {
        vm.assume(id == 0 || id > 2);
        _chain(2);
        _expect(ISpendingBudgets.SpendingBudgets_UnknownBudget.selector, id, id, 2);
        _spend(id, spender, 1);
    }

    function testFuzz_RevertWhen_SpenderIsAnother(address spender, uint256 depth) public {
        uint256[] memory ids = _chain(bound(depth, 1, DEPTH));
        uint256 last = ids.length - 1;
        vm.assume(spender != spenders[last]);
        _expect(ISpendingBudgets.SpendingBudgets_NotSpender.selector, ids[last], spender, spenders[last]);
        _charge(ids[last], spender, plain, 1);
        _expect(ISpendingBudgets.SpendingBudgets_NotSpender.selector, ids[last], spender, spenders[last]);
        _spend(ids[last], spender, 1);
    }

    /// @dev Owner and spender of the parent control a budget; that doesn't make them its spender.
    function test_RevertWhen_ControllerSpends() public {
        uint256[] memory ids = _chain(2);
        _expect(ISpendingBudgets.SpendingBudgets_NotSpender.selector, ids[1], spenders[0], spenders[1]);
        _spend(ids[1], spenders[0], 1);
        _expect(ISpendingBudgets.SpendingBudgets_NotSpender.selector, ids[1], alice.addr, spenders[1]);
        _spend(ids[1], alice.addr, 1);
    }

    function testFuzz_RevertWhen_PayerIsAnother(address payer, uint256 depth) public {
        uint256[] memory ids = _chain(bound(depth, 1, DEPTH));
        uint256 last = ids.length - 1;
        vm.assume(payer != alice.addr);
        _expect(ISpendingBudgets.SpendingBudgets_WrongPayer.selector, ids[last], payer, alice.addr);
        vm.prank(address(sessions));
        budgets.charge(ids[last], spenders[last], payer, provider.addr, plain, 1);
        _expect(ISpendingBudgets.SpendingBudgets_WrongPayer.selector, ids[last], payer, alice.addr);
        vm.prank(address(exchange));
        budgets.chargeValue(ids[last], spenders[last], payer, provider.addr, address(usd), 1);
    }

    /// @dev Whoever owns a tree of its own can't spend from another's with it.
    function test_RevertWhen_PayerOwnsAnotherTree() public {
        uint256 id = _chain(1)[0];
        uint256 foreign = _budget(bob.addr, _limits(spenders[0]));
        _expect(ISpendingBudgets.SpendingBudgets_WrongPayer.selector, foreign, alice.addr, bob.addr);
        _spend(foreign, spenders[0], 1);
        _spend(id, spenders[0], 1);
        assertEq(_spent(id), 1, "spent from her own");
    }

    function testFuzz_RevertWhen_ClassHasAnotherToken(uint256 depth) public {
        uint256[] memory ids = _chain(bound(depth, 1, DEPTH));
        uint256 last = ids.length - 1;
        ClassTerms memory terms = _saleTerms();
        terms.paymentToken = deployCode("DemoUSD.sol:DemoUSD");
        uint256 other = _createClass(terms);
        _expect(ISpendingBudgets.SpendingBudgets_WrongToken.selector, ids[last], terms.paymentToken, address(usd));
        _charge(ids[last], spenders[last], other, 1);
    }

    function testFuzz_RevertWhen_TokenIsAnother(address token) public {
        vm.assume(token != address(usd));
        uint256 id = _chain(1)[0];
        _expect(ISpendingBudgets.SpendingBudgets_WrongToken.selector, id, token, address(usd));
        vm.prank(address(exchange));
        budgets.chargeValue(id, spenders[0], alice.addr, provider.addr, token, 1);
    }

    /* PRICES: REVERTS */

    function testFuzz_RevertWhen_ClassHasNoPrice(uint128 units) public {
        uint256 id = _chain(1)[0];
        uint256 granted = _createClass(_grantTerms());
        _expect(ISpendingBudgets.SpendingBudgets_NoPrice.selector, id, 0, 1);
        _charge(id, spenders[0], granted, units);
    }

    function testFuzz_RevertWhen_ClassIsUnknown(uint256 classId) public {
        uint256 id = _chain(1)[0];
        uint256 classes = credits.classCount();
        vm.assume(classId == 0 || classId > classes);
        _expect(IComputeCredits.ComputeCredits_UnknownClass.selector, classId, classId, classes);
        _charge(id, spenders[0], classId, 1);
    }

    /// @dev A price so high that its sum is beyond any amount a budget holds.
    function testFuzz_RevertWhen_PriceIsHuge(uint128 units) public {
        units = uint128(bound(units, uint256(1e9) + 1, type(uint128).max));
        uint256 id = _chain(1)[0];
        ClassTerms memory terms = _saleTerms();
        terms.pricePerMillion = type(uint96).max;
        uint256 dear = _createClass(terms);
        uint256 value = (uint256(units) * type(uint96).max + PRICE_UNITS - 1) / PRICE_UNITS;
        _expect(ISpendingBudgets.SpendingBudgets_OverAction.selector, id, value, NO_CAP);
        _charge(id, spenders[0], dear, units);
    }

    function testFuzz_RevertWhen_FeedFails(uint128 units, uint256 age) public {
        uint256 id = _chain(1)[0];
        _feed(address(1));
        bytes memory fault = abi.encodeWithSelector(ICreditReserve.CreditReserve_BadPrice.selector, plain, age, 1);
        vm.mockCallRevert(address(reserve), abi.encodeCall(ICreditReserve.costOf, (plain, units)), fault);
        vm.expectRevert(fault);
        _charge(id, spenders[0], plain, units);
    }

    /* SUCCESS */

    function testFuzz_Charge(uint128 units, uint256 depth, bool bySessions, address payee) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        uint256[] memory ids = _chain(bound(depth, 1, DEPTH));
        uint256 last = ids.length - 1;
        vm.expectEmit(address(budgets));
        emit ISpendingBudgets.BudgetCharged(ids[last], payee, _price(units));
        vm.prank(bySessions ? address(sessions) : address(market));
        uint256 value = budgets.charge(ids[last], spenders[last], alice.addr, payee, plain, units);
        assertEq(value, _price(units), "at the price of a sale, rounded up");
        assertEq(value, reserve.costOf(plain, units), "as the reserve works it out");
        _assertSpent(ids, value);
        assertEq(budgets.leftOf(ids[last]), NO_CAP - value, "left");
    }

    function testFuzz_ChargeValue(uint96 value, uint256 depth, address payee) public {
        uint256[] memory ids = _chain(bound(depth, 1, DEPTH));
        uint256 last = ids.length - 1;
        vm.expectEmit(address(budgets));
        emit ISpendingBudgets.BudgetCharged(ids[last], payee, value);
        vm.prank(address(exchange));
        budgets.chargeValue(ids[last], spenders[last], alice.addr, payee, address(usd), value);
        _assertSpent(ids, value);
    }

    /// @dev Whatever decimals and price a class has: never less than its exact price, and less than one more.
    function testFuzz_Charge_RoundsUp(uint128 units, uint96 price, uint8 decimals) public {
        uint256 id = _chain(1)[0];
        (units, price) = (uint128(bound(units, 1, 1e22)), uint96(bound(price, 1, 1e12)));
        SaleTerms memory terms = credits.saleTerms(plain);
        (terms.pricePerMillion, terms.decimals) = (price, uint8(bound(decimals, 0, 18)));
        _mockTerms(terms);
        uint256 value = _charge(id, spenders[0], plain, units);
        uint256 priced = 1e6 * 10 ** uint256(terms.decimals);
        assertGe(value * priced, uint256(units) * price, "not below the price");
        assertLt((value - 1) * priced, uint256(units) * price, "above it by less than one");
    }

    /// @dev A class priced by a feed is charged what a sale would cost now.
    function testFuzz_Charge_ByTheFeed(uint128 units, uint96 cost) public {
        uint256[] memory ids = _chain(2);
        _feed(address(1));
        bytes memory question = abi.encodeCall(ICreditReserve.costOf, (plain, units));
        vm.mockCall(address(reserve), question, abi.encode(cost));
        vm.expectCall(address(reserve), question);
        assertEq(_charge(ids[1], spenders[1], plain, units), cost, "what the reserve says");
        _assertSpent(ids, cost);
    }

    /// @dev The levels above see one sum of what the levels below charge; brothers don't see each other.
    function testFuzz_Charge_OfBrothersAddsUp(uint80 a, uint80 b, uint80 c) public {
        uint256 root = _chain(1)[0];
        uint256 first = _child(root, _limits(spenders[1]));
        uint256 second = _child(root, _limits(spenders[2]));
        _spend(first, spenders[1], a);
        _spend(second, spenders[2], b);
        _spend(root, spenders[0], c);
        assertEq(_spent(first), a, "first child");
        assertEq(_spent(second), b, "second child");
        assertEq(_spent(root), uint256(a) + b + c, "root");
    }

    /// @dev Classes share one budget.
    function testFuzz_Charge_AcrossClasses(uint128 a, uint128 b) public {
        (a, b) = (uint128(bound(a, 1, MAX_UNITS)), uint128(bound(b, 1, MAX_UNITS)));
        uint256 id = _chain(1)[0];
        _charge(id, spenders[0], plain, a);
        _charge(id, spenders[0], watched, b);
        assertEq(_spent(id), _price(a) + _price(b), "spent");
    }

    /* HELPERS */

    function _expectOnlyExchange(address caller) private {
        uint256 id = _budget(alice.addr, _limits(bob.addr));
        _expect(ISpendingBudgets.SpendingBudgets_NotAuthorised.selector, id, caller, address(exchange));
        vm.prank(caller);
        budgets.chargeValue(id, bob.addr, alice.addr, provider.addr, address(usd), 1);
    }

    function _feed(address feed) private {
        SaleTerms memory terms = credits.saleTerms(plain);
        terms.priceFeed = feed;
        _mockTerms(terms);
    }

    function _mockTerms(SaleTerms memory terms) private {
        vm.mockCall(address(credits), abi.encodeCall(IComputeCredits.saleTerms, (plain)), abi.encode(terms));
    }
}
