// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IPriceFeed} from "contracts/interfaces/IPriceFeed.sol";
import {IReceiptVerifier} from "contracts/interfaces/IReceiptVerifier.sol";
import {Base} from "./Base.t.sol";

/// @dev The feed's construction, what it takes as the next round, and how it remembers.
contract PriceFeedTest is Base {
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant ANSWER_TYPEHASH = keccak256("Answer(uint80 roundId,int256 answer,uint40 observedAt)");
    uint8 private constant FEED_DECIMALS = 8;
    uint256 private constant DEVIATION = 500;
    uint256 private constant MAX_OBSERVATION_AGE = 1 hours;
    int256 private constant MAX_ANSWER = type(int128).max;

    IPriceFeed private feed;

    function setUp() public override {
        super.setUp();
        feed = IPriceFeed(_create(watcherSet, FEED_DECIMALS, DEVIATION));
    }

    /* CONSTRUCTION */

    function testFuzz_RevertWhen_SetUnknown(uint256 setId) public {
        uint256 count = verifier.setCount();
        if (setId <= count) setId = 0;
        _expect(IPriceFeed.PriceFeed_BadParameter.selector, 1, setId, count);
        _create(setId, FEED_DECIMALS, DEVIATION);
    }

    function testFuzz_RevertWhen_TooManyDecimals(uint8 decimals) public {
        decimals = uint8(bound(decimals, 19, type(uint8).max));
        _expect(IPriceFeed.PriceFeed_BadParameter.selector, 2, decimals, 18);
        _create(watcherSet, decimals, DEVIATION);
    }

    function test_RevertWhen_PriceCouldNeverMove() public {
        _expect(IPriceFeed.PriceFeed_BadParameter.selector, 4, 0, 1);
        _create(watcherSet, FEED_DECIMALS, 0);
    }

    function testFuzz_RevertWhen_DeviationUnbounded(uint256 deviation) public {
        deviation = bound(deviation, BPS + 1, type(uint256).max);
        _expect(IPriceFeed.PriceFeed_BadParameter.selector, 4, deviation, BPS);
        _create(watcherSet, FEED_DECIMALS, deviation);
    }

    function testFuzz_Construction(uint8 decimals, uint256 deviation) public {
        decimals = uint8(bound(decimals, 0, 18));
        deviation = bound(deviation, 1, BPS);
        IPriceFeed made = IPriceFeed(_create(watcherSet, decimals, deviation));
        assertEq(made.decimals(), decimals, "decimals");
        assertEq(made.description(), "CPU seconds / dUSD", "description");
        assertEq(made.version(), 1, "version");
        assertEq(made.latestRound(), 0, "no round yet");
    }

    /* post: REVERTS */

    function testFuzz_RevertWhen_RoundIsNotTheNext(uint80 roundId, uint8 posted) public {
        uint256 last = _postMany(bound(posted, 0, 3));
        vm.assume(roundId != last + 1);
        _refused(IPriceFeed.PriceFeed_WrongRound.selector, roundId, 1e8, START, roundId, last + 1);
    }

    function testFuzz_RevertWhen_AnswerIsNotPositive(int256 answer) public {
        answer = bound(answer, type(int256).min, 0);
        _refused(IPriceFeed.PriceFeed_NotPositive.selector, 1, answer, START, uint256(answer), 1);
    }

    function test_RevertWhen_AnswerIsZero() public {
        _refused(IPriceFeed.PriceFeed_NotPositive.selector, 1, 0, START, 0, 1);
    }

    function testFuzz_RevertWhen_AnswerIsTooLarge(int256 answer) public {
        answer = bound(answer, MAX_ANSWER + 1, type(int256).max);
        _refused(IPriceFeed.PriceFeed_TooLarge.selector, 1, answer, START, uint256(answer), uint256(MAX_ANSWER));
    }

    function testFuzz_RevertWhen_ObservedInTheFuture(uint40 observedAt) public {
        observedAt = uint40(bound(observedAt, START + 1, type(uint40).max));
        _refused(IPriceFeed.PriceFeed_FromFuture.selector, 1, 1e8, observedAt, observedAt, START);
    }

    function testFuzz_RevertWhen_ObservedLongAgo(uint40 observedAt) public {
        uint256 oldest = START - MAX_OBSERVATION_AGE;
        observedAt = uint40(bound(observedAt, 0, oldest - 1));
        _refused(IPriceFeed.PriceFeed_TooOld.selector, 1, 1e8, observedAt, observedAt, oldest);
    }

    function testFuzz_RevertWhen_ObservationIsNotNewer(uint40 observedAt) public {
        _post(1, 1e8, START);
        observedAt = uint40(bound(observedAt, START - MAX_OBSERVATION_AGE, START));
        _refused(IPriceFeed.PriceFeed_NotNewer.selector, 2, 1e8, observedAt, observedAt, START);
    }

    function testFuzz_RevertWhen_AnswerRisesTooFar(int256 first, int256 second) public {
        first = bound(first, 1, MAX_ANSWER / 2);
        int256 highest = first + _allowed(first);
        second = bound(second, highest + 1, MAX_ANSWER);
        _post(1, first, START - 1);
        _refused(IPriceFeed.PriceFeed_Deviates.selector, 2, second, START, uint256(second), uint256(highest));
    }

    function testFuzz_RevertWhen_AnswerFallsTooFar(int256 first, int256 second) public {
        first = bound(first, 3, MAX_ANSWER);
        int256 lowest = first - _allowed(first);
        second = bound(second, 1, lowest - 1);
        _post(1, first, START - 1);
        _refused(IPriceFeed.PriceFeed_Deviates.selector, 2, second, START, uint256(second), uint256(lowest));
    }

    function testFuzz_RevertWhen_TooFewWatchersSign(int256 answer, uint256 count) public {
        answer = bound(answer, 1, MAX_ANSWER);
        count = bound(count, 0, THRESHOLD - 1);
        bytes[] memory signatures = _signatures(feed.answerDigest(1, answer, uint40(START)), count);
        _expect(IReceiptVerifier.ReceiptVerifier_TooFewWatchers.selector, watcherSet, count, THRESHOLD);
        feed.post(1, answer, uint40(START), signatures);
    }

    /// @dev Signatures over one answer say nothing about another.
    function testFuzz_RevertWhen_WatchersSignedAnotherAnswer(int256 answer, int256 other) public {
        answer = bound(answer, 1, MAX_ANSWER);
        other = bound(other, 1, MAX_ANSWER);
        vm.assume(answer != other);
        bytes[] memory signatures = _signatures(feed.answerDigest(1, other, uint40(START)), THRESHOLD);
        _expectStranger(feed.answerDigest(1, answer, uint40(START)), signatures[0]);
        feed.post(1, answer, uint40(START), signatures);
    }

    function testFuzz_RevertWhen_WatchersSignedAnotherTime(uint40 observedAt) public {
        observedAt = uint40(bound(observedAt, START - MAX_OBSERVATION_AGE, START - 1));
        bytes[] memory signatures = _signatures(feed.answerDigest(1, 1e8, observedAt), THRESHOLD);
        _expectStranger(feed.answerDigest(1, 1e8, uint40(START)), signatures[0]);
        feed.post(1, 1e8, uint40(START), signatures);
    }

    /// @dev Nor about another feed of the same watchers.
    function testFuzz_RevertWhen_SignedForAnotherFeed(int256 answer) public {
        answer = bound(answer, 1, MAX_ANSWER);
        IPriceFeed other = IPriceFeed(_create(watcherSet, FEED_DECIMALS, DEVIATION));
        bytes[] memory signatures = _signatures(feed.answerDigest(1, answer, uint40(START)), THRESHOLD);
        _expectStranger(other.answerDigest(1, answer, uint40(START)), signatures[0]);
        other.post(1, answer, uint40(START), signatures);
    }

    function testFuzz_RevertWhen_Replayed(int256 answer, uint40 later) public {
        answer = bound(answer, 1, MAX_ANSWER);
        _post(1, answer, START);
        vm.warp(bound(later, START, START + MAX_OBSERVATION_AGE));
        _refused(IPriceFeed.PriceFeed_WrongRound.selector, 1, answer, START, 1, 2);
    }

    /* post: SUCCESS */

    function testFuzz_Post_First(int256 answer, uint40 observedAt, address sender) public {
        answer = bound(answer, 1, MAX_ANSWER);
        observedAt = uint40(bound(observedAt, START - MAX_OBSERVATION_AGE, START));
        bytes[] memory signatures = _signatures(feed.answerDigest(1, answer, observedAt), THRESHOLD);
        vm.expectEmit(address(feed));
        emit IPriceFeed.AnswerPosted(1, answer, observedAt);
        vm.prank(sender);
        feed.post(1, answer, observedAt, signatures);
        _assertLatest(1, answer, observedAt);
    }

    /// @dev The largest answer and the oldest observation are still taken, and the longest steps either way.
    function test_Post_AtTheBounds() public {
        _post(1, MAX_ANSWER, START - MAX_OBSERVATION_AGE);
        int256 lowest = MAX_ANSWER - _allowed(MAX_ANSWER);
        _post(2, lowest, START - 2);
        _post(3, lowest + _allowed(lowest), START - 1);
        _assertLatest(3, lowest + _allowed(lowest), START - 1);
    }

    function testFuzz_Post_Next(int256 first, int256 second, uint40 later) public {
        first = bound(first, 1, MAX_ANSWER);
        int256 allowed = _allowed(first);
        int256 lowest = first > allowed ? first - allowed : int256(1);
        second = bound(second, lowest, MAX_ANSWER - first < allowed ? MAX_ANSWER : first + allowed);
        later = uint40(bound(later, START + 1, type(uint40).max));
        _post(1, first, START);
        vm.warp(later);
        _post(2, second, later);
        _assertLatest(2, second, later);
        _assertRound(1, first, START);
    }

    /// @dev The bound is rounded up, so that a feed can't get stuck at a small answer.
    function testFuzz_Post_LeavesASmallAnswer(int256 first) public {
        first = bound(first, 1, int256(BPS / DEVIATION) - 1);
        _post(1, first, START - 2);
        _post(2, first + 1, START - 1);
        _post(3, first, START);
        _assertLatest(3, first, START);
    }

    /* VIEWS */

    function test_RevertWhen_NothingPosted() public {
        _expect(IPriceFeed.PriceFeed_NoData.selector, uint256(0), 0, 0);
        feed.latestRoundData();
    }

    function testFuzz_RevertWhen_RoundUnknown(uint80 roundId, uint8 posted) public {
        uint256 last = _postMany(bound(posted, 0, 3));
        if (roundId <= last) roundId = 0;
        _expect(IPriceFeed.PriceFeed_NoData.selector, roundId, roundId, last);
        feed.getRoundData(roundId);
    }

    function testFuzz_GetRoundData_KeepsEveryRound(uint8 posted) public {
        uint256 last = _postMany(bound(posted, 1, 8));
        for (uint256 i = 1; i <= last; ++i) {
            _assertRound(i, int256(1e8 + i), START - last + i);
        }
    }

    function testFuzz_AnswerDigest_IsEip712(uint80 roundId, int256 answer, uint40 observedAt) public view {
        bytes32 domain = keccak256(
            abi.encode(DOMAIN_TYPEHASH, keccak256("Scrip PriceFeed"), keccak256("1"), block.chainid, address(feed))
        );
        bytes32 structHash = keccak256(abi.encode(ANSWER_TYPEHASH, roundId, answer, observedAt));
        bytes32 expected = keccak256(abi.encodePacked("\x19\x01", domain, structHash));
        assertEq(feed.answerDigest(roundId, answer, observedAt), expected, "digest");
    }

    function test_Eip712Domain() public view {
        (, string memory name, string memory version, uint256 chainId, address verifying,,) =
            IERC5267(address(feed)).eip712Domain();
        assertEq(name, "Scrip PriceFeed", "name");
        assertEq(version, "1", "version");
        assertEq(chainId, block.chainid, "chain");
        assertEq(verifying, address(feed), "contract");
    }

    /* HELPERS */

    function _create(uint256 setId, uint8 decimals, uint256 deviation) private returns (address) {
        bytes memory args = abi.encode(verifier, setId, decimals, "CPU seconds / dUSD", deviation);
        return _create(abi.encodePacked(vm.getCode("PriceFeed.sol:PriceFeed"), args));
    }

    function _post(uint256 roundId, int256 answer, uint256 observedAt) private {
        (uint80 id, uint40 when) = _narrow(roundId, observedAt);
        feed.post(id, answer, when, _signatures(feed.answerDigest(id, answer, when), THRESHOLD));
    }

    /// @dev A round that is signed as it should be and refused all the same.
    function _refused(bytes4 reason, uint256 roundId, int256 answer, uint256 observedAt, uint256 given, uint256 limit)
        private
    {
        (uint80 id, uint40 when) = _narrow(roundId, observedAt);
        bytes[] memory signatures = _signatures(feed.answerDigest(id, answer, when), THRESHOLD);
        uint256 before = feed.latestRound();
        _expect(reason, roundId, given, limit);
        feed.post(id, answer, when, signatures);
        assertEq(feed.latestRound(), before, "no new round");
    }

    /// @dev Rounds 1 to `count`, a second apart, the last observed now.
    function _postMany(uint256 count) private returns (uint256) {
        for (uint256 i = 1; i <= count; ++i) {
            // forge-lint: disable-next-line(unsafe-typecast)
            _post(i, int256(1e8 + i), START - count + i);
        }
        return count;
    }

    function _signatures(bytes32 digest, uint256 count) private view returns (bytes[] memory) {
        return _attest(digest, count).watchers;
    }

    /// @dev The signature recovers to somebody who is no watcher.
    function _expectStranger(bytes32 digest, bytes memory signature) private {
        (address signer,,) = ECDSA.tryRecover(digest, signature);
        _expect(IReceiptVerifier.ReceiptVerifier_NotWatcher.selector, watcherSet, signer, address(0));
    }

    function _assertLatest(uint256 roundId, int256 answer, uint256 observedAt) private view {
        (uint80 id, int256 said, uint256 startedAt, uint256 updatedAt, uint80 answeredIn) = feed.latestRoundData();
        assertEq(id, roundId, "latest id");
        assertEq(said, answer, "latest answer");
        assertEq(startedAt, observedAt, "latest start");
        assertEq(updatedAt, observedAt, "latest update");
        assertEq(answeredIn, roundId, "latest answered in");
        assertEq(feed.latestRound(), roundId, "latest round");
        _assertRound(roundId, answer, observedAt);
    }

    function _assertRound(uint256 roundId, int256 answer, uint256 observedAt) private view {
        (uint80 asked,) = _narrow(roundId, 0);
        (uint80 id, int256 said, uint256 startedAt, uint256 updatedAt, uint80 answeredIn) = feed.getRoundData(asked);
        assertEq(id, roundId, "id");
        assertEq(said, answer, "answer");
        assertEq(startedAt, observedAt, "start");
        assertEq(updatedAt, observedAt, "update");
        assertEq(answeredIn, roundId, "answered in");
    }

    /// @dev How far the next answer may be away: rounded up.
    function _allowed(int256 answer) private pure returns (int256) {
        // forge-lint: disable-next-line(unsafe-typecast)
        return (answer * int256(DEVIATION) + int256(BPS) - 1) / int256(BPS);
    }

    function _narrow(uint256 roundId, uint256 when) private pure returns (uint80, uint40) {
        // forge-lint: disable-next-line(unsafe-typecast)
        return (uint80(roundId), uint40(when));
    }
}
