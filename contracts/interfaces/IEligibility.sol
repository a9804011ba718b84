// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @title Says who may hold the credits of a class.
interface IEligibility {
    function isEligible(address account, uint256 classId) external view returns (bool);
}
