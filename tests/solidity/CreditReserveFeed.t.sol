// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {IPriceFeed} from "contracts/interfaces/IPriceFeed.sol";
import {ClassTerms, JobTerms} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";
import {DishonestToken} from "./support/DishonestToken.sol";
import {FakeFeed} from "./support/FakeFeed.sol";

/// @dev Sales of classes that are priced by a feed, and feeds that don't behave.
contract CreditReserveFeedTest is Base {
    uint8 private constant FEED_DECIMALS = 8;
    /// @dev From one base unit of the payment token to the feed's.
    uint256 private constant SCALE = 100;
    uint32 private constant MAX_AGE = 1 hours;
    uint16 private constant DEVIATION = 2_000;
    uint256 private constant ALLOWED = uint256(PRICE) * DEVIATION / BPS;
    uint256 private constant CEILING = PRICE + ALLOWED;
    uint256 private constant FLOOR = PRICE - ALLOWED;
    uint256 private constant MAX_ANSWER = type(uint128).max;
    uint256 private constant MAX_FEED_DECIMALS = 36;

    FakeFeed private feed;
    uint256 private fed;

    function setUp() public override {
        super.setUp();
        feed = new FakeFeed(FEED_DECIMALS);
        fed = _createClass(_fedTerms(address(feed)));
        _say(PRICE);
    }

    /* REVERTS */

    function testFuzz_RevertWhen_AnswerIsNotPositive(int256 answer, uint256 units) public {
        feed.say(bound(answer, type(int256).min, 0));
        _refused(units, ICreditReserve.CreditReserve_BadPrice.selector, 0, 1);
    }

    function testFuzz_RevertWhen_AnswerIsZero(uint256 units) public {
        feed.say(0);
        _refused(units, ICreditReserve.CreditReserve_BadPrice.selector, 0, 1);
    }

    function testFuzz_RevertWhen_AnswerIsHuge(uint256 answer, uint256 units) public {
        answer = bound(answer, MAX_ANSWER + 1, uint256(type(int256).max));
        feed.say(int256(answer));
        _refused(units, ICreditReserve.CreditReserve_BadPrice.selector, answer, MAX_ANSWER);
    }

    function testFuzz_RevertWhen_AnswerIsOfTheFuture(uint256 updatedAt, uint256 units) public {
        updatedAt = bound(updatedAt, START + 1, type(uint256).max);
        feed.say(int256(PRICE * SCALE), START, updatedAt);
        _refused(units, ICreditReserve.CreditReserve_BadPrice.selector, updatedAt, START);
    }

    function testFuzz_RevertWhen_AnswerIsOld(uint256 updatedAt, uint256 units) public {
        updatedAt = bound(updatedAt, 0, START - MAX_AGE - 1);
        feed.say(int256(PRICE * SCALE), START, updatedAt);
        _refused(units, ICreditReserve.CreditReserve_BadPrice.selector, updatedAt, START - MAX_AGE);
    }

    function testFuzz_RevertWhen_PriceIsTooHigh(uint256 answer, uint256 units) public {
        answer = bound(answer, CEILING * SCALE + 1, MAX_ANSWER);
        feed.say(int256(answer));
        uint256 rate = Math.ceilDiv(answer, SCALE);
        _refused(units, ICreditReserve.CreditReserve_PriceDeviates.selector, rate, CEILING);
    }

    function testFuzz_RevertWhen_PriceIsTooLow(uint256 answer, uint256 units) public {
        answer = bound(answer, 1, (FLOOR - 1) * SCALE);
        feed.say(int256(answer));
        uint256 rate = Math.ceilDiv(answer, SCALE);
        _refused(units, ICreditReserve.CreditReserve_PriceDeviates.selector, rate, FLOOR);
    }

    function testFuzz_RevertWhen_FeedHasTooManyDecimals(uint8 decimals, uint256 units) public {
        decimals = uint8(bound(decimals, MAX_FEED_DECIMALS + 1, type(uint8).max));
        feed.setDecimals(decimals);
        _refused(units, ICreditReserve.CreditReserve_BadDecimals.selector, decimals, MAX_FEED_DECIMALS);
    }

    function testFuzz_RevertWhen_TokenHasTooManyDecimals(uint8 decimals, uint256 units) public {
        decimals = uint8(bound(decimals, MAX_FEED_DECIMALS + 1, type(uint8).max));
        vm.mockCall(address(usd), abi.encodeWithSignature("decimals()"), abi.encode(decimals));
        _refused(units, ICreditReserve.CreditReserve_BadDecimals.selector, decimals, MAX_FEED_DECIMALS);
    }

    /// @dev An answer given with other decimals than the feed claims is far off, and refused for it.
    function testFuzz_RevertWhen_DecimalsAreWrong(uint8 decimals, uint256 units) public {
        decimals = uint8(bound(decimals, 0, MAX_FEED_DECIMALS));
        vm.assume(decimals != FEED_DECIMALS);
        feed.setDecimals(decimals);
        uint256 rate = Math.mulDiv(PRICE * SCALE, 1e6, 10 ** uint256(decimals), Math.Rounding.Ceil);
        _refused(
            units, ICreditReserve.CreditReserve_PriceDeviates.selector, rate, decimals > FEED_DECIMALS ? FLOOR : CEILING
        );
    }

    function testFuzz_RevertWhen_FeedBreaks(uint256 units) public {
        feed.breakDown();
        units = bound(units, 1, MAX_UNITS);
        vm.expectRevert(FakeFeed.FakeFeed_Broken.selector);
        reserve.costOf(fed, units);
        vm.expectRevert(FakeFeed.FakeFeed_Broken.selector);
        _buyFor(alice.addr, units);
    }

    function testFuzz_RevertWhen_FeedIsNoContract(address nothing, uint256 units) public {
        _assumeStranger(nothing);
        uint256 id = _createClass(_fedTerms(nothing));
        units = bound(units, 1, MAX_UNITS);
        // Reverts without a reason: the compiler's own check that something is there.
        vm.expectRevert(bytes(""));
        reserve.costOf(id, units);
    }

    /* COST */

    function testFuzz_CostOf_FollowsTheFeed(uint256 units, uint256 answer) public {
        units = bound(units, 0, MAX_UNITS);
        answer = bound(answer, (FLOOR - 1) * SCALE + 1, CEILING * SCALE);
        feed.say(int256(answer));
        uint256 rate = Math.ceilDiv(answer, SCALE);
        assertEq(reserve.costOf(fed, units), _cost(units, rate), "cost");
        assertGe(_cost(units, rate) * PRICE_UNITS * SCALE, units * answer, "never under the feed");
    }

    function testFuzz_CostOf_UntilTheAnswerIsOld(uint256 units, uint256 age) public {
        units = bound(units, 1, MAX_UNITS);
        vm.warp(START + bound(age, 0, MAX_AGE));
        assertEq(reserve.costOf(fed, units), _price(units), "cost");
    }

    function testFuzz_CostOf_ScalesByTheFeedsDecimals(uint256 units, uint8 decimals) public {
        units = bound(units, 1, MAX_UNITS);
        decimals = uint8(bound(decimals, 6, MAX_FEED_DECIMALS));
        feed.setDecimals(decimals);
        feed.say(int256(PRICE * 10 ** (uint256(decimals) - 6)));
        assertEq(reserve.costOf(fed, units), _price(units), "cost");
    }

    function testFuzz_CostOf_ScalesByTheTokensDecimals(uint256 units) public {
        units = bound(units, 1, MAX_UNITS);
        ClassTerms memory terms = _fedTerms(address(feed));
        // 18 decimals.
        terms.paymentToken = address(new DishonestToken());
        terms.pricePerMillion = PRICE * 1e12;
        uint256 id = _createClass(terms);
        assertEq(reserve.costOf(id, units), _cost(units, uint256(PRICE) * 1e12), "cost");
    }

    /* BUY */

    function testFuzz_Buy_AtTheFeedsPrice(uint256 units, uint256 rate) public {
        units = bound(units, 1, MAX_UNITS);
        rate = _say(bound(rate, FLOOR, CEILING));
        uint256 cost = _cost(units, rate);
        _fund(alice.addr, cost);
        vm.expectEmit(address(reserve));
        emit ICreditReserve.Bought(fed, alice.addr, alice.addr, units, cost);
        _buyFor(alice.addr, units);
        assertEq(reserve.backingOf(fed), cost, "all of it is backing");
        _assertCredits(alice.addr, fed, units, "buyer");
    }

    /// @dev Whoever buys after a fall pays what those before did, so that they lose nothing by it.
    function testFuzz_Buy_NeverBelowTheBacking(uint256 first, uint256 second, uint256 high, uint256 low) public {
        first = bound(first, 1e6, MAX_UNITS);
        second = bound(second, 1, MAX_UNITS);
        high = _say(bound(high, FLOOR, CEILING));
        uint256 backing = _buy(alice.addr, fed, first);
        low = _say(bound(low, FLOOR, high));
        uint256 byBacking = Math.min(Math.ceilDiv(second * backing, first), _cost(second, CEILING));
        uint256 cost = _buy(bob.addr, fed, second);
        assertEq(cost, Math.max(_cost(second, low), byBacking), "cost");
        assertGe(cost, _cost(second, high), "what the first paid, or more");
    }

    function testFuzz_Buy_AboveTheBacking(uint256 first, uint256 second, uint256 low, uint256 high) public {
        first = bound(first, 1e12, MAX_UNITS);
        second = bound(second, 1, MAX_UNITS);
        low = _say(bound(low, FLOOR, CEILING - 1));
        _buy(alice.addr, fed, first);
        high = _say(bound(high, low + 1, CEILING));
        uint256 before = reserve.backingOf(fed);
        assertEq(_buy(bob.addr, fed, second), _cost(second, high), "the feed's price");
        assertGe(reserve.backingOf(fed) * first, before * (first + second), "the first gain by it");
    }

    /// @dev One unit costs a whole token unit, hundreds of times its price. That must not become everybody's price.
    function testFuzz_Buy_ASingleUnitPricesNobodyOut(uint256 units, uint256 rate) public {
        rate = _say(bound(rate, FLOOR, CEILING));
        assertEq(_buy(alice.addr, fed, 1), 1, "more than a unit's price");
        units = bound(units, 1, MAX_UNITS);
        uint256 cost = _buy(bob.addr, fed, units);
        assertLe(cost, _cost(units, CEILING), "at most the highest price of the class");
        assertGe(cost, _cost(units, rate), "at least the feed's");
        assertGe(reserve.backingOf(fed) * PRICE_UNITS, (units + 1) * rate, "every unit is backed");
    }

    /* TROUBLE STOPS SALES ALONE */

    function testFuzz_BrokenFeed_StopsNoWayOut(uint256 used, uint256 kept) public {
        used = bound(used, 1e3, MAX_UNITS);
        kept = bound(kept, 1, MAX_UNITS);
        _buy(bob.addr, fed, kept);
        (JobTerms memory terms, bytes32 jobId) = _runNew(fed, used);
        feed.breakDown();
        vm.mockCallRevert(address(usd), abi.encodeWithSignature("decimals()"), "");
        _submit(terms, _receipt(jobId, used));
        uint256 earned = reserve.earningsOf(provider.addr, address(usd));
        assertGt(earned, 0, "paid out");
        vm.prank(provider.addr);
        reserve.withdraw(address(usd), earned, provider.addr);
        _close(fed);
        uint256 left = reserve.backingOf(fed);
        vm.prank(bob.addr);
        assertEq(reserve.reclaim(fed, kept), left, "reclaimed");
        assertEq(usd.balanceOf(address(reserve)), 0, "everything found its way out");
    }

    function testFuzz_BrokenFeed_ConcernsNoFixedPrice(uint256 units) public {
        units = bound(units, 1, MAX_UNITS);
        feed.breakDown();
        assertEq(_buy(alice.addr, plain, units), _price(units), "fixed price");
    }

    /* WITH SCRIP'S OWN FEED */

    function testFuzz_Buy_ByAPostedPrice(uint256 units, uint256 rate, uint256 later) public {
        units = bound(units, 1, MAX_UNITS);
        rate = bound(rate, FLOOR, CEILING);
        IPriceFeed own = IPriceFeed(
            deployCode("PriceFeed.sol:PriceFeed", abi.encode(verifier, watcherSet, 6, "CPU seconds / dUSD", 500))
        );
        fed = _createClass(_fedTerms(address(own)));
        _expect(IPriceFeed.PriceFeed_NoData.selector, uint256(0), 0, 0);
        reserve.costOf(fed, units);
        bytes32 digest = own.answerDigest(1, int256(rate), uint40(START));
        own.post(1, int256(rate), uint40(START), _attest(digest, THRESHOLD).watchers);
        assertEq(_buy(alice.addr, fed, units), _cost(units, rate), "cost");
        later = bound(later, START + MAX_AGE + 1, type(uint40).max);
        vm.warp(later);
        _refused(units, ICreditReserve.CreditReserve_BadPrice.selector, START, later - MAX_AGE);
    }

    /* HELPERS */

    function _fedTerms(address priceFeed) private view returns (ClassTerms memory terms) {
        terms = _saleTerms();
        terms.priceFeed = priceFeed;
        terms.maxPriceAge = MAX_AGE;
        terms.maxDeviationBps = DEVIATION;
        terms.name = "CPU seconds at the day's price";
    }

    function _say(uint256 rate) private returns (uint256) {
        feed.say(int256(rate * SCALE));
        return rate;
    }

    /// @dev Neither a quote nor a sale, for one reason.
    function _refused(uint256 units, bytes4 reason, uint256 given, uint256 limit) private {
        units = bound(units, 1, MAX_UNITS);
        _expect(reason, fed, given, limit);
        reserve.costOf(fed, units);
        uint256 held = usd.balanceOf(address(reserve));
        _expect(reason, fed, given, limit);
        _buyFor(alice.addr, units);
        assertEq(usd.balanceOf(address(reserve)), held, "no token moved");
    }

    function _buyFor(address buyer, uint256 units) private {
        vm.prank(buyer);
        reserve.buy(fed, units, buyer, type(uint256).max);
    }

    function _cost(uint256 units, uint256 rate) private pure returns (uint256) {
        return Math.ceilDiv(units * rate, PRICE_UNITS);
    }
}
