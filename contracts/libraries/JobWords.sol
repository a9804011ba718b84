// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {JobTerms, Receipt} from "../interfaces/Types.sol";

/// @title Fields of terms and receipts, as the words that lie in calldata.
/// @dev Reading a field in Solidity also refuses dirty upper bits, at 30 gas a time. These don't, and need not. Whoever
/// opens a job reads its terms in Solidity, and terms with a dirty word have another id than any job. What is read of a
/// receipt is compared with a limit as a whole word, so a dirty one is over it.
library JobWords {
    function payer(JobTerms calldata terms) internal pure returns (address word) {
        assembly ("memory-safe") {
            word := calldataload(terms)
        }
    }

    function provider(JobTerms calldata terms) internal pure returns (address word) {
        assembly ("memory-safe") {
            word := calldataload(add(terms, 0x20))
        }
    }

    function maxUnits(JobTerms calldata terms) internal pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(terms, 0x60))
        }
    }

    function resources(JobTerms calldata terms) internal pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(terms, 0x80))
        }
    }

    function acceptBy(JobTerms calldata terms) internal pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(terms, 0xa0))
        }
    }

    function submitBy(JobTerms calldata terms) internal pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(terms, 0xc0))
        }
    }

    function outcome(Receipt calldata receipt) internal pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(receipt, 0x20))
        }
    }

    function units(Receipt calldata receipt) internal pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(receipt, 0x40))
        }
    }

    function startedAt(Receipt calldata receipt) internal pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(receipt, 0xc0))
        }
    }

    function endedAt(Receipt calldata receipt) internal pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(receipt, 0xe0))
        }
    }

    function assurance(Receipt calldata receipt) internal pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(receipt, 0x140))
        }
    }
}
