// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Receipt} from "../interfaces/Types.sol";
import {WordsHash} from "./WordsHash.sol";

/// @title EIP-712 struct hashes of receipts.
library ReceiptHash {
    bytes32 internal constant RECEIPT_TYPEHASH = keccak256(
        "Receipt(bytes32 jobId,uint8 outcome,uint128 units,uint64 gpuMillijoules,uint64 inputTokens,uint64 outputTokens,uint40 startedAt,uint40 endedAt,bytes32 outputHash,bytes32 evidenceRoot,uint8 assurance)"
    );
    bytes32 internal constant BATCH_TYPEHASH = keccak256("ReceiptBatch(bytes32[] receipts)");
    uint256 private constant RECEIPT_WORDS = 11;

    function hash(Receipt calldata receipt) internal pure returns (bytes32) {
        uint256 offset;
        assembly {
            offset := receipt
        }
        return WordsHash.hash(RECEIPT_TYPEHASH, offset, RECEIPT_WORDS);
    }

    function hashBatch(bytes32[] memory receipts) internal pure returns (bytes32) {
        return keccak256(abi.encode(BATCH_TYPEHASH, keccak256(abi.encodePacked(receipts))));
    }
}
