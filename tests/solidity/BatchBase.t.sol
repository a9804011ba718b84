// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Attestation, JobTerms, Receipt as JobReceipt, Status} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev Builds a batch row by row.
abstract contract BatchBase is Base {
    uint128 internal constant UNITS = 1_000_000;

    JobTerms[] internal rows;
    JobReceipt[] internal receipts;

    function _add(JobTerms memory terms, JobReceipt memory receipt) internal {
        rows.push(terms);
        receipts.push(receipt);
    }

    /// @dev A running job of `UNITS` that used `units`, at the assurance its class asks for.
    function _addRun(uint256 classId, uint256 units) internal {
        (JobTerms memory terms, bytes32 jobId) = _runNew(classId, UNITS);
        JobReceipt memory receipt = _receipt(jobId, units);
        if (classId == watched) receipt.assurance = 2;
        _add(terms, receipt);
    }

    function _addRuns(uint256 classId, uint256 count) internal {
        for (uint256 i; i < count; ++i) {
            _addRun(classId, 1);
        }
    }

    function _addFailure(uint256 classId) internal {
        (JobTerms memory terms, bytes32 jobId) = _runNew(classId, UNITS);
        _add(terms, _failed(jobId));
    }

    /// @dev Sends the batch, with the watchers' signatures if a set is named.
    function _submitBatch(uint256 setId) internal returns (uint256) {
        Attestation memory attestation = _attestBatch(receipts, setId == 0 ? 0 : THRESHOLD);
        vm.prank(anyone);
        return market.submitBatch(rows, receipts, setId, attestation);
    }

    function _batchDigest() internal view returns (bytes32) {
        return verifier.batchDigest(_hashes(receipts));
    }

    function _assertAll(Status status) internal view {
        for (uint256 i; i < receipts.length; ++i) {
            if (status < Status.Settled) _assertStatus(receipts[i].jobId, status);
            else _assertEnded(rows[i], status);
        }
    }
}
