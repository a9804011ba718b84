// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IComputeCredits} from "../interfaces/IComputeCredits.sol";

/// @title Usages kept in memory as the call to `releaseUnits` that they become, so that none is copied.
/// @dev An array of structs instead costs 300 gas more for each row of a batch. From `list` on: 32 bytes that end in the
/// selector, the arguments' heads, and three words a row.
library UsageList {
    uint256 private constant HEAD = 0x80;
    uint256 private constant ROW = 0x60;

    function create(uint256 rows) internal pure returns (uint256 list) {
        assembly ("memory-safe") {
            list := mload(0x40)
            mstore(0x40, add(list, add(HEAD, mul(rows, ROW))))
        }
    }

    /// @param row From 0, below the `rows` that the list was created for.
    function set(uint256 list, uint256 row, address payer, uint256 locked, uint256 used) internal pure {
        assembly ("memory-safe") {
            let at := add(add(list, HEAD), mul(row, ROW))
            mstore(at, payer)
            mstore(add(at, 0x20), locked)
            mstore(add(at, 0x40), used)
        }
    }

    /// @dev The list can be filled anew afterwards. Reverts as the callee does.
    function release(uint256 list, uint256 count, IComputeCredits credits, uint256 classId)
        internal
        returns (uint256 burned, uint256 supplyBefore)
    {
        uint256 selector = uint32(IComputeCredits.releaseUnits.selector);
        assembly ("memory-safe") {
            mstore(list, selector)
            mstore(add(list, 0x20), classId)
            mstore(add(list, 0x40), 0x40)
            mstore(add(list, 0x60), count)
            if iszero(call(gas(), credits, 0, add(list, 0x1c), add(0x64, mul(count, ROW)), 0, 0x40)) {
                let free := mload(0x40)
                returndatacopy(free, 0, returndatasize())
                revert(free, returndatasize())
            }
            burned := mload(0)
            supplyBefore := mload(0x20)
        }
    }
}
