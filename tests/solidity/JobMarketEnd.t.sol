// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {ClassTerms, JobTerms, Status} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev accept, and the two ways a job ends without pay: cancel and expire.
contract JobMarketEndTest is Base {
    /* accept: REVERTS */

    function testFuzz_RevertWhen_AcceptedTooLate(uint40 late) public {
        (JobTerms memory terms, bytes32 jobId) = _openNew(plain, 1);
        late = uint40(bound(late, uint256(terms.acceptBy) + 1, type(uint40).max));
        vm.warp(late);
        _expect(IJobMarket.JobMarket_DeadlinePassed.selector, jobId, late, terms.acceptBy);
        _accept(provider.addr, terms);
    }

    function testFuzz_RevertWhen_AcceptedByAStranger(address caller) public {
        vm.assume(caller != provider.addr && caller != oracle.addr);
        (JobTerms memory terms, bytes32 jobId) = _openNew(plain, 1);
        _expect(IJobMarket.JobMarket_NotProvider.selector, jobId, _number(caller), _number(provider.addr));
        _accept(caller, terms);
    }

    function test_RevertWhen_AcceptedByAnotherProvider() public {
        _registerProvider(bob.addr, anyone);
        (JobTerms memory terms, bytes32 jobId) = _openNew(plain, 1);
        _expect(IJobMarket.JobMarket_NotProvider.selector, jobId, _number(bob.addr), _number(provider.addr));
        _accept(bob.addr, terms);
    }

    function testFuzz_RevertWhen_ProviderIsUnknown(address other) public {
        _assumeStranger(other);
        JobTerms memory terms = _terms(plain, 1);
        terms.provider = other;
        _buy(alice.addr, plain, 1);
        bytes32 jobId = _open(terms);
        _expect(IJobMarket.JobMarket_CannotServe.selector, jobId, _number(other), plain);
        _accept(other, terms);
    }

    function test_RevertWhen_ProviderLeftTheSku() public {
        (JobTerms memory terms, bytes32 jobId) = _openNew(plain, 1);
        vm.prank(provider.addr);
        registry.setSkus(_one(SKU), false);
        _expect(IJobMarket.JobMarket_CannotServe.selector, jobId, _number(provider.addr), plain);
        _accept(provider.addr, terms);
    }

    function testFuzz_RevertWhen_ProviderIsInAnotherRegion(bytes12 region) public {
        vm.assume(region != 0 && region != REGION);
        ClassTerms memory class_ = _saleTerms();
        class_.region = region;
        uint256 id = _createClass(class_);
        (JobTerms memory terms, bytes32 jobId) = _openNew(id, 1);
        _expect(IJobMarket.JobMarket_CannotServe.selector, jobId, _number(provider.addr), id);
        _accept(provider.addr, terms);
    }

    function testFuzz_RevertWhen_ProviderIsNotListed(address listed) public {
        vm.assume(listed != provider.addr);
        uint256 id = _createClass(_saleTerms(), _one(listed));
        (JobTerms memory terms, bytes32 jobId) = _openNew(id, 1);
        _expect(IJobMarket.JobMarket_CannotServe.selector, jobId, _number(provider.addr), id);
        _accept(provider.addr, terms);
    }

    /* accept: SUCCESS */

    function testFuzz_Accept(bool byOracle, uint40 when) public {
        (JobTerms memory terms, bytes32 jobId) = _openNew(plain, 1);
        vm.warp(bound(when, START, terms.acceptBy));
        vm.expectEmit(address(market));
        emit IJobMarket.JobAccepted(jobId, provider.addr);
        _accept(byOracle ? oracle.addr : provider.addr, terms);
        _assertStatus(jobId, Status.Running);
        assertEq(market.jobs(jobId).openedAt, START, "opened at");
        _assertLocked(alice.addr, plain, 1, "locked");
    }

    function test_RevertWhen_AcceptedBySigOfAnother() public {
        (JobTerms memory terms, bytes32 jobId) = _openNew(plain, 1);
        bytes memory quote = _quote(terms, bob);
        _expect(IJobMarket.JobMarket_BadSignature.selector, jobId, _number(bob.addr), _number(oracle.addr));
        market.acceptBySig(terms, quote);
    }

    function testFuzz_AcceptBySig(address sender, uint40 when) public {
        (JobTerms memory terms, bytes32 jobId) = _openNew(plain, 1);
        bytes memory quote = _quote(terms, oracle);
        vm.warp(bound(when, START, terms.acceptBy));
        vm.expectEmit(address(market));
        emit IJobMarket.JobAccepted(jobId, provider.addr);
        vm.prank(sender);
        market.acceptBySig(terms, quote);
        _assertStatus(jobId, Status.Running);
        assertEq(market.jobs(jobId).openedAt, START, "opened at");
        _assertLocked(alice.addr, plain, 1, "locked");
    }

    /* cancel: REVERTS */

    function testFuzz_RevertWhen_CancelledByAStranger(address caller, bool running) public {
        vm.assume(caller != provider.addr && caller != oracle.addr && caller != alice.addr);
        (JobTerms memory terms, bytes32 jobId) = running ? _runNew(plain, 1) : _openNew(plain, 1);
        _expect(IJobMarket.JobMarket_NotParty.selector, jobId, _number(caller), _number(provider.addr));
        _cancel(caller, terms);
    }

    /// @dev Once the work has begun the payer can't walk away with it.
    function testFuzz_RevertWhen_PayerCancelsARunningJob(uint40 when) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, 1);
        vm.warp(bound(when, START, type(uint40).max));
        _expect(IJobMarket.JobMarket_NotParty.selector, jobId, _number(alice.addr), _number(provider.addr));
        _cancel(alice.addr, terms);
    }

    /* cancel: SUCCESS */

    function testFuzz_Cancel_OpenJob(uint128 units, uint256 by, uint40 when) public {
        (JobTerms memory terms, bytes32 jobId) = _openNew(plain, bound(units, 1, MAX_UNITS));
        address caller = [alice.addr, provider.addr, oracle.addr][bound(by, 0, 2)];
        vm.warp(bound(when, START, type(uint40).max));
        _expectEnd(jobId, caller, true);
        _cancel(caller, terms);
        _assertEnded(jobId, terms, Status.Cancelled);
    }

    function testFuzz_Cancel_RunningJob(uint128 units, bool byOracle, uint40 when) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, bound(units, 1, MAX_UNITS));
        address caller = byOracle ? oracle.addr : provider.addr;
        vm.warp(bound(when, START, type(uint40).max));
        _expectEnd(jobId, caller, true);
        _cancel(caller, terms);
        _assertEnded(jobId, terms, Status.Cancelled);
    }

    function test_Cancel_PayerAndProviderAreOne() public {
        _registerProvider(alice.addr, anyone);
        JobTerms memory terms = _terms(plain, 1);
        terms.provider = alice.addr;
        _buy(alice.addr, plain, 1);
        bytes32 jobId = _open(terms);
        _accept(alice.addr, terms);
        _cancel(alice.addr, terms);
        _assertEnded(jobId, terms, Status.Cancelled);
    }

    /* expire: REVERTS */

    function testFuzz_RevertWhen_OpenJobCanStillBeAccepted(uint40 when) public {
        (JobTerms memory terms, bytes32 jobId) = _openNew(plain, 1);
        when = uint40(bound(when, START, terms.acceptBy));
        vm.warp(when);
        _expect(IJobMarket.JobMarket_DeadlineNotReached.selector, jobId, when, terms.acceptBy);
        _expire(anyone, terms);
    }

    function testFuzz_RevertWhen_RunningJobCanStillBeSubmitted(uint40 when) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, 1);
        when = uint40(bound(when, START, terms.submitBy));
        vm.warp(when);
        _expect(IJobMarket.JobMarket_DeadlineNotReached.selector, jobId, when, terms.submitBy);
        _expire(anyone, terms);
    }

    /* expire: SUCCESS */

    function testFuzz_Expire_OpenJob(uint128 units, address caller, uint40 late) public {
        (JobTerms memory terms, bytes32 jobId) = _openNew(plain, bound(units, 1, MAX_UNITS));
        vm.warp(bound(late, uint256(terms.acceptBy) + 1, type(uint40).max));
        _expectEnd(jobId, caller, false);
        _expire(caller, terms);
        _assertEnded(jobId, terms, Status.Expired);
    }

    function testFuzz_Expire_RunningJob(uint128 units, address caller, uint40 late) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, bound(units, 1, MAX_UNITS));
        vm.warp(bound(late, uint256(terms.submitBy) + 1, type(uint40).max));
        _expectEnd(jobId, caller, false);
        _expire(caller, terms);
        _assertEnded(jobId, terms, Status.Expired);
    }

    /// @dev The lock comes back even from a class that was closed and has expired.
    function testFuzz_Expire_OfADeadClass(uint128 units) public {
        ClassTerms memory class_ = _saleTerms();
        class_.expiry = uint40(START + 1 hours);
        uint256 id = _createClass(class_);
        (JobTerms memory terms, bytes32 jobId) = _runNew(id, bound(units, 1, MAX_UNITS));
        _close(id);
        vm.warp(terms.submitBy + 1);
        _expire(anyone, terms);
        _assertEnded(jobId, terms, Status.Expired);
        vm.prank(alice.addr);
        uint256 back = reserve.reclaim(id, terms.maxUnits);
        assertEq(back, _price(terms.maxUnits), "and its price after it");
    }

    /* HELPERS */

    function _accept(address caller, JobTerms memory terms) private {
        vm.prank(caller);
        market.accept(terms);
    }

    function _cancel(address caller, JobTerms memory terms) private {
        vm.prank(caller);
        market.cancel(terms);
    }

    function _expire(address caller, JobTerms memory terms) private {
        vm.prank(caller);
        market.expire(terms);
    }

    function _expectEnd(bytes32 jobId, address caller, bool cancelled) private {
        vm.expectEmit(address(market));
        if (cancelled) emit IJobMarket.JobCancelled(jobId, caller);
        else emit IJobMarket.JobExpired(jobId, caller);
    }

    function _assertEnded(bytes32 jobId, JobTerms memory terms, Status status) private view {
        assertEq(market.hashTerms(terms), jobId, "job id");
        _assertEnded(terms, status);
        _assertCredits(terms.payer, terms.classId, terms.maxUnits, "payer has it all back");
        _assertLocked(alice.addr, terms.classId, 0, "locked");
        assertEq(reserve.earningsOf(terms.provider, address(usd)), 0, "nobody is paid");
        assertEq(credits.totalSupply(terms.classId), terms.maxUnits, "supply");
    }
}
