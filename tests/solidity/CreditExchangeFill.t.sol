// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20Errors, IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ICreditExchange} from "contracts/interfaces/ICreditExchange.sol";
import {ClassTerms, JobTerms, Offer} from "contracts/interfaces/Types.sol";
import {CreditExchangeBase} from "./CreditExchangeBase.t.sol";
import {AllowList} from "./support/Wallets.sol";

/// @dev fill: what is refused, what changes hands and at which price.
contract CreditExchangeFillTest is CreditExchangeBase {
    /* REVERTS: THE OFFER */

    function testFuzz_RevertWhen_TakerIsAnother(bool selling, address taker) public {
        vm.assume(taker != bob.addr && taker != address(0));
        Offer memory offer = _offer(selling);
        offer.taker = taker;
        bytes32 id = exchange.hashOffer(offer);
        ICreditExchange.Fill memory order = _order(offer, 1);
        _expect(ICreditExchange.CreditExchange_NotTaker.selector, id, bob.addr, taker);
        _fill(order);
    }

    function testFuzz_RevertWhen_Expired(bool selling, uint40 expiry, uint40 later) public {
        Offer memory offer = _stocked(selling);
        offer.expiry = uint40(bound(expiry, 0, START + 365 days));
        ICreditExchange.Fill memory order = _order(offer, 1);
        vm.warp(bound(later, uint256(offer.expiry) + 1, START + 730 days));
        bytes32 id = exchange.hashOffer(offer);
        _expect(ICreditExchange.CreditExchange_Expired.selector, id, _now(), offer.expiry);
        _fill(order);
    }

    function testFuzz_Fill_InTheLastSecond(bool selling) public {
        Offer memory offer = _stocked(selling);
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        vm.warp(offer.expiry);
        assertEq(_fill(order), TOTAL, "price");
    }

    function testFuzz_RevertWhen_UnitsAreZero(bool selling) public {
        Offer memory offer = _stocked(selling);
        bytes32 id = exchange.hashOffer(offer);
        ICreditExchange.Fill memory order = _order(offer, 0);
        _expect(ICreditExchange.CreditExchange_ZeroUnits.selector, id, 0, 1);
        _fill(order);
    }

    function testFuzz_RevertWhen_MoreThanOffered(bool selling, uint128 units, uint128 more) public {
        Offer memory offer = _fuzzed(selling, units, TOTAL);
        uint256 asked = bound(more, uint256(offer.units) + 1, type(uint128).max);
        bytes32 id = exchange.hashOffer(offer);
        ICreditExchange.Fill memory order = _order(offer, asked);
        _expect(ICreditExchange.CreditExchange_OverFill.selector, id, asked, offer.units);
        _fill(order);
    }

    function testFuzz_RevertWhen_MoreThanIsLeft(bool selling, uint128 first, uint128 second) public {
        Offer memory offer = _stocked(selling);
        first = uint128(bound(first, 1, UNITS));
        second = uint128(bound(second, UNITS - first + 1, UNITS));
        _fill(offer, first);
        bytes32 id = exchange.hashOffer(offer);
        ICreditExchange.Fill memory order = _order(offer, second);
        _expect(ICreditExchange.CreditExchange_OverFill.selector, id, second, UNITS - first);
        _fill(order);
        assertEq(exchange.filledOf(id), first, "filled");
    }

    /// @dev Named, rather than a division by zero.
    function testFuzz_RevertWhen_OfferOfNothing(bool selling) public {
        Offer memory offer = _offer(selling);
        offer.units = 0;
        bytes32 id = exchange.hashOffer(offer);
        ICreditExchange.Fill memory order = _order(offer, 1);
        _expect(ICreditExchange.CreditExchange_OverFill.selector, id, 1, 0);
        _fill(order);
    }

    /* REVERTS: THE PRICE */

    function testFuzz_RevertWhen_CostAboveTheTakersLimit(uint128 units, uint128 price, uint256 limit) public {
        Offer memory offer = _fuzzed(true, units, bound(price, 1, MAX_TOTAL));
        ICreditExchange.Fill memory order = _order(offer, offer.units);
        order.limit = bound(limit, 0, offer.price - 1);
        bytes32 id = exchange.hashOffer(offer);
        _expect(ICreditExchange.CreditExchange_OverLimit.selector, id, offer.price, order.limit);
        _fill(order);
    }

    /// @dev The limit of a taker who sells holds for what it receives, so the fee counts.
    function testFuzz_RevertWhen_ProceedsBelowTheTakersLimit(uint128 price, uint8 bps, uint256 limit) public {
        bps = uint8(bound(bps, 0, MAX_EXCHANGE_FEE));
        _setExchangeFee(bps);
        Offer memory offer = _fuzzed(false, UNITS, price);
        uint256 due = offer.price - _feeOf(offer.price, bps);
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        order.limit = bound(limit, due + 1, type(uint256).max);
        bytes32 id = exchange.hashOffer(offer);
        _expect(ICreditExchange.CreditExchange_UnderLimit.selector, id, due, order.limit);
        _fill(order);
    }

    function testFuzz_Fill_AtTheTakersLimit(bool selling, uint128 price, uint8 bps) public {
        bps = uint8(bound(bps, 0, MAX_EXCHANGE_FEE));
        _setExchangeFee(bps);
        Offer memory offer = _fuzzed(selling, UNITS, price);
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        order.limit = selling ? offer.price : offer.price - _feeOf(offer.price, bps);
        assertEq(_fill(order), offer.price, "price");
    }

    /* REVERTS: WHAT THE SIDES HAVE AND MAY */

    function test_RevertWhen_SellerDidNotApprove() public {
        Offer memory offer = _stocked(true);
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        vm.prank(alice.addr);
        credits.setApprovalForAll(address(exchange), false);
        vm.expectRevert(
            abi.encodeWithSelector(IERC1155Errors.ERC1155MissingApprovalForAll.selector, address(exchange), alice.addr)
        );
        _fill(order);
    }

    function testFuzz_RevertWhen_BuyerApprovedTooLittle(uint256 allowance) public {
        Offer memory offer = _stocked(true);
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        allowance = bound(allowance, 0, TOTAL - 1);
        vm.prank(bob.addr);
        usd.approve(address(exchange), allowance);
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientAllowance.selector, address(exchange), allowance, uint256(TOTAL)
            )
        );
        _fill(order);
    }

    function test_RevertWhen_SellersCreditsAreLocked() public {
        Offer memory offer = _stocked(true);
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        JobTerms memory terms = _terms(plain, 1);
        _open(terms);
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC1155Errors.ERC1155InsufficientBalance.selector, alice.addr, UNITS - 1, uint256(UNITS), plain
            )
        );
        _fill(order);
        assertEq(exchange.filledOf(exchange.hashOffer(offer)), 0, "filled");
        assertEq(usd.balanceOf(alice.addr), 0, "nothing was paid");
    }

    /* REVERTS: THE CLASS */

    function testFuzz_RevertWhen_AccountBound(bool selling) public {
        ClassTerms memory terms = _saleTerms();
        terms.transferable = false;
        Offer memory offer = _offerOf(selling, _createClass(terms));
        bytes32 id = exchange.hashOffer(offer);
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        _expect(ICreditExchange.CreditExchange_AccountBound.selector, id, 0, 1);
        _fill(order);
    }

    function testFuzz_RevertWhen_ClassIsExpired(bool selling, uint40 later) public {
        ClassTerms memory terms = _saleTerms();
        terms.expiry = uint40(START + 1 days);
        Offer memory offer = _offerOf(selling, _createClass(terms));
        offer.expiry = type(uint40).max;
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        vm.warp(bound(later, START + 1 days + 1, START + 365 days));
        bytes32 id = exchange.hashOffer(offer);
        _expect(ICreditExchange.CreditExchange_ClassEnded.selector, id, _now(), START + 1 days);
        _fill(order);
    }

    function test_RevertWhen_ClassIsUnknown() public {
        Offer memory offer = _stocked(true);
        offer.classId = credits.classCount() + 1;
        ICreditExchange.Fill memory order = _order(offer, 1);
        _expect(
            IComputeCredits.ComputeCredits_UnknownClass.selector, offer.classId, offer.classId, credits.classCount()
        );
        _fill(order);
    }

    /// @dev What other rules of the class refuse keeps its name.
    function test_RevertWhen_BuyerIsNotEligible() public {
        AllowList list = new AllowList();
        list.allow(alice.addr);
        ClassTerms memory terms = _saleTerms();
        terms.eligibility = address(list);
        Offer memory offer = _offerOf(true, _createClass(terms));
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        _expect(IComputeCredits.ComputeCredits_NotEligible.selector, offer.classId, bob.addr, address(list));
        _fill(order);
        list.allow(bob.addr);
        assertEq(_fill(order), TOTAL, "price once bob is eligible");
    }

    function testFuzz_RevertWhen_BuyerHoldsTooMuch(uint128 cap) public {
        ClassTerms memory terms = _saleTerms();
        terms.maxPerHolder = uint128(bound(cap, UNITS, UNITS * 2 - 1));
        Offer memory offer = _offerOf(true, _createClass(terms));
        _buy(bob.addr, offer.classId, UNITS);
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        _expect(IComputeCredits.ComputeCredits_HolderCap.selector, offer.classId, UNITS * 2, terms.maxPerHolder);
        _fill(order);
    }

    /// @dev A closed class isn't sold any more, but what was sold can be passed on.
    function testFuzz_Fill_OfAClosedOrPausedClass(bool selling, bool closed) public {
        Offer memory offer = _stocked(selling);
        if (closed) {
            _close(plain);
        } else {
            vm.prank(admin.addr);
            credits.pauseClass(plain, uint40(_now() + 1 days));
        }
        assertEq(_fill(offer, UNITS), TOTAL, "price");
    }

    /* SUCCESS */

    function testFuzz_Fill(bool selling, uint128 units, uint128 price, uint8 bps, uint128 part) public {
        bps = uint8(bound(bps, 0, MAX_EXCHANGE_FEE));
        _setExchangeFee(bps);
        Offer memory offer = _fuzzed(selling, units, price);
        (address seller, address buyer) = _sides(offer);
        part = uint128(bound(part, 1, offer.units));
        uint256 before = usd.balanceOf(buyer);
        uint256 due = _partOf(offer, part);
        uint256 fee = _feeOf(due, bps);
        _expectFilled(offer, part, due, fee);
        assertEq(_fill(offer, part), due, "price");
        assertEq(usd.balanceOf(buyer), before - due, "buyer's tokens");
        assertEq(usd.balanceOf(seller), due - fee, "seller's tokens");
        assertEq(usd.balanceOf(treasury), fee, "fee");
        _assertCredits(buyer, plain, part, "buyer's credits");
        _assertCredits(seller, plain, offer.units - part, "seller's credits");
        assertEq(exchange.filledOf(exchange.hashOffer(offer)), part, "filled");
        _assertNoCustody(offer);
    }

    /// @dev However an offer is split, its parts give all units, and the maker is never worse off than signed.
    function testFuzz_Fill_InParts(bool selling, uint128 units, uint128 price, uint256[7] memory cuts) public {
        Offer memory offer = _fuzzed(selling, units, price);
        (, address buyer) = _sides(offer);
        uint256 paid;
        uint256 parts;
        uint256 left = offer.units;
        for (uint256 i; i < cuts.length + 1 && left != 0; ++i) {
            uint256 part = i == cuts.length ? left : bound(cuts[i], 1, left);
            paid += _fill(offer, part);
            left -= part;
            ++parts;
            assertEq(exchange.filledOf(exchange.hashOffer(offer)), offer.units - left, "filled so far");
        }
        _assertCredits(buyer, plain, offer.units, "all units");
        if (selling) {
            assertGe(paid, offer.price, "the maker gets what it signed");
            assertLe(paid, uint256(offer.price) + parts - 1, "a part costs at most one base unit more");
        } else {
            assertLe(paid, offer.price, "the maker pays what it signed");
            assertGe(paid + parts - 1, offer.price, "a part brings at most one base unit less");
        }
    }

    /// @dev The widest offer there is: nothing overflows on the way to the transfer.
    function test_Fill_OfTheLargestNumbers() public {
        Offer memory offer = _stocked(false);
        (offer.units, offer.price) = (type(uint128).max, type(uint128).max);
        usd.mint(alice.addr, type(uint128).max);
        assertEq(_fill(offer, UNITS), UNITS, "price of a part");
    }

    function testFuzz_Fill_ForNothing(bool selling) public {
        Offer memory offer = _offer(selling);
        offer.price = 0;
        // Never called.
        offer.token = address(0);
        (address seller, address buyer) = _sides(offer);
        _giveCredits(seller, plain, UNITS);
        assertEq(_fill(offer, UNITS), 0, "price");
        _assertCredits(buyer, plain, UNITS, "a gift");
    }

    function testFuzz_Fill_ByTheNamedTaker(bool selling) public {
        Offer memory offer = _stocked(selling);
        offer.taker = bob.addr;
        assertEq(_fill(offer, UNITS), TOTAL, "price");
    }

    /* HELPERS */

    function _offerOf(bool selling, uint256 classId) private returns (Offer memory offer) {
        offer = _offer(selling);
        offer.classId = classId;
        _stock(offer);
    }
}
