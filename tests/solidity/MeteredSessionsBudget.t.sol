// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {Limits, SessionTerms} from "contracts/interfaces/Types.sol";
import {MeteredSessionsBase} from "./MeteredSessionsBase.t.sol";

/// @dev Sessions paid from a budget of alice's, spent by bob.
contract MeteredSessionsBudgetTest is MeteredSessionsBase {
    uint256 private constant LIFETIME = 1e9;
    /// @dev Base units of the class that LIFETIME pays for, and some more.
    uint256 private constant OWNED = 2 * LIFETIME * PRICE_UNITS / PRICE;

    uint256 private budgetId;
    SessionTerms private terms;
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        Limits memory limits = _limits(bob.addr);
        limits.lifetime = uint96(LIFETIME);
        budgetId = _budget(alice.addr, limits);
        terms = _sessionTerms(plain);
        terms.budgetId = budgetId;
        id = _id(terms);
        _buy(alice.addr, plain, OWNED);
    }

    /* OPENING */

    function test_RevertWhen_TermsNameNoBudget() public {
        terms.budgetId = 0;
        _expect(IMeteredSessions.MeteredSessions_BudgetMismatch.selector, _id(terms), 0, 1);
        _openFor(DEPOSIT);
    }

    function testFuzz_RevertWhen_CallerIsNotTheSpender(address caller) public {
        vm.assume(caller != bob.addr);
        _expect(ISpendingBudgets.SpendingBudgets_NotSpender.selector, budgetId, caller, bob.addr);
        vm.prank(caller);
        sessions.openSessionFor(terms, DEPOSIT);
    }

    /// @dev A budget pays with its owner's credits only.
    function testFuzz_RevertWhen_PayerDoesNotOwnTheBudget(address payer) public {
        vm.assume(payer != alice.addr);
        terms.payer = payer;
        _expect(ISpendingBudgets.SpendingBudgets_WrongPayer.selector, budgetId, payer, alice.addr);
        _openFor(DEPOSIT);
    }

    function testFuzz_RevertWhen_BudgetIsTooSmall(uint256 units) public {
        units = bound(units, (LIFETIME + 1) * PRICE_UNITS / PRICE, OWNED);
        _expect(ISpendingBudgets.SpendingBudgets_OverLifetime.selector, budgetId, _price(units), LIFETIME);
        _openFor(units);
    }

    function test_RevertWhen_UnitsAreZero() public {
        _expect(IMeteredSessions.MeteredSessions_ZeroUnits.selector, id, 0, 1);
        _openFor(0);
    }

    function testFuzz_OpenSessionFor(uint256 units) public {
        units = _affordable(units);
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.SessionOpened(
            id, alice.addr, provider.addr, plain, units, key.addr, terms.expiresAt, budgetId, terms.salt
        );
        vm.expectEmit(address(budgets));
        emit ISpendingBudgets.BudgetCharged(budgetId, provider.addr, _price(units));
        assertEq(_openFor(units), id, "session id");
        _assertOpen(id, units, 0);
        _assertCharged(_price(units));
        _assertHeld(plain, units);
        _assertCredits(alice.addr, plain, OWNED - units, "left to the owner");
        _assertCredits(bob.addr, plain, 0, "the spender needs none");
    }

    /* BY SIGNATURE */

    /// @dev With a budget it is the spender who agrees to a deposit. Whoever else signs, the owner included, doesn't.
    function testFuzz_RevertWhen_SignedByAnother(uint256 signerKey) public {
        signerKey = bound(signerKey, 1, CURVE_ORDER - 1);
        vm.assume(signerKey != bob.key);
        _expectBadSignature(Account(vm.addr(signerKey), signerKey));
        _expectBadSignature(alice);
    }

    function testFuzz_RevertWhen_BudgetIsUnknown(uint256 other) public {
        terms.budgetId = bound(other, budgetId + 1, type(uint256).max);
        id = _id(terms);
        bytes memory signature = _sign(bob, _openDigest(id, DEPOSIT, START));
        vm.expectRevert();
        sessions.openSessionBySig(terms, DEPOSIT, START, signature);
    }

    /// @dev A sponsor's credits, a user's signature, a relayer's transaction; what is left goes back to the sponsor.
    function testFuzz_SponsoredSession(uint256 units, uint256 used, address relayer) public {
        units = _affordable(units);
        used = bound(used, 0, units);
        bytes memory signature = _sign(bob, _openDigest(id, units, START));
        vm.prank(relayer);
        assertEq(sessions.openSessionBySig(terms, units, START, signature), id, "session id");
        _assertCharged(_price(units));
        if (used != 0) _claim(terms, used);
        _closeByProvider(terms);
        _assertCredits(alice.addr, plain, OWNED - used, "back to the sponsor");
        _assertCredits(bob.addr, plain, 0, "nothing to the user");
        _assertHeld(plain, 0);
    }

    /* TOPPING UP */

    /// @dev Not by the owner either: its credits would be in the session without being charged.
    function testFuzz_RevertWhen_ToppedUpByAnother(address caller) public {
        vm.assume(caller != bob.addr);
        _openFor(DEPOSIT);
        _expectNotSpender(caller);
        _expectNotSpender(alice.addr);
    }

    function test_RevertWhen_ToppedUpAfterTheBudgetIsRevoked() public {
        _openFor(DEPOSIT);
        vm.prank(alice.addr);
        budgets.revoke(budgetId);
        vm.expectPartialRevert(ISpendingBudgets.SpendingBudgets_Revoked.selector);
        _topUp(1);
    }

    function testFuzz_RevertWhen_TopUpExceedsTheBudget(uint256 first, uint256 second) public {
        first = _affordable(first);
        second = bound(second, 0, OWNED - first);
        uint256 left = LIFETIME - _price(first);
        vm.assume(_price(second) > left);
        _openFor(first);
        _expect(ISpendingBudgets.SpendingBudgets_OverLifetime.selector, budgetId, _price(second), left);
        _topUp(second);
    }

    function testFuzz_TopUp_IsChargedToo(uint256 first, uint256 second) public {
        first = _half(first);
        second = _half(second);
        _openFor(first);
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.SessionToppedUp(id, second, first + second);
        _topUp(second);
        _assertOpen(id, first + second, 0);
        _assertCharged(_price(first) + _price(second));
        _assertCredits(alice.addr, plain, OWNED - first - second, "left to the owner");
    }

    /* CLOSING */

    /// @dev The budget gets back the share of the charge that the unclaimed part is of the deposit, rounded down.
    function testFuzz_Close_ReleasesTheRest(uint256 first, uint256 second, uint256 used) public {
        first = _half(first);
        second = _half(second);
        used = bound(used, 0, first + second);
        _openFor(first);
        _topUp(second);
        if (used != 0) _claim(terms, used);
        uint256 charge = _price(first) + _price(second);
        uint256 released = charge * (first + second - used) / (first + second);
        if (released != 0) {
            vm.expectEmit(address(budgets));
            emit ISpendingBudgets.BudgetReleased(budgetId, released);
        }
        _closeByProvider(terms);
        assertEq(budgets.budgetOf(budgetId).spent, charge - released, "spent of the budget");
        assertEq(sessions.chargeOf(id), 0, "no charge is kept");
        _assertCredits(alice.addr, plain, OWNED - used, "credits of the owner");
    }

    /// @dev The least that can be released, is.
    function test_Close_ReleasesASingleBaseUnit() public {
        uint256 units = 2 * PRICE_UNITS / PRICE;
        _openFor(units);
        _assertCharged(2);
        _claim(terms, units / 2);
        _closeByProvider(terms);
        assertEq(budgets.budgetOf(budgetId).spent, 1, "spent of the budget");
    }

    function test_Close_ReleasesNothingWhenAllIsUsed() public {
        _openFor(DEPOSIT);
        _claim(terms, DEPOSIT);
        vm.recordLogs();
        _closeByProvider(terms);
        assertEq(_count(ISpendingBudgets.BudgetReleased.selector), 0, "releases");
        assertEq(budgets.budgetOf(budgetId).spent, _price(DEPOSIT), "spent of the budget");
    }

    /// @dev Revoking a budget ends deposits, not the session.
    function testFuzz_Close_AfterTheBudgetIsRevoked(uint256 used) public {
        used = bound(used, 1, DEPOSIT);
        _openFor(DEPOSIT);
        vm.prank(alice.addr);
        budgets.revoke(budgetId);
        _claim(terms, used);
        vm.prank(alice.addr);
        sessions.requestClose(terms);
        vm.warp(_now() + CLOSE_DELAY);
        vm.prank(anyone);
        sessions.close(terms);
        _assertSession(id, DEPOSIT, used, START + CLOSE_DELAY, true);
        _assertCredits(alice.addr, plain, OWNED - used, "credits of the owner");
    }

    function test_RequestClose_BySpender() public {
        _openFor(DEPOSIT);
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.CloseRequested(id, bob.addr, START + CLOSE_DELAY);
        vm.prank(bob.addr);
        sessions.requestClose(terms);
        _assertSession(id, DEPOSIT, 0, START + CLOSE_DELAY, false);
    }

    /// @dev Spending some other budget is nothing here.
    function testFuzz_RevertWhen_CloseRequestedByAnother(address caller) public {
        vm.assume(caller != alice.addr && caller != bob.addr && caller != key.addr);
        _openFor(DEPOSIT);
        _expect(IMeteredSessions.MeteredSessions_NotParty.selector, id, _number(caller), _number(alice.addr));
        vm.prank(caller);
        sessions.requestClose(terms);
    }

    /* HELPERS */

    function _affordable(uint256 units) private pure returns (uint256) {
        return bound(units, 1, LIFETIME * PRICE_UNITS / PRICE);
    }

    /// @dev Two of these are affordable, each rounded up.
    function _half(uint256 units) private pure returns (uint256) {
        return bound(units, 1, (LIFETIME / 2 - 1) * PRICE_UNITS / PRICE);
    }

    function _openFor(uint256 units) private returns (bytes32) {
        vm.prank(bob.addr);
        return sessions.openSessionFor(terms, units);
    }

    function _topUp(uint256 units) private {
        vm.prank(bob.addr);
        sessions.topUp(terms, units);
    }

    function _expectNotSpender(address caller) private {
        _expect(IMeteredSessions.MeteredSessions_NotParty.selector, id, _number(caller), _number(bob.addr));
        vm.prank(caller);
        sessions.topUp(terms, 1);
    }

    function _expectBadSignature(Account memory signer) private {
        bytes memory signature = _sign(signer, _openDigest(id, DEPOSIT, START));
        _expect(IMeteredSessions.MeteredSessions_BadSignature.selector, id, 65, _number(bob.addr));
        sessions.openSessionBySig(terms, DEPOSIT, START, signature);
    }

    function _assertCharged(uint256 value) private view {
        assertEq(sessions.chargeOf(id), value, "charge of the session");
        assertEq(budgets.budgetOf(budgetId).spent, value, "spent of the budget");
    }
}
