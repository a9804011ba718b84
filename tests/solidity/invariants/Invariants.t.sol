// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";
import {Handler} from "./Handler.sol";

/// @dev The stateful campaign over all contracts together. What each number means: docs/invariants.md.
/// forge-config: default.invariant.runs = 64
/// forge-config: default.invariant.depth = 100
contract InvariantsTest is Test {
    uint256 private constant WALKS = 12;
    uint256 private constant STEPS = 250;

    Handler private handler;

    function setUp() public {
        handler = new Handler();
        targetContract(address(handler));
        targetSelector(FuzzSelector(address(handler), handler.actions()));
    }

    /* INVARIANTS */

    function invariant_1_reserveHoldsExactlyWhatItOwes() public view {
        handler.assertReserve();
    }

    function invariant_2_creditsAreHeldLockedOrBurned() public view {
        handler.assertSupply();
    }

    function invariant_3_supplyIsBackedAtItsPrice() public view {
        handler.assertBacking();
    }

    function invariant_4_5_jobsOnlyMoveForwardAndWithinTheirLock() public view {
        handler.assertJobs();
    }

    function invariant_11_stakeIsThere() public view {
        handler.assertStake();
    }

    /// @dev 4, 5, 6, 7, 10 and 12: what the actions themselves saw.
    function invariant_noActionSawARuleBroken() public view {
        assertEq(handler.violation(), "", "rule");
    }

    /// @dev 6 and 7: every campaign ends with everybody leaving.
    function afterInvariant() public {
        handler.endEverything();
    }

    /* SANITY */

    /// @dev A campaign proves nothing of actions that never succeed: each must, in a few long walks from fixed seeds.
    function test_EveryActionSucceedsSometimes() public {
        vm.pauseGasMetering();
        bytes4[] memory actions = handler.actions();
        uint256[] memory successes = new uint256[](actions.length);
        for (uint256 walk; walk < WALKS; ++walk) {
            handler = new Handler();
            _walk(actions, walk);
            for (uint256 i; i < actions.length; ++i) {
                successes[i] += handler.succeeded(actions[i]);
            }
            assertEq(handler.violation(), "", "rule");
            handler.endEverything();
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
            // Not every action can be taken at every time.
            (bool ok,) = address(handler).call(call);
            ok;
        }
    }
}
