// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ClassTerms, Usage} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";
import {FakeFeed} from "./support/FakeFeed.sol";

/// @dev What a unit is paid, backing / supply, never falls by what anybody does: not by sales at any price of the feed, not
/// by pay-outs, not by reclaims. Two holders take turns. The one exception is made of rounding alone: what lies above the
/// highest price the class allows nobody ever paid, and a sale may spend it.
contract CreditReserveRateTest is Base {
    uint16 private constant DEVIATION = 5_000;
    uint256 private constant STEPS = 24;

    FakeFeed private feed;
    uint256 private fed;

    struct Pool {
        uint256 backing;
        uint256 supply;
    }

    function setUp() public override {
        super.setUp();
        feed = new FakeFeed(6);
        ClassTerms memory terms = _saleTerms();
        terms.priceFeed = address(feed);
        terms.maxPriceAge = 1;
        terms.maxDeviationBps = DEVIATION;
        fed = _createClass(terms);
        feed.say(int256(uint256(PRICE)));
    }

    function testFuzz_Rate_OfAFeedPricedClass(uint256[STEPS] memory seeds) public {
        _play(fed, uint256(PRICE) + uint256(PRICE) * DEVIATION / BPS, seeds);
    }

    function testFuzz_Rate_OfAFixedPrice(uint256[STEPS] memory seeds) public {
        _play(plain, PRICE, seeds);
    }

    /// @dev Amounts so large that rounding can't carry the rate to the ceiling: no exception at all.
    function testFuzz_Rate_NeverFallsByASale(uint128[8] memory amounts, uint256[8] memory prices) public {
        for (uint256 i; i < amounts.length; ++i) {
            feed.say(int256(bound(prices[i], PRICE / 2 + 1, uint256(PRICE) * 3 / 2 - 1)));
            Pool memory before = _pool(fed);
            _buy(i % 2 == 0 ? alice.addr : bob.addr, fed, bound(amounts[i], 1e12, MAX_UNITS));
            _assertNoLess(_pool(fed), before, "rate");
        }
    }

    /// @dev What one holder could take falls by nothing that the other does, to the last token unit.
    function testFuzz_Rate_HoldersShareNeverFalls(uint256 held, uint256[8] memory seeds) public {
        held = bound(held, 1e12, MAX_UNITS);
        _buy(alice.addr, fed, held);
        uint256 share = _share(held);
        for (uint256 i; i < seeds.length; ++i) {
            feed.say(int256(bound(seeds[i] >> 128, PRICE / 2 + 1, uint256(PRICE) * 3 / 2 - 1)));
            if (seeds[i] % 2 == 0) _buy(bob.addr, fed, _amount(seeds[i]));
            else _work(fed, bob.addr, _atMost(seeds[i], credits.availableOf(bob.addr, fed)));
            uint256 now_ = _share(held);
            assertGe(now_, share, "share");
            share = now_;
        }
        _close(fed);
        vm.prank(alice.addr);
        assertEq(reserve.reclaim(fed, held), share, "and is paid");
    }

    /* STEPS */

    function _play(uint256 id, uint256 ceiling, uint256[STEPS] memory seeds) private {
        for (uint256 i; i < STEPS; ++i) {
            _step(id, ceiling, seeds[i]);
        }
        _close(id);
        for (uint256 i; i < STEPS; ++i) {
            Pool memory before = _pool(id);
            _reclaim(id, i % 2 == 0 ? alice.addr : bob.addr, seeds[i]);
            _assertNoLess(_pool(id), before, "rate after a reclaim");
        }
        assertEq(
            usd.balanceOf(address(reserve)),
            reserve.backingOf(id) + reserve.earningsOf(provider.addr, address(usd)),
            "reserve's tokens"
        );
    }

    function _step(uint256 id, uint256 ceiling, uint256 seed) private {
        Pool memory before = _pool(id);
        address holder = seed >> 8 & 1 == 0 ? alice.addr : bob.addr;
        uint256 what = seed % 4;
        if (what == 0 || what == 1) {
            if (id == fed) feed.say(int256(bound(seed >> 128, PRICE - PRICE / 2, PRICE + PRICE / 2)));
            _buy(holder, id, _amount(seed));
            if (before.backing * PRICE_UNITS > ceiling * before.supply) {
                before = Pool(ceiling, PRICE_UNITS);
            }
            _assertNoLess(_pool(id), before, "rate after a sale");
            return;
        }
        uint256 units = _atMost(seed, credits.availableOf(holder, id));
        if (what == 2) _work(id, holder, units);
        else _serve(id, holder, units);
        _assertNoLess(_pool(id), before, "rate after a pay-out");
    }

    /// @dev As the job market settles.
    function _work(uint256 id, address holder, uint256 units) private {
        if (units == 0) return;
        Usage[] memory usages = new Usage[](1);
        // forge-lint: disable-next-line(unsafe-typecast)
        usages[0] = Usage(holder, uint128(units), uint128(units));
        vm.startPrank(address(market));
        credits.lock(holder, id, units);
        (uint256 burned, uint256 supplyBefore) = credits.settle(id, usages);
        reserve.payOut(id, provider.addr, burned, supplyBefore);
        vm.stopPrank();
    }

    /// @dev As sessions pay.
    function _serve(uint256 id, address holder, uint256 units) private {
        if (units == 0) return;
        vm.startPrank(address(sessions));
        credits.deposit(holder, id, units);
        uint256 supplyBefore = credits.spend(id, units);
        reserve.payOut(id, provider.addr, units, supplyBefore);
        vm.stopPrank();
    }

    function _reclaim(uint256 id, address holder, uint256 seed) private {
        uint256 units = _atMost(seed, credits.availableOf(holder, id));
        if (units == 0) return;
        vm.prank(holder);
        reserve.reclaim(id, units);
    }

    /* AMOUNTS */

    /// @dev Of every size alike, a single unit included.
    function _amount(uint256 seed) private pure returns (uint256) {
        return 1 + (seed >> 16) % 10 ** ((seed >> 240) % 19);
    }

    /// @dev Everything one time in four.
    function _atMost(uint256 seed, uint256 most) private pure returns (uint256) {
        if (most == 0 || (seed >> 232) % 4 == 0) return most;
        return 1 + _amount(seed) % most;
    }

    /* RATES */

    function _pool(uint256 id) private view returns (Pool memory) {
        return Pool(reserve.backingOf(id), credits.totalSupply(id));
    }

    function _share(uint256 units) private view returns (uint256) {
        return units * reserve.backingOf(fed) / credits.totalSupply(fed);
    }

    /// @dev backing / supply, multiplied out. Where there is no unit, there is no rate.
    function _assertNoLess(Pool memory given, Pool memory limit, string memory label) private pure {
        if (given.supply == 0) return assertEq(given.backing, 0, "nothing left behind");
        assertGe(given.backing * limit.supply, limit.backing * given.supply, label);
    }
}
