// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "../interfaces/IJobMarket.sol";
import {Status} from "../interfaces/Types.sol";

/// @title A job's slot as one word, read and written once: 8 bits of status, 40 of openedAt, 96 of nonce, 96 of charge, and
/// 16 of `ClassPolicy`.
library JobSlot {
    uint256 private constant OPENED_AT = 8;
    uint256 private constant NONCE = 48;
    uint256 private constant CHARGE = 144;
    uint256 private constant POLICY = 240;

    /// @param policy_ What of it a job doesn't keep is cut off.
    function pack(Status status_, uint256 openedAt_, uint256 nonce, uint256 charge_, uint256 policy_)
        internal
        pure
        returns (uint256)
    {
        return uint256(status_) | openedAt_ << OPENED_AT | nonce << NONCE | charge_ << CHARGE | policy_ << POLICY;
    }

    function unpack(uint256 word) internal pure returns (IJobMarket.Job memory) {
        return IJobMarket.Job(status(word), uint40(word >> OPENED_AT), uint96(word >> NONCE), uint96(word >> CHARGE));
    }

    function status(uint256 word) internal pure returns (Status) {
        return Status(uint8(word));
    }

    function openedAt(uint256 word) internal pure returns (uint256) {
        return uint40(word >> OPENED_AT);
    }

    function charge(uint256 word) internal pure returns (uint256) {
        return uint96(word >> CHARGE);
    }

    function policy(uint256 word) internal pure returns (uint256) {
        return word >> POLICY;
    }

    function withStatus(uint256 word, Status status_) internal pure returns (uint256) {
        return word & ~uint256(type(uint8).max) | uint256(status_);
    }
}
