// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";
import {Handler} from "./Handler.sol";

/// @dev The stateful campaign over all contracts together. What each number means: docs/invariants.md. One campaign
/// checks all of them, and what it fails with names those that are broken. No action may revert: what the system refuses
/// is caught and held against what it should refuse.
contract InvariantsTest is Test {
    uint256 private constant WALKS = 12;
    uint256 private constant STEPS = 400;

    Handler private handler;

    function setUp() public {
        handler = new Handler();
        targetContract(address(handler));
        targetSelector(FuzzSelector(address(handler), handler.actions()));
    }

    /* INVARIANTS */

    function invariant_AllRulesHold() public {
        if (bytes(handler.broken()).length != 0) _seeAll();
        assertEq(handler.broken(), "", "broken rules");
    }

    /// @dev A broken rule seldom comes alone: the failure names all that can be seen from here.
    function _seeAll() private {
        handler.checkAll();
        try handler.endEverything() {} catch {}
    }

    /// @dev Every campaign ends with everybody leaving.
    function afterInvariant() public {
        handler.endEverything();
        assertEq(handler.broken(), "", "broken rules");
    }

    /* SANITY */

    /// @dev A campaign proves nothing of actions that never succeed: each must, in a few long walks from fixed seeds.
    function test_EveryActionSucceedsSometimes() public {
        bytes4[] memory actions = handler.actions();
        uint256[] memory successes = new uint256[](actions.length);
        for (uint256 walk; walk < WALKS; ++walk) {
            handler = new Handler();
            _walk(actions, walk);
            for (uint256 i; i < actions.length; ++i) {
                successes[i] += handler.succeeded(actions[i]);
            }
            handler.endEverything();
            assertEq(handler.broken(), "", "broken rules");
        }
        for (uint256 i; i < actions.length; ++i) {
            assertGt(successes[i], 0, string.concat("never succeeded: ", vm.toString(actions[i])));
        }
    }

    function _walk(bytes4[] memory actions, uint256 walk) private {
        for (uint256 i; i < STEPS; ++i) {
            bytes32 r = keccak256(abi.encode(walk, i));
            bytes memory call = abi.encodePacked(actions[uint256(r) % actions.length]);
            for (uint256 j; j < 4; ++j) {
                r = keccak256(abi.encode(r));
                call = bytes.concat(call, r);
            }
            // So that the walk isn't ended by the gas limit of a test; receivers that burn gas must stay metered.
            vm.resetGasMetering();
            // Not every action can be taken at every time.
            (bool ok,) = address(handler).call(call);
            ok;
        }
    }
}
