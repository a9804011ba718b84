// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {ClassTerms, JobTerms, Status} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";
import {DishonestToken, SilentToken} from "./support/DishonestToken.sol";
import {TollToken} from "./support/TollToken.sol";
import {ReentrantBuyer} from "./support/Wallets.sol";

/// @dev The reserve against tokens and receivers that don't play fair.
contract CreditReserveTokensTest is Base {
    DishonestToken private token;
    uint256 private shady;
    ReentrantBuyer private buyer;

    function setUp() public override {
        super.setUp();
        token = new DishonestToken();
        shady = _classPaidIn(address(token));
        buyer = new ReentrantBuyer(reserve, market);
    }

    /* TOKENS */

    function testFuzz_RevertWhen_TokenDeliversLess(uint128 units, uint256 kept) public {
        (uint256 amount, uint256 cost) = _funded(units);
        kept = bound(kept, 1, cost);
        token.keep(kept);
        _expect(ICreditReserve.CreditReserve_WrongPayment.selector, shady, cost - kept, cost);
        _buyShady(amount, cost);
    }

    function testFuzz_RevertWhen_TokenDeliversMore(uint128 units, uint128 added) public {
        (uint256 amount, uint256 cost) = _funded(units);
        added = uint128(bound(added, 1, type(uint128).max));
        token.add(added);
        _expect(ICreditReserve.CreditReserve_WrongPayment.selector, shady, cost + added, cost);
        _buyShady(amount, cost);
    }

    function testFuzz_RevertWhen_TokenAnswersFalse(uint128 units) public {
        (uint256 amount, uint256 cost) = _funded(units);
        token.answerFalse();
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(token)));
        _buyShady(amount, cost);
    }

    function testFuzz_RevertWhen_TokenIsNoContract(address nothing, uint128 units) public {
        _assumeStranger(nothing);
        uint256 id = _classPaidIn(nothing);
        units = uint128(bound(units, 1, MAX_UNITS));
        vm.expectRevert();
        vm.prank(alice.addr);
        reserve.buy(id, units, alice.addr, type(uint256).max);
    }

    /// @dev A token that swallows the authorisation can't make the reserve mint for nothing.
    function testFuzz_RevertWhen_AuthorizationMovesNothing(uint128 units) public {
        (uint256 amount, uint256 cost) = _funded(units);
        ICreditReserve.Authorization memory auth;
        (auth.from, auth.value) = (alice.addr, cost);
        _expect(ICreditReserve.CreditReserve_WrongPayment.selector, shady, 0, cost);
        reserve.buyWithAuthorization(shady, amount, alice.addr, auth);
    }

    /// @dev Nor make it send its backing away as the rest of a payment that never came.
    function testFuzz_RevertWhen_RestOfAPaymentThatNeverCame(uint128 units, uint128 more) public {
        (uint256 amount, uint256 cost) = _funded(units);
        _buyShady(amount, cost);
        ICreditReserve.Authorization memory auth;
        (auth.from, auth.value) = (alice.addr, cost + bound(more, 1, type(uint128).max));
        _expect(ICreditReserve.CreditReserve_WrongPayment.selector, shady, 0, auth.value);
        reserve.buyWithAuthorization(shady, amount, alice.addr, auth);
        assertEq(token.balanceOf(address(reserve)), cost, "reserve's tokens");
    }

    function testFuzz_RevertWhen_AuthorizationDelivers(uint128 units, uint128 more, uint128 delivered) public {
        (TollToken toll, uint256 id, ICreditReserve.Authorization memory auth) = _tolled(units, more);
        vm.assume(delivered != auth.value);
        toll.deliver(delivered, 0);
        _expect(ICreditReserve.CreditReserve_WrongPayment.selector, id, delivered, auth.value);
        reserve.buyWithAuthorization(id, _tolledUnits(units), alice.addr, auth);
    }

    /// @dev A payment that takes instead of giving is no payment, and no panic either.
    function testFuzz_RevertWhen_AuthorizationTakes(uint128 units, uint128 more, uint128 taken) public {
        (TollToken toll, uint256 id, ICreditReserve.Authorization memory auth) = _tolled(units, more);
        toll.mint(address(reserve), taken);
        toll.deliver(0, taken);
        _expect(ICreditReserve.CreditReserve_WrongPayment.selector, id, 0, auth.value);
        reserve.buyWithAuthorization(id, _tolledUnits(units), alice.addr, auth);
    }

    /// @dev What the change costs on its way back is not taken from other holders.
    function testFuzz_RevertWhen_ChangeCostsMore(uint128 units, uint128 more, uint256 charge) public {
        (TollToken toll, uint256 id, ICreditReserve.Authorization memory auth) = _tolled(units, more);
        uint256 cost = _price(_tolledUnits(units));
        charge = bound(charge, 1, cost);
        toll.mint(address(reserve), charge);
        toll.deliver(auth.value, 0);
        toll.setToll(charge);
        _expect(ICreditReserve.CreditReserve_WrongPayment.selector, id, cost - charge, cost);
        reserve.buyWithAuthorization(id, _tolledUnits(units), alice.addr, auth);
    }

    function testFuzz_RevertWhen_TokenEntersAgain(uint128 units) public {
        (uint256 amount, uint256 cost) = _funded(units);
        ICreditReserve.Authorization memory auth;
        bytes[6] memory calls = [
            abi.encodeCall(ICreditReserve.buy, (shady, 1, alice.addr, cost)),
            abi.encodeCall(ICreditReserve.buyWithPermit, (shady, 1, alice.addr, cost, 0, 0, 0, 0)),
            abi.encodeCall(ICreditReserve.buyWithAuthorization, (shady, 1, alice.addr, auth)),
            abi.encodeCall(ICreditReserve.withdraw, (address(token), 0, alice.addr)),
            abi.encodeCall(ICreditReserve.reclaim, (shady, 1)),
            abi.encodeCall(ICreditReserve.sweepExpired, (shady))
        ];
        for (uint256 i; i < 5; ++i) {
            token.callBack(address(reserve), calls[i]);
            vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
            _buyShady(amount, cost);
        }
        // Not guarded, and needs no guard: it moves no token and `buy` reads the backing after the token's call.
        token.callBack(address(reserve), calls[5]);
        _expect(ICreditReserve.CreditReserve_TooEarly.selector, shady, START, type(uint256).max);
        _buyShady(amount, cost);
    }

    /// @dev Whatever a bad token does, classes paid in another one keep every unit of backing.
    function testFuzz_DishonestToken_HurtsItsOwnClassesOnly(uint128 units, uint128 lost) public {
        (uint256 amount, uint256 cost) = _funded(units);
        uint256 honest = _buy(bob.addr, plain, amount);
        _buyShady(amount, cost);
        token.keep(bound(lost, 1, cost));
        vm.prank(issuer.addr);
        credits.closeClass(shady);
        vm.prank(alice.addr);
        reserve.reclaim(shady, amount);
        assertEq(usd.balanceOf(address(reserve)), honest, "honest tokens");
        assertEq(reserve.backingOf(plain), honest, "honest backing");
    }

    function testFuzz_Buy_WithATokenThatAnswersNothing(uint128 units) public {
        SilentToken silent = new SilentToken();
        uint256 id = _classPaidIn(address(silent));
        units = uint128(bound(units, 1, MAX_UNITS));
        uint256 cost = _price(units);
        silent.mint(alice.addr, cost);
        vm.prank(alice.addr);
        reserve.buy(id, units, alice.addr, cost);
        assertEq(silent.balanceOf(address(reserve)), cost, "paid");
        _close(id);
        vm.prank(alice.addr);
        assertEq(reserve.reclaim(id, units), cost, "reclaimed");
        assertEq(silent.balanceOf(alice.addr), cost, "back");
    }

    /// @dev Without ERC-2612 the permit fails quietly and an allowance given before does the work.
    function testFuzz_BuyWithPermit_WithATokenThatHasNone(uint128 units) public {
        (uint256 amount, uint256 cost) = _funded(units);
        vm.prank(alice.addr);
        reserve.buyWithPermit(shady, amount, alice.addr, cost, 0, 0, 0, 0);
        _assertCredits(alice.addr, shady, amount, "buyer");
    }

    /* RECEIVERS */

    function testFuzz_RevertWhen_ReceiverTakesNoCredits(uint128 units) public {
        (uint256 amount, uint256 cost) = _funded(units);
        vm.expectRevert(abi.encodeWithSelector(IERC1155Errors.ERC1155InvalidReceiver.selector, address(registry)));
        vm.prank(alice.addr);
        reserve.buy(shady, amount, address(registry), cost);
    }

    function testFuzz_RevertWhen_ReceiverEntersAgain(uint128 units) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        uint256 cost = _price(units);
        usd.mint(address(buyer), 2 * cost);
        bytes[3] memory calls = [
            abi.encodeCall(ICreditReserve.buy, (plain, units, address(buyer), cost)),
            abi.encodeCall(ICreditReserve.reclaim, (plain, units)),
            abi.encodeCall(ICreditReserve.withdraw, (address(usd), 0, address(buyer)))
        ];
        for (uint256 i; i < calls.length; ++i) {
            buyer.onReceive(address(reserve), calls[i]);
            vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
            buyer.buy(usd, plain, units, cost);
        }
    }

    /// @dev The hook runs last: inside it the sale is booked in full, and the credits can be used at once.
    function testFuzz_Receiver_SeesAFinishedSale(uint128 units) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        uint256 cost = _price(units);
        usd.mint(address(buyer), cost);
        JobTerms memory terms = _terms(plain, units);
        terms.payer = address(buyer);
        buyer.openOnReceive(terms);
        buyer.buy(usd, plain, units, cost);
        assertEq(buyer.backingSeen(), cost, "backing seen from inside");
        _assertStatus(market.hashTerms(terms), Status.Open);
        _assertLocked(address(buyer), plain, units, "locked");
    }

    /* HELPERS */

    function _classPaidIn(address paymentToken) private returns (uint256) {
        ClassTerms memory terms = _saleTerms();
        terms.paymentToken = paymentToken;
        return _createClass(terms);
    }

    function _funded(uint256 units) private returns (uint256 amount, uint256 cost) {
        amount = bound(units, 1, MAX_UNITS);
        cost = _price(amount);
        token.mint(alice.addr, 2 * cost);
        vm.prank(alice.addr);
        IERC20(address(token)).approve(address(reserve), type(uint256).max);
    }

    /// @dev A class paid in a token that charges a toll, and a payment of its cost and at least one token more.
    function _tolled(uint128 units, uint128 more)
        private
        returns (TollToken toll, uint256 id, ICreditReserve.Authorization memory auth)
    {
        toll = new TollToken();
        id = _classPaidIn(address(toll));
        (auth.from, auth.value) = (alice.addr, _price(_tolledUnits(units)) + bound(more, 1, type(uint128).max));
    }

    function _tolledUnits(uint128 units) private pure returns (uint256) {
        return bound(units, 1, MAX_UNITS);
    }

    function _buyShady(uint256 units, uint256 cost) private {
        vm.prank(alice.addr);
        reserve.buy(shady, units, alice.addr, cost);
    }
}
