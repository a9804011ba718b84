// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ClassFlags} from "./ClassFlags.sol";

/// @title What settlement asks of a class, as one word: 64 bits of maxRate, 8 of minAssurance, 8 of flags.
/// @dev A struct of the same costs 900 gas more for each call: it is put into memory on both sides.
library ClassPolicy {
    function pack(uint256 rate, uint256 assurance, uint256 flags) internal pure returns (uint256) {
        return rate | assurance << 64 | flags << 72;
    }

    function maxRate(uint256 policy) internal pure returns (uint256) {
        return uint64(policy);
    }

    function minAssurance(uint256 policy) internal pure returns (uint256) {
        return uint8(policy >> 64);
    }

    /// @dev A challenge window lies between submission and settlement.
    function isWindowed(uint256 policy) internal pure returns (bool) {
        return policy >> 72 & ClassFlags.WINDOWED != 0;
    }

    /// @dev A provider's stake is set aside while it works on a job of the class.
    function isStaked(uint256 policy) internal pure returns (bool) {
        return policy >> 72 & ClassFlags.STAKED != 0;
    }
}
