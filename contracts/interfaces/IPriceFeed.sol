// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @title Chainlink's feed interface.
// solhint-disable-next-line interface-starts-with-i
interface AggregatorV3Interface {
    function decimals() external view returns (uint8);
    function description() external view returns (string memory);
    function version() external view returns (uint256);
    function getRoundData(uint80 roundId)
        external
        view
        returns (uint80 id, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
    function latestRoundData()
        external
        view
        returns (uint80 id, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
}

/// @title Feed of one price, posted by a threshold of watchers.
interface IPriceFeed is AggregatorV3Interface {
    event AnswerPosted(uint80 indexed roundId, int256 answer, uint256 observedAt);

    /// @notice A round's id is the last one's plus one.
    error PriceFeed_WrongRound(uint256 id, uint256 given, uint256 limit);
    error PriceFeed_NotPositive(uint256 id, int256 given, int256 limit);
    error PriceFeed_TooLarge(uint256 id, int256 given, int256 limit);
    error PriceFeed_NotNewer(uint256 id, uint256 given, uint256 limit);
    error PriceFeed_FromFuture(uint256 id, uint256 given, uint256 limit);
    error PriceFeed_TooOld(uint256 id, uint256 given, uint256 limit);
    /// @notice The answer and the nearest one allowed after the last round.
    error PriceFeed_Deviates(uint256 id, uint256 given, uint256 limit);
    /// @param id Position of the parameter in the constructor, from 0.
    error PriceFeed_BadParameter(uint256 id, uint256 given, uint256 limit);
    error PriceFeed_NoData(uint256 id, uint256 given, uint256 limit);

    /// @notice Posts the next round. Anyone may send what a threshold of the feed's watchers signed.
    /// @param roundId The last round plus one.
    /// @param observedAt Unix seconds of the observation: newer than the last, at most `MAX_OBSERVATION_AGE` old.
    /// @param signatures Over `Answer(roundId,answer,observedAt)`, sorted by ascending signer.
    function post(uint80 roundId, int256 answer, uint40 observedAt, bytes[] calldata signatures) external;

    /// @notice Digest that watchers sign.
    function answerDigest(uint80 roundId, int256 answer, uint40 observedAt) external view returns (bytes32);

    /// @notice Id of the last round; 0 before the first.
    function latestRound() external view returns (uint256);
}
