// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IAllowListEligibility} from "../interfaces/IAllowListEligibility.sol";
import {IEligibility} from "../interfaces/IEligibility.sol";

/// @title AllowListEligibility
/// @dev Trust model.
/// - The owner says who may receive credits of the classes that name this contract. Taking an account off the list stops
///   it from receiving more; what it holds it keeps, and can use, sell and reclaim.
/// - Ownership passes in two steps. An owner that renounces it leaves the list as it is for good.
contract AllowListEligibility is IAllowListEligibility, Ownable2Step {
    uint256 public constant MAX_ACCOUNTS = 256;

    mapping(address account => bool) private _eligible;

    constructor(address owner) Ownable(owner) {}

    /// @inheritdoc IAllowListEligibility
    function set(address[] calldata accounts, bool eligible) external onlyOwner {
        uint256 count = accounts.length;
        if (count == 0) revert AllowListEligibility_BadBatch(0, 0, 1);
        if (count > MAX_ACCOUNTS) revert AllowListEligibility_BadBatch(0, count, MAX_ACCOUNTS);
        for (uint256 i; i < count; ++i) {
            _eligible[accounts[i]] = eligible;
            emit EligibilitySet(accounts[i], eligible);
        }
    }

    /// @inheritdoc IEligibility
    function isEligible(address account, uint256) external view returns (bool) {
        return _eligible[account];
    }
}
