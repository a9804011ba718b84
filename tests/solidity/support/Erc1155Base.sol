// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Vm} from "forge-std/Vm.sol";
import {JobTerms, SessionTerms} from "contracts/interfaces/Types.sol";
import {MeteredSessionsBase} from "../MeteredSessionsBase.t.sol";
import {Witness} from "./Witness.sol";

/// @dev Reads the token as a client does that knows the standards alone: interface ids, selectors, magic values, event
/// signatures and error names are written out from ERC-1155 and EIP-6093.
abstract contract Erc1155Base is MeteredSessionsBase {
    bytes4 internal constant ON_RECEIVED = 0xf23a6e61;
    bytes4 internal constant ON_BATCH_RECEIVED = 0xbc197c81;
    bytes32 internal constant SINGLE = keccak256("TransferSingle(address,address,address,uint256,uint256)");
    bytes32 internal constant BATCH = keccak256("TransferBatch(address,address,address,uint256[],uint256[])");
    bytes32 internal constant URI = keccak256("URI(string,uint256)");
    uint96 internal constant HELD = 1_000_000;

    Witness internal witness;
    /// @dev Two ids of which alice holds HELD each.
    uint256 internal first;
    uint256 internal second;

    function setUp() public virtual override {
        super.setUp();
        witness = new Witness();
        first = _createClass(_grantTerms());
        second = _createClass(_grantTerms());
        vm.startPrank(issuer.addr);
        credits.grant(alice.addr, first, HELD);
        credits.grant(alice.addr, second, HELD);
        vm.stopPrank();
    }

    /* CALLS */

    /// @dev What `from` is used for, whoever calls.
    function _single(address to, uint256 units) internal view returns (bytes memory) {
        return abi.encodeWithSignature(
            "safeTransferFrom(address,address,uint256,uint256,bytes)", alice.addr, to, first, units, "data"
        );
    }

    function _batch(address to, uint256 units) internal view returns (bytes memory) {
        (uint256[] memory ids, uint256[] memory values) = _pair(first, units, second, 0);
        return abi.encodeWithSignature(
            "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)", alice.addr, to, ids, values, "data"
        );
    }

    /// @dev Both kinds of transfer of alice's units revert with `reason`.
    function _expectRefused(address caller, bytes memory reason, address to, uint256 units) internal {
        _expectRefused(caller, reason, _single(to, units));
        _expectRefused(caller, reason, _batch(to, units));
    }

    function _expectRefused(address caller, bytes memory reason, bytes memory call) internal {
        vm.prank(caller);
        (bool done, bytes memory answer) = address(credits).call(call);
        assertFalse(done, "refused");
        assertEq(answer, reason, "reason");
    }

    function _succeeds(address caller, bytes memory call) internal returns (bool done) {
        vm.prank(caller);
        (done,) = address(credits).call(call);
    }

    function _approve(address operator, bool approved) internal {
        vm.prank(alice.addr);
        credits.setApprovalForAll(operator, approved);
    }

    /// @dev The witness will look at alice's balance and at its own.
    function _watch(uint256 id) internal {
        witness.look(alice.addr, id);
        witness.look(address(witness), id);
    }

    /* OTHER WAYS THAT CREDITS MOVE */

    function _settleJob(uint256 classId, uint256 maxUnits, uint256 used) internal {
        JobTerms memory terms = _terms(classId, maxUnits);
        bytes32 jobId = _run(terms);
        _submit(terms, _receipt(jobId, used));
    }

    function _spendSession(uint256 classId, uint256 deposit, uint256 used) internal {
        SessionTerms memory terms = _sessionTerms(classId);
        _openSession(terms, deposit);
        if (used != 0) _claim(terms, used);
        _closeByProvider(terms);
    }

    /* LOGS */

    function _assertMove(Vm.Log memory log, bytes32 kind, address operator, address from, address to) internal pure {
        assertEq(log.topics[0], kind, "which event");
        assertEq(_account(log.topics[1]), operator, "operator");
        assertEq(_account(log.topics[2]), from, "from");
        assertEq(_account(log.topics[3]), to, "to");
    }

    function _assertSaw(Vm.Log memory log, uint256 balance, string memory label) internal view {
        assertEq(log.emitter, address(witness), "who looked");
        assertEq(log.topics[0], Witness.Saw.selector, "a look");
        assertEq(abi.decode(log.data, (uint256)), balance, label);
    }

    /// @dev What the transfers of one id among `logs` add up to for each of `accounts`.
    function _sums(Vm.Log[] memory logs, uint256 id, address[4] memory accounts)
        internal
        view
        returns (int256[4] memory sums)
    {
        for (uint256 i; i < logs.length; ++i) {
            Vm.Log memory log = logs[i];
            if (log.emitter != address(credits)) continue;
            if (log.topics[0] != SINGLE && log.topics[0] != BATCH) continue;
            int256 moved = _movedOf(log, id);
            for (uint256 j; j < accounts.length; ++j) {
                if (_account(log.topics[2]) == accounts[j]) sums[j] -= moved;
                if (_account(log.topics[3]) == accounts[j]) sums[j] += moved;
            }
        }
    }

    function _movedOf(Vm.Log memory log, uint256 id) private pure returns (int256 moved) {
        if (log.topics[0] == SINGLE) {
            (uint256 which, uint256 value) = abi.decode(log.data, (uint256, uint256));
            return which == id ? int256(value) : int256(0);
        }
        (uint256[] memory ids, uint256[] memory values) = abi.decode(log.data, (uint256[], uint256[]));
        for (uint256 i; i < ids.length; ++i) {
            if (ids[i] == id) moved += int256(values[i]);
        }
    }

    /* SMALL THINGS */

    function _error(string memory signature) internal pure returns (bytes4) {
        return bytes4(keccak256(bytes(signature)));
    }

    function _account(bytes32 word) internal pure returns (address) {
        return address(uint160(uint256(word)));
    }

    function _pair(uint256 a, uint256 unitsA, uint256 b, uint256 unitsB)
        internal
        pure
        returns (uint256[] memory ids, uint256[] memory values)
    {
        (ids, values) = (new uint256[](2), new uint256[](2));
        (ids[0], ids[1], values[0], values[1]) = (a, b, unitsA, unitsB);
    }
}
