// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {ClassTerms, JobTerms} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";
import {FakeFeed} from "./support/FakeFeed.sol";

/// @dev On a rollup: sales by a feed wait until its sequencer has been up for a while, and nothing else does.
contract CreditReserveSequencerTest is Base {
    uint256 private constant GRACE = 1 hours;
    int256 private constant UP = 0;
    int256 private constant DOWN = 1;

    FakeFeed private sequencer;
    FakeFeed private feed;
    uint256 private fed;

    function setUp() public override {
        super.setUp();
        feed = new FakeFeed(6);
        ClassTerms memory terms = _saleTerms();
        terms.priceFeed = address(feed);
        terms.maxPriceAge = 7 days;
        terms.maxDeviationBps = 1;
        fed = _createClass(terms);
        feed.say(int256(uint256(PRICE)));
        sequencer.say(UP, START - GRACE, START);
    }

    function _sequencerFeed() internal override returns (address) {
        sequencer = new FakeFeed(0);
        return address(sequencer);
    }

    /* REVERTS */

    function testFuzz_RevertWhen_SequencerIsDown(int256 answer, uint256 since, uint256 units) public {
        vm.assume(answer != UP);
        sequencer.say(answer, bound(since, 1, START), START);
        _refused(units, 0);
    }

    function testFuzz_RevertWhen_SequencerWasNeverSeenUp(uint256 units) public {
        sequencer.say(UP, 0, 0);
        _refused(units, 0);
    }

    function testFuzz_RevertWhen_SequencerJustCameUp(uint256 since, uint256 units) public {
        since = bound(since, START - GRACE + 1, START);
        sequencer.say(UP, since, since);
        _refused(units, START - since);
    }

    function testFuzz_RevertWhen_SequencerComesUpInTheFuture(uint256 since, uint256 units) public {
        since = bound(since, START, type(uint256).max);
        sequencer.say(UP, since, since);
        _refused(units, 0);
    }

    function testFuzz_RevertWhen_SequencerFeedBreaks(uint256 units) public {
        sequencer.breakDown();
        units = bound(units, 1, MAX_UNITS);
        vm.expectRevert(FakeFeed.FakeFeed_Broken.selector);
        reserve.costOf(fed, units);
        vm.expectRevert(FakeFeed.FakeFeed_Broken.selector);
        vm.prank(alice.addr);
        reserve.buy(fed, units, alice.addr, type(uint256).max);
    }

    /* SUCCESS */

    function testFuzz_Buy_WhenTheSequencerIsUp(uint256 since, uint256 units) public {
        units = bound(units, 1, MAX_UNITS);
        sequencer.say(UP, bound(since, 1, START - GRACE), START);
        assertEq(_buy(alice.addr, fed, units), _price(units), "cost");
        _assertCredits(alice.addr, fed, units, "buyer");
    }

    /// @dev Down, up, and an hour later.
    function testFuzz_Buy_OnceTheGraceIsOver(uint256 outage, uint256 units) public {
        units = bound(units, 1, MAX_UNITS);
        sequencer.say(DOWN, START, START);
        _refused(units, 0);
        uint256 since = START + bound(outage, 1, 1 days);
        vm.warp(since + GRACE - 1);
        sequencer.say(UP, since, since);
        _refused(units, GRACE - 1);
        vm.warp(since + GRACE);
        assertEq(_buy(alice.addr, fed, units), _price(units), "cost");
    }

    function testFuzz_SequencerDown_ConcernsNoFixedPrice(uint256 units) public {
        units = bound(units, 1, MAX_UNITS);
        sequencer.breakDown();
        assertEq(_buy(alice.addr, plain, units), _price(units), "cost");
    }

    function testFuzz_SequencerDown_StopsNoWayOut(uint256 used, uint256 kept) public {
        used = bound(used, 1e3, MAX_UNITS);
        kept = bound(kept, 1, MAX_UNITS);
        _buy(bob.addr, fed, kept);
        (JobTerms memory terms, bytes32 jobId) = _runNew(fed, used);
        sequencer.breakDown();
        _submit(terms, _receipt(jobId, used));
        uint256 earned = reserve.earningsOf(provider.addr, address(usd));
        assertGt(earned, 0, "paid out");
        vm.prank(provider.addr);
        reserve.withdraw(address(usd), earned, provider.addr);
        _close(fed);
        uint256 left = reserve.backingOf(fed);
        vm.prank(bob.addr);
        assertEq(reserve.reclaim(fed, kept), left, "reclaimed");
    }

    /* HELPERS */

    function _refused(uint256 units, uint256 upFor) private {
        units = bound(units, 1, MAX_UNITS);
        _expect(ICreditReserve.CreditReserve_SequencerDown.selector, fed, upFor, GRACE);
        reserve.costOf(fed, units);
        _expect(ICreditReserve.CreditReserve_SequencerDown.selector, fed, upFor, GRACE);
        vm.prank(alice.addr);
        reserve.buy(fed, units, alice.addr, type(uint256).max);
    }
}
