// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IReceiptVerifier} from "./IReceiptVerifier.sol";
import {ClassTerms} from "./Types.sol";

/// @title Turns the terms of a class into ERC-1155 metadata, so that a class explains itself without a server.
interface IClassMetadata {
    /// @return A `data:application/json;base64,` URI. Amounts are decimal strings of base units.
    function uri(uint256 classId, ClassTerms memory terms, uint256 supply) external pure returns (string memory);

    /// @return ERC-7572 metadata of the contract that holds the classes, as such a URI too.
    function contractURI() external pure returns (string memory);

    /// @notice Reverts, with an error of `IComputeCredits`, unless a class may have these terms.
    /// @param classId Id it is going to have.
    /// @param verifier Knows the sets the terms name.
    /// @return flags What `ComputeCredits` keeps of the terms as bits: see `ClassFlags`.
    function checkTerms(
        uint256 classId,
        IReceiptVerifier verifier,
        ClassTerms calldata terms,
        address[] calldata providers
    ) external view returns (uint8 flags);
}
