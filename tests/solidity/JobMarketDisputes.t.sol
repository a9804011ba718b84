// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {IReceiptVerifier} from "contracts/interfaces/IReceiptVerifier.sol";
import {ClassTerms, Fault, JobTerms, Receipt as JobReceipt, Status} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev challenge, resolve, and finalize of disputes nobody decided.
contract JobMarketDisputesTest is Base {
    uint128 private constant UNITS = 1_000_000;
    /// @dev Stake token base units for a million credits, of DECIMALS decimals.
    uint128 private constant STAKE_PER_MILLION = 3_000_000_007;
    uint256 private constant STAKED = 1_000e6;
    uint256 private constant DISPUTE_PERIOD = 7 days;
    bytes32 private constant VERDICT_TYPEHASH = keccak256("Verdict(bytes32 jobId,uint128 units,uint8 fault)");

    uint256 private staked;
    address private challenger = makeAddr("challenger");

    function setUp() public override {
        super.setUp();
        staked = _createClass(_stakedTerms(STAKE_PER_MILLION));
        _stake(provider.addr, STAKED);
    }

    /* RUNNING: STAKE IS SET ASIDE */

    function testFuzz_RevertWhen_StakeIsTooSmall(uint256 units) public {
        units = bound(units, _unitsFor(STAKED) + 1, MAX_UNITS);
        JobTerms memory terms = _ready(units);
        bytes memory quote = _quote(terms, oracle);
        _expect(IProviderRegistry.ProviderRegistry_StakeExceeded.selector, provider.addr, _stakeFor(units), STAKED);
        vm.prank(alice.addr);
        market.open(terms, quote);
    }

    function testFuzz_Run_SetsStakeAside(uint256 units, bool quoted) public {
        units = bound(units, 1, _unitsFor(STAKED));
        JobTerms memory terms = _ready(units);
        if (quoted) {
            _run(terms);
        } else {
            _open(terms);
            assertEq(registry.reservedOf(provider.addr), 0, "an open job binds nobody");
            vm.prank(provider.addr);
            market.accept(terms);
        }
        assertEq(registry.reservedOf(provider.addr), _stakeFor(units), "set aside");
    }

    function test_RevertWhen_JobsTogetherPassTheStake() public {
        uint256 units = _unitsFor(STAKED) / 2 + 1;
        _run(_ready(units));
        JobTerms memory terms = _ready(units);
        bytes memory quote = _quote(terms, oracle);
        _expect(IProviderRegistry.ProviderRegistry_StakeExceeded.selector, provider.addr, 2 * _stakeFor(units), STAKED);
        vm.prank(alice.addr);
        market.open(terms, quote);
    }

    function testFuzz_EveryEnd_FreesTheStake(uint8 how) public {
        JobTerms memory terms = _ready(UNITS);
        bytes32 jobId = _run(terms);
        how = uint8(bound(how, 0, 3));
        if (how == 0) {
            vm.prank(provider.addr);
            market.cancel(terms);
        } else if (how == 1) {
            vm.warp(terms.submitBy + 1);
            market.expire(terms);
        } else if (how == 2) {
            _submit(terms, _failed(jobId));
        } else {
            _submit(terms, _receipt(jobId, 1));
            skip(WINDOW);
            market.finalize(terms);
        }
        assertEq(registry.reservedOf(provider.addr), 0, "nothing is set aside");
        assertEq(registry.stakeOf(provider.addr), STAKED, "nothing is lost");
    }

    /* challenge */

    function testFuzz_RevertWhen_ChallengedTooLate(uint40 late) public {
        (JobTerms memory terms, bytes32 jobId) = _submitted(5, 1);
        late = uint40(bound(late, START + WINDOW, type(uint40).max));
        vm.warp(late);
        _expect(IJobMarket.JobMarket_DeadlinePassed.selector, jobId, late, START + WINDOW);
        market.challenge(terms);
    }

    function test_RevertWhen_ChallengerHasNoBond() public {
        (JobTerms memory terms,) = _submitted(5, 1);
        vm.prank(challenger);
        vm.expectRevert();
        market.challenge(terms);
        assertEq(uint256(market.jobs(market.hashTerms(terms)).status), uint256(Status.Submitted), "as it was");
    }

    function testFuzz_Challenge(uint40 when) public {
        (JobTerms memory terms, bytes32 jobId) = _submitted(5, 1);
        when = uint40(bound(when, START, START + WINDOW - 1));
        vm.warp(when);
        uint256 before = usd.balanceOf(address(registry));
        usd.mint(challenger, CHALLENGE_BOND);
        vm.startPrank(challenger);
        usd.approve(address(registry), CHALLENGE_BOND);
        vm.expectEmit(address(market));
        emit IJobMarket.JobChallenged(jobId, challenger, CHALLENGE_BOND, when + DISPUTE_PERIOD);
        market.challenge(terms);
        vm.stopPrank();
        _assertStatus(jobId, Status.Disputed);
        assertEq(market.disputes(jobId).challenger, challenger, "challenger kept");
        assertEq(market.disputes(jobId).decideBy, when + DISPUTE_PERIOD, "decide by");
        assertEq(usd.balanceOf(address(registry)) - before, CHALLENGE_BOND, "bond");
        _assertLocked(alice.addr, staked, UNITS, "still locked");
    }

    /* resolve: REVERTS */

    function testFuzz_RevertWhen_VerdictIsOfAnotherJob(bytes32 other) public {
        (JobTerms memory terms, bytes32 jobId) = _disputed(5, 1);
        vm.assume(other != jobId);
        IJobMarket.Verdict memory verdict = IJobMarket.Verdict(other, 0, Fault.None);
        bytes[] memory signatures = _judge(market.verdictDigest(verdict), THRESHOLD);
        _expect(IJobMarket.JobMarket_WrongJob.selector, jobId, uint256(other), uint256(jobId));
        market.resolve(terms, verdict, signatures);
    }

    function testFuzz_RevertWhen_VerdictIsLate(uint40 late) public {
        (JobTerms memory terms, bytes32 jobId) = _disputed(5, 1);
        uint256 decideBy = market.disputes(jobId).decideBy;
        late = uint40(bound(late, decideBy + 1, type(uint40).max));
        (IJobMarket.Verdict memory verdict, bytes[] memory signatures) = _verdict(jobId, 0, Fault.Provider);
        vm.warp(late);
        _expect(IJobMarket.JobMarket_DeadlinePassed.selector, jobId, late, decideBy);
        market.resolve(terms, verdict, signatures);
    }

    function testFuzz_RevertWhen_VerdictRaisesTheUnits(uint128 submitted, uint128 units) public {
        submitted = uint128(bound(submitted, 0, UNITS));
        units = uint128(bound(units, uint256(submitted) + 1, type(uint128).max));
        (JobTerms memory terms, bytes32 jobId) = _disputed(submitted, 1);
        (IJobMarket.Verdict memory verdict, bytes[] memory signatures) = _verdict(jobId, units, Fault.None);
        _expect(IJobMarket.JobMarket_TooManyUnits.selector, jobId, units, submitted);
        market.resolve(terms, verdict, signatures);
    }

    function testFuzz_RevertWhen_ArbitersAreTooFew(uint256 count) public {
        count = bound(count, 0, THRESHOLD - 1);
        (JobTerms memory terms, bytes32 jobId) = _disputed(5, 1);
        IJobMarket.Verdict memory verdict = IJobMarket.Verdict(jobId, 0, Fault.Provider);
        bytes[] memory signatures = _judge(market.verdictDigest(verdict), count);
        _expect(IReceiptVerifier.ReceiptVerifier_TooFewWatchers.selector, arbiterSet, count, THRESHOLD);
        market.resolve(terms, verdict, signatures);
    }

    /// @dev Watchers of receipts are no arbiters.
    function test_RevertWhen_WatchersJudge() public {
        (JobTerms memory terms, bytes32 jobId) = _disputed(5, 1);
        IJobMarket.Verdict memory verdict = IJobMarket.Verdict(jobId, 0, Fault.Provider);
        bytes[] memory signatures = _attest(market.verdictDigest(verdict), THRESHOLD).watchers;
        _expect(IReceiptVerifier.ReceiptVerifier_NotWatcher.selector, arbiterSet, watchers[0].addr, address(0));
        market.resolve(terms, verdict, signatures);
    }

    /* resolve: VERDICTS */

    function testFuzz_Resolve_ProviderAtFault(uint128 submitted, uint128 due) public {
        submitted = uint128(bound(submitted, 1, UNITS));
        due = uint128(bound(due, 0, submitted));
        (JobTerms memory terms, bytes32 jobId) = _disputed(submitted, 1);
        uint256 stake = _stakeFor(UNITS);
        bytes32 hash = market.submissions(jobId).receiptHash;
        (IJobMarket.Verdict memory verdict, bytes[] memory signatures) = _verdict(jobId, due, Fault.Provider);
        vm.expectEmit(address(market));
        emit IJobMarket.JobResolved(jobId, due, Fault.Provider);
        vm.expectEmit(address(market));
        if (due == 0) emit IJobMarket.JobRefunded(jobId, provider.addr, hash);
        else emit IJobMarket.JobSettled(jobId, provider.addr, due, hash);
        vm.prank(anyone);
        market.resolve(terms, verdict, signatures);
        _assertEnded(terms, due == 0 ? Status.Refunded : Status.Settled);
        _assertPaid(due);
        assertEq(registry.stakeOf(provider.addr), STAKED - stake, "stake lost");
        assertEq(registry.reservedOf(provider.addr), 0, "nothing is set aside");
        assertEq(registry.awardOf(alice.addr), stake / 2, "half to the payer");
        assertEq(registry.awardOf(challenger), CHALLENGE_BOND + stake - stake / 2, "bond and the rest");
        _assertForgotten(jobId);
    }

    function testFuzz_Resolve_ChallengerAtFault(uint128 submitted) public {
        submitted = uint128(bound(submitted, 1, UNITS));
        (JobTerms memory terms, bytes32 jobId) = _disputed(submitted, 1);
        (IJobMarket.Verdict memory verdict, bytes[] memory signatures) = _verdict(jobId, submitted, Fault.Challenger);
        market.resolve(terms, verdict, signatures);
        _assertEnded(terms, Status.Settled);
        _assertPaid(submitted);
        assertEq(registry.stakeOf(provider.addr), STAKED, "stake");
        assertEq(registry.awardOf(provider.addr), CHALLENGE_BOND, "the bond is the provider's");
        assertEq(registry.awardOf(challenger), 0, "challenger");
        _assertForgotten(jobId);
    }

    function testFuzz_Resolve_NobodyAtFault(uint128 submitted, uint128 due) public {
        submitted = uint128(bound(submitted, 1, UNITS));
        due = uint128(bound(due, 1, submitted));
        (JobTerms memory terms, bytes32 jobId) = _disputed(submitted, 1);
        (IJobMarket.Verdict memory verdict, bytes[] memory signatures) = _verdict(jobId, due, Fault.None);
        market.resolve(terms, verdict, signatures);
        _assertPaid(due);
        assertEq(registry.stakeOf(provider.addr), STAKED, "stake");
        assertEq(registry.awardOf(challenger), CHALLENGE_BOND, "the bond is back");
        _assertForgotten(jobId);
    }

    /// @dev Stake that unbonds is still there to be lost: other jobs' end frees it for unbonding, not this one's.
    function test_Resolve_TakesUnbondingStakeToo() public {
        (JobTerms memory terms, bytes32 jobId) = _disputed(5, 1);
        uint256 stake = _stakeFor(UNITS);
        vm.prank(provider.addr);
        registry.unstake(STAKED - stake);
        // What is asked for is what must stay and what is to go, together.
        _expect(IProviderRegistry.ProviderRegistry_StakeExceeded.selector, provider.addr, stake + 1, stake);
        vm.prank(provider.addr);
        registry.unstake(1);
        (IJobMarket.Verdict memory verdict, bytes[] memory signatures) = _verdict(jobId, 0, Fault.Provider);
        market.resolve(terms, verdict, signatures);
        assertEq(registry.stakeOf(provider.addr), 0, "all that was left bonded");
    }

    /* finalize: NOBODY DECIDED */

    function testFuzz_RevertWhen_DisputeIsUndecided(uint40 early) public {
        (JobTerms memory terms, bytes32 jobId) = _disputed(5, 1);
        uint256 decideBy = market.disputes(jobId).decideBy;
        early = uint40(bound(early, START, decideBy));
        vm.warp(early);
        _expect(IJobMarket.JobMarket_DeadlineNotReached.selector, jobId, early, decideBy);
        market.finalize(terms);
    }

    function testFuzz_Finalize_UndecidedWatchedReceiptStands(uint128 submitted, uint8 assurance) public {
        submitted = uint128(bound(submitted, 1, UNITS));
        (JobTerms memory terms, bytes32 jobId) = _disputed(submitted, uint8(bound(assurance, 2, 3)));
        vm.warp(uint256(market.disputes(jobId).decideBy) + 1);
        vm.expectEmit(address(market));
        emit IJobMarket.JobResolved(jobId, submitted, Fault.None);
        market.finalize(terms);
        _assertPaid(submitted);
        assertEq(registry.awardOf(challenger), CHALLENGE_BOND, "the bond is back");
        _assertForgotten(jobId);
    }

    function testFuzz_Finalize_UndecidedUnwatchedReceiptIsRefunded(uint128 submitted) public {
        (JobTerms memory terms, bytes32 jobId) = _disputed(bound(submitted, 1, UNITS), 1);
        vm.warp(uint256(market.disputes(jobId).decideBy) + 1);
        vm.expectEmit(address(market));
        emit IJobMarket.JobResolved(jobId, 0, Fault.None);
        market.finalize(terms);
        _assertPaid(0);
        assertEq(registry.stakeOf(provider.addr), STAKED, "silence takes no stake");
        assertEq(registry.awardOf(challenger), CHALLENGE_BOND, "the bond is back");
        _assertForgotten(jobId);
    }

    function testFuzz_VerdictDigest(bytes32 jobId, uint128 units, uint8 fault) public view {
        fault = uint8(bound(fault, 0, 2));
        bytes32 structHash = keccak256(abi.encode(VERDICT_TYPEHASH, jobId, units, fault));
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Scrip JobMarket"),
                keccak256("1"),
                block.chainid,
                address(market)
            )
        );
        assertEq(
            market.verdictDigest(IJobMarket.Verdict(jobId, units, Fault(fault))),
            keccak256(abi.encodePacked("\x19\x01", domain, structHash)),
            "digest"
        );
    }

    /* HELPERS */

    function _stakeFor(uint256 units) private pure returns (uint256) {
        return (units * STAKE_PER_MILLION + PRICE_UNITS - 1) / PRICE_UNITS;
    }

    /// @dev Most units that `stake` can stand behind.
    function _unitsFor(uint256 stake) private pure returns (uint256) {
        return stake * PRICE_UNITS / STAKE_PER_MILLION;
    }

    function _ready(uint256 units) private returns (JobTerms memory) {
        _buy(alice.addr, staked, units);
        return _terms(staked, units);
    }

    function _submitted(uint256 units, uint8 assurance) private returns (JobTerms memory terms, bytes32 jobId) {
        if (assurance >= 2) {
            ClassTerms memory class_ = _stakedTerms(STAKE_PER_MILLION);
            class_.watcherSet = uint32(watcherSet);
            staked = _createClass(class_);
        }
        terms = _ready(UNITS);
        jobId = _run(terms);
        JobReceipt memory receipt = _receipt(jobId, units);
        receipt.assurance = assurance;
        _submit(terms, receipt);
    }

    function _disputed(uint256 units, uint8 assurance) private returns (JobTerms memory terms, bytes32 jobId) {
        (terms, jobId) = _submitted(units, assurance);
        _challenge(challenger, terms);
    }

    function _verdict(bytes32 jobId, uint128 units, Fault fault)
        private
        view
        returns (IJobMarket.Verdict memory verdict, bytes[] memory signatures)
    {
        verdict = IJobMarket.Verdict(jobId, units, fault);
        signatures = _judge(market.verdictDigest(verdict), THRESHOLD);
    }

    function _assertPaid(uint256 units) private view {
        _assertLocked(alice.addr, staked, 0, "locked");
        _assertCredits(alice.addr, staked, UNITS - units, "payer");
        assertEq(credits.totalSupply(staked), UNITS - units, "supply");
        assertGe(reserve.earningsOf(provider.addr, address(usd)), units * PRICE / PRICE_UNITS, "paid");
        if (units == 0) assertEq(reserve.earningsOf(provider.addr, address(usd)), 0, "nobody is paid");
    }

    function _assertForgotten(bytes32 jobId) private view {
        assertEq(market.submissions(jobId).finalizeAt, 0, "no submission");
        assertEq(market.disputes(jobId).challenger, address(0), "no dispute");
    }
}
