// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {AggregatorV3Interface, IPriceFeed} from "./interfaces/IPriceFeed.sol";
import {IReceiptVerifier} from "./interfaces/IReceiptVerifier.sol";

/// @title PriceFeed
/// @dev Trust model.
/// - A threshold of the watcher set decides every answer. It can move the price by at most `MAX_DEVIATION_BPS` a round and
///   once for each second of observation, and it can stop posting; no round is ever rewritten.
/// - Who sends a round changes nothing, and nobody has a role here. Who the watchers are, the verifier says: its
///   WATCHER_ADMIN_ROLE can replace them after a delay.
/// - Readers set their own bounds: the reserve refuses answers that are old or far from a class's price.
contract PriceFeed is IPriceFeed, EIP712 {
    /* CONSTANTS */

    bytes32 private constant ANSWER_TYPEHASH = keccak256("Answer(uint80 roundId,int256 answer,uint40 observedAt)");
    uint256 public constant MAX_OBSERVATION_AGE = 1 hours;
    int256 public constant MAX_ANSWER = type(int128).max;
    uint256 public constant MAX_DECIMALS = 18;
    uint256 private constant BPS = 10_000;

    IReceiptVerifier public immutable VERIFIER;
    uint256 public immutable WATCHER_SET;
    uint256 public immutable MAX_DEVIATION_BPS;
    uint8 private immutable _DECIMALS;

    /* STORAGE */

    /// @dev One slot.
    struct Round {
        int128 answer;
        uint40 observedAt;
    }

    mapping(uint256 roundId => Round) private _rounds;
    /// @inheritdoc IPriceFeed
    uint256 public latestRound;
    /// @inheritdoc AggregatorV3Interface
    string public description;

    /* CONSTRUCTOR */

    constructor(
        IReceiptVerifier verifier,
        uint256 watcherSet,
        uint8 decimals_,
        string memory description_,
        uint256 maxDeviationBps
    ) EIP712("Scrip PriceFeed", "1") {
        if (verifier.thresholdOf(watcherSet) == 0) {
            revert PriceFeed_BadParameter(1, watcherSet, verifier.setCount());
        }
        if (decimals_ > MAX_DECIMALS) revert PriceFeed_BadParameter(2, decimals_, MAX_DECIMALS);
        if (maxDeviationBps == 0) revert PriceFeed_BadParameter(4, 0, 1);
        if (maxDeviationBps > BPS) revert PriceFeed_BadParameter(4, maxDeviationBps, BPS);
        VERIFIER = verifier;
        WATCHER_SET = watcherSet;
        MAX_DEVIATION_BPS = maxDeviationBps;
        _DECIMALS = decimals_;
        description = description_;
    }

    /* ROUNDS */

    /// @inheritdoc IPriceFeed
    function post(uint80 roundId, int256 answer, uint40 observedAt, bytes[] calldata signatures) external {
        uint256 last = latestRound;
        if (roundId != last + 1) revert PriceFeed_WrongRound(roundId, roundId, last + 1);
        if (answer < 1) revert PriceFeed_NotPositive(roundId, answer, 1);
        if (answer > MAX_ANSWER) revert PriceFeed_TooLarge(roundId, answer, MAX_ANSWER);
        _checkTime(roundId, observedAt);
        if (last != 0) _checkStep(roundId, _rounds[last], answer, observedAt);
        VERIFIER.verify(WATCHER_SET, answerDigest(roundId, answer, observedAt), signatures);
        latestRound = roundId;
        // Safe cast: at most MAX_ANSWER.
        _rounds[roundId] = Round(int128(answer), observedAt);
        emit AnswerPosted(roundId, answer, observedAt);
    }

    /* VIEWS */

    /// @inheritdoc AggregatorV3Interface
    function decimals() external view returns (uint8) {
        return _DECIMALS;
    }

    /// @inheritdoc AggregatorV3Interface
    function version() external pure returns (uint256) {
        return 1;
    }

    /// @inheritdoc IPriceFeed
    function answerDigest(uint80 roundId, int256 answer, uint40 observedAt) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(ANSWER_TYPEHASH, roundId, answer, observedAt)));
    }

    /// @inheritdoc AggregatorV3Interface
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return _roundData(latestRound);
    }

    /// @inheritdoc AggregatorV3Interface
    function getRoundData(uint80 roundId) external view returns (uint80, int256, uint256, uint256, uint80) {
        return _roundData(roundId);
    }

    /* INTERNAL */

    /// @dev Both times are the observation's, so that an answer posted late isn't taken for a fresh one.
    function _roundData(uint256 roundId)
        private
        view
        returns (uint80 id, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound)
    {
        Round memory round = _rounds[roundId];
        if (round.observedAt == 0) revert PriceFeed_NoData(roundId, roundId, latestRound);
        // Safe cast: rounds are posted under a uint80.
        id = uint80(roundId);
        return (id, round.answer, round.observedAt, round.observedAt, id);
    }

    function _checkTime(uint256 roundId, uint256 observedAt) private view {
        if (observedAt > block.timestamp) revert PriceFeed_FromFuture(roundId, observedAt, block.timestamp);
        if (block.timestamp - observedAt > MAX_OBSERVATION_AGE) {
            revert PriceFeed_TooOld(roundId, observedAt, block.timestamp - MAX_OBSERVATION_AGE);
        }
    }

    function _checkStep(uint256 roundId, Round memory last, int256 answer, uint256 observedAt) private view {
        if (observedAt <= last.observedAt) revert PriceFeed_NotNewer(roundId, observedAt, last.observedAt);
        // Safe casts: answers are positive.
        (uint256 before, uint256 given) = (uint256(int256(last.answer)), uint256(answer));
        // Rounded up: a small answer could never move again otherwise.
        uint256 allowed = Math.ceilDiv(before * MAX_DEVIATION_BPS, BPS);
        if (given > before + allowed) revert PriceFeed_Deviates(roundId, given, before + allowed);
        if (given + allowed < before) revert PriceFeed_Deviates(roundId, given, before - allowed);
    }
}
