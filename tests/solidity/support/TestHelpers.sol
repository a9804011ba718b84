// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";

/// @dev What tests of any contract need: errors to expect, signatures, the clock, lists of one.
abstract contract TestHelpers is Test {
    /* EXPECTATIONS */

    /// @dev Every error of Scrip is (id, given, limit), each one word.
    function _expect(bytes4 reason, bytes32 id, uint256 given, uint256 limit) internal {
        vm.expectRevert(abi.encodeWithSelector(reason, id, given, limit));
    }

    function _expect(bytes4 reason, uint256 id, uint256 given, uint256 limit) internal {
        _expect(reason, bytes32(id), given, limit);
    }

    function _expect(bytes4 reason, address id, uint256 given, uint256 limit) internal {
        _expect(reason, uint160(id), given, limit);
    }

    function _expect(bytes4 reason, uint256 id, address given, address limit) internal {
        _expect(reason, id, uint160(given), uint160(limit));
    }

    function _expect(bytes4 reason, address id, address given, address limit) internal {
        _expect(reason, uint160(id), uint160(given), uint160(limit));
    }

    /* CONSTRUCTION */

    /// @dev As `deployCode`, but with the constructor's own error. Reverts, too, if that isn't the one expected: `create` by
    /// itself would swallow what `expectRevert` has to say, and the test would pass whatever happens.
    function _create(bytes memory code) internal returns (address created) {
        assembly ("memory-safe") {
            created := create(0, add(code, 32), mload(code))
            if iszero(created) {
                returndatacopy(mload(0x40), 0, returndatasize())
                revert(mload(0x40), returndatasize())
            }
        }
    }

    /* SIGNATURES */

    function _sign(Account memory account, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(account.key, digest);
        return abi.encodePacked(r, s, v);
    }

    /* SMALL THINGS */

    /// @dev Not `block.timestamp`, which the optimizer may keep from before a `vm.warp`.
    function _now() internal view returns (uint256) {
        return vm.getBlockTimestamp();
    }

    function _number(address account) internal pure returns (uint256) {
        return uint160(account);
    }

    function _one(bytes32 item) internal pure returns (bytes32[] memory list) {
        list = new bytes32[](1);
        list[0] = item;
    }

    function _one(address item) internal pure returns (address[] memory list) {
        list = new address[](1);
        list[0] = item;
    }

    function _addresses(Account[] memory accounts) internal pure returns (address[] memory list) {
        list = new address[](accounts.length);
        for (uint256 i; i < accounts.length; ++i) {
            list[i] = accounts[i].addr;
        }
    }
}
