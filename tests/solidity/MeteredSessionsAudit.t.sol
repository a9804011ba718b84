// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {IReceiptVerifier} from "contracts/interfaces/IReceiptVerifier.sol";
import {ClassTerms, SessionTerms} from "contracts/interfaces/Types.sol";
import {MeteredSessionsBase} from "./MeteredSessionsBase.t.sol";

/// @dev penalise: what arbiters find overcharged is taken from the provider's free stake.
contract MeteredSessionsAuditTest is MeteredSessionsBase {
    bytes32 private constant OVERCHARGE_TYPEHASH =
        keccak256("Overcharge(bytes32 sessionId,uint256 units,address reporter)");
    uint256 private constant PENALTY = 10;
    uint256 private constant AUDIT_PERIOD = 14 days;
    /// @dev Odd, so that it has to be rounded.
    uint128 private constant STAKE_PRICE = 1_234_567_891;
    uint256 private constant STAKE = 1e18;

    address private reporter = makeAddr("reporter");
    uint256 private audited;
    SessionTerms private terms;
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        audited = _createClass(_auditedTerms());
        _stake(provider.addr, STAKE);
        (terms, id) = _startNew(audited, DEPOSIT);
    }

    /* REVERTS: THE SESSION */

    function testFuzz_RevertWhen_NeverOpened(uint256 units) public {
        SessionTerms memory other = _sessionTerms(audited);
        _expect(IMeteredSessions.MeteredSessions_NotOpen.selector, _id(other), NONE, OPEN);
        _penalise(other, units);
    }

    /// @dev Nobody is charged back what was never claimed.
    function testFuzz_RevertWhen_UnitsExceedTheClaims(uint256 units, uint256 claimed) public {
        claimed = bound(claimed, 0, DEPOSIT);
        units = bound(units, claimed + 1, type(uint256).max);
        if (claimed != 0) _claim(terms, claimed);
        _expect(IMeteredSessions.MeteredSessions_OverClaimed.selector, id, units, claimed);
        _penalise(terms, units);
    }

    function testFuzz_RevertWhen_ClosedTooLongAgo(uint256 wait, bool byProvider) public {
        _claim(terms, DEPOSIT);
        uint256 ended = _end(byProvider);
        uint256 when = bound(wait, ended + AUDIT_PERIOD + 1, type(uint40).max);
        vm.warp(when);
        _expect(IMeteredSessions.MeteredSessions_DeadlinePassed.selector, id, when, ended + AUDIT_PERIOD);
        _penalise(terms, DEPOSIT);
    }

    /* REVERTS: THE VERDICT */

    /// @dev What would be awarded to nobody could never be withdrawn.
    function test_RevertWhen_ReporterIsZero() public {
        _claim(terms, DEPOSIT);
        reporter = address(0);
        _expect(IMeteredSessions.MeteredSessions_ZeroReporter.selector, id, 0, 1);
        _penalise(terms, DEPOSIT);
    }

    function test_RevertWhen_UnitsAreZero() public {
        _claim(terms, DEPOSIT);
        _expect(IMeteredSessions.MeteredSessions_NothingNew.selector, id, 0, 0);
        _penalise(terms, 0);
    }

    function testFuzz_RevertWhen_Replayed(uint256 units, uint256 lower) public {
        units = bound(units, 1, DEPOSIT);
        lower = bound(lower, 0, units);
        _claim(terms, DEPOSIT);
        uint256 taken = _penalise(terms, units);
        _expect(IMeteredSessions.MeteredSessions_NothingNew.selector, id, taken, taken);
        _penalise(terms, units);
        _expect(IMeteredSessions.MeteredSessions_NothingNew.selector, id, _due(lower), taken);
        _penalise(terms, lower);
        assertEq(sessions.penaltyOf(id), taken, "penalty");
        assertEq(registry.stakeOf(provider.addr), STAKE - taken, "stake");
    }

    function test_RevertWhen_OneArbiterOfTwo() public {
        _claim(terms, DEPOSIT);
        bytes[] memory signatures = _judge(_digest(id, DEPOSIT), 1);
        _expect(IReceiptVerifier.ReceiptVerifier_TooFewWatchers.selector, arbiterSet, 1, THRESHOLD);
        sessions.penalise(terms, DEPOSIT, reporter, signatures);
    }

    /// @dev Watchers find; arbiters decide.
    function test_RevertWhen_SignedByTheWatchers() public {
        _claim(terms, DEPOSIT);
        bytes[] memory signatures = _attest(_digest(id, DEPOSIT), THRESHOLD).watchers;
        bytes4 reason = IReceiptVerifier.ReceiptVerifier_NotWatcher.selector;
        _expect(reason, arbiterSet, watchers[0].addr, address(0));
        sessions.penalise(terms, DEPOSIT, reporter, signatures);
    }

    function testFuzz_RevertWhen_UnitsAreChanged(uint256 signed, uint256 units) public {
        (signed, units) = (bound(signed, 0, DEPOSIT), bound(units, 1, DEPOSIT));
        vm.assume(signed != units);
        _expectNotSigned(_digest(id, signed), units);
    }

    /// @dev Who sends a verdict can't put itself in the reporter's place.
    function testFuzz_RevertWhen_ReporterIsChanged(address signed) public {
        vm.assume(signed != reporter);
        _expectNotSigned(_typed(address(sessions), HERE, _struct(id, DEPOSIT, signed)), DEPOSIT);
    }

    function test_RevertWhen_VerdictIsOfAnotherSession() public {
        (, bytes32 otherId) = _startNew(audited, DEPOSIT);
        _expectNotSigned(_digest(otherId, DEPOSIT), DEPOSIT);
    }

    function testFuzz_RevertWhen_VerdictIsOfAnotherChain(uint64 chainId) public {
        chainId = uint64(bound(chainId, 1, type(uint64).max - 1));
        vm.assume(chainId != HERE);
        _expectNotSigned(_typed(address(sessions), chainId, _struct(id, DEPOSIT, reporter)), DEPOSIT);
    }

    function testFuzz_RevertWhen_VerdictIsOfAnotherContract(address other) public {
        vm.assume(other != address(sessions));
        _expectNotSigned(_typed(other, HERE, _struct(id, DEPOSIT, reporter)), DEPOSIT);
    }

    /* REVERTS: CLASS AND STAKE */

    function test_RevertWhen_TheClassHasNoArbiters() public {
        (SessionTerms memory other, bytes32 otherId) = _startNew(plain, DEPOSIT);
        _claim(other, DEPOSIT);
        _expect(IMeteredSessions.MeteredSessions_NoArbiters.selector, otherId, 0, 1);
        _penalise(other, DEPOSIT);
    }

    function test_RevertWhen_TheClassHasNoStake() public {
        ClassTerms memory class_ = _auditedTerms();
        class_.stakePerMillion = 0;
        (SessionTerms memory other, bytes32 otherId) = _startNew(_createClass(class_), DEPOSIT);
        _claim(other, DEPOSIT);
        _expect(IMeteredSessions.MeteredSessions_NoStake.selector, otherId, 0, 1);
        _penalise(other, DEPOSIT);
    }

    /// @dev What stands behind jobs is theirs. The verdict isn't used up: it counts as soon as stake is free.
    function testFuzz_RevertWhen_AllStakeStandsBehindJobs(uint256 units) public {
        units = bound(units, 1, DEPOSIT);
        _claim(terms, DEPOSIT);
        _setAside(STAKE);
        _expect(IMeteredSessions.MeteredSessions_NoStake.selector, id, 0, _due(units));
        _penalise(terms, units);
        _setFree(STAKE);
        assertEq(_penalise(terms, units), _due(units), "taken");
    }

    /* TAKEN */

    /// @dev Without a challenge window, and by anyone; the credits that were burned stay burned.
    function testFuzz_Penalise(uint256 claimed, uint256 units, address sender) public {
        claimed = bound(claimed, 1, DEPOSIT);
        units = bound(units, 1, claimed);
        _claim(terms, claimed);
        (uint256 due, uint256 earned) = (_due(units), _earned());
        bytes[] memory signatures = _judge(_digest(id, units), THRESHOLD);
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.SessionPenalised(id, provider.addr, reporter, units, due);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.Slashed(id, provider.addr, due, due / 2, due - due / 2);
        vm.prank(sender);
        assertEq(sessions.penalise(terms, units, reporter, signatures), due, "taken");
        assertEq(sessions.penaltyOf(id), due, "penalty");
        assertEq(registry.stakeOf(provider.addr), STAKE - due, "stake");
        assertEq(registry.awardOf(alice.addr), due / 2, "payer's award");
        assertEq(registry.awardOf(reporter), due - due / 2, "reporter's award");
        assertEq(_earned(), earned, "earned");
        _assertOpen(id, DEPOSIT, claimed);
    }

    /// @dev However findings are cut into verdicts, they take what one over all would.
    function testFuzz_Penalise_Cumulative(uint256 first, uint256 second, uint256 third) public {
        third = bound(third, 3, DEPOSIT);
        second = bound(second, 2, third - 1);
        first = bound(first, 1, second - 1);
        _claim(terms, DEPOSIT);
        uint256 sum;
        uint256[3] memory all = [first, second, third];
        for (uint256 i; i < 3; ++i) {
            // Rounded up, two findings can be worth the same.
            if (_due(all[i]) == sum) continue;
            sum += _penalise(terms, all[i]);
            assertEq(sum, _due(all[i]), "in all");
        }
        assertEq(registry.awardOf(alice.addr) + registry.awardOf(reporter), sum, "awarded");
        assertEq(STAKE - registry.stakeOf(provider.addr), sum, "lost");
    }

    function testFuzz_Penalise_AfterClosing(uint256 units, uint256 wait, bool byProvider) public {
        units = bound(units, 1, DEPOSIT);
        _claim(terms, DEPOSIT);
        uint256 ended = _end(byProvider);
        vm.warp(bound(wait, ended, ended + AUDIT_PERIOD));
        assertEq(_penalise(terms, units), _due(units), "taken");
    }

    /// @dev A session that stays open stays open to verdicts: its provider can't outwait them and claim afterwards.
    function testFuzz_Penalise_LongAfterExpiry(uint256 wait) public {
        vm.warp(bound(wait, uint256(terms.expiresAt) + AUDIT_PERIOD + 1, type(uint40).max));
        _claim(terms, DEPOSIT);
        assertEq(_penalise(terms, DEPOSIT), _due(DEPOSIT), "taken");
    }

    /// @dev Unstaking in sight of a verdict doesn't help. What is free goes before what unbonds.
    function testFuzz_Penalise_WhileUnbonding(uint256 unbonding) public {
        unbonding = bound(unbonding, 1, STAKE);
        _claim(terms, DEPOSIT);
        vm.prank(provider.addr);
        registry.unstake(unbonding);
        uint256 due = _due(DEPOSIT);
        uint256 staked = STAKE - unbonding;
        assertEq(registry.freeStakeOf(provider.addr), STAKE, "free");
        assertEq(_penalise(terms, DEPOSIT), due, "taken");
        assertEq(registry.stakeOf(provider.addr), staked > due ? staked - due : 0, "stake");
        (uint256 left,) = registry.unbondingOf(provider.addr);
        assertEq(left, staked > due ? unbonding : STAKE - due, "unbonding");
    }

    /// @dev What is short is taken by the same verdict once there is more, and never what is set aside.
    function testFuzz_Penalise_ShortOfStake(uint256 free, uint256 unbonding) public {
        uint256 due = _due(DEPOSIT);
        free = bound(free, 1, due - 1);
        unbonding = bound(unbonding, 0, free);
        _claim(terms, DEPOSIT);
        _setAside(STAKE - free);
        if (unbonding != 0) {
            vm.prank(provider.addr);
            registry.unstake(unbonding);
        }
        assertEq(registry.freeStakeOf(provider.addr), free, "free");
        assertEq(_penalise(terms, DEPOSIT), free, "taken");
        assertEq(registry.stakeOf(provider.addr), STAKE - free, "what stood behind jobs");
        _expect(IMeteredSessions.MeteredSessions_NoStake.selector, id, 0, due - free);
        _penalise(terms, DEPOSIT);
        _stake(provider.addr, due);
        assertEq(_penalise(terms, DEPOSIT), due - free, "the rest");
        assertEq(registry.stakeOf(provider.addr), STAKE, "stake");
        assertEq(sessions.penaltyOf(id), due, "penalty");
    }

    /// @dev Nor what stands behind credits of a stake-funded class.
    function testFuzz_Penalise_LeavesWhatBacksCredits(uint256 units) public {
        _grantRoles(admin.addr, provider.addr);
        uint256 prepaid = _createClass(_prepaidTerms(STAKE_PRICE), _one(provider.addr));
        units = bound(units, 1, MAX_UNITS / 2);
        vm.prank(provider.addr);
        credits.grant(bob.addr, prepaid, units);
        uint256 required = registry.requiredStakeOf(provider.addr);
        _claim(terms, DEPOSIT);
        uint256 free = STAKE - required;
        assertEq(registry.freeStakeOf(provider.addr), free, "free");
        uint256 due = _due(DEPOSIT);
        assertEq(_penalise(terms, DEPOSIT), due < free ? due : free, "taken");
        assertGe(registry.stakeOf(provider.addr), required, "what backs credits");
    }

    /// @dev One session's verdict doesn't count for another's.
    function test_Penalise_EachSession() public {
        (SessionTerms memory other, bytes32 otherId) = _startNew(audited, DEPOSIT);
        _claim(terms, DEPOSIT);
        _claim(other, DEPOSIT);
        assertEq(_penalise(terms, DEPOSIT), _due(DEPOSIT), "first");
        assertEq(sessions.penaltyOf(otherId), 0, "the other's penalty");
        assertEq(_penalise(other, DEPOSIT), _due(DEPOSIT), "second");
    }

    /// @dev Where stake is priced as the class is, a provider that adds a tenth loses what it earned by all of it, and the
    /// payer has back five times what it was overcharged.
    function test_Penalise_AddingATenthLosesMoreThanItGained() public {
        ClassTerms memory class_ = _auditedTerms();
        class_.stakePerMillion = PRICE;
        (SessionTerms memory other,) = _startNew(_createClass(class_), DEPOSIT);
        uint256 honest = DEPOSIT * 10 / 11;
        _claim(other, DEPOSIT);
        uint256 gained = _earned() - _price(honest);
        uint256 taken = _penalise(other, DEPOSIT - honest);
        assertGt(taken, gained * 9, "lost");
        assertGt(registry.awardOf(alice.addr), gained * 4, "given back");
    }

    /* HELPERS */

    /// @dev Sold, with arbiters and stake, and no challenge window.
    function _auditedTerms() private view returns (ClassTerms memory class_) {
        class_ = _stakedTerms(STAKE_PRICE);
        class_.challengeWindow = 0;
        class_.name = "Audited CPU seconds";
    }

    /// @dev `PENALTY` times the stake behind the units, that rounded up.
    function _due(uint256 units) private pure returns (uint256) {
        return PENALTY * ((units * STAKE_PRICE + PRICE_UNITS - 1) / PRICE_UNITS);
    }

    function _struct(bytes32 sessionId, uint256 units, address by) private pure returns (bytes32) {
        return keccak256(abi.encode(OVERCHARGE_TYPEHASH, sessionId, units, by));
    }

    function _digest(bytes32 sessionId, uint256 units) private view returns (bytes32) {
        return _typed(address(sessions), HERE, _struct(sessionId, units, reporter));
    }

    function _penalise(SessionTerms memory given, uint256 units) private returns (uint256) {
        bytes[] memory signatures = _judge(_digest(_id(given), units), THRESHOLD);
        return sessions.penalise(given, units, reporter, signatures);
    }

    /// @dev By the arbiters, but for something else: the first signer found is nobody in particular, or out of order.
    function _expectNotSigned(bytes32 digest, uint256 units) private {
        _claim(terms, DEPOSIT);
        bytes[] memory signatures = _judge(digest, THRESHOLD);
        (bool ok, bytes memory answer) =
            address(sessions).call(abi.encodeCall(IMeteredSessions.penalise, (terms, units, reporter, signatures)));
        assertFalse(ok, "taken");
        assertEq(bytes4(answer), IReceiptVerifier.ReceiptVerifier_NotWatcher.selector, "reason");
        assertEq(sessions.penaltyOf(id), 0, "penalty");
        assertEq(registry.stakeOf(provider.addr), STAKE, "stake");
    }

    /// @dev As if jobs ran.
    function _setAside(uint256 amount) private {
        vm.prank(address(market));
        registry.reserveStake(provider.addr, amount);
    }

    function _setFree(uint256 amount) private {
        vm.prank(address(market));
        registry.freeStake(provider.addr, amount);
    }

    /// @dev Ends the session; returns when.
    function _end(bool byProvider) private returns (uint256) {
        if (!byProvider) vm.warp(_requestClose(terms));
        vm.prank(byProvider ? provider.addr : anyone);
        sessions.close(terms);
        return _now();
    }
}
