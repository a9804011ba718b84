// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {AggregatorV3Interface} from "contracts/interfaces/IPriceFeed.sol";

/// @dev A feed that says what the test tells it, sensible or not.
contract FakeFeed is AggregatorV3Interface {
    error FakeFeed_Broken();

    int256 private _answer;
    uint256 private _startedAt;
    uint256 private _updatedAt;
    uint8 private _decimals;
    bool private _broken;

    constructor(uint8 decimals_) {
        _decimals = decimals_;
    }

    /// @dev An answer of this moment.
    function say(int256 answer) external {
        (_answer, _startedAt, _updatedAt) = (answer, block.timestamp, block.timestamp);
    }

    function say(int256 answer, uint256 startedAt, uint256 updatedAt) external {
        (_answer, _startedAt, _updatedAt) = (answer, startedAt, updatedAt);
    }

    function setDecimals(uint8 decimals_) external {
        _decimals = decimals_;
    }

    /// @dev From now on it answers nothing.
    function breakDown() external {
        _broken = true;
    }

    function decimals() external view returns (uint8) {
        return _decimals;
    }

    function description() external pure returns (string memory) {
        return "fake";
    }

    function version() external pure returns (uint256) {
        return 1;
    }

    function getRoundData(uint80) external view returns (uint80, int256, uint256, uint256, uint80) {
        return _data();
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return _data();
    }

    function _data() private view returns (uint80, int256, uint256, uint256, uint80) {
        if (_broken) revert FakeFeed_Broken();
        return (1, _answer, _startedAt, _updatedAt, 1);
    }
}
