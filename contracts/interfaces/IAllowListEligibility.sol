// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IEligibility} from "./IEligibility.sol";

/// @title A list of accounts that may hold the credits of every class that names it.
interface IAllowListEligibility is IEligibility {
    event EligibilitySet(address indexed account, bool eligible);

    error AllowListEligibility_BadBatch(uint256 id, uint256 given, uint256 limit);

    /// @notice Lists accounts, or takes them off the list. Owner only; 1 to `MAX_ACCOUNTS` at once.
    function set(address[] calldata accounts, bool eligible) external;
}
