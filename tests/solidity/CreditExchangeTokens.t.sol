// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ICreditExchange} from "contracts/interfaces/ICreditExchange.sol";
import {Offer} from "contracts/interfaces/Types.sol";
import {CreditExchangeBase} from "./CreditExchangeBase.t.sol";
import {DishonestToken, SilentToken} from "./support/DishonestToken.sol";
import {Trick, TrickReceiver, Trickster} from "./support/ExchangeParties.sol";

/// @dev Foreign code in a fill: tokens that break promises and receivers that act from inside.
contract CreditExchangeTokensTest is CreditExchangeBase {
    DishonestToken private token;

    function setUp() public override {
        super.setUp();
        token = new DishonestToken();
    }

    /* TOKENS */

    function testFuzz_RevertWhen_TokenKeepsAPart(bool selling, uint128 kept) public {
        Offer memory offer = _dishonest(selling);
        kept = uint128(bound(kept, 1, TOTAL));
        token.keep(kept);
        _expectWrongPayment(offer, TOTAL - kept);
    }

    function testFuzz_RevertWhen_TokenAddsToThePayment(bool selling, uint128 added) public {
        Offer memory offer = _dishonest(selling);
        added = uint128(bound(added, 1, MAX_TOTAL));
        token.add(added);
        _expectWrongPayment(offer, uint256(TOTAL) + added);
    }

    /// @dev The seller ends with less than it had: named as well, and counted as nothing.
    function test_RevertWhen_TokenTakesFromTheSeller() public {
        Offer memory offer = _dishonest(true);
        token.mint(alice.addr, 2 * TOTAL);
        token.keep(2 * TOTAL);
        _expectWrongPayment(offer, 0);
    }

    /// @dev What the seller gets is measured without the fee, whoever receives that.
    function testFuzz_RevertWhen_TokenKeepsAPart_WithAFee(uint8 bps, uint128 kept) public {
        bps = uint8(bound(bps, 1, MAX_EXCHANGE_FEE));
        _setExchangeFee(bps);
        Offer memory offer = _dishonest(true);
        uint256 due = TOTAL - _feeOf(TOTAL, bps);
        kept = uint128(bound(kept, 1, due));
        token.keep(kept);
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        bytes32 id = exchange.hashOffer(offer);
        _expect(ICreditExchange.CreditExchange_WrongPayment.selector, id, due - kept, due);
        _fill(order);
    }

    /// @dev Nobody trades with itself: its balance doesn't change.
    function testFuzz_RevertWhen_MakerTakesItsOwnOffer(bool selling) public {
        Offer memory offer = _offer(selling);
        _giveCredits(alice.addr, plain, UNITS);
        _giveTokens(alice.addr, TOTAL);
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        bytes32 id = exchange.hashOffer(offer);
        _expect(ICreditExchange.CreditExchange_WrongPayment.selector, id, 0, TOTAL);
        vm.prank(alice.addr);
        exchange.fill(order);
    }

    function testFuzz_RevertWhen_TokenAnswersFalse(bool selling) public {
        ICreditExchange.Fill memory order = _order(_dishonest(selling), UNITS);
        token.answerFalse();
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(token)));
        _fill(order);
    }

    /// @dev Nor can an offer make the exchange call one of Scrip's contracts, which answer none of a token's calls.
    function testFuzz_RevertWhen_TokenIsNone(uint256 which, address nothing) public {
        _assumeStranger(nothing);
        address[4] memory tokens = [nothing, address(exchange), address(budgets), address(credits)];
        Offer memory offer = _stocked(true);
        offer.token = tokens[bound(which, 0, 3)];
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        vm.expectRevert(bytes(""));
        _fill(order);
    }

    function testFuzz_RevertWhen_TokenEntersAgain(bool selling) public {
        ICreditExchange.Fill memory order = _order(_dishonest(selling), 2);
        ICreditExchange.Fill[] memory orders = new ICreditExchange.Fill[](1);
        orders[0] = order;
        bytes[3] memory calls = [
            abi.encodeCall(ICreditExchange.fill, (order)),
            abi.encodeCall(ICreditExchange.fillBatch, (orders)),
            abi.encodeCall(ICreditExchange.fillFor, (1, order))
        ];
        for (uint256 i; i < calls.length; ++i) {
            token.callBack(address(exchange), calls[i]);
            vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
            _fill(order);
        }
        assertEq(exchange.filledOf(exchange.hashOffer(order.offer)), 0, "filled");
    }

    /// @dev A token may cancel nothing but what it made itself.
    function test_RevertWhen_TokenCancels() public {
        Offer memory offer = _dishonest(true);
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        token.callBack(address(exchange), abi.encodeCall(ICreditExchange.cancel, (offer)));
        bytes32 id = exchange.hashOffer(offer);
        _expect(ICreditExchange.CreditExchange_NotMaker.selector, id, address(token), alice.addr);
        _fill(order);
    }

    /// @dev Whoever moves the credits away while the token runs undoes the payment, too.
    function test_RevertWhen_SellerEmptiesItselfMeanwhile() public {
        Offer memory offer = _dishonest(true);
        vm.prank(alice.addr);
        credits.setApprovalForAll(address(token), true);
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        token.callBack(
            address(credits), abi.encodeCall(credits.safeTransferFrom, (alice.addr, anyone, plain, UNITS, ""))
        );
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC1155Errors.ERC1155InsufficientBalance.selector, alice.addr, 0, uint256(UNITS), plain
            )
        );
        _fill(order);
        assertEq(token.balanceOf(alice.addr), 0, "nothing was paid");
    }

    function testFuzz_Fill_WithATokenThatAnswersNothing(bool selling, uint8 bps) public {
        bps = uint8(bound(bps, 0, MAX_EXCHANGE_FEE));
        _setExchangeFee(bps);
        SilentToken silent = new SilentToken();
        Offer memory offer = _stocked(selling);
        offer.token = address(silent);
        (address seller, address buyer) = _sides(offer);
        silent.mint(buyer, TOTAL);
        assertEq(_fill(offer, UNITS), TOTAL, "price");
        assertEq(silent.balanceOf(seller), TOTAL - _feeOf(TOTAL, bps), "seller's tokens");
        assertEq(silent.balanceOf(treasury), _feeOf(TOTAL, bps), "fee");
        _assertNoCustody(offer);
    }

    /* RECEIVERS */

    function test_RevertWhen_ReceiverRefuses() public {
        TrickReceiver maker = new TrickReceiver();
        ICreditExchange.Fill memory order = _ofReceiver(maker);
        maker.play(Trick.Refuse);
        vm.expectRevert(Trickster.Trickster_Refused.selector);
        _fill(order);
        assertEq(usd.balanceOf(bob.addr), 0, "nothing was paid");
    }

    /// @dev A receiver that reverts as the credits would can't make the exchange say what isn't so.
    function test_RevertWhen_ReceiverLies() public {
        TrickReceiver maker = new TrickReceiver();
        ICreditExchange.Fill memory order = _ofReceiver(maker);
        // The credits answer this call with their own error.
        maker.callBack(address(credits), abi.encodeCall(IComputeCredits.mint, (anyone, plain, 1)));
        _expect(IComputeCredits.ComputeCredits_NotAuthorised.selector, plain, address(maker), address(reserve));
        _fill(order);
    }

    function test_RevertWhen_ReceiverIsNone() public {
        Offer memory offer = _stocked(true);
        offer.taker = address(usd);
        _giveTokens(address(usd), TOTAL);
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        vm.expectRevert(abi.encodeWithSelector(IERC1155Errors.ERC1155InvalidReceiver.selector, address(usd)));
        vm.prank(address(usd));
        exchange.fill(order);
    }

    function test_RevertWhen_ReceiverEntersAgain() public {
        TrickReceiver maker = new TrickReceiver();
        ICreditExchange.Fill memory order = _ofReceiver(maker);
        ICreditExchange.Fill memory other = _order(_stocked(true), 1);
        maker.callBack(address(exchange), abi.encodeCall(ICreditExchange.fill, (other)));
        vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        _fill(order);
    }

    /// @dev The hook runs last: what it takes back for later is not what was filled.
    function test_Receiver_CancelsFromInside() public {
        TrickReceiver maker = new TrickReceiver();
        ICreditExchange.Fill memory order = _ofReceiver(maker);
        maker.callBack(address(exchange), abi.encodeCall(ICreditExchange.cancel, (order.offer)));
        _fill(order);
        bytes32 id = exchange.hashOffer(order.offer);
        assertTrue(exchange.isCancelled(id), "cancelled");
        assertEq(exchange.filledOf(id), UNITS - 1, "filled");
        assertEq(usd.balanceOf(bob.addr), order.limit, "bob was paid");
    }

    /* HELPERS */

    function _dishonest(bool selling) private returns (Offer memory offer) {
        offer = _stocked(selling);
        offer.token = address(token);
        (, address buyer) = _sides(offer);
        token.mint(buyer, TOTAL);
        vm.prank(buyer);
        token.approve(address(exchange), type(uint256).max);
    }

    function _expectWrongPayment(Offer memory offer, uint256 received) private {
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        bytes32 id = exchange.hashOffer(offer);
        _expect(ICreditExchange.CreditExchange_WrongPayment.selector, id, received, TOTAL);
        _fill(order);
        assertEq(exchange.filledOf(id), 0, "filled");
    }

    /// @dev All but one unit, sold to a maker that is a contract.
    function _ofReceiver(TrickReceiver maker) private returns (ICreditExchange.Fill memory order) {
        Offer memory offer = _offer(false, address(maker));
        _stock(offer);
        order = _order(offer, UNITS - 1);
        order.limit = _partOf(offer, UNITS - 1);
    }
}
