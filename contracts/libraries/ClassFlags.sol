// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @title What is true of a class, a bit each.
library ClassFlags {
    uint256 internal constant TRANSFERABLE = 1;
    uint256 internal constant CLOSED = 2;
    /// @dev An account's holding is capped, or not everyone may hold the class.
    uint256 internal constant RESTRICTED = 4;
    /// @dev The class lists its providers.
    uint256 internal constant LISTED = 8;
    /// @dev It has a challenge window.
    uint256 internal constant WINDOWED = 16;
    /// @dev Stake of the provider is set aside for each job.
    uint256 internal constant STAKED = 32;
    /// @dev The registry holds issuance against the issuer's stake or capacity.
    uint256 internal constant BOUND = 64;
    /// @dev Sold at the price of a feed.
    uint256 internal constant FEED = 128;
}
