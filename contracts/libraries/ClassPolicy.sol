// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ClassFlags} from "./ClassFlags.sol";

/// @title What a class asks of a job, as one word: 8 bits of flags, 8 of minAssurance, 160 of requirement.
/// @dev A struct of the same costs 900 gas more for each call: it is put into memory on both sides. A job keeps the
/// first two in its slot, so that its class isn't asked again.
library ClassPolicy {
    uint256 private constant ASSURANCE = 8;
    uint256 private constant REQUIREMENT = 16;

    function pack(uint256 flags, uint256 assurance, bytes20 requirement_) internal pure returns (uint256) {
        return flags | assurance << ASSURANCE | uint256(uint160(requirement_)) << REQUIREMENT;
    }

    function minAssurance(uint256 policy) internal pure returns (uint256) {
        return uint8(policy >> ASSURANCE);
    }

    /// @dev What a provider must serve. Not among what a job keeps.
    function requirement(uint256 policy) internal pure returns (bytes20) {
        return bytes20(uint160(policy >> REQUIREMENT));
    }

    /// @dev The class lists its providers.
    function isListed(uint256 policy) internal pure returns (bool) {
        return policy & ClassFlags.LISTED != 0;
    }

    /// @dev A challenge window lies between submission and settlement.
    function isWindowed(uint256 policy) internal pure returns (bool) {
        return policy & ClassFlags.WINDOWED != 0;
    }

    /// @dev A provider's stake is set aside while it works on a job of the class.
    function isStaked(uint256 policy) internal pure returns (bool) {
        return policy & ClassFlags.STAKED != 0;
    }
}
